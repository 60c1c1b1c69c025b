//! Do values that are right by themselves agree with each other?

use super::diagnostic::{Finding, Findings};
use super::duration::Dur;
use super::file::Draft;
use super::keys::Key;
use crate::engine::decision::AllowedCounts;
use crate::engine::policy::Policy;
use crate::engine::proof::find_flap;
use std::time::Duration;

/// Most samples that a window may hold: a day of one each 5 s fits, a day of four a second, which
/// would take megabytes, does not.
const MOST_SAMPLES: u128 = 20_000;

/// Looks for keys that contradict each other, where nothing was found wrong before.
pub(super) fn cross_check(draft: &Draft, findings: &mut Findings) {
    limits(draft, findings);
    windows(draft, findings);
    // The proof takes limits that make sense for granted.
    if findings.is_empty() {
        no_flap(draft, findings);
    }
}

fn limits(draft: &Draft, findings: &mut Findings) {
    let limits = &draft.config.policy.limits;
    let (min, max) = (limits.min_cores, limits.max_cores);
    if max < min {
        let conflict = Conflict {
            keys: ["limits.max_cores", "limits.min_cores"],
            problem: "less than limits.min_cores".to_owned(),
            allowed: Some(format!(
                "a whole number from {min} (limits.min_cores) to 256"
            )),
            help: None,
        };
        findings.push(conflict.finding(draft));
        return;
    }
    let allowed = &limits.allowed_cores;
    if !allowed.is_empty() && !allowed.iter().any(|n| (min..=max).contains(n)) {
        let conflict = Conflict {
            keys: ["limits.allowed_cores", "limits.max_cores"],
            problem: "none of these is within the limits".to_owned(),
            allowed: Some(format!(
                "at least one from {min} (limits.min_cores) to {max} (limits.max_cores)"
            )),
            help: None,
        };
        findings.push(conflict.finding(draft));
    }
}

fn windows(draft: &Draft, findings: &mut Findings) {
    let policy = &draft.config.policy;
    let interval = policy.sampling.interval;
    let windows: [(&'static str, Duration, &str); 3] = [
        ("policy.up.window", policy.up.window, "1h"),
        ("policy.up.queue", policy.up.queue, "10m"),
        ("policy.down.window", policy.down.window, "24h"),
    ];
    for (key, window, longest) in windows {
        let conflict = |problem: &str, allowed| Conflict {
            keys: [key, "sampling.interval"],
            problem: problem.to_owned(),
            allowed: Some(allowed),
            help: None,
        };
        let unused = key == "policy.up.queue" && window.is_zero();
        if window < interval && !unused {
            let allowed = format!(
                "a duration from {} (sampling.interval) to {longest}",
                Dur(interval)
            );
            findings
                .push(conflict("shorter than the time between samples", allowed).finding(draft));
        }
        if window.as_millis() > MOST_SAMPLES * interval.as_millis() {
            let allowed = format!(
                "at most {MOST_SAMPLES} samples in a window: shorten it, or sample less often"
            );
            findings.push(conflict("holds too many samples", allowed).finding(draft));
        }
    }
}

fn no_flap(draft: &Draft, findings: &mut Findings) {
    let policy: &Policy = &draft.config.policy;
    let limits = &policy.limits;
    let allowed = AllowedCounts::new(
        (limits.min_cores, limits.max_cores),
        &limits.allowed_cores,
        None,
        &[],
    );
    if let Some(flap) = find_flap(policy, &allowed) {
        let conflict = Conflict {
            keys: flap.keys(),
            problem: format!("the policy can flap: {flap}"),
            allowed: None,
            help: Some(
                "keep policy.down.utilization below policy.up.target, and that below policy.up.utilization; policy.down.headroom widens the gap",
            ),
        };
        findings.push(Finding {
            found: None,
            ..conflict.finding(draft)
        });
    }
}

/// Two keys whose values do not go together.
struct Conflict {
    /// The one at fault, and the one that it conflicts with.
    keys: [&'static str; 2],
    problem: String,
    allowed: Option<String>,
    help: Option<&'static str>,
}

impl Conflict {
    fn finding(self, draft: &Draft) -> Finding {
        let value = |path: &str| Key::named(path).map(|key| key.value_in(&draft.config));
        let (written, defaults): (Vec<_>, Vec<_>) = self
            .keys
            .into_iter()
            .partition(|key| draft.written.contains_key(key));
        let mut help: Vec<String> = self.help.into_iter().map(str::to_owned).collect();
        help.extend(defaults.into_iter().filter_map(|key| {
            Some(format!(
                "{key} is not in the file; its default is {}",
                value(key)?
            ))
        }));
        Finding {
            spans: written
                .iter()
                .map(|key| draft.written[key].clone())
                .collect(),
            key: Some(self.keys[0].to_owned()),
            problem: self.problem,
            found: value(self.keys[0]),
            allowed: self.allowed,
            help,
        }
    }
}

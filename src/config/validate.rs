//! Do values that are right by themselves agree with each other?

use super::diagnostic::{Finding, Findings};
use super::file::Draft;
use super::keys::{Key, MOST_CORES};
use crate::engine::decision::AllowedCounts;
use crate::engine::proof::find_flap;

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
        findings.push(Finding {
            problem: "less than limits.min_cores".to_owned(),
            allowed: Some(format!(
                "a whole number from {min} (limits.min_cores) to {MOST_CORES}"
            )),
            ..conflict(draft, ["limits.max_cores", "limits.min_cores"])
        });
        return;
    }
    let allowed = &limits.allowed_cores;
    if !allowed.is_empty() && !allowed.iter().any(|n| (min..=max).contains(n)) {
        findings.push(Finding {
            problem: "none of these is within the limits".to_owned(),
            allowed: Some(format!(
                "at least one from {min} (limits.min_cores) to {max} (limits.max_cores)"
            )),
            ..conflict(draft, ["limits.allowed_cores", "limits.max_cores"])
        });
    }
}

fn windows(draft: &Draft, findings: &mut Findings) {
    let policy = &draft.config.policy;
    let interval = policy.sampling.interval;
    let queue = Some(policy.up.queue).filter(|queue| !queue.is_zero());
    let windows = [
        ("policy.up.window", Some(policy.up.window)),
        ("policy.up.queue", queue),
        ("policy.down.window", Some(policy.down.window)),
    ];
    for (key, window) in windows {
        let Some(window) = window else { continue };
        let conflict = |problem: &str| Finding {
            problem: problem.to_owned(),
            allowed: Key::named(key).map(Key::allowed),
            ..conflict(draft, [key, "sampling.interval"])
        };
        if window < interval {
            findings.push(conflict("shorter than sampling.interval"));
        }
        if window.as_millis() > MOST_SAMPLES * interval.as_millis() {
            findings.push(Finding {
                allowed: Some(format!("at most {MOST_SAMPLES} times sampling.interval")),
                ..conflict("too many samples for one window")
            });
        }
    }
}

fn no_flap(draft: &Draft, findings: &mut Findings) {
    let policy = &draft.config.policy;
    let limits = (policy.limits.min_cores, policy.limits.max_cores);
    let allowed = AllowedCounts::new(limits, &policy.limits.allowed_cores, None, &[]);
    if let Some(flap) = find_flap(policy, &allowed) {
        let conflict = conflict(draft, flap.keys());
        let mut help = vec![
            "keep policy.down.utilization below policy.up.target, and that below policy.up.utilization; policy.down.headroom widens the gap".to_owned(),
        ];
        help.extend(conflict.help);
        findings.push(Finding {
            problem: format!("the policy can flap: {flap}"),
            found: None,
            help,
            ..conflict
        });
    }
}

/// Two keys whose values do not go together: the one at fault, and what it conflicts with. Where
/// a default is one of the two, there is no line to cite, and it is told instead.
fn conflict(draft: &Draft, keys: [&'static str; 2]) -> Finding {
    let value = |path: &str| Key::named(path).map(|key| key.value_in(&draft.config));
    let default = |path: &&str| {
        let value = value(path).filter(|_| !draft.written.contains_key(path))?;
        Some(format!("{path} is not in the file; its default is {value}"))
    };
    Finding {
        spans: keys
            .iter()
            .filter_map(|key| draft.written.get(key).cloned())
            .collect(),
        key: Some(keys[0].to_owned()),
        found: value(keys[0]),
        help: keys.iter().filter_map(default).collect(),
        ..Finding::default()
    }
}

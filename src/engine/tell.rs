//! What a person should know, said once an episode and again after a day.

use super::core::Engine;
use super::decision::Decision;
use super::event::{Durability, EventKind, Loudness, Notice};
use super::gate::Outlook;
use super::policy::{Mode, Policy};
use super::record::{Direction, Outcome, Reason, Record};
use super::state::{Intent, Learned, Stage};
use super::time::Timestamp;
use super::window::Summary;
use std::collections::BTreeMap;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A refusal that was away for this long begins a new episode.
const EPISODE_ENDS: Duration = Duration::from_secs(600);
/// Looks in a row without a sample before it is worth a line: suspend or a changed CPU set costs
/// one or two.
const MISSED_MANY: u32 = 6;

/// What was told already.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// By reason and direction: when it was told, and when it last held.
    episodes: BTreeMap<(Reason, bool), (Timestamp, Timestamp)>,
    /// Gates that held back a wish since the last change, for the record.
    gates: Vec<(Reason, Direction)>,
}

impl Told {
    /// Whether to tell `reason` now.
    fn news(&mut self, now: Timestamp, reason: Reason, raising: bool) -> bool {
        let episode = self.episodes.entry((reason, raising));
        let mut news = false;
        let (told, held) = episode.or_insert_with(|| {
            news = true;
            (now, now)
        });
        // What the operator chose, or has to do once, does not begin anew with each peak.
        let lasting = matches!(reason, Reason::NotProven | Reason::DirectionOff);
        if (!lasting && now.since(*held) >= EPISODE_ENDS) || now.since(*told) >= DAY {
            news = true;
        }
        *held = now;
        if news {
            *told = now;
        }
        news
    }

    /// Ends the episodes of `reason`; whether there was one.
    fn over(&mut self, reason: Reason) -> bool {
        let before = self.episodes.len();
        self.episodes.retain(|(r, _), _| *r != reason);
        before != self.episodes.len()
    }

    fn note_gate(&mut self, reason: Reason, direction: Direction) {
        if !self.gates.contains(&(reason, direction)) {
            self.gates.push((reason, direction));
        }
    }

    /// The gates that held back a change in `direction`; forgets all.
    pub fn take_gates(&mut self, direction: Direction) -> Vec<Reason> {
        let gates = std::mem::take(&mut self.gates);
        gates
            .into_iter()
            .filter(|(_, d)| *d == direction)
            .map(|(r, _)| r)
            .collect()
    }
}

impl Engine {
    /// Tells what holds a wish back, what is at its limit, and what is blind.
    pub(super) fn tell(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        self.tell_blindness(now, out);
        let outlook = self.outlook(now);
        let cores = outlook.cores;
        if let (Some(decision), Some(refusal)) = (outlook.wish.decision, outlook.refusal) {
            let direction = Direction::of(cores, decision.to);
            self.told.note_gate(refusal.reason, direction);
            let lasts = refusal.reason == Reason::Locked && self.api.lock.lasts(now);
            if (lasts || refusal_is_news(refusal.reason))
                && self
                    .told
                    .news(now, refusal.reason, direction == Direction::Raising)
            {
                let text = self.held_text(&outlook, &decision, refusal.reason);
                let chosen = self.mode(direction) == Mode::Never;
                let loudness = match refusal.reason {
                    Reason::DirectionOff if chosen => Loudness::Info,
                    Reason::IdentityUnproven | Reason::DiskFull | Reason::DirectionOff => {
                        Loudness::Warning
                    }
                    Reason::ChangesPerDay | Reason::NotAllowedByPlatform | Reason::Locked => {
                        Loudness::Warning
                    }
                    _ => Loudness::Info,
                };
                out.push(
                    Notice::new(EventKind::Held, loudness, text)
                        .because(refusal.reason)
                        .change(cores, decision.to)
                        .load(decision.demand, cores),
                );
            }
        }
        if outlook.wish.decision.is_none() {
            self.tell_standstill(now, &outlook, out);
        }
        self.tell_waiting_revert(now, out);
        if outlook.wish.at_limit {
            // The queue may ask for more while the mean of the longer window is still below.
            let demand = [outlook.evidence.demand, outlook.evidence.recent]
                .into_iter()
                .filter_map(Summary::fresh)
                .max_by(f64::total_cmp);
            if self.told.news(now, Reason::Utilization, true)
                && let Some(demand) = demand
            {
                let most = self.policy.limits.max_cores;
                let limit = if cores >= most {
                    format!("limits.max_cores is {most}")
                } else {
                    "no higher count is allowed".to_owned()
                };
                let text = format!(
                    "more than {cores} would be asked for, but {limit}: {demand:.2} cores are wanted, {:.0} % of what is there",
                    demand / f64::from(cores.max(1)) * 100.0
                );
                out.push(
                    Notice::new(EventKind::AtLimit, Loudness::Warning, text)
                        .change(cores, cores)
                        .load(demand, cores),
                );
            }
        }
        if self.api.seen.is_some()
            && self.identity().is_ok()
            && self.told.over(Reason::IdentityUnproven)
        {
            out.push(recovered(
                "it is proven again that the server id is this machine",
            ));
        }
        if !self.api.lock.holds(now) && self.told.over(Reason::Locked) {
            out.push(recovered("the server is no longer locked"));
        }
        // The line for it comes from where it is written.
        if self.disk == Durability::Durable {
            self.told.over(Reason::DiskFull);
        }
    }

    fn tell_standstill(&mut self, now: Timestamp, outlook: &Outlook, out: &mut Vec<Notice>) {
        let cores = outlook.cores;
        let limits = &self.policy.limits;
        let text = match outlook.refusal.map(|r| r.reason) {
            Some(Reason::AboveMaxBusy) => format!(
                "{cores} cores are more than limits.max_cores = {}; they are lowered once a smaller VM carries the load",
                limits.max_cores
            ),
            Some(Reason::NotAllowedByPlatform) => format!(
                "more than {cores} cores are wanted, and the platform allows none of the counts up to limits.max_cores = {}",
                limits.max_cores
            ),
            _ => return,
        };
        if let Some(refusal) = outlook.refusal
            && self.told.news(now, refusal.reason, true)
        {
            out.push(
                Notice::new(EventKind::Held, Loudness::Warning, text)
                    .because(refusal.reason)
                    .change(cores, cores),
            );
        }
    }

    fn tell_waiting_revert(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        if let Some(intent) = &self.state.intent
            && intent.reverting
            && intent.stage == Stage::Planned
            && self.identity() == Err(Reason::IdentityUnproven)
        {
            let (from, to) = (intent.from, intent.to);
            let why = self.identity_text();
            let text = format!("posting {from} cores back is held back ({why})");
            if self.told.news(now, Reason::IdentityUnproven, false) {
                out.push(
                    Notice::new(EventKind::Held, Loudness::Warning, text)
                        .because(Reason::IdentityUnproven)
                        .change(to, from),
                );
            }
        }
    }

    fn identity_text(&self) -> &'static str {
        if self.machine.addresses.is_empty() {
            "this machine has no address at present by which it is known to be the server: is its network up?"
        } else {
            "no address of this machine is in the server's address list: behind NAT run `glesys-autoscaler check --confirm-identity`, else mend api.server_id"
        }
    }

    fn tell_blindness(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        let (missed, why) = self.missed;
        if missed == 0 {
            if self.told.over(Reason::Stale) {
                out.push(recovered("the load can be read again"));
            }
        } else if missed >= MISSED_MANY && self.told.news(now, Reason::Stale, true) {
            let why = why.map_or("no reading", |w| w.as_str());
            let text = format!(
                "no usable sample of the load for {missed} readings: {why}; nothing is changed meanwhile"
            );
            out.push(Notice::new(EventKind::Held, Loudness::Warning, text).because(Reason::Stale));
        }
    }

    fn held_text(&self, outlook: &Outlook, decision: &Decision, reason: Reason) -> String {
        let cores = outlook.cores;
        let to = decision.to;
        let verb = verb(cores, to);
        let why = because(&self.policy, cores, decision);
        let what = match reason {
            Reason::DryRun => format!("would {verb} {cores} → {to} cores"),
            _ => format!("{verb} {cores} → {to} cores is held back"),
        };
        let direction = Direction::of(cores, to);
        let gate = match reason {
            Reason::DryRun => "--dry-run".to_owned(),
            Reason::NotProven => {
                "lowering was never tried on this VM: run `glesys-autoscaler check --prove-lowering` once".to_owned()
            }
            Reason::IdentityUnproven => self.identity_text().to_owned(),
            Reason::DirectionOff => self.direction_off_text(direction),
            Reason::ChangesPerDay => format!(
                "{} changes today, limits.max_changes_per_day = {}",
                self.state.day.changes, self.policy.limits.max_changes_per_day
            ),
            Reason::DiskFull => match self.disk {
                Durability::Lost => "state can be written nowhere",
                _ => "state cannot be written where it survives a reboot",
            }
            .to_owned(),
            Reason::Locked => {
                "the provider has kept the server locked for ten minutes; it is looked at more seldom from now on".to_owned()
            }
            other => other.as_str().to_owned(),
        };
        format!("{what} ({gate}); {why}")
    }

    fn direction_off_text(&self, direction: Direction) -> String {
        let name = direction.as_str();
        let learned = self.state.learned(direction);
        if self.mode(direction) == Mode::Never {
            format!("apply.{name} = \"never\"")
        } else if let Some(pending) = learned.pending {
            format!(
                "the API shows {pending} cores that this VM does not have: pending until a reboot"
            )
        } else if let Some(why) = &learned.off {
            format!("{why}; `glesys-autoscaler resume --{name}` forgets that")
        } else {
            format!("{name} is paused after a failure")
        }
    }

    /// The line that a run begins with.
    pub(super) fn started_notice(&self) -> Notice {
        let limits = &self.policy.limits;
        let mut text = format!(
            "glesys-autoscaler {} started: {} to {} cores, sampling every {}",
            self.engine_version,
            limits.min_cores,
            limits.max_cores,
            span(self.policy.sampling.interval)
        );
        if self.dry_run {
            text += ", --dry-run: nothing is changed";
        }
        if self.state.pause.is_some() {
            text += ", changes are paused";
        }
        if self.state.intent.as_ref().is_some_and(Intent::in_flight) {
            text += ", a change is under way from before";
        }
        Notice::new(EventKind::Started, Loudness::Info, text)
    }
}

/// The line of a change that is being sent.
pub(super) fn asked(policy: &Policy, intent: &Intent) -> Notice {
    let (from, to) = (intent.from, intent.to);
    let event = match intent.direction() {
        Direction::Raising => EventKind::ScaleUp,
        Direction::Lowering => EventKind::ScaleDown,
    };
    let text = format!(
        "{} {from} → {to} cores: {}",
        verb_ing(from, to),
        because(policy, from, &intent.decision)
    );
    let mut notice = Notice::new(event, Loudness::Info, text)
        .because(intent.decision.reason)
        .change(from, to)
        .load(intent.decision.demand, from);
    notice.decision_id = Some(intent.decision_id.clone());
    notice
}

fn refusal_is_news(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ChangesPerDay
            | Reason::DirectionOff
            | Reason::NotProven
            | Reason::IdentityUnproven
            | Reason::DryRun
            | Reason::NotAllowedByPlatform
            | Reason::DiskFull
    )
}

/// Why a decision was made, in words.
#[must_use]
pub fn because(policy: &Policy, from: u32, decision: &Decision) -> String {
    let demand = decision.demand;
    let to = decision.to;
    match decision.reason {
        Reason::Utilization => format!(
            "{demand:.2} cores wanted (mean of {}), more than {:.0} % of {from}",
            span(policy.up.window),
            policy.up.utilization * 100.0
        ),
        Reason::Queue => format!(
            "all cores busy and tasks waiting for {}, {demand:.2} cores wanted",
            span(policy.up.queue)
        ),
        Reason::Pressure => format!(
            "tasks waited for a CPU more than {:.0} % of {}, {demand:.2} cores wanted",
            policy.up.pressure * 100.0,
            span(policy.up.window)
        ),
        Reason::LowDemand => format!("{}, which fit {}", peak(policy, demand), cores(to)),
        Reason::AboveMax => format!(
            "limits.max_cores is {}, and {}",
            policy.limits.max_cores,
            peak(policy, demand)
        ),
        Reason::BelowMin => format!("limits.min_cores is {}", policy.limits.min_cores),
        Reason::NotProven => "a trial of lowering, as `check --prove-lowering` asked".to_owned(),
        other => other.as_str().to_owned(),
    }
}

/// What the down rule looked at.
fn peak(policy: &Policy, demand: f64) -> String {
    let window = policy.down.window;
    let what = if window <= Duration::from_secs(60) {
        ""
    } else {
        "busiest minute of the "
    };
    format!("the {what}last {} wanted {demand:.2} cores", span(window))
}

/// The line that closes a change.
pub(super) fn result_notice(record: &Record) -> Notice {
    let (from, to) = (record.cores_from, record.cores_to);
    let took = record.closed.since(record.asked);
    let tail = if record.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", record.detail)
    };
    let (event, loudness, text) = match record.result {
        Outcome::Applied => (
            EventKind::Applied,
            Loudness::Info,
            format!(
                "{from} → {to} cores: seen by the API and by the kernel after {}{tail}",
                span(took)
            ),
        ),
        Outcome::NotApplied => (
            EventKind::NotApplied,
            Loudness::Warning,
            format!("{from} → {to} cores did not take effect{tail}"),
        ),
        Outcome::Reverted => (
            EventKind::Reverted,
            Loudness::Warning,
            format!("{from} → {to} cores did not take effect{tail}"),
        ),
        Outcome::Refused => (
            EventKind::ApiError,
            Loudness::Warning,
            format!("{from} → {to} cores was refused{tail}"),
        ),
        Outcome::Failed => (
            EventKind::NotApplied,
            Loudness::Warning,
            format!("{from} → {to} cores did not happen{tail}"),
        ),
        Outcome::Superseded => (
            EventKind::NotApplied,
            Loudness::Info,
            format!("{from} → {to} cores was overtaken{tail}"),
        ),
    };
    let mut notice = Notice::new(event, loudness, text)
        .because(record.reason)
        .change(from, to)
        .load(record.demand, from);
    notice.decision_id = Some(record.decision_id.clone());
    notice.record = Some(Box::new(record.clone()));
    notice
}

/// A change that is overdue, while its end is not known.
pub(super) fn not_applied(intent: &Intent, detail: &str) -> Notice {
    let text = format!("{} → {} cores: {detail}", intent.from, intent.to);
    let mut notice = Notice::new(EventKind::NotApplied, Loudness::Warning, text)
        .because(intent.decision.reason)
        .change(intent.from, intent.to);
    notice.decision_id = Some(intent.decision_id.clone());
    notice
}

pub(super) fn direction_off(direction: Direction, learned: &Learned) -> Notice {
    let why = learned.off.as_deref().unwrap_or_default();
    let name = direction.as_str();
    let text =
        format!("{name} is switched off: {why}. `glesys-autoscaler resume --{name}` forgets that");
    Notice::new(EventKind::DirectionOff, Loudness::Error, text).because(Reason::DirectionOff)
}

pub(super) fn recovered(text: &str) -> Notice {
    Notice::new(EventKind::Recovered, Loudness::Info, text.to_owned())
}

/// A count with its noun.
#[must_use]
pub fn cores(n: u32) -> String {
    if n == 1 {
        "1 core".to_owned()
    } else {
        format!("{n} cores")
    }
}

fn verb(from: u32, to: u32) -> &'static str {
    if to > from { "raise" } else { "lower" }
}

fn verb_ing(from: u32, to: u32) -> &'static str {
    if to > from { "raising" } else { "lowering" }
}

/// A duration as the policy file writes it, to the second.
#[must_use]
pub fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms < 1000 {
        return format!("{ms}ms");
    }
    let seconds = span.as_secs();
    let parts = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut left = seconds;
    let mut text = String::new();
    for (unit, name) in parts {
        if left >= unit {
            text += &format!("{}{name}", left / unit);
            left %= unit;
        }
    }
    text
}

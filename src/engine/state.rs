//! What must survive a restart and a reboot.

use super::cloud::Server;
use super::decision::Decision;
use super::decision::Evidence;
use super::record::{Direction, Reason};
use super::time::{Day, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// First pause of a direction after a failure of the platform; it doubles up to [`PAUSE_MAX`].
pub const PAUSE_MIN: Duration = Duration::from_secs(3600);
/// Longest pause of a direction.
pub const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long the platform may hold its lock (the limit that Terraform's provider uses).
pub const LOCK_WINDOW: Duration = Duration::from_secs(20 * 60);

/// Everything the engine has to remember. The store saves it whenever it changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The boot during which the instants below were taken.
    pub boot_id: String,
    /// The API's count as last known: ours, or adopted.
    pub known_cores: Option<u32>,
    /// The change under way.
    pub intent: Option<Intent>,
    /// When the last change took effect, ours or not.
    pub last_change: Option<Timestamp>,
    /// Somebody set a count outside the limits: left alone since then for one `down.window`.
    pub outside_since: Option<Timestamp>,
    /// Changes of the day.
    pub day: DayCount,
    /// The operator's pause.
    pub pause: Option<Pause>,
    /// What was learned of raising.
    pub raising: Learned,
    /// What was learned of lowering.
    pub lowering: Learned,
    /// Lowering was tried and worked.
    pub lowering_proven: bool,
    /// Counts that the platform refused.
    pub refused: Vec<Refused>,
    /// The operator's word that this machine is the server.
    pub confirmed: Option<Confirmed>,
    /// The trial of lowering under way.
    pub trial: Option<Trial>,
    /// How the last trial ended, for `check`.
    pub last_trial: Option<TrialResult>,
    /// Number of the next decision.
    pub sequence: u64,
    /// The daemon was told to stop: what follows is a local shutdown or restart.
    pub stopped: bool,
}

/// A span that began at a known instant. Kept as a start and a length, so that no wrong clock
/// can make it longer than it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The begin.
    pub since: Timestamp,
    /// The length in milliseconds.
    pub span_ms: u64,
}

impl Wait {
    /// A span from `now` on.
    #[must_use]
    pub fn from(now: Timestamp, span: Duration) -> Wait {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Wait {
            since: now,
            span_ms,
        }
    }

    /// Its end.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.since.plus(Duration::from_millis(self.span_ms))
    }
}

/// Changes counted by local day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DayCount {
    /// Days since 1970-01-01 in local time.
    pub number: i32,
    /// Changes asked for on that day.
    pub changes: u32,
}

impl DayCount {
    /// Moves on to `day`. The day before the counted one is a clock that was set back over
    /// midnight: no fresh allowance, neither then nor when that midnight comes again. A day further
    /// back is a clock that had been wrong: counting goes on from there.
    pub fn turn(&mut self, day: Day) {
        if day.number > self.number {
            self.changes = 0;
        } else if day.number == self.number.saturating_sub(1) {
            return;
        }
        self.number = day.number;
    }
}

/// The operator's pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The begin.
    pub since: Timestamp,
    /// Ends by itself after this long; `None`: until `resume`.
    pub span_ms: Option<u64>,
}

impl Pause {
    /// When it ends by itself.
    #[must_use]
    pub fn end(self) -> Option<Timestamp> {
        let since = self.since;
        self.span_ms.map(|span_ms| Wait { since, span_ms }.end())
    }
}

/// What was learned of a direction.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// Switched off, and why.
    pub off: Option<String>,
    /// How often the API showed the new count and the guest's CPUs stayed, in a row.
    pub stayed: u32,
    /// The change during which the VM was shut down in an orderly way, where none worked since.
    pub shut_down: Option<String>,
    /// Paused after a failure.
    pub pause: Option<Wait>,
    /// After a lack of room: go no further than the next count.
    pub small_steps: bool,
    /// The API's count that the guest did not take (`unapplied = "hold"`).
    pub pending: Option<u32>,
}

impl Learned {
    /// Pauses the direction, longer each time in a row.
    pub fn back_off(&mut self, now: Timestamp) -> Duration {
        let last = self.pause.map(|p| Duration::from_millis(p.span_ms));
        let span = last.map_or(PAUSE_MIN, |span| (span * 2).clamp(PAUSE_MIN, PAUSE_MAX));
        self.pause = Some(Wait::from(now, span));
        span
    }

    /// A change in this direction worked.
    pub fn worked(&mut self) {
        *self = Learned::default();
    }
}

/// A count that the platform refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The count.
    pub cores: u32,
    /// Not tried again before the end of this.
    pub wait: Wait,
}

/// The operator's word that this machine is the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Of the machine it was given for.
    pub machine_id: String,
    /// Likewise.
    pub macs: Vec<String>,
}

/// How far a change has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// On disk; details are read anew before the edit.
    Planned,
    /// The edit is on its way, or its answer was lost.
    Sent,
    /// The API accepted it.
    Accepted,
}

/// A change under way: on disk before the first call of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Unique for this server.
    pub decision_id: String,
    /// The API's count before.
    pub from: u32,
    /// The count asked for.
    pub to: u32,
    /// CPUs online in the guest when the edit was sent.
    pub guest_online: u32,
    /// CPUs present in the guest when the edit was sent.
    pub guest_present: u32,
    /// The rule and its demand.
    pub decision: Decision,
    /// What the windows said.
    pub evidence: Evidence,
    /// The gates that had held this change back.
    pub gates: Vec<Reason>,
    /// How far it has come.
    pub stage: Stage,
    /// When it was planned.
    pub planned: Timestamp,
    /// When the edit was first sent; the line `scale_up` or `scale_down` was announced.
    pub asked: Option<Timestamp>,
    /// When the edit now on its way was sent.
    pub sent: Option<Timestamp>,
    /// When the API accepted it.
    pub answered: Option<Timestamp>,
    /// The line `not_applied` was announced.
    pub overdue: bool,
    /// Posting back a raise that did not take effect.
    pub reverting: bool,
    /// The first read that found the server unlocked with the wanted count.
    #[serde(default)]
    pub unlocked: Option<Timestamp>,
    /// The platform rebooted the VM for it.
    #[serde(default)]
    pub rebooted: bool,
    /// Edits that posted the old count back and never arrived.
    #[serde(default)]
    pub lost: u32,
    /// Reads since the edit was sent, for the growing pause between them.
    pub polls: u32,
    /// When to read next.
    pub next_poll: Timestamp,
}

impl Intent {
    /// The direction of the change as the rule meant it.
    #[must_use]
    pub fn direction(&self) -> Direction {
        Direction::of(self.from, self.to)
    }

    /// The count that the API is to show: the old one while the change is posted back.
    #[must_use]
    pub fn target(&self) -> u32 {
        if self.reverting { self.from } else { self.to }
    }

    /// The count that the API showed before the edit that is on its way.
    #[must_use]
    pub fn base(&self) -> u32 {
        if self.reverting { self.to } else { self.from }
    }

    /// The edit was sent and its effect is not settled.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.stage != Stage::Planned || self.reverting
    }
}

/// The trial of lowering: one step and back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The count to give back.
    pub original: u32,
    /// The count tried.
    pub tried: u32,
    /// The first step is over.
    pub returning: bool,
    /// A lowering took effect in it.
    pub lowered: bool,
    /// How the first step ended, for a person.
    #[serde(default)]
    pub first: String,
    /// When it began.
    pub since: Timestamp,
}

impl Trial {
    /// The count to go to next.
    #[must_use]
    pub fn next(&self) -> u32 {
        if self.returning {
            self.original
        } else {
            self.tried
        }
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialResult {
    /// When.
    pub at: Timestamp,
    /// A lowering was seen to take effect.
    pub proven: bool,
    /// For a person.
    pub text: String,
}

/// What the API last said, and when. Not kept across a restart.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// When it was said.
    pub at: Timestamp,
    /// The answer.
    pub server: Server,
}

impl State {
    /// The stored state at the begin of a run: instants of another boot are put on this boot's
    /// clock by their age, and an instant in the future counts as now.
    #[must_use]
    pub fn resumed(mut self, now: Timestamp, boot_id: &str) -> State {
        let rebooted = self.boot_id != boot_id;
        let fix = |at: &mut Timestamp| {
            if rebooted {
                *at = at.reanchored(now);
            } else if at.boottime_ms > now.boottime_ms {
                *at = now;
            }
        };
        let State {
            boot_id: stored_boot,
            known_cores: _,
            intent,
            last_change,
            outside_since,
            day: _,
            pause,
            raising,
            lowering,
            lowering_proven: _,
            refused,
            confirmed: _,
            trial,
            last_trial,
            sequence: _,
            stopped: _,
        } = &mut self;
        boot_id.clone_into(stored_boot);
        last_change.iter_mut().for_each(fix);
        outside_since.iter_mut().for_each(fix);
        pause.iter_mut().map(|p| &mut p.since).for_each(fix);
        for learned in [raising, lowering] {
            learned.pause.iter_mut().map(|p| &mut p.since).for_each(fix);
        }
        refused.iter_mut().map(|r| &mut r.wait.since).for_each(fix);
        trial.iter_mut().map(|t| &mut t.since).for_each(fix);
        last_trial.iter_mut().map(|t| &mut t.at).for_each(fix);
        if let Some(intent) = intent {
            fix(&mut intent.planned);
            for at in [
                &mut intent.asked,
                &mut intent.sent,
                &mut intent.answered,
                &mut intent.unlocked,
            ] {
                at.iter_mut().for_each(fix);
            }
            // Whatever was read before the restart says nothing of now.
            intent.next_poll = now;
            intent.polls = 0;
        }
        self
    }

    /// What was learned of `direction`.
    #[must_use]
    pub fn learned(&self, direction: Direction) -> &Learned {
        match direction {
            Direction::Raising => &self.raising,
            Direction::Lowering => &self.lowering,
        }
    }

    /// Likewise, to change it.
    pub fn learned_mut(&mut self, direction: Direction) -> &mut Learned {
        match direction {
            Direction::Raising => &mut self.raising,
            Direction::Lowering => &mut self.lowering,
        }
    }
}

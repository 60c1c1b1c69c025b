//! What the API last said, what went wrong with it, and when to ask again.

use super::cloud::{ApiFailure, FailureKind};
use super::decision::Wish;
use super::state::Seen;
use super::time::Timestamp;
use std::time::Duration;

/// First and longest pause between two reads while a change is under way or the server is locked.
const POLL_FIRST: Duration = Duration::from_secs(5);
const POLL_LONGEST: Duration = Duration::from_secs(30);
/// A VM that is short of CPU asks again at least this often; jitter included.
const OVERLOADED_LONGEST: Duration = Duration::from_secs(60);
/// Looks at a locked server that make the first ten minutes of it, five of them in the first.
const LOCK_LOOKS: u32 = 23;
/// So long no change takes.
const LOCK_LASTS: Duration = Duration::from_secs(600);
/// A lock that lasts longer is no change under way: it is looked at more and more seldom, down to
/// this.
const LOCK_LONGEST: Duration = Duration::from_secs(300);
/// After so long without one, a lock is another lock.
const LOCK_FORGOTTEN: Duration = HOUR;
const HOUR: Duration = Duration::from_secs(3600);

/// The API as the engine knows it. Not kept across a restart: it is read anew.
#[derive(Debug, Clone, Default)]
pub struct ApiView {
    /// The last answer of `server/details`.
    pub seen: Option<Seen>,
    /// The platform's counts, once told.
    pub allowed: Option<Vec<u32>>,
    /// When to ask for them (again).
    pub allowed_due: Option<Timestamp>,
    /// `Retry-After` of the last time that they were asked for.
    pub allowed_not_before: Option<Timestamp>,
    /// The guest's CPUs changed without us: read at once.
    pub recheck: bool,
    /// When they last did so: the API may show it only later.
    pub guest_changed: Option<Timestamp>,
    /// A call is under way.
    pub calling: bool,
    /// Reading fails.
    pub read: Option<Trouble>,
    /// Editing fails.
    pub edit: Option<Trouble>,
    /// The lock, as last seen.
    pub lock: Lock,
    /// A 403 that named no lock: the next read tells whether it was one.
    pub forbidden: Option<String>,
    /// Values refused in a row.
    pub invalid: u32,
}

/// A server that is locked, and how often that was found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lock {
    /// When it was first found.
    since: Timestamp,
    /// When it was last found.
    at: Timestamp,
    /// How often in a row before that, by the call that found it.
    looks: u32,
    /// Reads in a row that found it locked.
    reads: u32,
    /// Edits in a row that were answered with "locked".
    answers: u32,
}

impl Lock {
    /// A read found the server locked, or not.
    pub fn read(&mut self, now: Timestamp, locked: bool) {
        if locked {
            self.found(now, self.reads);
            self.reads = self.reads.saturating_add(1);
        } else {
            self.reads = 0;
        }
    }

    /// An edit was answered with "locked". Counted apart, so that the pauses grow even where reads
    /// say otherwise.
    pub fn answered(&mut self, now: Timestamp) {
        if now.since(self.at) > LOCK_FORGOTTEN {
            self.answers = 0;
        }
        self.found(now, self.answers);
        self.answers = self.answers.saturating_add(1);
    }

    fn found(&mut self, now: Timestamp, looks: u32) {
        if !self.holds(now) {
            self.since = now;
        }
        self.at = now;
        self.looks = looks;
    }

    /// An edit was accepted.
    pub fn opened(&mut self) {
        self.answers = 0;
    }

    /// Whether it is still there, as far as is known: what an edit was told stands until an edit
    /// is told otherwise, whatever reads say.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        (self.reads > 0 || self.answers > 0) && now.since(self.at) <= LOCK_FORGOTTEN
    }

    /// Whether it lasts longer than a change takes.
    #[must_use]
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.holds(now) && now.since(self.since) >= LOCK_LASTS
    }

    /// When to look again.
    #[must_use]
    pub fn look_at(&self, overloaded: bool) -> Timestamp {
        let usual = poll_delay(self.looks);
        let longest = if overloaded {
            OVERLOADED_LONGEST
        } else {
            LOCK_LONGEST
        };
        let beyond = (self.looks + 1).saturating_sub(LOCK_LOOKS).min(8);
        self.at.plus((usual * (1 << beyond)).min(longest))
    }
}

/// Calls of one kind that fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// What to do about it.
    pub kind: FailureKind,
    /// For a person.
    pub message: String,
    /// The first failure.
    pub since: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// How many in a row.
    pub attempts: u32,
    /// How long to wait after the last.
    pub delay: Duration,
    /// The server said how long: nobody asks sooner.
    pub told_delay: bool,
    /// When it was last announced.
    pub announced: Timestamp,
}

impl Trouble {
    /// When to try again.
    #[must_use]
    pub fn retry_at(&self, overloaded: bool) -> Timestamp {
        let patient = self.told_delay || self.kind.needs_operator();
        let delay = if overloaded && !patient {
            self.delay.min(OVERLOADED_LONGEST)
        } else {
            self.delay
        };
        self.last.plus(delay)
    }

    /// Another failure, or the first. Returns whether it is news: the first of an episode, one of
    /// another kind, or one a day later.
    pub fn note(
        slot: &mut Option<Trouble>,
        now: Timestamp,
        failure: &ApiFailure,
        jitter: f64,
    ) -> bool {
        let before = slot.take();
        let same = before.as_ref().is_some_and(|t| t.kind == failure.kind);
        let attempts = before.as_ref().map_or(0, |t| t.attempts);
        let announced = before.as_ref().filter(|_| same).map(|t| t.announced);
        let news = announced.is_none_or(|at| now.since(at) >= 24 * HOUR);
        *slot = Some(Trouble {
            kind: failure.kind,
            message: failure.message.clone(),
            since: before.map_or(now, |t| t.since),
            last: now,
            attempts: attempts.saturating_add(1),
            delay: delay(failure, attempts, jitter),
            told_delay: failure.retry_after.is_some(),
            announced: if news { now } else { announced.unwrap_or(now) },
        });
        news
    }
}

/// The pause after the failure number `attempts` (from 0) in a row; `jitter` is 0 to 1.
fn delay(failure: &ApiFailure, attempts: u32, jitter: f64) -> Duration {
    let (first, longest) = match failure.kind {
        FailureKind::Credentials | FailureKind::Forbidden => (Duration::from_secs(120), HOUR),
        FailureKind::Configuration => (Duration::from_secs(900), 6 * HOUR),
        _ => (Duration::from_secs(5), Duration::from_secs(300)),
    };
    let doubled = first.saturating_mul(1 << attempts.min(16)).min(longest);
    let spread = doubled.mul_f64(0.8 + 0.4 * jitter);
    failure.retry_after.map_or(spread, |told| told.max(spread))
}

/// The pause before the read number `polls` (from 0) of a change under way.
#[must_use]
pub fn poll_delay(polls: u32) -> Duration {
    POLL_FIRST
        .mul_f64(1.5_f64.powi(i32::try_from(polls.min(20)).unwrap_or(20)))
        .min(POLL_LONGEST)
}

impl ApiView {
    /// While calls fail: when the next is due, if that is not yet.
    #[must_use]
    pub fn blocked_until(&self, now: Timestamp, wish: &Wish, cores: u32) -> Option<Timestamp> {
        let overloaded = wish.overloaded(cores);
        [&self.read, &self.edit]
            .into_iter()
            .flatten()
            .map(|trouble| trouble.retry_at(overloaded))
            .filter(|at| !at.reached(now))
            .max_by_key(|at| at.boottime_ms)
    }

    /// Ask again at once: the operator changed something. What the server said stands.
    pub fn hurry(&mut self) {
        let troubles = [&mut self.read, &mut self.edit].into_iter().flatten();
        for trouble in troubles.filter(|trouble| !trouble.told_delay) {
            trouble.delay = Duration::ZERO;
            trouble.attempts = 0;
        }
        self.allowed_due = None;
        self.lock = Lock {
            at: self.lock.at,
            ..Lock::default()
        };
    }
}

/// A number of 0 to 1 that depends on nothing but its arguments (the finaliser of splitmix64).
#[must_use]
pub fn jitter(seed: u64, count: u64) -> f64 {
    let mut z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_grow_from_five_seconds_to_thirty() {
        let seconds: Vec<u64> = (0..7).map(|n| poll_delay(n).as_secs()).collect();
        assert_eq!(seconds, [5, 7, 11, 16, 25, 30, 30]);
    }

    #[test]
    fn overload_shortens_an_outage_but_not_what_the_server_asked_for() {
        let now = Timestamp {
            boottime_ms: 0,
            wall_ms: 0,
        };
        let mut failure = ApiFailure {
            kind: FailureKind::Unavailable,
            retry_after: None,
            message: String::new(),
        };
        let mut slot = None;
        for _ in 0..20 {
            Trouble::note(&mut slot, now, &failure, 1.0);
        }
        let at = |slot: &Option<Trouble>, overloaded| {
            slot.as_ref()
                .map(|t| t.retry_at(overloaded).boottime_ms / 1000)
        };
        assert_eq!(at(&slot, false), Some(360));
        assert_eq!(at(&slot, true), Some(60));
        failure.retry_after = Some(Duration::from_secs(900));
        Trouble::note(&mut slot, now, &failure, 1.0);
        assert_eq!(at(&slot, true), Some(900));
    }
}

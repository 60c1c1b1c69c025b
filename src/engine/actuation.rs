//! Do it: from the plan to the edit, and what its answer means.
//!
//! ```text
//!            Plan            Edit                 Ok
//!   (none) ───────▶ Planned ───────▶ Sent ────────────────▶ Accepted ──▶ verification
//!                    ▲  │             │ │ answer lost            ▲
//!                    │  │ Abandon     │ └────────────────────────┘ details decide
//!                    │  ▼             │
//!                    │ (none)         │ locked, surely not done
//!                    └────────────────┘ refused ──▶ (none), on record
//! ```
//!
//! The intent is part of the state, and the state is on disk before each command is carried out:
//! whatever happens to the daemon, the next one finds how far the change had come.

use super::cloud::{ApiFailure, FailureKind};
use super::core::{Backlog, Engine};
use super::decision::Decision;
use super::event::{EventKind, Loudness, Notice};
use super::record::{Direction, Outcome, Reason, Record};
use super::state::{Intent, PAUSE_MAX, Refused, Stage, Wait};
use super::tell;
use super::time::Timestamp;
use super::trouble::{Trouble, poll_delay};
use std::time::Duration;

/// A count that the platform refused is not tried again for this long.
const REFUSED_FOR: Duration = Duration::from_secs(24 * 3600);
/// After this many refused values in a row it is not the value.
const REFUSED_VALUES: u32 = 3;

impl Engine {
    pub(super) fn plan(&mut self, now: Timestamp, decision: Decision) {
        let guest = self.guest.unwrap_or_default();
        let evidence = self.outlook(now).evidence;
        let decision_id = format!("{:x}-{:x}", now.wall_ms.max(0), self.state.sequence);
        self.state.sequence += 1;
        self.state.intent = Some(Intent {
            decision_id,
            from: self.cores(),
            to: decision.to,
            guest_online: guest.online,
            guest_present: guest.present,
            decision,
            evidence,
            gates: self
                .told
                .take_gates(Direction::of(self.cores(), decision.to)),
            stage: Stage::Planned,
            planned: now,
            asked: None,
            sent: None,
            answered: None,
            overdue: false,
            reverting: false,
            unlocked: None,
            rebooted: false,
            polls: 0,
            next_poll: now,
        });
    }

    pub(super) fn send(&mut self, now: Timestamp, cores: u32, out: &mut Vec<Notice>) {
        let outlook = self.outlook(now);
        let guest = self.guest.unwrap_or_default();
        let Some(intent) = &mut self.state.intent else {
            return;
        };
        intent.stage = Stage::Sent;
        intent.sent = Some(now);
        intent.unlocked = None;
        intent.polls = 0;
        intent.next_poll = now.plus(poll_delay(0));
        if intent.reverting {
            return;
        }
        // Decided anew on this sample: the target may have moved since the plan.
        let moved = intent.to != cores;
        intent.to = cores;
        intent.guest_online = guest.online;
        intent.guest_present = guest.present;
        if let Some(decision) = outlook.wish.decision {
            intent.decision = decision;
            intent.evidence = outlook.evidence;
        }
        let first = intent.asked.is_none();
        if first {
            intent.asked = Some(now);
            self.state.day.changes = self.state.day.changes.saturating_add(1);
        }
        if first || moved {
            out.push(tell::asked(&self.policy, intent));
        }
    }

    pub(super) fn abandon(&mut self, now: Timestamp, out: &mut Vec<Notice>) {
        let Some(intent) = self.state.intent.take() else {
            return;
        };
        // What was announced gets its result line, whatever became of it.
        if intent.asked.is_some() {
            let detail = "given up: no longer wanted before the API took it".to_owned();
            self.close(now, intent, Outcome::Failed, detail, out);
        }
    }

    pub(super) fn take_edit_answer(
        &mut self,
        now: Timestamp,
        answer: Result<(), ApiFailure>,
        out: &mut Vec<Notice>,
    ) {
        let jitter = self.jitter();
        let Some(intent) = &mut self.state.intent else {
            return;
        };
        intent.next_poll = now.plus(poll_delay(0));
        let failure = match answer {
            Ok(()) => {
                intent.stage = Stage::Accepted;
                intent.answered = Some(now);
                self.api.invalid = 0;
                self.api.lock_answers = 0;
                self.api.locked_since = None;
                if self.api.edit.take().is_some() {
                    out.push(tell::recovered("the API accepts changes again"));
                }
                return;
            }
            Err(failure) => failure,
        };
        match failure.kind {
            FailureKind::Locked => {
                intent.stage = Stage::Planned;
                // Growing, even where details and edit disagree on the lock.
                self.api.lock_poll = now.plus(poll_delay(self.api.lock_answers));
                self.api.lock_answers += 1;
                self.api.locked_since.get_or_insert(now);
                if let Some(seen) = &mut self.api.seen {
                    seen.server.locked = true;
                }
            }
            FailureKind::Forbidden => {
                intent.stage = Stage::Planned;
                intent.planned = now.plus(Duration::from_millis(1));
                intent.next_poll = now;
                self.api.forbidden = Some(failure.message);
            }
            FailureKind::Unknown => {
                // Read soon, and do not repeat blindly.
                intent.next_poll = now.plus(Duration::from_secs(1));
                let id = intent.decision_id.clone();
                if Trouble::note(&mut self.api.edit, now, &failure, jitter) {
                    out.push(self.api_error(&failure, Some(id)));
                }
            }
            FailureKind::Unavailable => self.put_off(now, &failure, jitter, out),
            FailureKind::Credentials | FailureKind::Configuration => {
                self.not_permitted(now, &failure, jitter, out);
            }
            _ => self.refused(now, &failure, jitter, out),
        }
    }

    /// The API takes no change from us, whatever it is: said once, tried again slowly. A trial,
    /// which somebody waits for, ends.
    pub(super) fn not_permitted(
        &mut self,
        now: Timestamp,
        failure: &ApiFailure,
        jitter: f64,
        out: &mut Vec<Notice>,
    ) {
        if self.state.trial.is_some() {
            self.refused(now, failure, jitter, out);
        } else {
            self.put_off(now, failure, jitter, out);
        }
    }

    /// Surely not done, and for no reason of its own: it stays planned.
    fn put_off(
        &mut self,
        now: Timestamp,
        failure: &ApiFailure,
        jitter: f64,
        out: &mut Vec<Notice>,
    ) {
        let Some(intent) = &mut self.state.intent else {
            return;
        };
        intent.stage = Stage::Planned;
        // Read before it is sent again: a gateway's "not now" is not the provider's word.
        intent.planned = now.plus(Duration::from_millis(1));
        let id = intent.decision_id.clone();
        if Trouble::note(&mut self.api.edit, now, failure, jitter) {
            out.push(self.api_error(failure, Some(id)));
        }
    }

    /// The API said no, and nothing changed.
    pub(super) fn refused(
        &mut self,
        now: Timestamp,
        failure: &ApiFailure,
        jitter: f64,
        out: &mut Vec<Notice>,
    ) {
        let Some(intent) = self.state.intent.take() else {
            return;
        };
        let direction = intent.direction();
        let mut detail = failure.message.clone();
        Trouble::note(&mut self.api.edit, now, failure, jitter);
        match failure.kind {
            FailureKind::InvalidValue => {
                self.api.allowed_due = None;
                self.api.invalid += 1;
                if !intent.reverting {
                    let wait = Wait::from(now, REFUSED_FOR);
                    self.state.refused.push(Refused {
                        cores: intent.to,
                        wait,
                    });
                }
                if self.api.invalid >= REFUSED_VALUES {
                    self.pause_direction(now, direction, &mut detail);
                }
            }
            FailureKind::ApplyFailed | FailureKind::HypervisorDown => {
                self.pause_direction(now, direction, &mut detail);
            }
            FailureKind::NoRoom => {
                self.state.learned_mut(direction).small_steps = true;
                self.pause_direction(now, direction, &mut detail);
            }
            FailureKind::AccountLimit => {
                self.state.learned_mut(direction).pause = Some(Wait::from(now, PAUSE_MAX));
                detail += &format!(
                    "; {} waits for {}",
                    direction.as_str(),
                    tell::span(PAUSE_MAX)
                );
            }
            _ => {}
        }
        // The pause of the direction says when; one of the whole API would hold back the other
        // direction, which may well work.
        if !failure.kind.needs_operator() && failure.kind != FailureKind::InvalidValue {
            self.api.edit = None;
        }
        let outcome = if intent.reverting {
            Outcome::NotApplied
        } else {
            Outcome::Refused
        };
        if intent.reverting {
            self.state.raising.pending = Some(intent.to);
            detail = format!("the old count could not be posted back: {detail}");
        }
        self.close(now, intent, outcome, detail, out);
    }

    fn pause_direction(&mut self, now: Timestamp, direction: Direction, detail: &mut String) {
        let pause = self.state.learned_mut(direction).back_off(now);
        *detail += &format!("; {} waits for {}", direction.as_str(), tell::span(pause));
    }

    /// Puts a change on record and frees the way for the next.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        intent: Intent,
        result: Outcome,
        detail: String,
        out: &mut Vec<Notice>,
    ) {
        let effect = (result == Outcome::Applied).then_some(now);
        if matches!(
            result,
            Outcome::Applied | Outcome::Reverted | Outcome::NotApplied
        ) {
            self.state.last_change = Some(now);
            self.state.outside_since = None;
        }
        // Only added cores serve what had piled up; after a lowering `down.cooldown` is the wait.
        if result == Outcome::Applied && intent.direction() == Direction::Raising {
            self.backlog = Backlog::Draining;
        }
        let record = Record {
            decision_id: intent.decision_id.clone(),
            asked: intent.asked.unwrap_or(intent.planned),
            answered: intent.answered,
            effect,
            closed: now,
            cores_from: intent.from,
            cores_to: intent.to,
            reason: intent.decision.reason,
            result,
            detail,
            demand: intent.decision.demand,
            utilization: intent.decision.demand / f64::from(intent.from.max(1)),
            evidence: intent.evidence,
            gates: intent.gates,
            policy_hash: self.policy_hash.clone(),
            engine_version: self.engine_version.clone(),
        };
        out.push(tell::result_notice(&record));
        self.after_trial_step(now, &record);
    }

    /// One failed call, for a person.
    pub(super) fn api_error(&self, failure: &ApiFailure, decision_id: Option<String>) -> Notice {
        let loudness = if failure.kind.needs_operator() {
            Loudness::Error
        } else {
            Loudness::Warning
        };
        let mut notice = Notice::new(EventKind::ApiError, loudness, failure.message.clone());
        notice.decision_id = decision_id;
        notice.because(Reason::ApiDown)
    }
}

//! `check --prove-lowering`: one step down now, and back; at the minimum one up, and back.

use super::core::Engine;
use super::record::{Direction, Outcome, Record};
use super::state::{Trial, TrialResult};
use super::time::Timestamp;
use std::time::Duration;

/// A trial that has not ended by then is called off: something holds it.
const LONGEST: Duration = Duration::from_secs(45 * 60);

impl Engine {
    pub(super) fn begin_trial(&mut self, now: Timestamp) {
        let cores = self.cores();
        let allowed = self.allowed_counts(now);
        let refusal = if self.dry_run {
            Some("the daemon runs with --dry-run".to_owned())
        } else if self.state.pause.is_some() {
            Some("changes are paused: `glesys-autoscaler resume` first".to_owned())
        } else if self.state.trial.is_some() {
            None
        } else if self.state.intent.is_some() {
            Some("a change is under way: try again in a few minutes".to_owned())
        } else if let Err(reason) = self.identity() {
            Some(format!("not now: {}", reason.as_str()))
        } else {
            match allowed.below(cores).or(allowed.above(cores)) {
                Some(tried) => {
                    self.state.trial = Some(Trial {
                        original: cores,
                        tried,
                        returning: false,
                        lowered: false,
                        since: now,
                    });
                    self.state.last_trial = None;
                    None
                }
                None => Some("the limits leave only one count".to_owned()),
            }
        };
        if let Some(text) = refusal {
            self.state.last_trial = Some(TrialResult {
                at: now,
                proven: false,
                text,
            });
        }
    }

    pub(super) fn after_trial_step(&mut self, now: Timestamp, record: &Record) {
        let Some(trial) = &mut self.state.trial else {
            return;
        };
        let lowering = Direction::of(record.cores_from, record.cores_to) == Direction::Lowering;
        // A lowering that worked clears what was learned; one that rebooted the VM does not.
        let unharmed = self.state.lowering.off.is_none();
        trial.lowered |= lowering && record.result == Outcome::Applied && unharmed;
        let went = format!(
            "{} → {}: {}{}{}",
            record.cores_from,
            record.cores_to,
            record.result.as_str(),
            if record.detail.is_empty() { "" } else { ", " },
            record.detail
        );
        let first = !trial.returning;
        trial.returning = true;
        let trial = *trial;
        let back = self.state.known_cores == Some(trial.original);
        if first && !back {
            return;
        }
        self.end_trial(now, trial, went);
    }

    pub(super) fn expire_trial(&mut self, now: Timestamp) {
        if let Some(trial) = self.state.trial
            && self.state.intent.is_none()
            && now.since(trial.since) >= LONGEST
        {
            let refusal = self.outlook(now).refusal;
            let what = refusal.map_or("not finished", |r| r.reason.as_str());
            self.end_trial(now, trial, format!("called off: {what}"));
        }
    }

    fn end_trial(&mut self, now: Timestamp, trial: Trial, went: String) {
        self.state.trial = None;
        if trial.lowered {
            self.state.lowering_proven = true;
        }
        let text = if trial.lowered {
            "lowering works on this VM".to_owned()
        } else {
            format!("lowering is not proven: {went}")
        };
        self.state.last_trial = Some(TrialResult {
            at: now,
            proven: trial.lowered,
            text,
        });
    }
}

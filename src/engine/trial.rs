//! `check --prove-lowering`: one step down now, and back; at the minimum one up, and back.
//!
//! The trial is the operator's word: it passes the gates of cooldown, day and direction, and takes
//! the place of the rules while it lasts. It never takes cores from a VM that is short of them.

use super::core::Engine;
use super::event::Durability;
use super::record::{Outcome, Reason, Record};
use super::state::{Intent, Trial, TrialResult};
use super::time::Timestamp;
use std::time::Duration;

/// A trial that has not ended by then is called off: something holds it.
const LONGEST: Duration = Duration::from_secs(45 * 60);

impl Engine {
    pub(super) fn begin_trial(&mut self, now: Timestamp) {
        // Asked twice, it is one trial.
        if self.state.trial.is_some() {
            return;
        }
        match self.plan_trial(now) {
            // A count that the platform does not have would end the trial with a refusal.
            Ok(_) if self.api.allowed.is_none() && self.api.allowed_due.is_none() => {
                self.trial_asked = true;
                self.state.last_trial = None;
            }
            Ok(trial) => {
                self.state.trial = Some(trial);
                self.state.last_trial = None;
            }
            Err(why) => {
                self.state.last_trial = Some(TrialResult {
                    at: now,
                    proven: false,
                    text: format!("lowering was not tried: {why}"),
                });
            }
        }
    }

    fn plan_trial(&self, now: Timestamp) -> Result<Trial, String> {
        let refuse = |why: &str| Err(why.to_owned());
        if self.dry_run {
            return refuse("the daemon runs with --dry-run");
        }
        if self.state.pause.is_some() {
            return refuse("changes are paused: `glesys-autoscaler resume` first");
        }
        if self.disk != Durability::Durable {
            return refuse("the state directory cannot be written");
        }
        if self.state.intent.is_some() {
            return refuse("a change is under way: try again in a few minutes");
        }
        match self.identity() {
            Ok(()) => {}
            Err(Reason::IdentityUnproven) => {
                return refuse(
                    "it is not proven that the server id is this machine: run `glesys-autoscaler check`",
                );
            }
            Err(_) => return refuse("the API has not answered yet: run `glesys-autoscaler check`"),
        }
        let cores = self.cores();
        let online = self.guest.unwrap_or_default().online;
        if online != cores {
            return Err(format!(
                "the kernel has {online} CPUs online and the API shows {}, so that a change could not be told from what was there before: run `glesys-autoscaler check`",
                super::tell::cores(cores)
            ));
        }
        if self.wants_more(now) {
            return refuse("more cores are wanted right now: try again when the VM is calm");
        }
        let allowed = self.allowed_counts(now);
        let usable = allowed.as_slice().contains(&cores);
        let (original, tried) = match (allowed.below(cores), allowed.above(cores)) {
            (Some(below), _) if usable => (cores, below),
            // A count that may not be used is not given back.
            (Some(below), _) => (below, below),
            (None, Some(above)) if usable => (cores, above),
            _ => return refuse("the limits and the platform leave only one count"),
        };
        Ok(Trial {
            original,
            tried,
            returning: false,
            lowered: false,
            first: String::new(),
            since: now,
        })
    }

    pub(super) fn after_trial_step(&mut self, now: Timestamp, record: &Record) {
        let Some(trial) = &mut self.state.trial else {
            return;
        };
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
        let back = self.state.known_cores == Some(trial.original);
        let goes_on = match record.result {
            Outcome::Superseded => false,
            // Nothing was changed by it: what was taken is still to be given back.
            Outcome::Failed => !back,
            _ => first && !back,
        };
        if goes_on {
            if first {
                trial.first = went;
            }
        } else {
            self.end_trial(now, &went, record.result != Outcome::Superseded);
        }
    }

    /// Calls the trial off where it cannot or must not go on.
    pub(super) fn expire_trial(&mut self, now: Timestamp) {
        let Some(trial) = &self.state.trial else {
            return;
        };
        // A change that was sent is seen through.
        if self.state.intent.as_ref().is_some_and(Intent::in_flight) {
            return;
        }
        if now.since(trial.since) >= LONGEST {
            let refusal = self.outlook(now).refusal;
            let what = refusal.map_or("not finished", |r| r.reason.as_str());
            let why = format!(
                "called off after {}: {what}",
                super::tell::span(now.since(trial.since))
            );
            self.end_trial(now, &why, true);
        } else if !self.allowed_counts(now).as_slice().contains(&trial.next()) {
            // A reload, a restart with another policy, or a count that the platform refused.
            let limits = &self.policy.limits;
            let within = (limits.min_cores..=limits.max_cores).contains(&trial.next())
                && (limits.allowed_cores.is_empty()
                    || limits.allowed_cores.contains(&trial.next()));
            let who = if within {
                "the platform does not permit"
            } else {
                "the limits no longer permit"
            };
            let why = format!("called off: {who} {}", super::tell::cores(trial.next()));
            self.end_trial(now, &why, true);
        } else if trial.next() < self.cores() && self.wants_more(now) {
            self.end_trial(now, "called off: more cores are wanted", true);
        }
    }

    /// Somebody else set a count: theirs is kept.
    pub(super) fn overtake_trial(&mut self, now: Timestamp, count: u32) {
        self.end_trial(
            now,
            &format!("somebody else set {}", super::tell::cores(count)),
            false,
        );
    }

    /// Ends the trial, if there is one. `went` is how its last step ended; `ours`: the count as it
    /// is now is the trial's doing.
    fn end_trial(&mut self, now: Timestamp, went: &str, ours: bool) {
        let Some(trial) = self.state.trial.take() else {
            return;
        };
        let mut text = if trial.lowered {
            "lowering works on this VM".to_owned()
        } else {
            "lowering is not proven".to_owned()
        };
        let steps = [trial.first.as_str(), went];
        let steps: Vec<&str> = steps.into_iter().filter(|s| !s.is_empty()).collect();
        text += &format!(" ({})", steps.join("; "));
        if ours
            && let Some(left) = self.state.known_cores
            && left != trial.original
        {
            text += &format!(
                "; the VM stays at {left} instead of {}: from now on the policy decides",
                super::tell::cores(trial.original)
            );
        }
        self.state.last_trial = Some(TrialResult {
            at: now,
            proven: trial.lowered,
            text,
        });
    }

    /// Whether the rules, were there no trial, would raise or are at their limit.
    fn wants_more(&self, now: Timestamp) -> bool {
        let cores = self.cores();
        let (_, wish) = self.rules(now, cores, &self.allowed_counts(now));
        wish.at_limit || wish.decision.is_some_and(|d| d.to > cores)
    }
}

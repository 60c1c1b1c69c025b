//! May we, now? Each refusal is one named reason with the time to try again.

use super::core::{Backlog, Engine};
use super::decision::{AllowedCounts, Decision, Evidence, Wish, decide};
use super::policy::Mode;
use super::record::{Direction, Reason};
use super::state::Stage;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A wish that is held back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The gate.
    pub reason: Reason,
    /// When to try again; `None`: when something else changes.
    pub until: Option<Timestamp>,
}

/// What the rules want, and what stands in the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// The count that the rules start from.
    pub cores: u32,
    /// What the windows say.
    pub evidence: Evidence,
    /// What the rules say to that.
    pub wish: Wish,
    /// The gate that holds the wish back, or the reason that there is none.
    pub refusal: Option<Refusal>,
}

impl Outlook {
    /// The change that may be made now.
    #[must_use]
    pub fn permitted(&self) -> Option<Decision> {
        self.wish.decision.filter(|_| self.refusal.is_none())
    }

    /// More cores are wanted: the VM is short of CPU.
    #[must_use]
    pub fn overloaded(&self) -> bool {
        self.wish.overloaded(self.cores)
    }
}

impl Engine {
    /// The counts that may be used now.
    #[must_use]
    pub fn allowed_counts(&self, now: Timestamp) -> AllowedCounts {
        let limits = &self.policy.limits;
        let refused: Vec<u32> = self
            .state
            .refused
            .iter()
            .filter(|r| !r.wait.end().reached(now))
            .map(|r| r.cores)
            .collect();
        AllowedCounts::new(
            (limits.min_cores, limits.max_cores),
            &limits.allowed_cores,
            self.api.allowed.as_deref(),
            &refused,
        )
    }

    /// The count that the rules start from: the API's, since that is what an edit replaces.
    #[must_use]
    pub fn cores(&self) -> u32 {
        let seen = self.api.seen.as_ref().map(|seen| seen.server.cores);
        seen.or(self.state.known_cores)
            .or(self.guest.map(|guest| guest.online))
            .unwrap_or(self.policy.limits.min_cores)
    }

    /// What the rules want at `now`, and what stands in the way.
    #[must_use]
    pub fn outlook(&self, now: Timestamp) -> Outlook {
        let cores = self.cores();
        let allowed = self.allowed_counts(now);
        let (evidence, mut wish) = self.rules(now, cores, &allowed);
        if let Some(trial) = &self.state.trial {
            let to = trial.next();
            wish.decision = (to != cores).then(|| Decision {
                to,
                reason: Reason::NotProven,
                demand: evidence.shown_demand().unwrap_or(0.0),
            });
        }
        if self.state.raising.small_steps
            && let Some(decision) = &mut wish.decision
            && decision.to > cores
        {
            decision.to = allowed.above(cores).unwrap_or(decision.to);
        }
        let refusal = match &wish.decision {
            Some(decision) => self.gate(now, cores, decision, &wish),
            None => self.idle_reason(now, cores, &allowed, &wish),
        };
        Outlook {
            cores,
            evidence,
            wish,
            refusal,
        }
    }

    /// What the rules want at `now`, were there no trial.
    pub(super) fn rules(
        &self,
        now: Timestamp,
        cores: u32,
        allowed: &AllowedCounts,
    ) -> (Evidence, Wish) {
        let evidence = Evidence::gather(&self.policy, &self.windows, now);
        let wish = decide(
            &self.policy,
            allowed,
            cores,
            &evidence,
            self.windows.saturated(),
        );
        (evidence, wish)
    }

    fn idle_reason(
        &self,
        now: Timestamp,
        cores: u32,
        allowed: &AllowedCounts,
        wish: &Wish,
    ) -> Option<Refusal> {
        let limits = &self.policy.limits;
        if wish.blind == Some(Reason::Warming) {
            let policy = &self.policy;
            let windows = [policy.up.window, policy.down.window];
            // The next window that begins to decide.
            let until = windows
                .into_iter()
                .filter_map(|span| self.windows.full_at(now, span))
                .min_by_key(|at| at.boottime_ms);
            return Some(Refusal {
                reason: Reason::Warming,
                until,
            });
        }
        let reason = if let Some(blind) = wish.blind {
            blind
        } else if cores > limits.max_cores {
            Reason::AboveMaxBusy
        } else if wish.at_limit && cores < limits.max_cores && allowed.above(cores).is_none() {
            Reason::NotAllowedByPlatform
        } else {
            return None;
        };
        Some(Refusal {
            reason,
            until: None,
        })
    }

    fn gate(
        &self,
        now: Timestamp,
        cores: u32,
        decision: &Decision,
        wish: &Wish,
    ) -> Option<Refusal> {
        let direction = Direction::of(cores, decision.to);
        let lowering = direction == Direction::Lowering;
        let trial = self.state.trial.is_some();
        let refuse = |reason, until| Some(Refusal { reason, until });
        let after = |at: Timestamp| (!at.reached(now)).then_some(at);

        if let Some(pause) = self.state.pause
            && !trial
        {
            return refuse(Reason::Paused, pause.end());
        }
        if let Some(at) = self.api.blocked_until(now, wish, cores) {
            return refuse(Reason::ApiDown, Some(at));
        }
        let Some(seen) = &self.api.seen else {
            return refuse(Reason::ApiDown, None);
        };
        if let Err(reason) = self.identity() {
            return refuse(reason, None);
        }
        if let Some(intent) = &self.state.intent
            && intent.stage != Stage::Planned
        {
            return refuse(Reason::InFlight, Some(intent.next_poll));
        }
        if seen.server.locked {
            let look_at = self.api.lock.look_at(wish.overloaded(cores));
            return refuse(Reason::Locked, Some(look_at));
        }
        if wish.blind == Some(Reason::Stale) {
            return refuse(Reason::Stale, None);
        }
        if let Some(refusal) = self.direction_gate(now, direction, trial) {
            return Some(refusal);
        }
        if trial && !self.disk.suffices(direction) {
            return refuse(Reason::DiskFull, None);
        }
        if trial {
            return self.dry_run.then_some(Refusal {
                reason: Reason::DryRun,
                until: None,
            });
        }
        if lowering {
            let grace_ends = i64::try_from(self.policy.boot_grace.as_millis()).unwrap_or(i64::MAX);
            if now.boottime_ms < grace_ends {
                let left = grace_ends - now.boottime_ms;
                let until = now.plus(std::time::Duration::from_millis(left.unsigned_abs()));
                return refuse(Reason::BootGrace, Some(until));
            }
        }
        if let Some(since) = self.state.outside_since
            && let Some(at) = after(since.plus(self.policy.down.window))
        {
            return refuse(Reason::Cooldown, Some(at));
        }
        let cooldown = if lowering {
            self.policy.down.cooldown
        } else {
            self.policy.up.cooldown
        };
        if let Some(changed) = self.state.last_change
            && let Some(at) = after(changed.plus(cooldown))
        {
            return refuse(Reason::Cooldown, Some(at));
        }
        if lowering
            && let Backlog::Drained(since) = self.backlog
            && let Some(at) = after(since.plus(self.policy.down.window))
        {
            return refuse(Reason::Cooldown, Some(at));
        }
        let most = self.policy.limits.max_changes_per_day;
        let most = if lowering {
            most
        } else {
            most.saturating_mul(2)
        };
        // A change that was asked for already has been counted.
        let counted = self
            .state
            .intent
            .as_ref()
            .is_some_and(|i| i.asked.is_some());
        if !counted && self.state.day.changes >= most {
            let remaining = std::time::Duration::from_millis(self.day.1.remaining_ms);
            return refuse(Reason::ChangesPerDay, Some(self.day.0.plus(remaining)));
        }
        if !self.disk.suffices(direction) {
            return refuse(Reason::DiskFull, None);
        }
        self.dry_run.then_some(Refusal {
            reason: Reason::DryRun,
            until: None,
        })
    }

    /// Whether the policy lets `direction` be used.
    pub(super) fn mode(&self, direction: Direction) -> Mode {
        match direction {
            Direction::Raising => self.policy.apply.raising,
            Direction::Lowering => self.policy.apply.lowering,
        }
    }

    fn direction_gate(&self, now: Timestamp, direction: Direction, trial: bool) -> Option<Refusal> {
        let learned = self.state.learned(direction);
        let mode = self.mode(direction);
        let off = Some(Refusal {
            reason: Reason::DirectionOff,
            until: None,
        });
        // The trial is the operator's word; what it must respect is the platform's own "not now".
        if trial {
            return None;
        }
        if mode == Mode::Never {
            return off;
        }
        if mode != Mode::Always && (learned.off.is_some() || learned.pending.is_some()) {
            return off;
        }
        if let Some(pause) = learned.pause
            && !pause.end().reached(now)
        {
            return Some(Refusal {
                reason: Reason::DirectionOff,
                until: Some(pause.end()),
            });
        }
        (mode == Mode::Ask && !self.state.lowering_proven).then_some(Refusal {
            reason: Reason::NotProven,
            until: None,
        })
    }

    /// Whether the configured server id is this machine.
    ///
    /// # Errors
    /// [`Reason::IdentityUnproven`], or [`Reason::ApiDown`] while nothing was read.
    pub fn identity(&self) -> Result<(), Reason> {
        let Some(seen) = &self.api.seen else {
            return Err(Reason::ApiDown);
        };
        let machine = &self.machine;
        if machine
            .addresses
            .iter()
            .any(|a| seen.server.addresses.contains(a))
        {
            return Ok(());
        }
        let confirmed = self.state.confirmed.as_ref().is_some_and(|confirmed| {
            confirmed.machine_id == machine.machine_id && confirmed.macs == machine.macs
        });
        if confirmed && self.memory_matches() {
            return Ok(());
        }
        Err(Reason::IdentityUnproven)
    }

    /// Whether the memory that the kernel sees is that of the server.
    #[must_use]
    pub fn memory_matches(&self) -> bool {
        let nominal = self
            .api
            .seen
            .as_ref()
            .and_then(|seen| seen.server.memory_mb);
        nominal.is_some_and(|nominal| memory_fits(self.machine.memory_mb, nominal))
    }
}

/// Whether a kernel that sees `seen` MB may run on a server of `nominal` MB: it keeps some for
/// itself from the start.
#[must_use]
pub fn memory_fits(seen: u64, nominal: u64) -> bool {
    let (seen, nominal) = (u128::from(seen), u128::from(nominal));
    seen * 100 >= nominal * 80 && seen * 100 <= nominal * 102
}

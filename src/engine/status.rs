//! What the engine sees, wants, may and waits for: the answer of `status`.

use super::core::Engine;
use super::event::Durability;
use super::record::{Direction, Reason};
use super::sample::GuestCpus;
use super::state::{Intent, Learned, TrialResult};
use super::tell::{because, cores, span};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A picture of the engine at one instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The count that an edit would replace: the API's, as last read.
    pub cores: u32,
    /// Whether that count was read from the API in this run.
    pub cores_known: bool,
    /// The CPUs that the kernel shows.
    pub guest: Option<GuestCpus>,
    /// The limits in force.
    pub min_cores: u32,
    /// Likewise.
    pub max_cores: u32,
    /// Busy share of the online cores in the last sample, 0 to 1.
    pub utilization: Option<f64>,
    /// Demand of the last seconds, in cores.
    pub demand: Option<f64>,
    /// Mean demand of `up.window`, in cores.
    pub demand_mean: Option<f64>,
    /// Demand of the busiest minute of `down.window`, in cores.
    pub demand_busiest_minute: Option<f64>,
    /// Cores stolen by the hypervisor in the last sample.
    pub steal: Option<f64>,
    /// Pressure over `up.window`, 0 to 1.
    pub pressure: Option<f64>,
    /// The count wanted, where it is another.
    pub wants: Option<u32>,
    /// The rule that wants it.
    pub rule: Option<Reason>,
    /// The rule in words.
    pub why: Option<String>,
    /// The gate that holds it back, or why nothing can be judged.
    pub waits_for: Option<Reason>,
    /// Seconds until that is tried again, where known.
    pub waits_s: Option<u64>,
    /// More is wanted than the limits give.
    pub at_limit: bool,
    /// The change under way.
    pub in_flight: Option<Intent>,
    /// Seconds since the last change took effect.
    pub last_change_s: Option<u64>,
    /// Changes of today.
    pub changes_today: u32,
    /// Changes are paused by the operator.
    pub paused: bool,
    /// Seconds until the pause ends by itself.
    pub pause_left_s: Option<u64>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// The server id is this machine.
    pub identity_proven: bool,
    /// What is wrong with the API, in words.
    pub api_trouble: Option<String>,
    /// The server is locked by a change, ours or not.
    pub locked: bool,
    /// State cannot be written where it survives a reboot.
    pub disk_full: bool,
    /// Lowering was seen to work.
    pub lowering_proven: bool,
    /// What was learned of raising.
    pub raising: Learned,
    /// What was learned of lowering.
    pub lowering: Learned,
    /// A trial of lowering is under way, or about to begin.
    pub trial: bool,
    /// How the last trial ended.
    pub last_trial: Option<TrialResult>,
    /// Hash of the policy in force.
    pub policy_hash: String,
}

impl Engine {
    /// What a person or a script should know at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let outlook = self.outlook(now);
        let evidence = &outlook.evidence;
        let recent = self.latest.filter(|(at, _)| {
            now.since(*at) <= super::window::Windows::stale_after(self.policy.sampling.interval)
        });
        let most = self.most_demand_mc();
        let seconds = |at: Timestamp| at.until(now).as_secs();
        let trouble = self.api.read.as_ref().or(self.api.edit.as_ref());
        Status {
            cores: outlook.cores,
            cores_known: self.api.seen.is_some(),
            guest: self.guest,
            min_cores: self.policy.limits.min_cores,
            max_cores: self.policy.limits.max_cores,
            utilization: recent.map(|(_, s)| s.utilization()),
            demand: evidence
                .recent
                .fresh()
                .or(recent.map(|(_, s)| f64::from(s.demand_mc().min(most)) / 1000.0)),
            demand_mean: evidence.demand.fresh(),
            demand_busiest_minute: evidence.busiest_minute.fresh(),
            steal: recent.map(|(_, s)| f64::from(s.steal_mc) / 1000.0),
            pressure: evidence.pressure.fresh(),
            wants: outlook.wish.decision.map(|d| d.to),
            rule: outlook.wish.decision.map(|d| d.reason),
            why: outlook
                .wish
                .decision
                .map(|d| because(&self.policy, outlook.cores, &d)),
            waits_for: outlook.refusal.map(|r| r.reason),
            waits_s: outlook.refusal.and_then(|r| r.until).map(seconds),
            at_limit: outlook.wish.at_limit,
            in_flight: self.state.intent.clone(),
            last_change_s: self.state.last_change.map(|at| now.since(at).as_secs()),
            changes_today: self.state.day.changes,
            paused: self.state.pause.is_some(),
            pause_left_s: self.state.pause.and_then(|p| p.end()).map(seconds),
            dry_run: self.dry_run,
            identity_proven: self.identity().is_ok(),
            api_trouble: trouble.map(|t| t.message.clone()),
            locked: self.api.seen.as_ref().is_some_and(|s| s.server.locked),
            disk_full: self.disk != Durability::Durable,
            lowering_proven: self.state.lowering_proven,
            raising: self.state.raising.clone(),
            lowering: self.state.lowering.clone(),
            trial: self.state.trial.is_some() || self.trial_asked,
            last_trial: self.state.last_trial.clone(),
            policy_hash: self.policy_hash.clone(),
        }
    }
}

impl Status {
    /// One line for `systemctl status`: cores, load, what it waits for.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = cores(self.cores);
        if !self.cores_known {
            line = match self.guest {
                Some(guest) => format!("{} CPUs online", guest.online),
                None => "no CPUs seen yet".to_owned(),
            };
        }
        match (self.utilization, self.demand) {
            (Some(utilization), Some(demand)) => {
                line += &format!(
                    ", {:.0} % busy, {demand:.2} cores wanted",
                    utilization * 100.0
                );
            }
            _ => line += ", no sample of the load yet",
        }
        line += "; ";
        line += &self.outlook_text();
        if let Some(trouble) = &self.api_trouble {
            line += &format!("; API: {trouble}");
        }
        line
    }

    /// What it does, wants, or waits for, in words.
    #[must_use]
    pub fn outlook_text(&self) -> String {
        if let Some(intent) = self.in_flight.as_ref().filter(|i| i.in_flight()) {
            return format!("{} → {} cores is under way", intent.from, intent.to);
        }
        let left = self.waits_s.map_or(String::new(), |s| {
            format!(" for {}", span(std::time::Duration::from_secs(s.max(1))))
        });
        match (self.wants, self.waits_for) {
            (Some(to), Some(gate)) => {
                let verb = match Direction::of(self.cores, to) {
                    Direction::Raising => "raise",
                    Direction::Lowering => "lower",
                };
                format!("would {verb} to {to}, waits{left}: {}", gate.as_str())
            }
            (Some(to), None) => format!("going to {to}"),
            (None, Some(Reason::Warming)) => "filling its windows".to_owned(),
            (None, Some(gate)) => gate.as_str().to_owned(),
            (None, None) if self.paused => "paused".to_owned(),
            (None, None) if self.at_limit => "at limits.max_cores, would go higher".to_owned(),
            (None, None) => "nothing to change".to_owned(),
        }
    }
}

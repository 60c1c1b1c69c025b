//! What a seed stands for: a policy, a VM with its load, and the faults that come over it.

use crate::kinds::Kind;
use crate::world::{Dice, policy as shipped};
use glesys_autoscaler::engine::decision::AllowedCounts;
use glesys_autoscaler::engine::policy::{Mode, Policy, Steal, Unapplied};
use glesys_autoscaler::engine::proof::find_flap;
use std::time::Duration;

const HOUR: f64 = 3600.0;

/// A fault with its begin and length on the clock of the loop, which stands still in a suspend.
#[derive(Debug, Clone)]
pub struct Episode {
    pub kind: Kind,
    pub at: Duration,
    pub span: Duration,
    /// A number of 0 to 1 that the kind makes of what it likes.
    pub dose: f64,
}

/// The demand, in cores.
#[derive(Debug, Clone)]
pub struct Demand {
    pub base: f64,
    /// Share of `base` by which it goes up and down in a day.
    pub daily: f64,
    /// Share of the demand by which each sample is off.
    pub noise: f64,
    /// What is not served waits.
    pub waits: bool,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub policy: Policy,
    pub cores: u32,
    /// Counts of the platform; empty: all.
    pub counts: Vec<u32>,
    pub demand: Demand,
    /// Steady, after all faults.
    pub last_demand: f64,
    /// Wall clock of the begin, in milliseconds since the epoch.
    pub begin_ms: i64,
    pub episodes: Vec<Episode>,
    /// No fault lasts longer than until then.
    pub faults_end: Duration,
}

impl Plan {
    pub fn of(seed: u64, days: f64) -> Plan {
        let mut dice = Dice(seed);
        let policy = policy(&mut dice, None, 5);
        // A day of samples each 5 s costs as much as twelve of one a minute.
        let days = match policy.sampling.interval.as_secs() {
            0..=5 => days.min(1.0),
            6..=15 => days.min(2.0),
            _ => days,
        };
        let limits = (policy.limits.min_cores, policy.limits.max_cores);
        let most = f64::from(limits.1);
        let counts = counts(&mut dice);
        let demand = Demand {
            base: dice.between(0.2, 0.7) * most,
            daily: dice.between(0.0, 0.9),
            noise: dice.between(0.0, 0.3),
            waits: dice.chance(0.4),
        };
        let cores = limits.0 + dice.below(limits.1 - limits.0 + 1);
        let last_demand = dice.between(0.05, 1.2) * most;
        // Some begin on the eve of a change of the clock.
        let begins = [1_774_700_000_000, 1_792_850_000_000, 1_790_000_000_000];
        let begin_ms = begins[dice.below(3) as usize] + i64::from(dice.below(20_000)) * 1000;
        let faults_end = Duration::from_secs_f64(days * 24.0 * HOUR);
        let episodes = episodes(&mut dice, days * 24.0 * HOUR);
        Plan {
            seed,
            policy,
            cores,
            counts,
            demand,
            last_demand,
            begin_ms,
            episodes,
            faults_end,
        }
    }
}

fn pick<T: Copy>(dice: &mut Dice, from: &[T]) -> T {
    from[dice.below(from.len() as u32) as usize]
}

/// Counts of a platform: mostly all.
pub fn counts(dice: &mut Dice) -> Vec<u32> {
    match dice.below(4) {
        0 => vec![1, 2, 4, 8, 16],
        1 => (1..=20).filter(|n| n % 2 == 0 || *n == 1).collect(),
        _ => (1..=32).collect(),
    }
}

/// A policy that the policy file could have: the shipped numbers, some of them changed. Without a
/// flap, as the file is checked for one. `outside`: this count is not within its limits. `finest`:
/// the shortest interval between samples, in seconds.
pub fn policy(dice: &mut Dice, outside: Option<u32>, finest: u64) -> Policy {
    loop {
        let min = pick(dice, &[1, 1, 1, 2, 3, 6]);
        let max = min + pick(dice, &[1, 3, 5, 7, 9, 15]);
        let policy = any_policy(dice, shipped(min, max), finest);
        let limits = (min, max);
        let counts = AllowedCounts::new(limits, &policy.limits.allowed_cores, None, &[]);
        let excludes = outside.is_none_or(|n| !(min..=max).contains(&n));
        if excludes && find_flap(&policy, &counts).is_none() {
            return policy;
        }
    }
}

fn any_policy(dice: &mut Dice, mut policy: Policy, finest: u64) -> Policy {
    let secs = Duration::from_secs;
    let max = policy.limits.max_cores;
    // Mostly coarse, which is far cheaper to simulate, and takes the engine through the same paths.
    let interval = match dice.below(32) {
        0 => 5,
        1 => 15,
        2..=4 => 30,
        _ => 60,
    };
    let interval = secs(interval.max(finest));
    policy.sampling.interval = interval;
    policy.sampling.steal = pick(dice, &[Steal::Report, Steal::Report, Steal::Demand]);
    policy.limits.max_changes_per_day = pick(dice, &[8, 24, 96, 96, 96]);
    if dice.chance(0.2) {
        policy.limits.allowed_cores = [1, 2, 3, 4, 6, 8, 12, 16]
            .into_iter()
            .filter(|n| (policy.limits.min_cores..=max).contains(n))
            .collect();
    }
    policy.boot_grace = secs(pick(dice, &[0, 300, 300, 900]));
    policy.up.window = interval.max(secs(pick(dice, &[60, 60, 120, 300])));
    policy.up.queue = match dice.below(3) {
        0 => Duration::ZERO,
        _ => interval.max(secs(15)),
    };
    policy.up.cooldown = secs(pick(dice, &[0, 60, 60, 300]));
    policy.up.max_step = pick(dice, &[1, 2, 8, 8]);
    policy.down.window = secs(pick(dice, &[300, 600, 600, 1200]));
    policy.down.cooldown = secs(pick(dice, &[120, 600, 600, 1800]));
    policy.down.max_step = pick(dice, &[1, 2, 8, 8]);
    policy.apply.timeout = secs(pick(dice, &[60, 120, 300, 300]));
    policy.apply.unapplied = pick(dice, &[Unapplied::Revert, Unapplied::Hold]);
    policy.apply.raising = pick(dice, &[Mode::Learn, Mode::Learn, Mode::Always]);
    policy.apply.lowering = pick(dice, &[Mode::Learn, Mode::Learn, Mode::Always, Mode::Ask]);
    policy
}

/// Each seed has its own few kinds, so that each pair of them meets undisturbed by the others
/// somewhere; how dense they are differs too.
fn episodes(dice: &mut Dice, end: f64) -> Vec<Episode> {
    let few = 4 + dice.below(14) as usize;
    let mut kinds: Vec<Kind> = (0..few).map(|_| pick(dice, Kind::ALL)).collect();
    // That one comes with its day.
    kinds.retain(|kind| *kind != Kind::DstDay);
    let gap = pick(dice, &[0.3, 1.0, 2.0, 4.0]) * HOUR;
    let mut episodes = Vec::new();
    let mut at = 0.25 * HOUR;
    loop {
        at += dice.between(0.1, 1.9) * gap;
        let kind = pick(dice, &kinds);
        let (short, long) = length(kind);
        // Short ones mostly, far longer ones now and then.
        let span = short + (long - short) * dice.roll().powi(3);
        if at + span >= end {
            if at >= end {
                return episodes;
            }
            continue;
        }
        let dose = dice.roll();
        let seconds = Duration::from_secs_f64;
        episodes.push(Episode {
            kind,
            at: seconds(at),
            span: seconds(span),
            dose,
        });
    }
}

/// From how many to how many seconds a fault lasts; 0: it is an instant.
fn length(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::OtherCounts
        | Kind::PanelChange
        | Kind::PanelOutside
        | Kind::PlatformReboot
        | Kind::UnattendedReboot
        | Kind::KillAnywhere
        | Kind::KillAtPort
        | Kind::StopStart
        | Kind::StateTorn
        | Kind::StateGarbage
        | Kind::StateGone
        | Kind::StateForeign
        | Kind::WallForward
        | Kind::WallBack
        | Kind::Suspend
        | Kind::ReloadOther
        | Kind::ReloadBad
        | Kind::ReloadExcludes
        | Kind::PauseFor
        | Kind::Forget
        | Kind::Prove
        | Kind::DstDay
        | Kind::Confirm => (0.0, 0.0),
        Kind::KillInEdit
        | Kind::KillInSave
        | Kind::KillInLedger
        | Kind::KillBetween
        | Kind::RebootInEdit => (2.0 * HOUR, 6.0 * HOUR),
        Kind::Terraform => (6.0 * HOUR, 40.0 * HOUR),
        Kind::LockedForHours => (HOUR, 5.0 * HOUR),
        Kind::LockedByOthers => (60.0, 1200.0),
        Kind::Burst | Kind::Flood => (120.0, 3.0 * HOUR),
        Kind::NoSamples | Kind::NoGuest => (60.0, 2.0 * HOUR),
        Kind::AddressGone | Kind::Clone | Kind::DryRun => (600.0, 6.0 * HOUR),
        _ => (300.0, 8.0 * HOUR),
    }
}

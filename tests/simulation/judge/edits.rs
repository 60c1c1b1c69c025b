//! Each edit as it leaves the daemon: may it, now?

use super::{Judge, violation};
use crate::disk::owner;
use crate::kinds::Kind;
use crate::vm::World;
use glesys_autoscaler::adapters::state_dir::StateDir;
use glesys_autoscaler::engine::policy::Policy;
use glesys_autoscaler::engine::record::Reason;
use glesys_autoscaler::engine::state::{Intent, Stage};
use std::collections::BTreeSet;
use std::time::Duration;

/// How old the details may be on which an edit builds.
const FRESH: Duration = Duration::from_secs(31);

/// A change, by what the world saw of it.
#[derive(Debug)]
pub struct Change {
    /// The line was in the journal.
    pub announced: bool,
    pub closed: bool,
    /// The state was lost while it was open.
    pub excused: bool,
    /// When the first edit was sent, by real time.
    pub sent: Option<u64>,
    edits: Vec<Edit>,
    /// Faults that lasted while it was under way.
    pub meanwhile: BTreeSet<Kind>,
}

#[derive(Debug)]
struct Edit {
    number: u64,
    back: bool,
    cores: u32,
    /// The count that the API had shown when it was sent.
    before: u32,
    /// Whether the count changed by it; `None`: it has not arrived.
    changed: Option<bool>,
    /// Since it was sent the server had its count, by it or by somebody else.
    shown: bool,
}

impl Change {
    pub fn new(world: &World) -> Change {
        Change {
            announced: false,
            closed: false,
            excused: false,
            sent: None,
            edits: Vec::new(),
            meanwhile: world.active.borrow().iter().map(|e| e.kind).collect(),
        }
    }
}

impl Judge {
    /// An edit is being sent.
    pub fn edit_sent(world: &World, number: u64, cores: u32) {
        let mut judge = world.judge.borrow_mut();
        let clone = judge.life.clone;
        if clone || judge.life.dry_run {
            violation(format_args!(
                "an edit to {cores} by {}",
                if clone { "a clone" } else { "a dry run" }
            ));
        }
        let stored = StateDir::look(&world.place.state(), &world.place.run(), &owner(world));
        let Some(intent) = stored.and_then(|state| state.intent) else {
            violation(format_args!("an edit to {cores} without an intent on disk"));
        };
        let expected = if intent.reverting {
            intent.from
        } else {
            intent.to
        };
        if intent.stage != Stage::Sent || expected != cores {
            violation(format_args!(
                "an edit to {cores}, and on disk is {intent:#?}"
            ));
        }
        let id = intent.decision_id.clone();
        world.log(format_args!("edit {number} of {id} to {cores} is sent"));
        judge.count_edit(world);
        judge.fresh(world, &id);
        judge.alone(&id, intent.reverting);
        let before = judge.told_cores();
        let known = judge.changes.contains_key(&id);
        if !intent.reverting {
            let first = !known || judge.changes[&id].edits.is_empty();
            judge.within(world, cores);
            judge.in_time(world, &intent, cores, first);
        } else {
            judge.posts_back(&id, cores, before);
        }
        let change = judge
            .changes
            .entry(id)
            .or_insert_with(|| Change::new(world));
        change
            .meanwhile
            .extend(world.active.borrow().iter().map(|e| e.kind));
        change.sent.get_or_insert(world.real_ms());
        change.edits.push(Edit {
            number,
            back: intent.reverting,
            cores,
            before,
            changed: None,
            shown: false,
        });
    }

    pub fn edit_arrived(world: &World, number: u64, changed: bool) {
        let mut judge = world.judge.borrow_mut();
        let now = world.cloud.borrow().cores;
        let edits = judge.changes.values_mut().flat_map(|c| &mut c.edits);
        for edit in edits.filter(|e| e.number == number) {
            edit.changed = Some(changed);
            edit.shown |= edit.cores == now;
        }
    }

    /// Somebody else set another count: what an edit did is undone.
    pub fn overtaken(world: &World) {
        let mut judge = world.judge.borrow_mut();
        let now = world.cloud.borrow().cores;
        let edits = judge.changes.values_mut().flat_map(|c| &mut c.edits);
        for edit in edits {
            edit.changed = edit.changed.map(|_| false);
            edit.shown |= edit.cores == now;
        }
    }

    fn count_edit(&self, world: &World) {
        let mut tally = world.tally.borrow_mut();
        tally.all.edits += 1;
        for episode in world.active.borrow().iter() {
            tally.row(episode.kind).edits += 1;
        }
    }

    /// It builds on details that were just read, of a server that is ours and not locked.
    fn fresh(&self, world: &World, id: &str) {
        let Some((at, server)) = &self.life.details else {
            violation(format_args!("{id} is edited before details were read"));
        };
        let age = Duration::from_millis(world.real_ms() - at);
        if age > FRESH {
            violation(format_args!("{id} is edited on details of {age:?} ago"));
        }
        if self.life.unread || self.planned.as_deref() != Some(id) {
            violation(format_args!(
                "{id} is edited on details from before it was on disk"
            ));
        }
        if server.locked {
            violation(format_args!("{id} is edited while the server is locked"));
        }
        let ours = crate::world::machine().addresses;
        if !self.confirmed && !ours.iter().any(|a| server.addresses.contains(a)) {
            violation(format_args!("{id} is edited without proof of identity"));
        }
    }

    /// No other change is under way, and this one was surely not made before.
    fn alone(&self, id: &str, back: bool) {
        for (other, change) in &self.changes {
            let open = !change.closed && !change.excused && !change.edits.is_empty();
            if open && other != id {
                violation(format_args!("{id} is edited while {other} is under way"));
            }
        }
        let Some(change) = self.changes.get(id) else {
            return;
        };
        for edit in &change.edits {
            if edit.back == back && edit.changed != Some(false) {
                violation(format_args!(
                    "{id} is edited again although {edit:?} may have been carried out"
                ));
            }
            if edit.back && !back {
                violation(format_args!("{id} was posted back and is edited again"));
            }
        }
    }

    pub(super) fn told_cores(&self) -> u32 {
        self.life.details.as_ref().map_or(0, |(_, s)| s.cores)
    }

    /// An edit back undoes one that may have been carried out, and nothing else.
    fn posts_back(&self, id: &str, cores: u32, told: u32) {
        let edits = self.changes.get(id).map_or(&[][..], |c| &c.edits);
        let Some(forward) = edits.iter().rev().find(|e| !e.back) else {
            violation(format_args!("{id} is posted back and was never sent"));
        };
        if forward.changed == Some(false) && !forward.shown {
            violation(format_args!("{id} is posted back: {forward:?} did nothing"));
        }
        if cores != forward.before || told != forward.cores {
            violation(format_args!(
                "{id} is posted back to {cores} from {told}, and was {forward:?}"
            ));
        }
    }

    /// Within the limits of the policy in force, and a count that the platform was said to have.
    fn within(&self, world: &World, cores: u32) {
        let permits = |policy: &Policy| {
            let limits = &policy.limits;
            (limits.min_cores..=limits.max_cores).contains(&cores)
                && (limits.allowed_cores.is_empty() || limits.allowed_cores.contains(&cores))
        };
        let (until, before) = &self.policy_before;
        let just_now = *until == world.mono();
        if !(permits(&self.policy) || just_now && permits(before)) {
            violation(format_args!(
                "an edit to {cores}, outside of {:?}",
                self.policy.limits
            ));
        }
        if let Some(counts) = &self.life.counts
            && !counts.contains(&cores)
        {
            violation(format_args!(
                "an edit to {cores}, and the platform has {counts:?}"
            ));
        }
    }

    /// Cooldown, changes of the day, pause, boot, disk, and a load that was looked at.
    fn in_time(&mut self, world: &World, intent: &Intent, cores: u32, first: bool) {
        let now = world.now();
        let id = &intent.decision_id;
        let lowering = cores < intent.from;
        let trial = intent.decision.reason == Reason::NotProven;
        if trial {
            self.within_trial(world, id);
        }
        let what = if lowering { "lowering" } else { "raising" };
        let since = |boot: u32, at: i64| {
            let here = boot == world.boot.get();
            here.then(|| now.boottime_ms - at)
        };
        if lowering && self.fleeting {
            violation(format_args!("{id}: lowering while the disk is full"));
        }
        if trial {
            return;
        }
        self.by_load(world, intent, cores);
        self.as_learned(world, intent);
        if self.paused(world) {
            violation(format_args!("{id}: {what} while changes are paused"));
        }
        if lowering {
            let last = self.life.sampled.map(|at| now.since(at));
            let interval = self.policy.sampling.interval;
            if last.is_none_or(|age| age > interval * 4 + Duration::from_secs(10)) {
                violation(format_args!("{id}: lowering, the last sample was {last:?}"));
            }
            let grace = self.policy.boot_grace.as_millis() as i64;
            if now.boottime_ms < grace {
                violation(format_args!("{id}: lowering too soon after boot"));
            }
        }
        if !first {
            return;
        }
        let (_, before) = &self.policy_before;
        let just_now = self.policy_before.0 == world.mono();
        let least = |policy: &Policy| match lowering {
            true => policy.down.cooldown,
            false => policy.up.cooldown,
        };
        let mut cooldown = least(&self.policy);
        if just_now {
            cooldown = cooldown.min(least(before));
        }
        if let Some((boot, at)) = self.changed
            && let Some(age) = since(boot, at.boottime_ms)
            && age < cooldown.as_millis() as i64
        {
            violation(format_args!("{id}: {what} {age} ms after a change"));
        }
    }

    /// A change is announced for the first time: counted by the local day.
    pub(super) fn announced(&mut self, world: &World, id: &str, lowering: bool, trial: bool) {
        if trial {
            self.within_trial(world, id);
        }
        let most = self.policy.limits.max_changes_per_day;
        let most = if lowering { most } else { most * 2 };
        let just_now = self.policy_before.0 == world.mono();
        if self.day.1 >= most && !trial && !just_now {
            violation(format_args!("a change after {} of the day", self.day.1));
        }
        self.day.1 += 1;
    }
}

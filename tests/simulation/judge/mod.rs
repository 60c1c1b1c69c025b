//! Whether the promises hold, at each step. The judge sees the world's side: the edits as the API
//! got them, the lines of the journal, the ledger and the state on disk. It shares no rule with the
//! engine; where it states one, it states it anew.

mod edits;
mod learned;
mod ledger;
mod load;
mod needs;
mod rates;
mod trial;

use crate::cloud::Function;
use crate::kinds::Kind;
use crate::vm::{World, day, turns_of_the_clock};
use edits::Change;
use glesys_autoscaler::adapters::state_dir::Found;
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::cloud::Server;
use glesys_autoscaler::engine::policy::Policy;
use glesys_autoscaler::engine::state::{Stage, State};
use glesys_autoscaler::engine::time::Timestamp;
use glesys_autoscaler::ports::Kept;
use glesys_autoscaler::runtime::Operator;
use learned::Learned;
use ledger::Ledger;
use load::Load;
use needs::Needs;
use rates::Rates;
use std::collections::BTreeMap;
use std::time::Duration;

pub struct Judge {
    policy: Policy,
    /// What was in force until this instant: an edit may have been on its way.
    policy_before: (Duration, Policy),
    life: Life,
    changes: BTreeMap<String, Change>,
    ledger: Ledger,
    needs: Needs,
    rates: Rates,
    /// When the last change took effect, or might have, with the boot it was in.
    changed: Option<(u32, Timestamp)>,
    /// Changes of the local day.
    day: (i32, u32),
    pause: Option<(u32, Timestamp, Option<Duration>)>,
    /// When the operator last asked for a trial of lowering that may have begun.
    trial: Option<(u32, Timestamp)>,
    learned: Learned,
    /// The change that was last on disk as planned.
    planned: Option<String>,
    confirmed: bool,
    /// What the two files hold; `None` where the world spoilt it.
    disk: Option<State>,
    run: Option<State>,
    spoilt: bool,
    /// The last save went where a reboot, or the end of the process, takes it.
    fleeting: bool,
    lost: bool,
}

/// What holds for one life of the daemon.
#[derive(Default)]
struct Life {
    clone: bool,
    dry_run: bool,
    /// With the real time.
    details: Option<(u64, Server)>,
    /// The details are older than the change on disk.
    unread: bool,
    /// The platform answered which counts it has, or that it does not say.
    counts_answered: bool,
    /// A trial was asked for before that: it begins then.
    trial_waits: bool,
    counts: Option<Vec<u32>>,
    /// The server said not to ask sooner, by real time.
    wait: BTreeMap<Function, u64>,
    sampled: Option<Timestamp>,
    load: Load,
    saved: Option<bool>,
}

/// Ends the run.
fn violation(text: impl std::fmt::Display) -> ! {
    panic!("VIOLATION: {text}")
}

impl Judge {
    pub fn new(policy: Policy) -> Judge {
        Judge {
            policy_before: (Duration::ZERO, policy.clone()),
            policy,
            life: Life::default(),
            changes: BTreeMap::new(),
            ledger: Ledger::default(),
            needs: Needs::default(),
            rates: Rates::default(),
            changed: None,
            day: (i32::MIN, 0),
            pause: None,
            trial: None,
            learned: Learned::default(),
            planned: None,
            confirmed: false,
            disk: Some(State::default()),
            run: None,
            spoilt: false,
            fleeting: false,
            lost: false,
        }
    }

    /// A daemon begins with what it found.
    pub fn started(world: &World, found: &Found) {
        let mut judge = world.judge.borrow_mut();
        let life = world.life.borrow();
        judge.life = Life {
            clone: life.clone,
            dry_run: life.dry_run,
            ..Life::default()
        };
        judge.needs.restart();
        judge.rates.restart(world);
        if life.clone {
            if !found.careful && found.state != State::default() {
                violation("a clone takes over the state of the machine it was made from");
            }
            return;
        }
        let expected = judge.run.clone().or(judge.disk.clone());
        let spoilt = std::mem::take(&mut judge.spoilt);
        if !spoilt && expected.as_ref() != Some(&found.state) {
            violation(format_args!(
                "what was saved is not what is found: {expected:#?}\n{:#?}",
                found.state
            ));
        }
        // Without a ledger nothing was ever changed: then it is a first run.
        let changed_before = world.place.ledger().exists();
        if spoilt && !found.careful && changed_before && expected.as_ref() != Some(&found.state) {
            violation("a lost state does not make the daemon careful");
        }
        let now = world.now();
        let lost = std::mem::take(&mut judge.lost);
        if found.careful || lost || expected.as_ref() != Some(&found.state) {
            world.log("the last state is lost");
            world.tally.borrow_mut().losses_of_state += 1;
            judge.excuse(&found.state);
        }
        if found.careful {
            judge.changed = Some((world.boot.get(), now));
        }
        if expected.as_ref() != Some(&found.state) {
            judge.disk = Some(found.state.clone());
            judge.run = None;
        }
        if found.state.boot_id != world.boot_id() {
            judge.reset_in_edit(world, &found.state);
            judge.reanchor(world.boot.get(), now);
        }
        judge.turn(now);
    }

    /// What was open with a state that is gone cannot be known to anybody.
    fn excuse(&mut self, found: &State) {
        for (id, change) in &mut self.changes {
            // A record that could be written nowhere was kept with the state.
            change.excused |= !change.closed || !self.ledger.has(id);
        }
        self.changed = None;
        self.day = (found.day.number, found.day.changes);
        if found.pause.is_none() {
            self.pause = None;
        }
        self.confirmed = found.confirmed.is_some();
        self.learned.lost(found);
    }

    /// Instants of another boot are as old as the wall clock says, and never of the future.
    fn reanchor(&mut self, boot: u32, now: Timestamp) {
        let fix = |of: &mut u32, at: &mut Timestamp| {
            if *of != boot {
                let age = (now.wall_ms - at.wall_ms).max(0);
                *of = boot;
                at.boottime_ms = now.boottime_ms - age;
                at.wall_ms = now.wall_ms - age;
            }
        };
        if let Some((of, at)) = &mut self.changed {
            fix(of, at);
        }
        if let Some((of, at, _)) = &mut self.pause {
            fix(of, at);
        }
        if let Some((of, at)) = &mut self.trial {
            fix(of, at);
        }
    }

    fn turn(&mut self, now: Timestamp) {
        let today = day(now).number;
        if today > self.day.0 {
            self.day = (today, 0);
        } else if today < self.day.0 - 1 {
            self.day.0 = today;
        }
    }

    /// A daemon ended. What was only in its memory is gone.
    pub fn ended(world: &World) {
        let mut judge = world.judge.borrow_mut();
        if judge.life.clone {
            return;
        }
        judge.ledger.check(world);
        if judge.life.saved == Some(false) {
            judge.lost = true;
        }
    }

    /// The VM boots: the run-time directory is empty.
    pub fn rebooted(world: &World) {
        let mut judge = world.judge.borrow_mut();
        judge.learned.booted = world.real_ms();
        if judge.run.take().is_some() {
            judge.lost = true;
        }
    }

    pub fn spoilt(world: &World) {
        let mut judge = world.judge.borrow_mut();
        judge.spoilt = true;
        judge.run = None;
    }

    pub fn saved(world: &World, state: &State, kept: &Result<Kept, String>) {
        let mut judge = world.judge.borrow_mut();
        if judge.life.clone {
            return;
        }
        judge.life.saved = Some(kept.is_ok());
        judge.fleeting = !matches!(kept, Ok(Kept::Durably));
        if let Some(intent) = &state.intent
            && intent.stage == Stage::Planned
            && kept.is_ok()
            && judge.planned.as_ref() != Some(&intent.decision_id)
        {
            judge.planned = Some(intent.decision_id.clone());
            // What was read in this very instant is as good as what is read next.
            let at = judge.life.details.as_ref().map(|(at, _)| *at);
            judge.life.unread = at != Some(world.real_ms());
        }
        match kept {
            Ok(Kept::Durably) => {
                judge.disk = Some(state.clone());
                judge.run = None;
            }
            Ok(Kept::UntilReboot(_)) => judge.run = Some(state.clone()),
            Err(_) => {}
        }
    }

    pub fn reloaded(world: &World, policy: &Policy) {
        let mut judge = world.judge.borrow_mut();
        let before = std::mem::replace(&mut judge.policy, policy.clone());
        judge.policy_before = (world.mono(), before);
        judge.needs.restart();
    }

    /// The operator's word is on its way; nobody may ever learn that it was taken.
    pub fn operates(world: &World, operator: Operator) {
        let mut judge = world.judge.borrow_mut();
        if judge.life.clone {
            return;
        }
        match operator {
            Operator::Resume => judge.pause = None,
            Operator::Prove => judge.ask_trial(world),
            Operator::Forget(direction) => judge.learned.forget(direction),
            _ => {}
        }
    }

    /// The operator's word was taken.
    pub fn operated(world: &World, operator: Operator) {
        let mut judge = world.judge.borrow_mut();
        if judge.life.clone {
            return;
        }
        match operator {
            Operator::Pause(span) => judge.pause = Some((world.boot.get(), world.now(), span)),
            Operator::Resume => judge.pause = None,
            Operator::Confirm => judge.confirmed = true,
            Operator::Prove => judge.ask_trial(world),
            Operator::Forget(direction) => judge.learned.forget(direction),
        }
    }

    pub fn status(world: &World, status: &Status) {
        let now = world.real_ms();
        world.judge.borrow_mut().needs.status(now, status);
    }

    pub fn fault(world: &World, kind: Kind) {
        let mut judge = world.judge.borrow_mut();
        for change in judge.changes.values_mut().filter(|c| !c.closed) {
            change.meanwhile.insert(kind);
        }
    }

    /// Nothing is left open.
    pub fn finished(world: &World) {
        let mut judge = world.judge.borrow_mut();
        judge.ledger.check(world);
        let Judge {
            changes, ledger, ..
        } = &*judge;
        for (id, change) in changes {
            if change.announced && !change.excused && !ledger.has(id) {
                violation(format_args!("{id} was announced and never recorded"));
            }
        }
        let most = judge.rates.most;
        let mut tally = world.tally.borrow_mut();
        let turns = turns_of_the_clock(world.plan.begin_ms, world.now().wall_ms);
        tally.row(Kind::DstDay).episodes += turns;
        tally.row(Kind::DstDay).hits += turns;
        tally.most = most;
        tally.ledger_records = judge.ledger.records();
        tally.explained = judge.needs.explained;
    }
}

//! The trial of lowering: a word of the operator that passes most of the gates, for a while.

use super::{Judge, violation};
use crate::vm::World;

/// How long a trial lasts at most, and a moment for what was decided just before its end.
const LONGEST_MS: i64 = 45 * 60_000 + 10_000;

impl Judge {
    pub(super) fn paused(&self, world: &World) -> bool {
        self.pause.is_some_and(|(boot, at, span)| {
            let here = boot == world.boot.get();
            let age = world.now().boottime_ms - at.boottime_ms;
            span.is_none_or(|span| !here || age < span.as_millis() as i64)
        })
    }

    /// Asked for while changes are paused, none begins.
    pub(super) fn ask_trial(&mut self, world: &World) {
        if self.paused(world) || self.life.dry_run {
            return;
        }
        if self.life.counts_answered {
            self.trial = Some((world.boot.get(), world.now()));
        } else {
            self.life.trial_waits = true;
        }
    }

    /// What waited for the platform's counts goes on.
    pub(super) fn counts_answered(&mut self, world: &World) {
        self.life.counts_answered = true;
        if std::mem::take(&mut self.life.trial_waits) {
            self.ask_trial(world);
        }
    }

    /// An edit that passes the gates as a trial is part of one that was asked for.
    pub(super) fn within_trial(&self, world: &World, id: &str) {
        let age = self.trial.map(|(boot, at)| {
            let here = boot == world.boot.get();
            here.then(|| world.now().boottime_ms - at.boottime_ms)
        });
        match age {
            None => violation(format_args!("{id} is a trial that nobody asked for")),
            Some(age) if age.is_some_and(|age| age > LONGEST_MS) => {
                violation(format_args!("{id} is a trial, asked for {age:?} ms ago"));
            }
            Some(_) => {}
        }
    }
}

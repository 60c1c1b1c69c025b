//! What the platform showed of a direction, which holds until the operator says to forget it.

use super::{Judge, violation};
use crate::kinds::Kind;
use crate::vm::World;
use glesys_autoscaler::engine::policy::Mode;
use glesys_autoscaler::engine::record::{Direction, Record};
use glesys_autoscaler::engine::state::{Intent, Stage, State};

/// A boot so soon after an edit was sent is its doing; a little less than is promised.
const RESET_MS: u64 = 15 * 60_000;

#[derive(Default)]
pub struct Learned {
    /// A lowering was carried out, and both witnesses showed it.
    proven: bool,
    /// The change during which the VM was reset, of raising and of lowering.
    reset: [Option<String>; 2],
    /// When the VM last booted, by real time.
    pub booted: u64,
}

fn index(direction: Direction) -> usize {
    usize::from(direction == Direction::Lowering)
}

impl Learned {
    pub fn forget(&mut self, direction: Direction) {
        self.reset[index(direction)] = None;
    }

    pub fn worked(&mut self, record: &Record) {
        let direction = Direction::of(record.cores_from, record.cores_to);
        self.proven |= direction == Direction::Lowering;
        let reset = &mut self.reset[index(direction)];
        // The change that the reset was of says nothing for the next.
        if reset.as_ref() != Some(&record.decision_id) {
            *reset = None;
        }
    }

    pub fn lost(&mut self, found: &State) {
        self.proven &= found.lowering_proven;
        self.reset = [None, None];
    }
}

impl Judge {
    /// A life begins after a boot: was it in the middle of an edit, and nobody's wish?
    pub(super) fn reset_in_edit(&mut self, world: &World, found: &State) {
        let Some(intent) = &found.intent else {
            return;
        };
        let Some(change) = self.changes.get(&intent.decision_id) else {
            return;
        };
        // By the wall clock a boot may have been long after the edit, or before it.
        let stepped = |kind| change.meanwhile.contains(kind);
        let sure = intent.stage != Stage::Planned
            && !found.stopped
            && !change.excused
            && ![Kind::WallForward, Kind::WallBack].iter().any(stepped);
        let soon = |sent: u64| world.real_ms() - sent < RESET_MS && self.learned.booted >= sent;
        if sure && change.sent.is_some_and(soon) {
            world.log("the VM was reset in the middle of an edit");
            self.learned.reset[index(intent.direction())] = Some(intent.decision_id.clone());
        }
    }

    /// A direction that resets the VM, or that nobody tried, is not used.
    pub(super) fn as_learned(&self, world: &World, intent: &Intent) {
        let direction = intent.direction();
        let mode = match direction {
            Direction::Raising => self.policy.apply.raising,
            Direction::Lowering => self.policy.apply.lowering,
        };
        if self.policy_before.0 == world.mono() || mode == Mode::Always {
            return;
        }
        let id = &intent.decision_id;
        if let Some(before) = &self.learned.reset[index(direction)] {
            violation(format_args!(
                "{id} goes where the VM was reset during {before}"
            ));
        }
        let asks = mode == Mode::Ask && direction == Direction::Lowering;
        if mode == Mode::Never || asks && !self.learned.proven {
            violation(format_args!("{id}: {direction:?} was never tried"));
        }
    }
}

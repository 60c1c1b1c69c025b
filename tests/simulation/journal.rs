//! The journal's lines, given to the judge of the run on this thread.

use crate::judge::Judge;
use crate::vm::World;
use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::rc::Rc;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

thread_local! {
    static WORLD: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// A line of the journal.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pub event: String,
    pub reason: String,
    pub decision_id: String,
    pub message: String,
}

/// Lines of this thread go to this world until the guard is dropped.
pub fn listen(world: &Rc<World>) -> DefaultGuard {
    WORLD.set(Some(Rc::clone(world)));
    tracing::subscriber::set_default(tracing_subscriber::registry().with(Catcher))
}

/// No more of them: the world may go.
pub fn forget() {
    WORLD.take();
}

struct Catcher;

impl<S: Subscriber> Layer<S> for Catcher {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(world) = WORLD.with_borrow(Clone::clone) else {
            return;
        };
        let mut line = Line::default();
        event.record(&mut line);
        world.log(format_args!(
            "journal {}: {} {} {}: {}",
            event.metadata().level(),
            line.event,
            line.reason,
            line.decision_id,
            line.message
        ));
        Judge::line(&world, &line);
        world.port();
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "reason" => value.clone_into(&mut self.reason),
            "decision_id" => value.clone_into(&mut self.decision_id),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _infallible = write!(self.message, "{value:?}");
        }
    }
}

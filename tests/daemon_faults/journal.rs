//! The journal of one row: the events of this thread.

use std::cell::RefCell;
use std::fmt::{Debug, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A line as the table writes it, with what a person reads.
#[derive(Debug, Clone, Default)]
pub struct Line {
    event: String,
    reason: String,
    message: String,
}

impl Line {
    /// Whether it is what a row means by `EVENT REASON ~part of the message`.
    pub fn is(&self, expected: &str) -> bool {
        let (head, part) = expected.split_once('~').unwrap_or((expected, ""));
        let mut head = head.split_whitespace();
        let same = |word: Option<&str>, field: &str| word.is_none_or(|word| word == field);
        same(head.next(), &self.event)
            && same(head.next(), &self.reason)
            && self.message.contains(part)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.event, self.reason, self.message)
    }
}

/// The lines so far.
#[derive(Clone, Default)]
pub struct Journal {
    lines: Arc<Mutex<Vec<Line>>>,
    /// Lines that an `Until` has looked at.
    read: Rc<RefCell<usize>>,
}

impl Journal {
    /// Catches what this thread tells from now on.
    pub fn listen(&self) -> DefaultGuard {
        let catcher = Catcher(Arc::clone(&self.lines));
        tracing::subscriber::set_default(tracing_subscriber::registry().with(catcher))
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// Whether a line like `expected` has come since the last time that this was true.
    pub fn has_further(&self, expected: &str) -> bool {
        let mut read = self.read.borrow_mut();
        let lines = self.lines();
        let found = lines[*read..].iter().position(|line| line.is(expected));
        if let Some(found) = found {
            *read += found + 1;
        }
        found.is_some()
    }
}

struct Catcher(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber> Layer<S> for Catcher {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "glesys_autoscaler" {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().unwrap().push(line);
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "event" => value.clone_into(&mut self.event),
            "reason" => value.clone_into(&mut self.reason),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _infallible = write!(self.message, "{value:?}");
        }
    }
}

//! How often the API is called and how much is written: no storm, whatever fails.

use super::{Judge, edits::Change, violation};
use crate::cloud::Function;
use crate::journal::Line;
use crate::vm::World;
use glesys_autoscaler::engine::cloud::{ApiFailure, Server};
use std::collections::VecDeque;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Of one life of the daemon: what the client's own guard lets through.
const CALLS_A_MINUTE: usize = 12;
/// A locked server is read each half minute, and edited where only the edit says that it is locked.
const CALLS_AN_HOUR: usize = 300;
/// Of a day in which nothing else is the matter than that everything fails.
const LINES_A_DAY: usize = 400;

/// Events of a sliding span, by real time.
#[derive(Default)]
struct Sliding(VecDeque<u64>);

impl Sliding {
    fn add(&mut self, now: u64, span: u64) -> usize {
        self.0.push_back(now);
        while self.0.front().is_some_and(|at| at + span <= now) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

#[derive(Default)]
pub struct Rates {
    minute: Sliding,
    hour: Sliding,
    lines: Sliding,
    /// Lines of the day that something outside asked for: a start, an operator, a change.
    asked_for: Sliding,
    pub most: [u64; 3],
}

impl Rates {
    /// The client's memory does not outlive the process, and neither does what it owes.
    pub fn restart(&mut self, world: &World) {
        self.minute = Sliding::default();
        self.hour = Sliding::default();
        self.asked_for.add(world.real_ms(), DAY_MS);
    }
}

impl Judge {
    /// A call leaves.
    pub fn called(world: &World, function: Function) {
        let mut judge = world.judge.borrow_mut();
        world.tally.borrow_mut().calls += 1;
        let now = world.mono().as_millis() as u64;
        if let Some(until) = judge.life.wait.get(&function)
            && world.real_ms() < *until
        {
            violation(format_args!("{function:?} before the time that was told"));
        }
        let rates = &mut judge.rates;
        let minute = rates.minute.add(now, MINUTE_MS);
        let hour = rates.hour.add(now, HOUR_MS);
        rates.most[0] = rates.most[0].max(minute as u64);
        rates.most[1] = rates.most[1].max(hour as u64);
        if minute > CALLS_A_MINUTE {
            violation(format_args!("{minute} calls in a minute"));
        }
        if hour > CALLS_AN_HOUR {
            violation(format_args!("{hour} calls in an hour"));
        }
    }

    /// An answer arrives.
    pub fn answered(world: &World, function: Function, failure: Option<&ApiFailure>) {
        let mut judge = world.judge.borrow_mut();
        let until = failure
            .and_then(|f| f.retry_after)
            .map(|wait| world.real_ms() + wait.as_millis() as u64);
        match until {
            Some(until) => judge.life.wait.insert(function, until),
            None => judge.life.wait.remove(&function),
        };
        if function == Function::AllowedArguments {
            judge.counts_answered(world);
        }
    }

    pub fn told_details(world: &World, server: &Server) {
        let mut judge = world.judge.borrow_mut();
        judge.life.details = Some((world.real_ms(), server.clone()));
        judge.life.unread = false;
    }

    pub fn told_counts(world: &World, counts: &[u32]) {
        let mut judge = world.judge.borrow_mut();
        if !counts.is_empty() {
            judge.life.counts = Some(counts.to_vec());
        }
    }

    /// A line of the journal.
    pub fn line(world: &World, line: &Line) {
        let mut judge = world.judge.borrow_mut();
        world.tally.borrow_mut().journal_lines += 1;
        let now = world.real_ms();
        if line.message.len() > 1000 || line.message.chars().any(char::is_control) {
            violation(format_args!("a line that is none: {:?}", line.message));
        }
        let asked_for = matches!(
            line.event.as_str(),
            "scale_up"
                | "scale_down"
                | "started"
                | "stopped"
                | "paused"
                | "resumed"
                | "reloaded"
                | "external_change"
                | "applied"
                | ""
        );
        if asked_for {
            judge.rates.asked_for.add(now, DAY_MS);
        } else {
            let lines = judge.rates.lines.add(now, DAY_MS);
            judge.rates.most[2] = judge.rates.most[2].max(lines as u64);
            let due = LINES_A_DAY + judge.rates.asked_for.0.len() * 3;
            if lines > due {
                violation(format_args!("{lines} lines in a day"));
            }
        }
        judge.needs.told(now, line);
        match line.event.as_str() {
            "scale_up" | "scale_down" => {
                let change = judge
                    .changes
                    .entry(line.decision_id.clone())
                    .or_insert_with(|| Change::new(world));
                let first = !std::mem::replace(&mut change.announced, true);
                change
                    .meanwhile
                    .extend(world.active.borrow().iter().map(|e| e.kind));
                if first {
                    let trial = line.reason == "not_proven";
                    let lowering = line.event == "scale_down";
                    judge.announced(world, &line.decision_id, lowering, trial);
                }
                judge.arm(world);
            }
            "external_change" => {
                judge.changed = Some((world.boot.get(), world.now()));
                judge.needs.changed = now;
            }
            _ => {}
        }
    }
}

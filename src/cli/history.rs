//! `history`: past changes with reason, load and result.

use super::{Exit, complain, place};
use crate::adapters::clock::{SystemClock, local_time};
use crate::adapters::ledger::{self, Line};
use crate::config;
use crate::engine::span;
use crate::ports::Clock;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

pub fn run(config: Option<&Path>, since: Option<Duration>, json: bool) -> Exit {
    let dir = match place::named_by("STATE_DIRECTORY") {
        Some(dir) => dir,
        None => match config::load(place::policy_file(config)) {
            Ok(config) => config.state_dir,
            Err(error) => {
                complain(error);
                return Exit::Configuration;
            }
        },
    };
    let history = match ledger::read(&dir) {
        Ok(history) => history,
        Err(error) => {
            complain(format_args!(
                "{}: {error}",
                dir.join(ledger::NAME).display()
            ));
            return Exit::Failed;
        }
    };
    let now = SystemClock::new().now().wall_ms;
    let oldest =
        since.map(|s| now.saturating_sub(i64::try_from(s.as_millis()).unwrap_or(i64::MAX)));
    let lines = history
        .lines
        .iter()
        .filter(|line| oldest.is_none_or(|at| line.record.asked.wall_ms >= at));
    let mut out = std::io::stdout().lock();
    let mut any = false;
    for line in lines {
        any = true;
        let text = if json {
            serde_json::to_string(line).unwrap_or_default()
        } else {
            in_words(line)
        };
        // A closed pipe (`| head`) is the reader's way of saying enough.
        if writeln!(out, "{text}").is_err() {
            return Exit::Done;
        }
    }
    if !any && !json {
        complain("no changes are on record");
    }
    if history.unreadable > 0 {
        complain(format_args!(
            "{}: lines that are no records, and were passed over: {}",
            dir.join(ledger::NAME).display(),
            history.unreadable
        ));
    }
    Exit::Done
}

fn in_words(line: &Line) -> String {
    let record = &line.record;
    let took = record.effect.map_or(String::new(), |at| {
        format!(" after {}", span(at.since(record.asked)))
    });
    let detail = if record.detail.is_empty() {
        String::new()
    } else {
        format!(" ({})", record.detail)
    };
    format!(
        "{}  {:>2} → {:<2}  {:<12} {:.2} cores wanted  {}{took}{detail}",
        local_time(record.asked.wall_ms),
        record.cores_from,
        record.cores_to,
        record.reason.as_str(),
        record.demand,
        record.result.as_str(),
    )
}

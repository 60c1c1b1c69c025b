//! What happened in all runs together, and the table of it.

use crate::kinds::Kind;
use glesys_autoscaler::engine::record::Outcome;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// How the changes ended, in the order of the columns.
const OUTCOMES: [Outcome; 6] = [
    Outcome::Applied,
    Outcome::NotApplied,
    Outcome::Reverted,
    Outcome::Refused,
    Outcome::Failed,
    Outcome::Superseded,
];

/// Of one kind of fault.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// How often it began.
    pub episodes: u64,
    /// How often it hit: calls, saves, readings, edits.
    pub hits: u64,
    /// Edits that were sent while it lasted.
    pub edits: u64,
    /// Changes that were under way while it lasted, by their end.
    pub ends: [u64; 6],
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    pub rows: BTreeMap<Kind, Row>,
    /// Without regard to faults.
    pub all: Row,
    pub runs: u64,
    pub simulated: Duration,
    pub ticks: u64,
    pub restarts: u64,
    pub reboots: u64,
    pub calls: u64,
    pub journal_lines: u64,
    pub ledger_records: u64,
    pub losses_of_state: u64,
    /// Wishes that were looked at for being told why they were not carried out.
    pub explained: u64,
    /// The most of a run: calls in a minute, in an hour, journal lines in a day.
    pub most: [u64; 3],
}

pub fn column(outcome: Outcome) -> usize {
    OUTCOMES.iter().position(|o| *o == outcome).unwrap()
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.episodes += other.episodes;
        self.hits += other.hits;
        self.edits += other.edits;
        for (mine, more) in self.ends.iter_mut().zip(other.ends) {
            *mine += more;
        }
    }

    fn cells(&self) -> String {
        let ends = self.ends.map(|n| n.to_string());
        format!("{} | {}", self.edits, ends.join(" | "))
    }
}

impl Tally {
    pub fn row(&mut self, kind: Kind) -> &mut Row {
        self.rows.entry(kind).or_default()
    }

    pub fn add(&mut self, other: &Tally) {
        for (kind, row) in &other.rows {
            self.row(*kind).add(row);
        }
        self.all.add(&other.all);
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.ticks += other.ticks;
        self.restarts += other.restarts;
        self.reboots += other.reboots;
        self.calls += other.calls;
        self.journal_lines += other.journal_lines;
        self.ledger_records += other.ledger_records;
        self.losses_of_state += other.losses_of_state;
        self.explained += other.explained;
        for (mine, more) in self.most.iter_mut().zip(other.most) {
            *mine = (*mine).max(more);
        }
    }

    pub fn days(&self) -> f64 {
        self.simulated.as_secs_f64() / 86_400.0
    }

    /// In Markdown.
    pub fn table(&self) -> String {
        let names = OUTCOMES.map(Outcome::as_str).join(" | ");
        let mut text =
            format!("| fault | begun | hits | edits meanwhile | {names} |\n|---|--:|--:|--:");
        text += &"|--:".repeat(OUTCOMES.len());
        text += "|\n";
        let none = Row::default();
        for kind in Kind::ALL {
            let row = self.rows.get(kind).unwrap_or(&none);
            let (begun, hits) = (row.episodes, row.hits);
            let _infallible = writeln!(
                text,
                "| {} | {begun} | {hits} | {} |",
                kind.text(),
                row.cells()
            );
        }
        let _infallible = writeln!(text, "| **all time** | | | {} |", self.all.cells());
        text
    }

    pub fn summary(&self) -> String {
        let faults: u64 = self.rows.values().map(|row| row.episodes).sum();
        let [minute, hour, day] = self.most;
        format!(
            "{:.0} simulated days in {} runs: {faults} faults of {} kinds, {} restarts, {} reboots, \
             state lost {} times; {} ticks, {} calls (at most {minute} a minute, {hour} an hour), \
             {} edits, {} ledger records, {} journal lines (at most {day} a day); \
             {} times a wish stood for long and its reason was told",
            self.days(),
            self.runs,
            self.rows.values().filter(|row| row.episodes > 0).count(),
            self.restarts,
            self.reboots,
            self.losses_of_state,
            self.ticks,
            self.calls,
            self.all.edits,
            self.ledger_records,
            self.journal_lines,
            self.explained,
        )
    }
}

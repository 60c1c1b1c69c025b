//! What a row says against what was seen.

use crate::journal::Line;
use crate::row::{Row, Step, Waits};
use glesys_autoscaler::engine::Status;
use glesys_autoscaler::engine::record::Reason;
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// What one run came to.
pub struct Seen {
    /// What was waited for in vain.
    pub missed: Option<&'static Step>,
    pub edits: Vec<u32>,
    pub details: usize,
    pub allowed_arguments: usize,
    pub cores: u32,
    pub journal: Vec<Line>,
    pub results: Vec<&'static str>,
    pub status: Status,
}

/// Every fault of a row with its journal; `None` where all is as it says.
pub fn faults(row: &Row, seen: &Seen) -> Option<String> {
    let mut faults = Vec::new();
    if let Some(missed) = seen.missed {
        faults.push(format!("never came: {missed:?}"));
    }
    differ(&mut faults, "edits", &seen.edits.as_slice(), &row.edits);
    outside(&mut faults, "details", seen.details, &row.details);
    let name = "allowedarguments";
    outside(
        &mut faults,
        name,
        seen.allowed_arguments,
        &row.allowed_arguments,
    );
    differ(&mut faults, "cores in the end", &seen.cores, &row.ends_with);
    let results = seen.results.as_slice();
    differ(&mut faults, "ledger", &results, &row.results);

    let told: Vec<&Line> = seen
        .journal
        .iter()
        .filter(|line| !line.is("started") && !line.is("stopped"))
        .collect();
    let as_told = told.len() == row.told.len()
        && told
            .iter()
            .zip(row.told)
            .all(|(line, words)| line.is(words));
    if !as_told {
        faults.push(format!("journal, expected {:#?}", row.told));
    }

    let gate = seen.status.waits_for.map(Reason::as_str);
    let seconds = seen.status.waits_s;
    let as_said = match &row.waits {
        Waits::Whatever => true,
        Waits::For(expected) => gate == Some(expected),
        Waits::Seconds(expected, range) => {
            gate == Some(expected) && seconds.is_some_and(|s| range.contains(&s))
        }
        Waits::ForNothing => gate.is_none() && seen.status.wants.is_none(),
    };
    if !as_said {
        let wants = seen.status.wants;
        faults.push(format!(
            "wants {wants:?}, waits for {gate:?}, {seconds:?} s"
        ));
    }
    if !(row.status)(&seen.status) {
        faults.push(format!("status {:#?}", seen.status));
    }
    if faults.is_empty() {
        return None;
    }
    let journal: Vec<String> = seen
        .journal
        .iter()
        .map(|line| format!("    {line}"))
        .collect();
    Some(format!(
        "{}\n  {}\n  the journal:\n{}",
        row.name,
        faults.join("\n  "),
        journal.join("\n")
    ))
}

fn differ<T: PartialEq + Debug>(faults: &mut Vec<String>, what: &str, seen: &T, expected: &T) {
    if seen != expected {
        faults.push(format!("{what}: {seen:?}, expected {expected:?}"));
    }
}

fn outside(faults: &mut Vec<String>, what: &str, seen: usize, expected: &RangeInclusive<usize>) {
    if !expected.contains(&seen) {
        faults.push(format!("calls of {what}: {seen}, expected {expected:?}"));
    }
}

//! The ledger on disk: each change once, and nothing that was never announced.

use super::{Judge, edits::Change, violation};
use crate::tally::column;
use crate::vm::World;
use glesys_autoscaler::adapters::ledger::{History, read_from};
use glesys_autoscaler::engine::record::{Outcome, Record};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

#[derive(Default)]
pub struct Ledger {
    /// The file, and how much of it was read.
    read: (u64, u64),
    ids: BTreeSet<String>,
    torn: u64,
}

impl Ledger {
    pub fn has(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub fn records(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Reads what was added.
    pub fn check(&mut self, world: &World) {
        let Ok(mut file) = File::open(world.place.ledger()) else {
            return;
        };
        let metadata = file.metadata().unwrap();
        if !metadata.is_file() {
            return;
        }
        let mut from = self.read.1;
        if metadata.ino() != self.read.0 {
            // Set aside with the state of another machine.
            from = 0;
        } else if metadata.len() < from {
            violation("the ledger became shorter");
        }
        file.seek(SeekFrom::Start(from)).unwrap();
        let History { lines, unreadable } = read_from(BufReader::new(file)).unwrap();
        self.read = (metadata.ino(), metadata.len());
        if unreadable > self.torn {
            violation(format_args!("{unreadable} unreadable lines in the ledger"));
        }
        self.torn -= unreadable;
        for line in lines {
            let id = line.record.decision_id;
            if !self.ids.insert(id.clone()) {
                violation(format_args!("{id} is in the ledger twice"));
            }
        }
    }
}

impl Judge {
    /// The world tore a line: one unreadable line is nobody's fault.
    pub fn tore_ledger(world: &World) {
        let mut judge = world.judge.borrow_mut();
        if !judge.life.clone {
            // What was whole before is looked at first.
            judge.ledger.torn += 1;
        }
    }

    /// A change was put on record.
    pub fn appended(world: &World, record: &Record, written: bool) {
        let mut judge = world.judge.borrow_mut();
        if judge.life.clone {
            violation("a clone puts a change on record");
        }
        let id = &record.decision_id;
        world.log(format_args!(
            "record {id}: {} → {} {}{}",
            record.cores_from,
            record.cores_to,
            record.result.as_str(),
            if written { "" } else { ", kept for later" }
        ));
        judge.ledger.check(world);
        if written && !judge.ledger.has(id) {
            violation(format_args!("{id} is said to be written and is not"));
        }
        let took = matches!(
            record.result,
            Outcome::Applied | Outcome::Reverted | Outcome::NotApplied
        );
        if took {
            judge.changed = Some((world.boot.get(), world.now()));
            judge.needs.changed = world.real_ms();
        }
        if record.result == Outcome::Applied {
            judge.learned.worked(record);
        }
        if record.result == Outcome::Refused {
            judge.needs.refused(record.cores_to, world.real_ms());
        }
        let change = judge
            .changes
            .entry(id.clone())
            .or_insert_with(|| Change::new(world));
        if change.closed {
            // Closed, killed before the state was saved, and closed again.
            return;
        }
        change.closed = true;
        let column = column(record.result);
        let mut tally = world.tally.borrow_mut();
        tally.all.ends[column] += 1;
        for kind in &change.meanwhile {
            tally.row(*kind).ends[column] += 1;
        }
        if record.result == Outcome::Applied {
            let raise = record.cores_to > record.cores_from;
            drop(tally);
            let steady = world.helped.get();
            judge.needs.applied(raise, steady);
        }
    }
}

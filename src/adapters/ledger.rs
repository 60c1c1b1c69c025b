//! The ledger of changes: `history.jsonl`, one JSON object a line, only ever appended to.

use super::state_dir::{NO_LINK, adopt_owner};
use crate::engine::record::Record;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub const NAME: &str = "history.jsonl";
/// A record is about 1 KB: the tail that is searched for a record written just before a kill.
const TAIL: u64 = 64 << 10;
/// Ids remembered to tell a repeated record.
const REMEMBERED: usize = 32;
/// A line longer than this is no record of ours.
const LONGEST_LINE: u64 = 64 << 10;

/// A line of the ledger: the record, and when it was asked for as people write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When the change was asked for, RFC 3339, UTC.
    pub ts: String,
    /// The change.
    #[serde(flatten)]
    pub record: Record,
}

/// The ledger, open for appending.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    dir: PathBuf,
    recent: VecDeque<String>,
}

impl Ledger {
    /// The ledger of a state directory. It is made at the first record.
    #[must_use]
    pub fn open(dir: &Path) -> Ledger {
        let path = dir.join(NAME);
        let recent = tail_ids(&path).unwrap_or_default();
        Ledger {
            path,
            dir: dir.to_owned(),
            recent,
        }
    }

    /// Appends a record, unless it is there already.
    ///
    /// # Errors
    /// When it could not be written whole; then nothing of it stays.
    pub fn append(&mut self, ts: &str, record: &Record) -> io::Result<()> {
        if self.recent.contains(&record.decision_id) {
            return Ok(());
        }
        let line = Line {
            ts: ts.to_owned(),
            record: record.clone(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(NO_LINK)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other("it is not a file of its own"));
        }
        adopt_owner(&self.dir, &file)?;
        let before = metadata.len();
        if before > 0 && !ends_with_newline(&mut file)? {
            // A kill in the middle of a line: it was never announced, and must not spoil the next.
            text.insert(0, b'\n');
        }
        if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
            let _torn = file.set_len(before);
            return Err(error);
        }
        self.recent.push_back(record.decision_id.clone());
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        Ok(())
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn tail_ids(path: &Path) -> io::Result<VecDeque<String>> {
    #[derive(Deserialize)]
    struct Id {
        decision_id: String,
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let mut ids: VecDeque<String> = tail
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Id>(line).ok())
        .map(|id| id.decision_id)
        .collect();
    while ids.len() > REMEMBERED {
        ids.pop_front();
    }
    Ok(ids)
}

/// What the ledger holds.
#[derive(Debug, Default)]
pub struct History {
    /// The records, oldest first.
    pub lines: Vec<Line>,
    /// Lines that are no records: torn by a power cut, or written by somebody else.
    pub unreadable: u64,
}

/// Reads the ledger of a state directory; one that does not exist is empty.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<History> {
    let file = match File::open(dir.join(NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        Err(error) => return Err(error),
    };
    read_from(BufReader::new(file))
}

/// Reads the text of a ledger. A line that is longer than any record is not held in memory.
///
/// # Errors
/// When the source cannot be read.
pub fn read_from(mut reader: impl BufRead) -> io::Result<History> {
    let mut history = History::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(history);
        }
        let text = line.trim_ascii();
        match serde_json::from_slice(text) {
            Ok(record) => history.lines.push(record),
            Err(_) if text.is_empty() => {}
            Err(_) => history.unreadable += 1,
        }
    }
}

//! The ledger of changes: `history.jsonl`, one JSON object a line, only ever appended to.
//!
//! At [`LARGEST`] it becomes `history.1.jsonl`, in the place of the one that was, and a new one
//! begins: a rename, which is whole or not at all and needs no space on a full disk.

use super::guarded_files::{NO_LINK, adopt_owner};
use crate::engine::record::Record;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub const NAME: &str = "history.jsonl";
/// The name of what came before it.
pub const OLDER: &str = "history.1.jsonl";
/// The longest that one of the two files gets, in bytes. So much of the newest is always kept, and
/// at most twice: at 1 KB a record and 43 changes a day, which the defaults came to over recorded
/// loads, a year and more.
pub const LARGEST: u64 = 16 << 20;
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
        let mut recent = VecDeque::new();
        for name in [OLDER, NAME] {
            recent.extend(tail_ids(dir, name).unwrap_or_default());
        }
        let surplus = recent.len().saturating_sub(REMEMBERED);
        recent.drain(..surplus);
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
        let mut file = self.file()?;
        let mut before = file.metadata()?.len();
        if before > 0 && before + text.len() as u64 > LARGEST {
            fs::rename(&self.path, self.dir.join(OLDER))?;
            file = self.file()?;
            before = 0;
        }
        if before > 0 && !ends_with_newline(&mut file)? {
            // A kill in the middle of a line: it was never announced, and must not spoil the next.
            text.insert(0, b'\n');
        }
        let written = file.write_all(&text).and_then(|()| {
            file.sync_data()?;
            // The name of a new file is on disk only with its directory.
            if before == 0 {
                File::open(&self.dir)?.sync_all()?;
            }
            Ok(())
        });
        if let Err(error) = written {
            let _torn = file.set_len(before);
            return Err(error);
        }
        self.recent.push_back(record.decision_id.clone());
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        Ok(())
    }

    fn file(&self) -> io::Result<File> {
        let file = OpenOptions::new()
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
        Ok(file)
    }
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn tail_ids(dir: &Path, name: &str) -> io::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Id {
        decision_id: String,
    }
    let Some(mut file) = open(dir, name)? else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(tail
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Id>(line).ok())
        .map(|id| id.decision_id)
        .collect())
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
/// When a file of it is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<History> {
    let mut newer = open(dir, NAME)?;
    let older = open(dir, OLDER)?;
    if let (Some(one), Some(other)) = (&newer, &older)
        && same(one, other)?
    {
        // It became the older one between the two lines.
        newer = open(dir, NAME)?;
    }
    let mut history = History::default();
    for file in [older, newer].into_iter().flatten() {
        history.add(BufReader::new(file))?;
    }
    Ok(history)
}

fn open(dir: &Path, name: &str) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(NO_LINK);
    match file.open(dir.join(name)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Reads the text of a ledger. A line that is longer than any record is not held in memory.
///
/// # Errors
/// When the source cannot be read.
pub fn read_from(reader: impl BufRead) -> io::Result<History> {
    let mut history = History::default();
    history.add(reader)?;
    Ok(history)
}

impl History {
    fn add(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            let text = line.trim_ascii();
            match serde_json::from_slice(text) {
                Ok(record) => self.lines.push(record),
                Err(_) if text.is_empty() => {}
                Err(_) => self.unreadable += 1,
            }
        }
    }
}

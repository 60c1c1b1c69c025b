//! The state directory: `state.json`, replaced atomically, and the ledger `history.jsonl`.
//!
//! The state is bound to the server id and the machine id. What cannot be read, or belongs to
//! another machine, is set aside under another name and said so; nothing is deleted.

use super::clock::rfc3339;
use super::directory_locks::{self, DirectoryError};
use super::guarded_files::{NO_LINK, replace};
use super::ledger::Ledger;
use crate::engine::record::Record;
use crate::engine::state::State;
use crate::ports::{Kept, StateStore};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The format that this version writes.
const FORMAT: u32 = 1;
/// The oldest format whose readers understand what this version writes.
const READABLE_BY: u32 = 1;
const STATE: &str = "state.json";
/// A state file is a few KB; anything far larger is not ours.
const LARGEST: u64 = 1 << 20;
/// Records that wait for the ledger, at most: more than a day's. With all of them the state stays
/// below half of `LARGEST`, or it would not be read again.
pub const UNWRITTEN: usize = 256;
/// Of these so many are written with one state: each is a write to the disk that the loop waits
/// for, and a kill before the state makes the next start find them twice, which the ledger tells
/// of the newest 32 only.
const FLUSHED_AT_ONCE: usize = 8;

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    readable_by: u32,
    generation: u64,
    server_id: &'a str,
    machine_id: &'a str,
    state: &'a State,
    unwritten: &'a [Record],
}

#[derive(Deserialize)]
struct Header {
    format: u32,
    readable_by: u32,
    generation: u64,
    server_id: String,
    machine_id: String,
}

#[derive(Deserialize)]
struct Body {
    state: State,
    #[serde(default)]
    unwritten: Vec<Record>,
}

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The server's id at the provider.
    pub server_id: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Found {
    /// The state of the last run, or the first.
    pub state: State,
    /// It was lost: wait as if a change had just been made.
    pub careful: bool,
    /// For the journal.
    pub remarks: Vec<String>,
}

/// The store, held exclusively.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    runtime_dir: PathBuf,
    owner: Owner,
    ledger: Ledger,
    generation: u64,
    unwritten: Vec<Record>,
    /// Kept open: a lock goes with its descriptor, whatever becomes of the process.
    _locks: [File; 2],
}

impl StateDir {
    /// Opens and locks both directories, and reads what the last run left. `wall_ms` names what has
    /// to be set aside.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn open(
        dir: &Path,
        runtime_dir: &Path,
        owner: Owner,
        wall_ms: i64,
    ) -> Result<(StateDir, Found), DirectoryError> {
        let locks = directory_locks::take(dir, runtime_dir)?;
        let mut found = Found::default();
        let mut unwritten = Vec::new();
        let mut generation = 0;
        // The run-time directory holds what a full disk kept out of the other.
        for place in [dir, runtime_dir] {
            let path = place.join(STATE);
            match read_document(&path, &owner) {
                Ok(None) => {}
                Ok(Some(stored)) => {
                    if stored.generation >= generation {
                        generation = stored.generation;
                        found.state = stored.state;
                        unwritten = stored.unwritten;
                    }
                }
                Err(fault) => {
                    found.careful = true;
                    found.remarks.push(set_aside(&path, &fault, wall_ms));
                    if let Fault::Foreign(_) = fault {
                        for name in ledgers(dir) {
                            let path = dir.join(name);
                            found.remarks.push(set_aside(&path, &fault, wall_ms));
                        }
                    }
                }
            }
        }
        if let Some(ledger) = ledgers(dir).next()
            && generation == 0
            && !found.careful
        {
            found.careful = true;
            found.remarks.push(format!(
                "{} is missing beside {ledger}: the cooldowns begin anew",
                dir.join(STATE).display(),
            ));
        }
        let ledger = Ledger::open(dir);
        let store = StateDir {
            dir: dir.to_owned(),
            runtime_dir: runtime_dir.to_owned(),
            owner,
            ledger,
            generation,
            unwritten,
            _locks: locks,
        };
        Ok((store, found))
    }

    /// The state of `owner` as it is on disk, for who only looks: nothing is locked, made or set
    /// aside. `None` where there is none, or it cannot be read.
    #[must_use]
    pub fn look(dir: &Path, runtime_dir: &Path, owner: &Owner) -> Option<State> {
        [dir, runtime_dir]
            .into_iter()
            .filter_map(|place| read_document(&place.join(STATE), owner).ok().flatten())
            .max_by_key(|stored| stored.generation)
            .map(|stored| stored.state)
    }

    fn write_to(&self, dir: &Path, state: &State) -> io::Result<()> {
        let document = Document {
            format: FORMAT,
            readable_by: READABLE_BY,
            generation: self.generation,
            server_id: &self.owner.server_id,
            machine_id: &self.owner.machine_id,
            state,
            unwritten: &self.unwritten,
        };
        let text = serde_json::to_vec_pretty(&document)?;
        replace(dir, STATE, &text)
    }

    fn flush_ledger(&mut self) -> io::Result<()> {
        for _ in 0..FLUSHED_AT_ONCE {
            let Some(record) = self.unwritten.first() else {
                break;
            };
            self.ledger.append(&rfc3339(record.asked.wall_ms), record)?;
            self.unwritten.remove(0);
        }
        Ok(())
    }
}

impl StateStore for StateDir {
    fn save(&mut self, state: &State) -> Result<Kept, String> {
        // Before the state, so that what it still lists as unwritten is.
        let _still_unwritten = self.flush_ledger();
        // Whatever number a file held.
        self.generation = self.generation.saturating_add(1);
        match self.write_to(&self.dir, state) {
            Ok(()) => {
                let _absent = fs::remove_file(self.runtime_dir.join(STATE));
                Ok(Kept::Durably)
            }
            Err(first) => {
                let why = format!(
                    "{} cannot be written: {first}",
                    self.dir.join(STATE).display()
                );
                self.write_to(&self.runtime_dir, state)
                    .map(|()| Kept::UntilReboot(why.clone()))
                    .map_err(|second| {
                        format!(
                            "{why}; {} neither: {second}",
                            self.runtime_dir.join(STATE).display()
                        )
                    })
            }
        }
    }

    fn append(&mut self, record: &Record) -> Result<(), String> {
        self.unwritten.push(record.clone());
        self.flush_ledger().map_err(|error| {
            let lost = self.unwritten.len().saturating_sub(UNWRITTEN);
            self.unwritten.drain(..lost);
            let oldest = match lost {
                0 => "",
                _ => ", in place of the oldest that waited for that",
            };
            format!(
                "{} cannot be written: {error}; the record is kept with the state and written later{oldest}",
                self.dir.join(super::ledger::NAME).display()
            )
        })
    }
}

/// The files of the ledger that are there.
fn ledgers(dir: &Path) -> impl Iterator<Item = &'static str> + '_ {
    [super::ledger::NAME, super::ledger::OLDER]
        .into_iter()
        .filter(|name| dir.join(name).exists())
}

/// Why a state file is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not what this program writes; how.
    Unreadable(String),
    /// It belongs to another server or machine; whose.
    Foreign(String),
    /// A newer version wrote it; its format.
    Newer(u32),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unreadable(why) => write!(f, "is not readable ({why})"),
            Fault::Foreign(whose) => write!(f, "belongs to {whose}: a cloned VM?"),
            Fault::Newer(format) => {
                write!(f, "was written by a newer version (format {format})")
            }
        }
    }
}

/// What a state file holds.
#[derive(Debug)]
pub struct Stored {
    /// How often the state was saved before.
    pub generation: u64,
    /// The state.
    pub state: State,
    /// Records that the ledger did not take yet.
    pub unwritten: Vec<Record>,
}

fn read_document(path: &Path, owner: &Owner) -> Result<Option<Stored>, Fault> {
    let mut open = OpenOptions::new();
    let file = match open.read(true).custom_flags(NO_LINK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut text = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut text)
        .map_err(|e| unreadable(&e))?;
    if text.len() as u64 > LARGEST {
        return Err(unreadable(&"far too large"));
    }
    parse(&text, owner).map(Some)
}

fn unreadable(error: &dyn std::fmt::Display) -> Fault {
    Fault::Unreadable(error.to_string())
}

/// Reads the text of a state file.
///
/// # Errors
/// See [`Fault`]. Nothing is taken from a file that is not wholly `owner`'s.
pub fn parse(text: &[u8], owner: &Owner) -> Result<Stored, Fault> {
    let header: Header = serde_json::from_slice(text).map_err(|e| unreadable(&e))?;
    if header.readable_by > FORMAT {
        return Err(Fault::Newer(header.format));
    }
    if header.server_id != owner.server_id {
        return Err(Fault::Foreign(format!("server {}", header.server_id)));
    }
    if header.machine_id != owner.machine_id {
        return Err(Fault::Foreign(format!("the machine {}", header.machine_id)));
    }
    let body: Body = serde_json::from_slice(text).map_err(|e| unreadable(&e))?;
    Ok(Stored {
        generation: header.generation,
        state: body.state,
        unwritten: body.unwritten,
    })
}

fn set_aside(path: &Path, fault: &Fault, wall_ms: i64) -> String {
    let kind = match fault {
        Fault::Unreadable(_) => "corrupt",
        Fault::Foreign(_) => "foreign",
        Fault::Newer(_) => "newer",
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{kind}-{}", wall_ms / 1000));
    let aside = PathBuf::from(aside);
    let end = match fs::rename(path, &aside) {
        Ok(()) => format!("set aside as {}", aside.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "not there".to_owned(),
        Err(error) => format!("left where it is ({error})"),
    };
    format!(
        "{} {fault}: {end}; the cooldowns begin anew",
        path.display()
    )
}

//! The two directories of the daemon, what befalls them, and the real store under observation.

use crate::judge::Judge;
use crate::kinds::Kind;
use crate::vm::World;
use glesys_autoscaler::adapters::state_dir::{Owner, StateDir};
use glesys_autoscaler::engine::record::Record;
use glesys_autoscaler::engine::state::State;
use glesys_autoscaler::ports::{Kept, StateStore};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::TempDir;

pub const SERVER: &str = "kvm123456";
const STATE: &str = "state.json";
const LEDGER: &str = "history.jsonl";
const SECOND_NAME: &str = "second-name-of-the-ledger";

pub struct Place {
    root: TempDir,
    text: String,
}

impl Place {
    /// In memory where there is such a place: nothing is to be kept.
    pub fn new() -> Place {
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() {
            TempDir::new_in(shm).or_else(|_| TempDir::new())
        } else {
            TempDir::new()
        };
        let root = root.unwrap();
        let place = Place {
            text: root.path().display().to_string(),
            root,
        };
        for dir in [place.state(), place.run()] {
            fs::create_dir_all(dir).unwrap();
        }
        place
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub fn run(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// The directories for this life: a clone has copies.
    pub fn dirs(&self, clone: bool) -> (PathBuf, PathBuf) {
        if !clone {
            return (self.state(), self.run());
        }
        let copy = self.root.path().join("clone");
        let _absent = fs::remove_dir_all(&copy);
        fs::create_dir_all(&copy).unwrap();
        for name in [STATE, LEDGER] {
            let _absent = fs::copy(self.state().join(name), copy.join(name));
        }
        (copy.clone(), copy.join("run"))
    }

    /// A text without the name of the directory, which differs from run to run.
    pub fn anonymous(&self, text: &str) -> String {
        text.replace(&self.text, "PLACE")
    }

    pub fn reboot(&self) {
        let blocked = self.run().join("state.json.new").is_dir();
        fs::remove_dir_all(self.run()).unwrap();
        fs::create_dir_all(self.run()).unwrap();
        if blocked {
            block(&self.run());
        }
    }

    /// From now on nothing can be written to the state directory, and with `both` to the
    /// run-time directory neither. Directories and links stand where the store would write: that
    /// fails for root too, and needs no file system of its own.
    pub fn obstruct(&self, both: bool) {
        block(&self.state());
        let (ledger, second) = (self.state().join(LEDGER), self.state().join(SECOND_NAME));
        if !ledger.exists() {
            fs::create_dir(&ledger).unwrap();
        } else if ledger.is_file() && !second.exists() {
            fs::hard_link(&ledger, second).unwrap();
        }
        if both {
            block(&self.run());
        }
    }

    pub fn clear(&self) {
        for dir in [self.state(), self.run()] {
            let _absent = fs::remove_dir(dir.join("state.json.new"));
        }
        let _absent = fs::remove_file(self.state().join(SECOND_NAME));
        let _absent = fs::remove_dir(self.state().join(LEDGER));
    }

    /// Damages the state file, if there is one, while nobody holds it.
    pub fn spoil(&self, kind: Kind, dose: f64) -> bool {
        let path = self.state().join(STATE);
        let Ok(text) = fs::read(&path) else {
            return false;
        };
        let result = match kind {
            Kind::StateTorn => fs::write(&path, &text[..(text.len() as f64 * dose) as usize]),
            Kind::StateGarbage => {
                let mut text = text;
                for byte in text.iter_mut().skip((dose * 100.0) as usize).step_by(7) {
                    *byte ^= 0x5a;
                }
                fs::write(&path, text)
            }
            Kind::StateGone => fs::remove_file(&path),
            Kind::StateForeign => {
                let text = String::from_utf8(text).unwrap();
                let id = crate::world::machine().machine_id;
                fs::write(&path, text.replace(&id, "00000000000000000000000000000000"))
            }
            other => panic!("{other:?} does not spoil"),
        };
        result.unwrap();
        // What the run-time directory has would be the newer.
        let _absent = fs::remove_file(self.run().join(STATE));
        true
    }

    pub fn ledger(&self) -> PathBuf {
        self.state().join(LEDGER)
    }
}

/// An empty directory where the new file would be made.
fn block(dir: &Path) {
    let new = dir.join("state.json.new");
    let _absent = fs::remove_file(&new);
    let _there = fs::create_dir(&new);
}

pub fn owner(world: &World) -> Owner {
    Owner {
        server_id: SERVER.to_owned(),
        machine_id: world.machine().machine_id,
    }
}

/// The real store. A daemon may be killed before, in and after each write.
pub struct Watched {
    pub inner: StateDir,
    pub world: Rc<World>,
    pub dir: PathBuf,
}

impl Watched {
    fn blocked(&self) -> bool {
        self.dir.join("state.json.new").is_dir()
    }
}

impl StateStore for Watched {
    fn save(&mut self, state: &State) -> Result<Kept, String> {
        let world = &self.world;
        world.port();
        let in_edit = state.intent.is_some();
        if in_edit && world.active(Kind::KillInSave).is_some() && !self.blocked() {
            // Once an episode, and not at each save.
            if world.roll() < 0.2 {
                world.hit(Kind::KillInSave);
                let part = &b"{\n  \"format\": 1,\n  \"readable_by\""[..];
                fs::write(self.dir.join("state.json.new"), part).unwrap();
                world.die("killed while the state file is written");
            }
        }
        let kept = self.inner.save(state);
        if let Ok(Kept::UntilReboot(_)) = &kept {
            world.hit(Kind::DiskFull);
        } else if kept.is_err() {
            world.hit(Kind::DiskNowhere);
        }
        Judge::saved(world, state, &kept);
        world.port();
        kept
    }

    fn append(&mut self, record: &Record) -> Result<(), String> {
        let world = &self.world;
        world.port();
        if world.active(Kind::KillInLedger).is_some() && !self.blocked() && world.roll() < 0.5 {
            world.hit(Kind::KillInLedger);
            let mut options = fs::OpenOptions::new();
            let file = options
                .append(true)
                .create(true)
                .open(self.dir.join(LEDGER));
            file.unwrap().write_all(b"{\"ts\":\"2026-0").unwrap();
            Judge::tore_ledger(world);
            world.die("killed in the middle of a ledger line");
        }
        let done = self.inner.append(record);
        Judge::appended(world, record, done.is_ok());
        if world.active(Kind::KillBetween).is_some() && world.roll() < 0.5 {
            world.hit(Kind::KillBetween);
            world.die("killed between ledger line and state file");
        }
        world.port();
        done
    }
}

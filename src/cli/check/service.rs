//! The steps on the daemon: its directory, itself, and what it has learned.

use super::super::{Exit, place};
use super::report::Report;
use crate::adapters::control::{self, Ask};
use crate::adapters::ledger;
use crate::adapters::machine::Facts;
use crate::adapters::state_dir::{Owner, StateDir};
use crate::config::{self, Config};
use crate::engine::policy::Mode;
use crate::engine::record::Direction;
use crate::engine::state::{Learned, TrialResult};
use crate::engine::{Status, span};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The user of the installed unit.
const USER: &str = "glesys-autoscaler";
/// Where the installed unit has systemd make the directory.
const MADE_BY_SYSTEMD: &str = "/var/lib/glesys-autoscaler";

pub fn steps(config: &Config, report: &mut Report) {
    state_dir(&place::state_dir(config), &User::of_daemon(), report);
    let status = match control::ask(&place::runtime_dir(config), &Ask::Status) {
        Ok(Some(status)) => {
            daemon(config, &status, report);
            Some(status)
        }
        Ok(None) => {
            report.skip(
                "daemon",
                "none is running: `systemctl enable --now glesys-autoscaler` starts it",
            );
            None
        }
        Err(why) => {
            report.warn("daemon", why);
            None
        }
    };
    learned(config, status.as_ref(), report);
}

/// Who has to be able to write.
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

impl User {
    /// Where root looks, it is for the unit's user; anybody else for themselves.
    fn of_daemon() -> User {
        let me = User {
            name: "this user".to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        if me.uid != 0 {
            return me;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        User::named(USER, &passwd).unwrap_or(me)
    }

    fn named(name: &str, passwd: &str) -> Option<User> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [user, _, uid, gid, ..] = fields.as_slice() else {
                return None;
            };
            Some(User {
                name: (*user == name).then(|| format!("the user {name}"))?,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
            })
        })
    }

    /// Whether the mode lets this user do what `bits` (as of others) say.
    fn may(&self, meta: &Metadata, bits: u32) -> bool {
        let shift = if meta.uid() == self.uid {
            6
        } else if meta.gid() == self.gid {
            3
        } else {
            0
        };
        self.uid == 0 || meta.mode() >> shift & bits == bits
    }
}

fn state_dir(dir: &Path, user: &User, report: &mut Report) {
    let shown = dir.display();
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return missing(dir, user, report);
        }
        Err(error) => return report.bad(Exit::Failed, "state", format_args!("{shown}: {error}")),
    };
    let chown = format!("`chown -R {} {shown}` as root", user.uid);
    let wrong = |what: &str| format!("{shown} {what}");
    if !meta.is_dir() {
        let text = wrong("is no directory: mend state_dir");
        report.bad(Exit::Configuration, "state", text);
    } else if !user.may(&meta, 0o3) {
        let text = format!("cannot be written by {}: {chown}", user.name);
        report.bad(Exit::Failed, "state", wrong(&text));
    } else if let Some(file) = foreign_file(dir, user) {
        let text = format!("holds {file}, which {} cannot write: {chown}", user.name);
        report.bad(Exit::Failed, "state", wrong(&text));
    } else {
        space(dir, user, report);
    }
}

fn missing(dir: &Path, user: &User, report: &mut Report) {
    let shown = dir.display();
    if dir == Path::new(MADE_BY_SYSTEMD) {
        return report.skip(
            "state",
            format_args!("{shown} is made by systemd at the first start"),
        );
    }
    let parent = dir.ancestors().skip(1).find(|parent| parent.exists());
    let parent = parent.unwrap_or(Path::new("/"));
    if fs::metadata(parent).is_ok_and(|meta| user.may(&meta, 0o3)) {
        report.good("state", format_args!("{shown} is made at the first start"));
    } else {
        report.bad(
            Exit::Failed,
            "state",
            format_args!(
                "{shown} is not there, and {} cannot make it: make it, and `chown {} {shown}`",
                user.name, user.uid
            ),
        );
    }
}

/// The ledger is appended to; every other file is replaced, which takes the directory alone.
fn foreign_file(dir: &Path, user: &User) -> Option<&'static str> {
    let meta = fs::metadata(dir.join(ledger::NAME)).ok()?;
    (!user.may(&meta, 0o6)).then_some(ledger::NAME)
}

fn space(dir: &Path, user: &User, report: &mut Report) {
    let shown = dir.display();
    match rustix::fs::statvfs(dir) {
        Ok(disk) if disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => report.bad(
            Exit::Failed,
            "state",
            format_args!("{shown} is on a file system that is read-only: mount it writable"),
        ),
        Ok(disk) if disk.f_bavail == 0 => report.bad(
            Exit::Failed,
            "state",
            format_args!(
                "{shown} is on a full disk: free some space, until then nothing is lowered"
            ),
        ),
        _ => report.good(
            "state",
            format_args!("{shown} can be written by {}", user.name),
        ),
    }
}

fn daemon(config: &Config, status: &Status, report: &mut Report) {
    let mut troubles = Vec::new();
    if let Some(trouble) = &status.api_trouble {
        troubles.push(format!("API: {trouble}"));
    }
    if status.cores_known && !status.identity_proven {
        troubles.push("it is not proven to it that the server id is this machine".to_owned());
    }
    if status.disk_full {
        troubles.push("it cannot write its state".to_owned());
    }
    if status.policy_hash != config::policy_hash(&config.policy) {
        troubles.push(
            "it runs by another policy than the file: `systemctl reload glesys-autoscaler`"
                .to_owned(),
        );
    }
    let line = status.line();
    if troubles.is_empty() {
        report.good("daemon", format_args!("running: {line}"));
    } else {
        report.warn(
            "daemon",
            format_args!("running: {line}\n{}", troubles.join("\n")),
        );
    }
    if status.paused {
        let left = status.pause_left_s.map_or(String::new(), |s| {
            format!(" for {} more", span(Duration::from_secs(s)))
        });
        report.warn(
            "paused",
            format_args!("changes are paused{left}: `glesys-autoscaler resume` lets them go on"),
        );
    }
}

/// What was learned of both directions, from the daemon or from the state that it left.
fn learned(config: &Config, status: Option<&Status>, report: &mut Report) {
    let known = status.map_or_else(|| left_behind(config), |status| Some(Known::of(status)));
    let known = known.unwrap_or_default();
    let apply = &config.policy.apply;
    direction(Direction::Raising, apply.raising, &known.raising, report);
    if apply.lowering == Mode::Ask && !known.proven {
        let last = known.last.map_or(String::new(), |last| {
            format!("; the last time: {}", last.text)
        });
        return report.skip(
            "lowering",
            format_args!(
                "not done before `glesys-autoscaler check --prove-lowering` has tried it once (apply.lowering = \"ask\"){last}"
            ),
        );
    }
    direction(Direction::Lowering, apply.lowering, &known.lowering, report);
}

#[derive(Default)]
struct Known {
    raising: Learned,
    lowering: Learned,
    proven: bool,
    last: Option<TrialResult>,
}

impl Known {
    fn of(status: &Status) -> Known {
        Known {
            raising: status.raising.clone(),
            lowering: status.lowering.clone(),
            proven: status.lowering_proven,
            last: status.last_trial.clone(),
        }
    }
}

fn left_behind(config: &Config) -> Option<Known> {
    let owner = Owner {
        server_id: config.api.server_id.clone(),
        machine_id: Facts::read(Path::new("/")).ok()?.machine_id,
    };
    let (state, runtime) = (place::state_dir(config), place::runtime_dir(config));
    let state = StateDir::look(&state, &runtime, &owner)?;
    Some(Known {
        raising: state.raising,
        lowering: state.lowering,
        proven: state.lowering_proven,
        last: state.last_trial,
    })
}

fn direction(direction: Direction, mode: Mode, learned: &Learned, report: &mut Report) {
    let name = direction.as_str();
    match (mode, &learned.off) {
        (Mode::Never, _) => report.skip(name, format_args!("apply.{name} = \"never\"")),
        (Mode::Always, _) | (_, None) => report.good(name, "on"),
        (_, Some(why)) => report.warn(
            name,
            format_args!("off: {why}; `glesys-autoscaler resume --{name}` forgets that"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_user_is_found_among_the_users() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nglesys-autoscaler:x:998:997::/:/usr/sbin/nologin\n";
        let user = User::named(USER, passwd).unwrap();
        assert_eq!((user.uid, user.gid), (998, 997));
        assert!(User::named("nobody", passwd).is_none());
    }

    #[test]
    fn the_mode_decides_by_owner_then_group_then_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let meta = |mode| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(dir.path()).unwrap()
        };
        let owner = meta(0o700);
        let (uid, gid) = (owner.uid(), owner.gid());
        let user = |uid, gid| User {
            name: String::new(),
            uid,
            gid,
        };
        let (mine, group, other) = (
            user(uid.max(1), gid),
            user(uid + 1000, gid),
            user(uid + 1000, gid + 1000),
        );
        for (mode, by_group, by_other) in [
            (0o700, false, false),
            (0o770, true, false),
            (0o703, false, true),
            (0o773, true, true),
        ] {
            let meta = meta(mode);
            assert_eq!(group.may(&meta, 0o3), by_group, "{mode:o}");
            assert_eq!(other.may(&meta, 0o3), by_other, "{mode:o}");
            // Root's own directory, looked at by root, is writable whatever its mode.
            assert!(user(0, 0).may(&meta, 0o3));
            if uid != 0 {
                assert!(mine.may(&meta, 0o3));
            }
        }
        meta(0o700);
    }

    #[test]
    fn a_directory_that_the_daemon_cannot_use_is_told_with_the_mend() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let stranger = User {
            name: "the user glesys-autoscaler".to_owned(),
            uid: 54_321,
            gid: 54_321,
        };
        let told = |path: &Path| {
            let mut report = Report::default();
            state_dir(path, &stranger, &mut report);
            (report.lines.concat(), report.exit())
        };
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(dir.path(), 0o755);
        let (text, exit) = told(dir.path());
        assert!(
            text.contains("cannot be written by the user glesys-autoscaler"),
            "{text}"
        );
        assert!(text.contains("`chown -R 54321 "), "{text}");
        assert_eq!(exit, Exit::Failed);
        let (text, exit) = told(&dir.path().join("missing"));
        assert!(text.contains("cannot make it"), "{text}");
        assert_eq!(exit, Exit::Failed);

        set(dir.path(), 0o777);
        assert_eq!(told(dir.path()).1, Exit::Done);
        let ledger = dir.path().join(ledger::NAME);
        fs::write(&ledger, "").unwrap();
        set(&ledger, 0o600);
        let (text, exit) = told(dir.path());
        assert!(text.contains("holds history.jsonl, which"), "{text}");
        assert_eq!(exit, Exit::Failed);
        let (text, exit) = told(&ledger);
        assert!(text.contains("is no directory"), "{text}");
        assert_eq!(exit, Exit::Configuration);
    }
}

//! `pause` and `resume`: told to the running daemon, or written for the next one.

use super::{Exit, complain, place, say};
use crate::adapters::clock::SystemClock;
use crate::adapters::control::{self, Ask};
use crate::adapters::machine::Facts;
use crate::adapters::state_dir::{Owner, StateDir};
use crate::config::{self, Config};
use crate::engine::record::Direction;
use crate::engine::span;
use crate::engine::state::{Confirmed, Pause, State};
use crate::ports::{Clock, StateStore};
use std::path::Path;
use std::time::Duration;

pub fn pause(config: Option<&Path>, length: Option<Duration>) -> Exit {
    let for_ms = length.map(|s| u64::try_from(s.as_millis()).unwrap_or(u64::MAX));
    let ask = Ask::Pause { for_ms };
    tell(config, &[ask], |running| {
        let until = length.map_or("until `glesys-autoscaler resume`".to_owned(), |s| {
            format!("for {}", span(s))
        });
        let when = if running {
            ""
        } else {
            ", from the next start of the daemon on"
        };
        say(format_args!("changes are paused {until}{when}"));
    })
}

pub fn resume(config: Option<&Path>, raising: bool, lowering: bool) -> Exit {
    let mut asks = Vec::new();
    if raising {
        asks.push(Ask::Forget {
            direction: Direction::Raising,
        });
    }
    if lowering {
        asks.push(Ask::Forget {
            direction: Direction::Lowering,
        });
    }
    if asks.is_empty() {
        asks.push(Ask::Resume);
    }
    tell(config, &asks, |running| {
        let when = if running {
            ""
        } else {
            ", from the next start of the daemon on"
        };
        match (raising, lowering) {
            (false, false) => say(format_args!("changes go on{when}")),
            (true, false) => say(format_args!(
                "what was learned of raising is forgotten{when}"
            )),
            (false, true) => say(format_args!(
                "what was learned of lowering is forgotten{when}"
            )),
            (true, true) => say(format_args!(
                "what was learned of both directions is forgotten{when}"
            )),
        }
    })
}

fn tell(config: Option<&Path>, asks: &[Ask], done: impl Fn(bool)) -> Exit {
    let outcome = match place::runtime_dir_of(config) {
        Ok(dir) => tell_daemon(&dir, asks),
        Err(error) => {
            complain(error);
            return Exit::Configuration;
        }
    };
    let running = match outcome {
        Ok(running) => running,
        Err(why) => {
            complain(why);
            return Exit::Failed;
        }
    };
    if !running {
        let config = match config::load(place::policy_file(config)) {
            Ok(config) => config,
            Err(error) => {
                complain(error);
                return Exit::Configuration;
            }
        };
        if let Err(why) = offline(&config, asks) {
            complain(why);
            return Exit::Failed;
        }
    }
    done(running);
    Exit::Done
}

/// Whether a daemon was there to be told.
fn tell_daemon(runtime_dir: &Path, asks: &[Ask]) -> Result<bool, String> {
    for ask in asks {
        if control::ask(runtime_dir, ask)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// No daemon runs: its state is changed in place, under its lock.
pub fn offline(config: &Config, asks: &[Ask]) -> Result<(), String> {
    let clock = SystemClock::new();
    let now = clock.now();
    let facts = Facts::read(Path::new("/")).map_err(|e| e.to_string())?;
    let owner = Owner {
        server_id: config.api.server_id.clone(),
        machine_id: facts.machine_id.clone(),
    };
    let (mut store, found) = StateDir::open(
        &place::state_dir(config),
        &place::runtime_dir(config),
        owner,
        now.wall_ms,
    )
    .map_err(|e| e.to_string())?;
    for remark in &found.remarks {
        complain(remark);
    }
    let mut state: State = found.state;
    if state.boot_id.is_empty() {
        state.boot_id.clone_from(&facts.boot_id);
    }
    if found.careful {
        // The next start must know that what was known is lost.
        state.last_change = Some(now);
    }
    for ask in asks {
        match ask {
            Ask::Pause { for_ms } => {
                state.pause = Some(Pause {
                    since: now,
                    span_ms: *for_ms,
                })
            }
            Ask::Resume => state.pause = None,
            Ask::Forget { direction } => {
                state.learned_mut(*direction).worked();
                // As the engine does it: a count that was refused is a thing learned too.
                if let Some(cores) = state.known_cores {
                    let forgotten = |count| Direction::of(cores, count) == *direction;
                    state.refused.retain(|refused| !forgotten(refused.cores));
                }
            }
            Ask::Confirm => {
                state.confirmed = Some(Confirmed {
                    machine_id: facts.machine_id.clone(),
                    macs: facts.macs.clone(),
                })
            }
            Ask::Status | Ask::Prove => {}
        }
    }
    store
        .save(&state)
        .map(|_| ())
        .map_err(|why| why + "; run this as root")
}

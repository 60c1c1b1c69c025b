//! The fuzz targets on the stable toolchain: every file of their corpora, and random changes of
//! each, all from one seed. `fuzz/run` goes further, where the nightly toolchain is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../fuzz/targets.rs"]
mod targets;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use targets::TARGETS;
use world::Dice;

/// Changed copies of each corpus file.
const MUTATIONS: u32 = 80;
/// A corpus is read by people and cloned by everybody.
const MOST_FILES: usize = 100;
const LONGEST_FILE: usize = 64 << 10;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            (path, data)
        })
        .collect();
    files.sort();
    files
}

/// Bytes and pieces of other files put in, taken out, swapped.
fn mutate(dice: &mut Dice, data: &[u8], other: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() as u32 + 1) as usize;
        let end = (at + dice.below(16) as usize).min(data.len());
        let piece: Vec<u8> = match dice.below(6) {
            0 => vec![dice.below(256) as u8],
            1 => Vec::new(),
            2 => data[at..end].repeat(2),
            3 => {
                let from = dice.below(other.len() as u32 + 1) as usize;
                let to = (from + dice.below(64) as usize).min(other.len());
                other[from..to].to_vec()
            }
            4 => {
                let odd: [&[u8]; 10] = [
                    b"\"",
                    b"{",
                    b"]",
                    b"\n",
                    b"\\u0000",
                    b"-1",
                    b"18446744073709551615",
                    b"1e308",
                    b"\xf0\x9f\x92\xa9",
                    b"\xff",
                ];
                odd[dice.below(10) as usize].to_vec()
            }
            _ => {
                data.truncate(at);
                continue;
            }
        };
        data.splice(at..end, piece);
    }
    data
}

#[test]
fn no_corpus_file_and_no_change_of_one_breaks_a_promise() {
    let mut dice = Dice(0x5eed);
    for (name, target) in TARGETS {
        let files = corpus(name);
        assert!(files.len() >= 4, "{name}: the corpus is gone");
        for (i, (path, data)) in files.iter().enumerate() {
            let other = &files[dice.below(files.len() as u32) as usize].1;
            for nth in 0..=MUTATIONS {
                let input = match nth {
                    0 => data.clone(),
                    _ => mutate(&mut dice, data, other),
                };
                if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                    panic!(
                        "{name}: file {i} ({}), change {nth}: {:?}",
                        path.display(),
                        String::from_utf8_lossy(&input)
                    );
                }
            }
        }
    }
}

#[test]
fn the_corpora_stay_small() {
    for (name, _) in TARGETS {
        let files = corpus(name);
        assert!(files.len() < MOST_FILES, "{name}: {} files", files.len());
        for (path, data) in files {
            assert!(data.len() <= LONGEST_FILE, "{}", path.display());
        }
    }
}

/// A target that never gets past the door of what it tests shows nothing.
#[test]
fn the_corpora_reach_what_they_are_for() {
    use glesys_autoscaler::adapters::state_dir::{self, Owner};
    let owner = Owner {
        server_id: "kvm123456".to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
    };
    let count = |name: &str, accepted: &dyn Fn(&[u8]) -> bool| {
        let files = corpus(name);
        let good = files.iter().filter(|(_, data)| accepted(data)).count();
        assert!(
            good >= 2 && good < files.len(),
            "{name}: {good} accepted of {}",
            files.len()
        );
    };
    count("policy_file", &|data| {
        let text = String::from_utf8_lossy(data);
        glesys_autoscaler::config::parse(&text, "policy.toml").is_ok()
    });
    count("api_response", &|data| {
        let answer = glesys_autoscaler::adapters::glesys::envelope::Envelope::read(data);
        answer.is_some_and(|answer| answer.server().is_ok())
    });
    count("state_file", &|data| state_dir::parse(data, &owner).is_ok());
    count("ledger", &|data| {
        let history = glesys_autoscaler::adapters::ledger::read_from(data).unwrap();
        !history.lines.is_empty()
    });
    count("control_socket", &|data| {
        glesys_autoscaler::adapters::control::Ask::read(data).is_ok()
    });
    count("proc_files", &|data| {
        let text = String::from_utf8_lossy(data);
        let (first, _) = text.split_once("\n---\n").unwrap_or((&text, ""));
        glesys_autoscaler::adapters::proc_reader::Stat::parse(first).is_ok()
    });
}

//! The documents that people read say what the program does: its events and reasons, its commands,
//! and files that are there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use glesys_autoscaler::cli;
use glesys_autoscaler::engine::event::EventKind;
use glesys_autoscaler::engine::record::{Outcome, Reason};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 8] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/glesys-api.md",
    "docs/reliability.md",
    "docs/security.md",
    "docs/troubleshooting.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect(document)
}

/// Every value of a closed list. `serde` names them all where it is given another, so that none
/// can be left out here.
fn every<T: DeserializeOwned + Debug>() -> Vec<T> {
    let error = serde_json::from_str::<T>("\"no such name\"").unwrap_err();
    error
        .to_string()
        .split('`')
        .skip(3)
        .step_by(2)
        .map(|name| serde_json::from_str(&format!("\"{name}\"")).unwrap())
        .collect()
}

/// The text of a section, up to the next heading of the same depth.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).expect(heading);
    let depth = heading.split(' ').next().unwrap();
    rest.split(&format!("\n{depth} ")).next().unwrap()
}

/// What stands between backticks in the first cell of each row of a section's tables.
fn explained<'a>(text: &'a str, heading: &str) -> BTreeSet<&'a str> {
    section(text, heading)
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once("` |"))
        .map(|(name, _)| name)
        // The head of a column.
        .filter(|name| !matches!(*name, "EVENT" | "REASON"))
        .collect()
}

#[test]
fn every_event_reason_and_result_is_explained_and_no_other() {
    let text = read("docs/troubleshooting.md");
    let events: Vec<EventKind> = every();
    let reasons: Vec<Reason> = every();
    let results: Vec<Outcome> = every();
    assert!(events.len() >= 16 && reasons.len() >= 22 && results.len() >= 6);

    let events: BTreeSet<_> = events.into_iter().map(|event| event.names().0).collect();
    assert_eq!(explained(&text, "## Events"), events);
    let reasons: BTreeSet<_> = reasons.into_iter().map(Reason::as_str).collect();
    assert_eq!(explained(&text, "## Reasons"), reasons);
    let results: BTreeSet<_> = results.into_iter().map(Outcome::as_str).collect();
    assert_eq!(explained(&text, "## How a change ended"), results);
}

/// The command lines of a document: in blocks of code, and between backticks, where the name of the
/// program may be left out.
fn command_lines(text: &str) -> Vec<String> {
    let grammar = cli::grammar();
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_block = !in_block;
        }
        let quoted: Vec<&str> = if in_block {
            vec![line]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for code in quoted {
            let code = code.trim_start_matches("$ ").trim_start_matches("sudo ");
            let code = code.split(" #").next().unwrap().trim_end();
            let (first, rest) = code.split_once(' ').unwrap_or((code, ""));
            let arguments = match first {
                // The bare name is that of the unit, the user, the group; with a version, the line
                // that a run begins with.
                "glesys-autoscaler" if rest.is_empty() => continue,
                "glesys-autoscaler" if rest.starts_with(env!("CARGO_PKG_VERSION")) => continue,
                "glesys-autoscaler" => rest,
                "cargo" => match rest.split_once(" -- run ") {
                    Some(_) => rest.split_once(" -- ").unwrap().1,
                    None => continue,
                },
                word if !in_block && grammar.find_subcommand(word).is_some() => code,
                _ => continue,
            };
            found.push(format!("glesys-autoscaler {arguments}"));
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_is_one() {
    let mut seen = 0;
    for document in DOCUMENTS {
        for line in command_lines(&read(document)) {
            if let Err(error) = cli::grammar().try_get_matches_from(line.split_whitespace()) {
                panic!("{document}: {line}\n{error}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 40, "only {seen} command lines were found");
}

#[test]
fn the_readme_lists_every_command_and_every_flag() {
    let text = read("README.md");
    let table = section(&text, "## Commands");
    let grammar = cli::grammar();
    for command in grammar.get_subcommands() {
        let name = command.get_name();
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("no row for {name}"));
        for flag in command.get_arguments().filter_map(|a| a.get_long()) {
            assert!(row.contains(&format!("--{flag}")), "{name} --{flag}");
        }
    }
    for flag in grammar.get_arguments().filter_map(|a| a.get_long()) {
        assert!(table.contains(&format!("--{flag}")), "--{flag}");
    }
}

/// The targets of a document's links, less those into the network.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// As the sites that render Markdown make it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    for document in DOCUMENTS {
        let here = root().join(document);
        let folder = here.parent().unwrap();
        let text = read(document);
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target: PathBuf = match file {
                "" => here.clone(),
                file => folder.join(file),
            };
            assert!(target.exists(), "{document}: {link}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.map(anchor).any(|anchor| anchor == heading),
                    "{document}: {link}"
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 12, "only {seen} links were found");
}

/// Paths of the project that stand between backticks, as `src/engine` or `config/policy.toml`.
#[test]
fn every_file_that_is_named_is_there() {
    let folders = [
        "src/",
        "tests/",
        "docs/",
        "fuzz/",
        "config/",
        "packaging/",
        "systemd/",
    ];
    for document in DOCUMENTS {
        let text = read(document);
        let quoted = text.lines().flat_map(|l| l.split('`').skip(1).step_by(2));
        for name in quoted.filter(|name| folders.iter().any(|f| name.starts_with(f))) {
            let path = name.split_whitespace().next().unwrap();
            assert!(root().join(path).exists(), "{document}: {path}");
        }
    }
}

/// A scenario that nobody can read of is one that nobody trusts.
#[test]
fn every_scenario_of_the_guest_is_told_of_and_no_other() {
    let text = read("docs/reliability.md");
    let told = explained(&text, "## Faults in a real guest");
    let mut there = BTreeSet::new();
    for file in fs::read_dir(root().join("tests/guest/scenarios")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let tests = text.split("#[test]").skip(1);
        let name = |test: &str| Some(test.split_once("fn ")?.1.split_once('(')?.0.to_owned());
        there.extend(tests.filter_map(name));
    }
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert!(there.len() > 40, "{there:?}");
    assert_eq!(told, there);
}

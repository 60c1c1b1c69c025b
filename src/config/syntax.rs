//! Is it TOML? All lines that are not are told at once, without guessing.
//!
//! A parser that goes on after a fault tends to invent more: after an array that is never closed
//! every line is wrong. So a faulty line is only passed over when it is wrong all by itself and
//! opens nothing; then it is blanked and the text parsed again. Any other fault puts everything
//! after it in doubt.

use super::diagnostic::{Finding, Findings};
use super::secrets;
use super::slot::shortened;
use std::borrow::Cow;
use std::ops::Range;
use toml::de::{DeTable, Error};

/// Lines that are passed over at most.
const MOST_LINES: usize = 20;

/// The text of a policy file, with the lines blanked that are no TOML. Byte positions are those of
/// the original.
pub(super) fn mend<'a>(text: &'a str, findings: &mut Findings) -> Cow<'a, str> {
    let mut mended = Cow::Borrowed(text);
    for _ in 0..MOST_LINES {
        let (duplicates, faults): (Vec<_>, Vec<_>) = faults(&mended)
            .into_iter()
            .partition(|(_, error)| is_duplicate(error));
        let Some((at, error)) = faults.first() else {
            for (at, error) in duplicates {
                findings.push(finding(&mended, at, &error));
            }
            return mended;
        };
        let line = line_around(&mended, at.start);
        let alone = stands_alone(&mended[line.clone()]);
        findings.push(finding(&mended, at.clone(), error));
        if !alone {
            findings.unread_from(at.start);
            for (at, error) in duplicates {
                findings.push(finding(&mended, at, &error));
            }
            return mended;
        }
        findings.line_unread();
        mended
            .to_mut()
            .replace_range(line.clone(), &" ".repeat(line.len()));
    }
    findings.unread_from(0);
    mended
}

fn faults(text: &str) -> Vec<(Range<usize>, Error)> {
    let (_, errors) = DeTable::parse_recoverable(text);
    let mut placed: Vec<_> = errors
        .into_iter()
        .map(|error| (error.span().unwrap_or_default(), error))
        .collect();
    placed.sort_by_key(|(at, _)| at.start);
    placed
}

/// The parser has no kinds of errors; a fixture notices if it changes the word.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
    start..end
}

/// Whether `line` is wrong whatever stands around it, and what follows reads the same without it.
fn stands_alone(line: &str) -> bool {
    let count = |wanted: char| line.chars().filter(|c| *c == wanted).count();
    let opens_nothing = !line.trim_start().starts_with('[')
        && count('[') == count(']')
        && count('{') == count('}')
        && !line.contains("\"\"\"")
        && !line.contains("'''");
    opens_nothing && faults(line).iter().any(|(_, error)| !is_duplicate(error))
}

fn finding(text: &str, at: Range<usize>, error: &Error) -> Finding {
    if is_duplicate(error) {
        return Finding {
            key: text.get(at.clone()).map(shortened),
            spans: vec![at],
            problem: "given twice".to_owned(),
            help: vec![
                "a key or table may stand in the file once: remove one of the two".to_owned(),
            ],
            ..Finding::default()
        };
    }
    let mut problem = format!("not TOML: {}", error.message());
    let mut help = Vec::new();
    if error.message().contains("must be quoted") {
        if at.is_empty() {
            problem = "not TOML: no value".to_owned();
        } else {
            help.push("words and durations stand in quotes: \"learn\", \"5m\"".to_owned());
        }
    }
    let line = &text[line_around(text, at.start)];
    if secrets::masked(line) != line {
        help.push("a key does not belong here, but in the file that api.key_file names".to_owned());
    }
    Finding {
        spans: vec![at],
        problem,
        help,
        ..Finding::default()
    }
}

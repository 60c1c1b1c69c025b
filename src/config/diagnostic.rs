//! What is wrong with a policy file, as a person reads it: `file:line:column: key: problem`, the
//! cited line with a caret, what is allowed, and what mends it.

use super::secrets;
use std::fmt;
use std::ops::Range;

/// More faults than this are counted, not shown: such a file is no policy file.
const MOST_SHOWN: usize = 100;
/// Longest part of a line that is cited, in characters.
const WIDEST: usize = 100;

/// One fault of a policy file. Holds nothing that must not be shown: keys and passwords are
/// replaced by `…` when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What the file was called.
    pub file: String,
    /// Where it is wrong: first the fault, then what it conflicts with. Empty for something that
    /// is missing altogether.
    pub places: Vec<Place>,
    /// The key, as `policy.up.window`. `None` where the text is no TOML.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What was found in place of something allowed.
    pub found: Option<String>,
    /// What is allowed.
    pub allowed: Option<String>,
    /// What to do, and where a key was mistyped, the nearest right one.
    pub help: Vec<String>,
}

/// A place in the file, with the line as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The cited line, or the part of it around the place.
    text: String,
    /// Characters of `text` before the caret, and below it.
    caret: Range<usize>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(place) = self.places.first() {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}", self.problem)?;
        if let Some(found) = &self.found {
            write!(f, ", found {found}")?;
        }
        let last_line = self
            .places
            .iter()
            .map(|place| place.line)
            .max()
            .unwrap_or(0);
        let gutter = last_line.to_string().len();
        if !self.places.is_empty() {
            write!(f, "\n{:gutter$} |", "")?;
        }
        let mut places: Vec<_> = self.places.iter().enumerate().collect();
        places.sort_by_key(|(_, place)| place.line);
        for (i, place) in places {
            // The caret is aligned by the characters above it, tabs by tabs.
            let before: String = place
                .text
                .chars()
                .chain(std::iter::repeat(' '))
                .take(place.caret.start)
                .map(|c| if c == '\t' { c } else { ' ' })
                .collect();
            let mark = if i == 0 { "^" } else { "-" }.repeat(place.caret.len().max(1));
            write!(f, "\n{:gutter$} | {}", place.line, place.text)?;
            write!(f, "\n{:gutter$} | {before}{mark}", "")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n{:gutter$} = allowed: {allowed}", "")?;
        }
        for help in &self.help {
            write!(f, "\n{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// A fault before its places are looked up and what must not be shown is taken out.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Byte ranges: first the fault, then what it conflicts with.
    pub spans: Vec<Range<usize>>,
    pub key: Option<String>,
    pub problem: String,
    pub found: Option<String>,
    pub allowed: Option<String>,
    pub help: Vec<String>,
    /// It is the absence of something that is wrong.
    pub absence: bool,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    /// Where the text is no TOML any more: what follows cannot be judged.
    doubtful_from: Option<usize>,
    /// A line is no TOML, so what seems missing may stand there.
    incomplete: bool,
    untold: usize,
}

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether no more faults will be shown, so that it is not worth finding out their mend.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST_SHOWN
    }

    /// Adds a fault, unless the place or the absence it reports is in doubt.
    pub(super) fn push(&mut self, finding: Finding) {
        let beyond = |from| finding.spans.first().is_some_and(|span| span.end > from);
        let doubtful =
            self.doubtful_from.is_some_and(beyond) || (self.incomplete && finding.absence);
        if doubtful {
            return;
        }
        if self.is_full() {
            self.untold += 1;
        } else {
            self.found.push(finding);
        }
    }

    /// A line is no TOML; what else the file says can still be judged, but not what it lacks.
    pub(super) fn line_unread(&mut self) {
        self.incomplete = true;
    }

    /// From byte `from` on, nothing can be judged.
    pub(super) fn unread_from(&mut self, from: usize) {
        self.incomplete = true;
        self.doubtful_from = Some(from);
    }

    /// The faults by place, with those that have none at the end. `secrets`: what must not be
    /// shown, beside what the bare text tells.
    pub(super) fn into_diagnostics(
        mut self,
        file: &str,
        text: &str,
        secrets: Vec<Range<usize>>,
    ) -> Vec<Diagnostic> {
        let source = Source::new(text, secrets);
        let place = |f: &Finding| f.spans.first().map_or(usize::MAX, |span| span.start);
        self.found.sort_by_key(place);
        let mut diagnostics: Vec<_> = self
            .found
            .into_iter()
            .map(|finding| Diagnostic {
                file: file.to_owned(),
                places: finding
                    .spans
                    .into_iter()
                    .map(|span| source.place(span))
                    .collect(),
                key: finding.key,
                problem: finding.problem,
                found: finding.found,
                allowed: finding.allowed,
                help: finding.help,
            })
            .collect();
        if self.untold > 0 {
            diagnostics.push(Diagnostic {
                file: file.to_owned(),
                places: Vec::new(),
                key: None,
                problem: format!("{} more faults are not shown", self.untold),
                found: None,
                allowed: None,
                help: Vec::new(),
            });
        }
        diagnostics
    }
}

/// The text of a policy file, to be cited.
struct Source<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    hidden: Vec<Range<usize>>,
}

impl Source<'_> {
    fn new(text: &str, secrets: Vec<Range<usize>>) -> Source<'_> {
        let mut hidden = secrets::hidden(text);
        hidden.extend(secrets);
        Source {
            text,
            lines: std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
            hidden: secrets::merged(hidden),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let start = span.start.min(self.text.len());
        let line = self.lines.partition_point(|begin| *begin <= start);
        // The first line begins at 0, so at least one line begins at or before any place.
        let begin = self.lines[line - 1];
        let whole = self.text[begin..].lines().next().unwrap_or_default();
        let column = whole
            .char_indices()
            .take_while(|(at, _)| begin + at < start)
            .count();

        let mut shown: Vec<char> = Vec::new();
        let mut caret = None;
        let mut caret_end = 0;
        let first_hidden = self.hidden.partition_point(|r| r.end <= begin);
        let mut hidden = self.hidden[first_hidden..].iter().peekable();
        let mut masking = false;
        for (at, c) in whole.char_indices() {
            let at = begin + at;
            while hidden.next_if(|r| r.end <= at).is_some() {
                masking = false;
            }
            let secret = hidden.peek().is_some_and(|r| r.start <= at);
            if !(secret && masking) {
                shown.push(if secret { '…' } else { printable(c) });
            }
            masking = secret;
            if at >= start && caret.is_none() {
                caret = Some(shown.len() - 1);
            }
            if at < span.end {
                caret_end = shown.len();
            }
        }
        let caret = caret.unwrap_or(shown.len());
        let (text, caret) = trimmed(&shown, caret..caret_end.max(caret));
        Place {
            line,
            column: column + 1,
            text,
            caret,
        }
    }
}

/// Keeps what would move the cursor or reorder the line from the terminal.
fn printable(c: char) -> char {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if (c.is_control() && c != '\t') || reorders {
        '\u{fffd}'
    } else {
        c
    }
}

/// The part of a long line around the caret.
fn trimmed(line: &[char], caret: Range<usize>) -> (String, Range<usize>) {
    if line.len() <= WIDEST {
        return (line.iter().collect(), caret);
    }
    let from = caret
        .start
        .saturating_sub(WIDEST / 2)
        .min(line.len() - WIDEST);
    let to = from + WIDEST;
    let mut text: String = line[from..to].iter().collect();
    let mut shift = 0;
    if from > 0 {
        text.insert(0, '…');
        shift = 1;
    }
    if to < line.len() {
        text.push('…');
    }
    let moved = |at: usize| at.min(to) - from + shift;
    (text, moved(caret.start)..moved(caret.end))
}

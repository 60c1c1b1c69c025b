//! The document as written: which keys stand there, and whether each is right by itself.

use super::Config;
use super::diagnostic::{Finding, Findings};
use super::keys::{KEYS, Key, LATER, Later};
use super::secrets;
use super::slot::{Fault, Written, quoted_for_people, shortened};
use super::suggest;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// What the file says, defaults included. Only good when nothing was found wrong.
pub(super) struct Draft {
    pub config: Config,
    /// Where the value of each key stands that the file gives.
    pub written: BTreeMap<&'static str, Range<usize>>,
    /// Values that must not be cited.
    pub secrets: Vec<Range<usize>>,
}

/// Reads `text`, which is TOML (or has been told not to be).
pub(super) fn read(text: &str, findings: &mut Findings) -> Draft {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut reader = Reader {
        draft: Draft {
            config: Config::blank(),
            written: BTreeMap::new(),
            secrets: Vec::new(),
        },
        tables: BTreeMap::new(),
        meant: BTreeSet::new(),
        findings,
    };
    hide_secrets(document.get_ref(), &mut reader.draft.secrets);
    reader.table(document.get_ref(), "");
    reader.fill_in();
    reader.draft
}

/// Notes the values of all keys that are named like a secret, at any depth.
fn hide_secrets(table: &DeTable<'_>, secrets: &mut Vec<Range<usize>>) {
    for (name, value) in table {
        if secrets::is_secret_name(name.get_ref()) {
            hide_values(value, secrets);
        } else {
            hide_below(value, secrets);
        }
    }
}

fn hide_below(value: &Written<'_>, secrets: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => hide_secrets(table, secrets),
        DeValue::Array(items) => items.iter().for_each(|item| hide_below(item, secrets)),
        _ => {}
    }
}

fn hide_values(value: &Written<'_>, secrets: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Table(table) => table.values().for_each(|value| hide_values(value, secrets)),
        DeValue::Array(items) => items.iter().for_each(|item| hide_values(item, secrets)),
        _ => secrets.push(value.span()),
    }
}

/// What a name in the file stands for.
enum Meaning {
    Key(&'static Key),
    Table,
    Later(&'static Later),
    Unknown,
}

fn meaning(path: &str) -> Meaning {
    let within = |key: &Key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    if let Some(key) = Key::named(path) {
        Meaning::Key(key)
    } else if let Some(later) = LATER.iter().find(|later| later.path == path) {
        Meaning::Later(later)
    } else if KEYS.iter().any(within) {
        Meaning::Table
    } else {
        Meaning::Unknown
    }
}

fn join(table: &str, name: &str) -> String {
    if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    }
}

/// A key or table of the table of keys, as a person refers to it.
fn full_name(path: &str) -> String {
    match Key::named(path) {
        Some(_) => format!("`{path}`"),
        None => format!("[{path}]"),
    }
}

/// Whether `name` would hold a secret, and is no typo of the one key that tells where it is.
fn is_secret(table: &str, name: &str) -> bool {
    secrets::is_secret_name(name) && suggest::mistyped(table, name) != Some("key_file")
}

struct Reader<'f> {
    draft: Draft,
    /// Where each table of the file begins.
    tables: BTreeMap<String, Range<usize>>,
    /// Keys that the file seems to mean, though it gives them wrongly: not to be called missing.
    meant: BTreeSet<&'static str>,
    findings: &'f mut Findings,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &str) {
        for (name, value) in table {
            self.entry(path, name.get_ref(), name.span(), value, table);
        }
    }

    fn entry(
        &mut self,
        table: &str,
        name: &str,
        at: Range<usize>,
        value: &Written<'_>,
        siblings: &DeTable<'_>,
    ) {
        let path = join(table, name);
        match meaning(&path) {
            Meaning::Key(key) => self.key(key, value),
            Meaning::Table => self.sub_table(&path, value),
            Meaning::Later(later) => self.findings.push(Finding {
                spans: vec![at],
                key: Some(path),
                problem: "not supported yet".to_owned(),
                help: vec![later.today.to_owned()],
                ..Finding::default()
            }),
            Meaning::Unknown if is_secret(table, name) => self.findings.push(Finding {
                spans: vec![at],
                key: Some(shortened(&path)),
                problem: "a key or password must not stand in the policy file".to_owned(),
                help: vec![
                    "policy files get copied, committed and read by others: put the key alone into the file that api.key_file names, and make it private (chmod 600)".to_owned(),
                    "if others could read this file, make a new key in the control panel".to_owned(),
                ],
                ..Finding::default()
            }),
            Meaning::Unknown => self.unknown(table, name, at, value, siblings),
        }
    }

    fn key(&mut self, key: &'static Key, value: &Written<'_>) {
        self.draft.written.insert(key.path, value.span());
        if let (Some((word, today)), Some(found)) = (key.later, value.get_ref().as_str())
            && found == word
        {
            self.findings.push(Finding {
                spans: vec![value.span()],
                key: Some(key.path.to_owned()),
                problem: "not supported yet".to_owned(),
                found: Some(quoted_for_people(found)),
                help: vec![today.to_owned()],
                ..Finding::default()
            });
            return;
        }
        if let Err(faults) = key.slot.read(value, &mut self.draft.config) {
            for fault in faults {
                if fault.secret {
                    self.draft.secrets.push(fault.span.clone());
                }
                self.findings.push(Finding {
                    spans: vec![fault.span],
                    key: Some(key.path.to_owned()),
                    problem: fault.problem.to_owned(),
                    found: fault.found,
                    allowed: Some(key.allowed()),
                    help: fault.help.into_iter().collect(),
                    ..Finding::default()
                });
            }
        }
    }

    fn sub_table(&mut self, path: &str, value: &Written<'_>) {
        self.tables.insert(path.to_owned(), value.span());
        if let Some(table) = value.get_ref().as_table() {
            self.table(table, path);
            return;
        }
        self.meant.extend(
            KEYS.iter()
                .map(|key| key.path)
                .filter(|key| key.starts_with(path)),
        );
        let fault = Fault::wrong_type(value);
        self.findings.push(Finding {
            spans: vec![fault.span],
            key: Some(path.to_owned()),
            problem: fault.problem.to_owned(),
            found: fault.found,
            allowed: Some(format!("a table: [{path}] once, its keys below it")),
            ..Finding::default()
        });
    }

    fn unknown(
        &mut self,
        table: &str,
        name: &str,
        at: Range<usize>,
        value: &Written<'_>,
        siblings: &DeTable<'_>,
    ) {
        let (mut others, mut nearest) = (Vec::new(), None);
        if !self.findings.is_full() {
            others = suggest::elsewhere(name);
            nearest = suggest::nearest(table, name).filter(|_| others.is_empty());
        }
        let meant: Vec<_> = match nearest {
            Some(near) if value.get_ref().is_table() => vec![full_name(&join(table, near))],
            Some(near) => vec![format!("`{near}`")],
            None => others.iter().map(|path| full_name(path)).collect(),
        };
        let help = (!meant.is_empty()).then(|| format!("did you mean {}?", meant.join(" or ")));
        self.findings.push(Finding {
            spans: vec![at.clone()],
            key: Some(shortened(&join(table, name))),
            problem: match value.get_ref() {
                DeValue::Table(_) => "unknown table".to_owned(),
                _ => "unknown key".to_owned(),
            },
            help: help.into_iter().collect(),
            ..Finding::default()
        });
        if meant.is_empty() && value.get_ref().is_str() {
            // Under a name that means nothing anything may stand, a key too.
            self.draft.secrets.push(value.span());
        }
        for path in others {
            self.meant.extend(
                KEYS.iter()
                    .map(|key| key.path)
                    .filter(|key| key.starts_with(path)),
            );
        }
        // A typo may not hide what else is wrong: read on as if the name were right.
        if let Some(near) = nearest.filter(|near| !siblings.contains_key(*near)) {
            self.entry(table, near, at, value, siblings);
        }
    }

    /// Gives every key that the file leaves out its default, or tells that it has none.
    fn fill_in(&mut self) {
        for key in KEYS {
            if self.draft.written.contains_key(key.path) || self.meant.contains(key.path) {
                continue;
            }
            if key.required {
                self.missing(key);
            } else if !self.set_default(key) {
                // Never run on a blank field; a test reads every default of the table.
                self.findings.push(Finding {
                    key: Some(key.path.to_owned()),
                    problem: format!(
                        "its default {} is refused, a fault of this program",
                        key.value
                    ),
                    ..Finding::default()
                });
            }
        }
    }

    fn set_default(&mut self, key: &Key) -> bool {
        DeValue::parse(key.value)
            .is_ok_and(|default| key.slot.read(&default, &mut self.draft.config).is_ok())
    }

    fn missing(&mut self, key: &Key) {
        let (table, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        let header = self.tables.get(table).cloned();
        let place = match header {
            Some(_) => "add".to_owned(),
            None => format!("add below [{table}]"),
        };
        self.findings.push(Finding {
            spans: header.into_iter().collect(),
            key: Some(key.path.to_owned()),
            problem: "required, but missing".to_owned(),
            allowed: Some(key.allowed()),
            help: vec![format!("{place}, for example: {name} = {}", key.value)],
            absence: true,
            ..Finding::default()
        });
    }
}

//! The kinds of values that a key can take: each knows how it is read, what it allows, and how it
//! is written back.

mod names;
mod numbers;
mod words;

pub(super) use names::{ApiUrl, FilePath, MaybePath, Name};
pub(super) use numbers::{Count, Counts, Lasting, factor, lasting, percent};
pub(super) use words::{Flag, Only, Words};

use super::slot::{Fault, Written, shown};
use toml::de::DeValue;

fn string<'a>(written: &'a Written<'_>) -> Result<&'a str, Vec<Fault>> {
    let found = written.get_ref();
    found.as_str().ok_or_else(|| {
        let fault = Fault::wrong_type(written);
        vec![match found {
            DeValue::Array(_) | DeValue::Table(_) => fault,
            value => fault.help(format!("write it in quotes: \"{}\"", shown(value))),
        }]
    })
}

/// TOML's basic string.
fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

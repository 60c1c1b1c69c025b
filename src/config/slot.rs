//! Where a kind of value and a field of the configuration meet: how a value is read from TOML into
//! its field, and written back.

use super::Config;
use super::secrets;
use std::ops::Range;
use toml::Spanned;
use toml::de::DeValue;

/// A value as it stands in the file.
pub(super) type Written<'i> = Spanned<DeValue<'i>>;

/// What is wrong with one value.
pub(super) struct Fault {
    pub span: Range<usize>,
    pub problem: &'static str,
    /// `None` where it must not be told.
    pub found: Option<String>,
    pub help: Option<String>,
    /// The value may be a key or hold a password: it must not be cited either.
    pub secret: bool,
}

impl Fault {
    pub(super) fn new(at: &Written<'_>, problem: &'static str) -> Fault {
        Fault {
            span: at.span(),
            problem,
            found: Some(shown(at.get_ref())),
            help: None,
            secret: false,
        }
    }

    pub(super) fn wrong_type(at: &Written<'_>) -> Fault {
        let found = match at.get_ref() {
            value @ (DeValue::Array(_) | DeValue::Table(_)) => shown(value),
            value => format!("{} ({})", shown(value), value.type_str()),
        };
        Fault {
            found: Some(found),
            ..Fault::new(at, "wrong type")
        }
    }

    pub(super) fn out_of_range(at: &Written<'_>) -> Fault {
        Fault::new(at, "out of range")
    }

    pub(super) fn help(self, help: impl Into<String>) -> Fault {
        Fault {
            help: Some(help.into()),
            ..self
        }
    }

    pub(super) fn secret(self) -> Fault {
        Fault {
            secret: true,
            found: None,
            ..self
        }
    }
}

/// A value as a message shows it: on one line, not too long, nothing secret.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted_for_people(text),
        DeValue::Integer(number) => shortened(&number.to_string()),
        DeValue::Float(number) => shortened(number.as_str()),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text from the file as a message may show it, in quotes.
pub(super) fn quoted_for_people(text: &str) -> String {
    format!("\"{}\"", shortened(&text.escape_debug().to_string()))
}

/// Text from the file as a message may show it.
pub(super) fn shortened(text: &str) -> String {
    let masked = secrets::masked(text);
    match masked.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &masked[..end]),
        None => masked,
    }
}

/// A kind of value.
pub(super) trait Kind: Sync {
    /// What it means to the program.
    type Value: Clone;
    /// Reads a value as written.
    fn read(&self, written: &Written<'_>) -> Result<Self::Value, Vec<Fault>>;
    /// Writes a value as TOML, so that `read` gives the same again.
    fn write(&self, value: &Self::Value) -> String;
    /// What may be written, for a message.
    fn allowed(&self) -> String;
}

/// The place of a key in the configuration, whatever its kind.
pub(super) trait Slot: Sync {
    fn read(&self, written: &Written<'_>, into: &mut Config) -> Result<(), Vec<Fault>>;
    fn write(&self, from: &Config) -> String;
    fn allowed(&self) -> String;
}

/// A kind of value, and the field of the configuration that holds it.
pub(super) struct Field<K: Kind> {
    pub kind: K,
    pub get: fn(&Config) -> &K::Value,
    pub set: fn(&mut Config, K::Value),
}

impl<K: Kind> Slot for Field<K> {
    fn read(&self, written: &Written<'_>, into: &mut Config) -> Result<(), Vec<Fault>> {
        (self.set)(into, self.kind.read(written)?);
        Ok(())
    }

    fn write(&self, from: &Config) -> String {
        self.kind.write((self.get)(from))
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }
}

//! Choices.

use super::super::Config;
use super::super::slot::{Fault, Kind, Slot, Written};
use super::{string, toml_string};
use std::fmt::Display;

/// `true` or `false`.
pub(in crate::config) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, written: &Written<'_>) -> Result<bool, Vec<Fault>> {
        let found = written.get_ref();
        found
            .as_bool()
            .ok_or_else(|| vec![Fault::wrong_type(written)])
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// One of a few words.
pub(in crate::config) struct Words<'a, T>(pub &'a [(&'a str, T)]);

impl<T: Copy + PartialEq + Sync> Kind for Words<'_, T> {
    type Value = T;

    fn read(&self, written: &Written<'_>) -> Result<T, Vec<Fault>> {
        let text = string(written)?;
        self.0
            .iter()
            .find_map(|(word, meaning)| (*word == text).then_some(*meaning))
            .ok_or_else(|| vec![Fault::new(written, "no such choice")])
    }

    fn write(&self, value: &T) -> String {
        let word = self
            .0
            .iter()
            .find_map(|(word, meaning)| (meaning == value).then_some(*word));
        toml_string(word.unwrap_or_default())
    }

    fn allowed(&self) -> String {
        one_of(self.0.iter().map(|(word, _)| word))
    }
}

/// A word that has no alternative yet, and so no field.
pub(in crate::config) struct Only(pub &'static str);

impl Slot for Only {
    fn read(&self, written: &Written<'_>, _into: &mut Config) -> Result<(), Vec<Fault>> {
        Words(&[(self.0, ())]).read(written)
    }

    fn write(&self, _from: &Config) -> String {
        toml_string(self.0)
    }

    fn allowed(&self) -> String {
        one_of([self.0])
    }
}

fn one_of(words: impl IntoIterator<Item = impl Display>) -> String {
    let quoted: Vec<_> = words
        .into_iter()
        .map(|word| format!("\"{word}\""))
        .collect();
    quoted.join(", ")
}

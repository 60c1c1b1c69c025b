//! The policy in force, as TOML that gives the same policy when it is read.

use super::Config;
use super::keys::KEYS;

/// `config` as a policy file: every key with its value, what it does, and its default where the
/// value is another.
#[must_use]
pub fn print(config: &Config) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in KEYS {
        let (parent, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if parent != table {
            text.push_str(&format!("\n[{parent}]\n"));
            table = parent;
        }
        let value = key.value_in(config);
        let default = if key.required || value == key.value {
            String::new()
        } else {
            format!(" (default {})", key.value)
        };
        let setting = format!("{name} = {value}");
        text.push_str(&format!("{setting:<46} # {}{default}\n", key.doc));
    }
    text
}

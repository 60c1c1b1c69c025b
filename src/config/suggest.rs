//! What a mistyped key was meant to be.

use super::keys::{KEYS, LATER};

/// Longest name for which a nearest one is looked for.
const LONGEST_NAME: usize = 40;

/// The names that may stand directly in `table` (`""`: at the top), later ones included.
fn names_in(table: &str) -> Vec<&'static str> {
    let prefix = if table.is_empty() {
        String::new()
    } else {
        format!("{table}.")
    };
    let paths = KEYS
        .iter()
        .map(|key| key.path)
        .chain(LATER.iter().map(|later| later.path));
    let mut names: Vec<_> = paths
        .filter_map(|path| path.strip_prefix(&prefix))
        .filter_map(|rest| rest.split('.').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The name in `table` of which `typed` is a slip of the finger.
pub(super) fn mistyped(table: &str, typed: &str) -> Option<&'static str> {
    if typed.len() > LONGEST_NAME {
        return None;
    }
    let typed = normal(typed);
    // A third of the letters wrong is a slip; more is another word.
    let near =
        |name: &str, distance| distance <= name.len().div_ceil(3).min(3) && distance < typed.len();
    names_in(table)
        .into_iter()
        .map(|name| (strsim::osa_distance(name, &typed), name))
        .filter(|(distance, name)| near(name, *distance))
        .min()
        .map(|(_, name)| name)
}

/// The name in `table` that `typed` was most likely meant to be: mistyped, or cut short.
pub(super) fn nearest(table: &str, typed: &str) -> Option<&'static str> {
    mistyped(table, typed).or_else(|| {
        let typed = normal(typed);
        let names = names_in(table);
        let mut longer = names
            .iter()
            .filter(|name| typed.len() >= 3 && name.starts_with(&typed));
        let only = longer.next()?;
        longer.next().is_none().then_some(*only)
    })
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

/// The paths of other tables where a key or table called `name` does exist.
pub(super) fn elsewhere(name: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for path in KEYS.iter().map(|key| key.path) {
        let mut end = 0;
        for part in path.split('.') {
            end += part.len();
            if part == name && !found.contains(&&path[..end]) {
                found.push(&path[..end]);
            }
            end += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        for (table, typed, meant) in [
            ("policy.up", "utilisation", Some("utilization")),
            ("policy.up", "windw", Some("window")),
            ("policy.down", "cool-down", Some("cooldown")),
            ("limits", "minCores", Some("min_cores")),
            ("limits", "min", Some("min_cores")),
            ("limits", "max", None),
            ("", "polcy", Some("policy")),
            ("", "limit", Some("limits")),
            ("limits", "zzz", None),
            ("limits", "", None),
            ("policy", "on", None),
        ] {
            assert_eq!(nearest(table, typed), meant, "{table}.{typed}");
        }
    }

    #[test]
    fn finds_where_it_belongs() {
        assert_eq!(
            elsewhere("utilization"),
            ["policy.up.utilization", "policy.down.utilization"]
        );
        assert_eq!(elsewhere("up"), ["policy.up"]);
        assert!(elsewhere("nowhere").is_empty());
    }
}

//! Random and damaged files: nothing panics, nothing secret is shown.

use super::{REQUIRED, read, rendered};
use glesys_autoscaler::config;
use proptest::prelude::*;

const CANARY: &str = "canary";

/// Ways to write a key where it does not belong. All on their own lines.
fn key_assignment() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "key",
        "api_key",
        "apikey",
        "api.key",
        "api.api_key",
        "api.password",
        "\"api key\"",
        "'api-key'",
        "API_KEY",
        "apiKey",
        "token",
        "notify.smtp_password",
        "policy.up.secret",
        "\"api\\u005fkey\"",
    ]);
    let value = prop::sample::select(vec![
        " = \"canary\"",
        "=\"canary\"",
        " = 'canary'",
        " = canary",
        ": canary",
        " \"canary\"",
        " canary",
        " = \"\"\"\ncanary\n\"\"\"",
        " = \"\"\"\ncanary",
        " = ['a',\n'canary',\n]",
        " = [\n\"canary\"",
        " = { x = 'canary' }",
        " =\n\"canary\"",
        " = \"canary",
        " = \"\\q canary\"",
        " = \"a\" canary",
        " := canary",
        " => 'canary'",
    ]);
    (name, value)
        // Which name the escaped one spells is only known where it parses.
        .prop_filter("an escape needs TOML", |(name, value)| {
            !name.contains('\\') || matches!(*value, " = \"canary\"" | " = 'canary'")
        })
        .prop_map(|(name, value)| format!("{name}{value}"))
}

/// A policy file with random damage.
fn damaged_file() -> impl Strategy<Value = String> {
    let base = prop::sample::select(vec![
        REQUIRED.to_owned(),
        read("config/policy.toml").replace("\n#", "\n"),
        read("config/examples/batch.toml"),
        read("config/examples/web.toml"),
    ]);
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\"",
            "'",
            "\"\"\"",
            "[",
            "]",
            "{",
            "}",
            "=",
            "\n",
            "\r\n",
            "nan",
            "-1",
            "1e9",
            "\\u",
            "#",
            ".",
            ",",
            "\u{feff}",
            "[api]",
            "[[schedule]]",
            "key",
            "= [1,",
            "\"1M\"",
            "x.y.z = {a=1}",
        ])
        .prop_map(str::to_owned),
    ];
    let damage = prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, piece), 0..6);
    (base, damage).prop_map(|(base, damage)| {
        let mut chars: Vec<char> = base.chars().collect();
        for (index, removed, piece) in damage {
            let at = index.index(chars.len());
            let end = (at + removed).min(chars.len() - 1);
            chars.splice(at..end.max(at), piece.chars());
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        let _ = rendered(config::parse(&text, "policy.toml"));
    }

    #[test]
    fn a_damaged_file_never_panics(text in damaged_file()) {
        if let Ok(config) = config::parse(&text, "policy.toml") {
            prop_assert_eq!(config::parse(&config::print(&config), "printed"), Ok(config));
        }
    }

    #[test]
    fn no_message_shows_a_key(before in damaged_file(), key in key_assignment(), after in damaged_file(), header in any::<bool>()) {
        let header = if header { "[api]\n" } else { "" };
        let text = format!("{before}\n{header}{key}\n{after}");
        let result = config::parse(&text, "policy.toml");
        prop_assert!(result.is_err());
        let debug = format!("{result:?}");
        let message = rendered(result);
        prop_assert!(!message.contains(CANARY) && !debug.contains(CANARY), "{message}\n{text}");
    }

    #[test]
    fn shares_survive_printing(percent in 1.0..=100.0_f64, factor in 0.0..=4.0_f64) {
        let text = format!(
            "{REQUIRED}policy.up.pressure = {percent:?}\npolicy.down.headroom = {factor:?}\n"
        );
        if let Ok(config) = config::parse(&text, "policy.toml") {
            prop_assert_eq!(config::parse(&config::print(&config), "printed"), Ok(config));
        }
    }
}

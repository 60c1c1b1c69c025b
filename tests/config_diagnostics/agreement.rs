//! The shipped file, the defaults, the table of keys and the configuration.

use super::{REQUIRED, accepted, files_of, read};
use glesys_autoscaler::config::{self, Config, KEYS};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// `key = value` lines of the shipped file by full path, whether they are commented out or not.
fn settings_of_the_shipped_file() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut settings = Vec::new();
    for line in read("config/policy.toml").lines() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').to_owned() + ".";
        } else if let Some((name, value)) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            settings.push((format!("{table}{name}"), value.to_owned()));
        }
    }
    settings
}

#[test]
fn the_shipped_file_shows_every_key_with_its_default() {
    let table: Vec<_> = KEYS
        .iter()
        .map(|key| (key.path.to_owned(), key.value.to_owned()))
        .collect();
    assert_eq!(settings_of_the_shipped_file(), table);
}

#[test]
fn the_shipped_file_lacks_only_what_must_be_given() {
    let faults = config::parse(&read("config/policy.toml"), "policy.toml").unwrap_err();
    let missing: Vec<_> = faults.iter().filter_map(|f| f.key.as_deref()).collect();
    let required: Vec<_> = KEYS.iter().filter(|k| k.required).map(|k| k.path).collect();
    assert_eq!(missing, required);
    assert_eq!(
        required,
        [
            "api.project",
            "api.server_id",
            "limits.min_cores",
            "limits.max_cores"
        ]
    );
}

#[test]
fn the_shipped_file_with_everything_set_is_the_defaults() {
    let set = |which: fn(&str) -> bool| -> String {
        let text = read("config/policy.toml");
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && which(setting) => setting,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let all = accepted(&set(|_| true));
    let needed = accepted(&set(|setting| {
        KEYS.iter()
            .filter(|key| key.required)
            .any(|key| setting.starts_with(key.path.rsplit('.').next().unwrap()))
    }));
    assert_eq!(all, needed);
}

#[test]
fn every_shipped_example_and_valid_fixture_is_accepted() {
    let mut files = files_of("config/examples", "toml");
    files.extend(files_of("tests/fixtures/config/valid", "toml"));
    assert!(files.len() >= 6, "{files:?}");
    for path in files {
        if let Err(e) = config::load(&path) {
            panic!("{e}");
        }
    }
}

/// Another legal value for each key, beside the defaults.
const OTHERS: &[(&str, &str)] = &[
    ("state_dir", "'/srv/state'"),
    ("runtime_dir", "'./run'"),
    ("api.project", "'q'"),
    ("api.server_id", "'t'"),
    ("api.key_file", "'/root/key'"),
    ("api.url", "'http://127.0.0.1:8080/prefix/'"),
    ("api.ca_file", "'/etc/ca.pem'"),
    ("api.address_family", "'ipv6'"),
    ("api.timeout", "'20s'"),
    ("limits.min_cores", "2"),
    ("limits.max_cores", "7"),
    ("limits.allowed_cores", "[4, 1, 2]"),
    ("limits.max_changes_per_day", "10"),
    ("sampling.interval", "'2s'"),
    ("sampling.steal", "'demand'"),
    ("sampling.ignore_nice", "true"),
    ("policy.boot_grace", "0"),
    ("policy.up.utilization", "85.5"),
    ("policy.up.window", "'2m'"),
    ("policy.up.queue", "'0s'"),
    ("policy.up.pressure", "7"),
    ("policy.up.target", "78"),
    ("policy.up.cooldown", "'90s'"),
    ("policy.up.max_step", "2"),
    ("policy.down.utilization", "70"),
    ("policy.down.headroom", "1"),
    ("policy.down.window", "'20m'"),
    ("policy.down.cooldown", "'1h'"),
    ("policy.down.max_step", "1"),
    ("apply.raising", "'never'"),
    ("apply.lowering", "'always'"),
    ("apply.unapplied", "'hold'"),
    ("apply.timeout", "'10m'"),
];

/// The leaves of a configuration by their path in it. A duration is one leaf.
fn leaves(config: &Config) -> BTreeMap<String, Value> {
    fn descend(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.contains_key("nanos") => {
                for (name, value) in fields {
                    descend(&format!("{path}.{name}"), value, into);
                }
            }
            leaf => {
                into.insert(path.trim_start_matches('.').to_owned(), leaf);
            }
        }
    }
    let mut found = BTreeMap::new();
    descend("", serde_json::to_value(config).unwrap(), &mut found);
    found
}

#[test]
fn every_key_changes_its_own_field_and_no_other() {
    let base = leaves(&accepted(REQUIRED));
    let mut reached = BTreeSet::new();
    for (path, other) in OTHERS {
        let kept = REQUIRED
            .lines()
            .filter(|line| !line.starts_with(&format!("{path} = ")));
        let text: String = kept
            .chain([format!("{path} = {other}").as_str()])
            .map(|l| format!("{l}\n"))
            .collect();
        let changed = leaves(&accepted(&text));
        let differing: Vec<_> = base
            .keys()
            .filter(|leaf| base[*leaf] != changed[*leaf])
            .cloned()
            .collect();
        // The engine's part of the file has its own place in the configuration.
        let field = match path.split('.').next() {
            Some("limits" | "sampling" | "apply") => format!("policy.{path}"),
            _ => (*path).to_owned(),
        };
        assert_eq!(differing, [field.as_str()], "{path}");
        reached.insert(field);
    }
    let fields: BTreeSet<_> = base.into_keys().collect();
    assert_eq!(reached, fields, "a field that no key sets");
    // `policy.mode` has one choice in this version, and so no field.
    let keys: Vec<_> = KEYS
        .iter()
        .map(|key| key.path)
        .filter(|path| *path != "policy.mode")
        .collect();
    assert_eq!(
        keys,
        OTHERS.iter().map(|(path, _)| *path).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_printed_is_read_back() {
    let mut texts = vec![REQUIRED.to_owned()];
    texts.extend(
        files_of("config/examples", "toml")
            .iter()
            .map(|p| fs::read_to_string(p).unwrap()),
    );
    let odd_path = "state_dir = \"/a\\\\b \\\"c\\\" ö\"\n".to_owned() + REQUIRED;
    texts.push(odd_path);
    for text in texts {
        let config = accepted(&text);
        assert_eq!(accepted(&config::print(&config)), config);
    }
}

#[test]
fn a_change_of_policy_changes_its_hash() {
    let hash = |text: &str| config::policy_hash(&accepted(text).policy);
    let base = hash(REQUIRED);
    assert_eq!(base.len(), 16);
    assert_eq!(base, hash(&format!("# a comment\n{REQUIRED}")));
    assert_ne!(base, hash(&format!("{REQUIRED}policy.up.target = 79.9\n")));
    // Where the key file lies does not steer the engine.
    assert_eq!(base, hash(&format!("{REQUIRED}api.key_file = '/k'\n")));
}

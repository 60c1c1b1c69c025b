//! The policy file: the shipped one, the defaults and the table of keys agree; every key changes
//! its own field; every kind of mistake has its message; nothing panics, nothing leaks.

use glesys_autoscaler::config::{self, Config, ConfigError, KEYS};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const REQUIRED: &str =
    "api.project = 'p'\napi.server_id = 's'\nlimits.min_cores = 1\nlimits.max_cores = 8\n";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(at(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rendered(result: Result<Config, Vec<config::Diagnostic>>) -> String {
    match result {
        Ok(_) => "accepted\n".to_owned(),
        Err(faults) => ConfigError::Invalid(faults).to_string() + "\n",
    }
}

fn accepted(text: &str) -> Config {
    config::parse(text, "policy.toml")
        .unwrap_or_else(|faults| panic!("{text}\n{}", ConfigError::Invalid(faults)))
}

fn files_of(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(at(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == ending))
        .collect();
    files.sort();
    files
}

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
        assert_eq!(differing, [field.clone()], "{path}");
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
fn every_wrong_file_has_its_message() {
    let files = files_of("tests/fixtures/config/invalid", "toml");
    assert!(files.len() >= 30, "only {}", files.len());
    let mut differing = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let message = rendered(config::parse(&fs::read_to_string(&path).unwrap(), name));
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expected, &message).unwrap();
        }
        if fs::read_to_string(&expected).unwrap_or_default() != message {
            differing.push(format!("--- {name}\n{message}"));
        }
        assert_ne!(message, "accepted\n", "{name}");
    }
    assert!(
        differing.is_empty(),
        "UPDATE_EXPECT=1 accepts these:\n{}",
        differing.join("\n")
    );
}

#[test]
fn a_range_ends_where_its_message_says() {
    for (path, inside, outside) in [
        (
            "limits.min_cores",
            vec!["1", "8", "0x2"],
            vec!["0", "-1", "257", "1.0", "99999999999999999999"],
        ),
        ("limits.max_cores", vec!["1", "256"], vec!["0", "257"]),
        (
            "limits.allowed_cores",
            vec!["[]", "[1]", "[8, 256]"],
            vec!["[0]", "[257]", "[2, 2]", "[9]"],
        ),
        (
            "limits.max_changes_per_day",
            vec!["1", "1000"],
            vec!["0", "1001"],
        ),
        (
            "sampling.interval",
            vec!["'250ms'", "'15s'"],
            vec!["'249ms'", "'61s'", "0", "'250.5ms'"],
        ),
        (
            "policy.boot_grace",
            vec!["0", "'0s'", "'1h'"],
            vec!["'1h 1ms'", "5"],
        ),
        (
            "policy.up.utilization",
            vec!["90", "100", "99.9"],
            vec!["0", "0.9", "100.1", "nan", "inf", "-1", "1e999"],
        ),
        (
            "policy.up.target",
            vec!["80", "100"],
            vec!["0", "0.8", "101"],
        ),
        (
            "policy.up.pressure",
            vec!["0", "0.5", "100"],
            vec!["-0.1", "100.1", "nan"],
        ),
        (
            "policy.down.utilization",
            vec!["1", "75"],
            vec!["0", "0.75", "101"],
        ),
        (
            "policy.down.headroom",
            vec!["0", "4"],
            vec!["-0.1", "4.1", "nan"],
        ),
        (
            "policy.up.window",
            vec!["'5s'", "'1h'"],
            vec!["'4999ms'", "'1h 1s'", "'1M'"],
        ),
        (
            "policy.up.queue",
            vec!["0", "'0s'", "'5s'", "'10m'"],
            vec!["'4s'", "'601s'"],
        ),
        (
            "policy.down.window",
            vec!["'5s'", "'24h'"],
            vec!["'4s'", "'25h'"],
        ),
        ("policy.up.cooldown", vec!["0", "'24h'"], vec!["'24h 1s'"]),
        ("policy.down.cooldown", vec!["'0s'", "'24h'"], vec!["'25h'"]),
        ("policy.up.max_step", vec!["1", "256"], vec!["0", "257"]),
        ("policy.down.max_step", vec!["1", "256"], vec!["0", "257"]),
        (
            "apply.timeout",
            vec!["'5s'", "'20m'"],
            vec!["'4s'", "'21m'", "0"],
        ),
        (
            "api.timeout",
            vec!["'1s'", "'60s'"],
            vec!["'999ms'", "'61s'", "0"],
        ),
        (
            "api.url",
            vec![
                "'https://proxy.example:8443/glesys'",
                "'http://[::1]:80'",
                "'http://localhost'",
            ],
            vec![
                "''",
                "'ftp://x'",
                "'http://10.0.0.1'",
                "'https://x/?q'",
                "'https://x/#f'",
                "'https://u:p@x'",
                "'api.glesys.com'",
            ],
        ),
        (
            "api.project",
            vec!["'cl12345'", "'CL-1.a_b'"],
            vec!["''", "'a b'", "'a\\tb'", "'å'", "'cl1:x'", "5"],
        ),
        (
            "state_dir",
            vec!["'/a b/ö'", "'../x'"],
            vec!["''", "'state'", "'~/x'", "5"],
        ),
        (
            "api.ca_file",
            vec!["''", "'/x.pem'"],
            vec!["'x.pem'", "false"],
        ),
    ] {
        let parse = |value: &str| {
            let kept = REQUIRED.lines().filter(|line| !line.starts_with(path));
            let text = kept
                .chain([format!("{path} = {value}").as_str()])
                .collect::<Vec<_>>()
                .join("\n");
            config::parse(&text, "policy.toml")
        };
        for value in inside {
            assert!(
                parse(value).is_ok(),
                "{path} = {value}\n{}",
                rendered(parse(value))
            );
        }
        for value in outside {
            let faults = parse(value).expect_err(&format!("{path} = {value}"));
            assert_eq!(
                faults[0].key.as_deref(),
                Some(path),
                "{}",
                rendered(Err(faults.clone()))
            );
            assert!(faults[0].allowed.is_some(), "{path}");
        }
    }
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

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    let told = |path: &Path| config::load(path).unwrap_err().to_string();
    assert!(matches!(
        config::load(&path),
        Err(ConfigError::Unreadable { .. })
    ));
    assert!(told(&path).starts_with(&path.display().to_string()));
    assert!(matches!(
        config::load(folder.path()),
        Err(ConfigError::Directory { .. })
    ));

    fs::write(&path, b"# line one\nx = \"\xff\"\n").unwrap();
    assert!(matches!(
        config::load(&path),
        Err(ConfigError::NotText { line: 2, .. })
    ));
    fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(
        config::load(&path),
        Err(ConfigError::TooLarge { .. })
    ));
    fs::write(
        &path,
        REQUIRED.to_owned() + &" ".repeat((1 << 20) - REQUIRED.len()),
    )
    .unwrap();
    assert!(config::load(&path).is_ok());
    fs::write(&path, "x = 1\n").unwrap();
    assert!(told(&path).starts_with(&format!("{}:1:1: x: unknown key", path.display())));
}

/// A file full of faults costs neither minutes nor megabytes of messages.
#[test]
fn the_number_of_messages_is_bounded() {
    for junk in ["k%=1\n", "k%=bare\n", "[t%]\n", "api_key%='x'\n"] {
        let text: String = (0..20_000)
            .map(|n| junk.replace('%', &n.to_string()))
            .collect();
        let faults = config::parse(&text, "policy.toml").unwrap_err();
        assert!(faults.len() <= 101, "{}", faults.len());
    }
    let one_line = format!("api = {{ {} }}", "x = 1, ".repeat(1000));
    let message = rendered(config::parse(&one_line, "policy.toml"));
    assert!(
        message.lines().all(|line| line.chars().count() < 300),
        "{message}"
    );
}

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

//! What is wrong, and what is said about it.

use super::{REQUIRED, files_of, rendered};
use glesys_autoscaler::config::{self, ConfigError};
use std::fs;
use std::path::Path;

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
        // What the fixtures use for a key or a password.
        assert!(!message.contains("S3cret"), "{message}");
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

//! Every key of the policy file changes what the program does: for each one a scenario that ends
//! differently with two legal values. A key that steers nothing is a lie to whoever sets it.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

#[path = "support/world.rs"]
mod world;

#[path = "support/emulator.rs"]
mod emulator;

#[path = "support/tls.rs"]
mod tls;

#[path = "every_key_matters/daemon.rs"]
mod daemon;

use daemon::{Api, Run};
use glesys_autoscaler::config::{self, KEYS};
use glesys_autoscaler::engine::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::{Load, Platform, World};

/// How a key proves that it matters.
enum Proof {
    /// The engine with the policy of the file, in virtual time.
    Engine {
        values: [&'static str; 2],
        /// Other keys of the file.
        with: &'static [(&'static str, &'static str)],
        scenario: fn(Policy) -> String,
        ends: [&'static str; 2],
    },
    /// The program itself, with the file, against the emulator.
    Program {
        values: [&'static str; 2],
        api: Api,
        ends: [&'static str; 2],
    },
    /// It has one legal value in this version.
    OneValue { refused: &'static str },
    /// It does not go further than the sampler, whose own test shows both values.
    Sampler { test: &'static str },
}

use Proof::{Engine, OneValue, Program, Sampler};

const MINUTE: Duration = Duration::from_secs(60);

fn loaded(policy: Policy, cores: u32, load: Load) -> World {
    let mut world = World::new(policy, cores, 3);
    world.load = load;
    world
}

/// Which counts are asked for within `minutes`, under a steady load.
fn asked(policy: Policy, cores: u32, demand: f64, minutes: u32) -> String {
    let mut world = loaded(policy, cores, Load::Tasks(demand));
    world.run(minutes * MINUTE);
    format!("{:?}", world.asked)
}

fn overloaded(policy: Policy) -> String {
    asked(policy, 2, 5.0, 10)
}

fn idle(policy: Policy) -> String {
    asked(policy, 4, 0.45, 10)
}

/// What the platform accepts and does not do, after two minutes and after ten.
fn without_effect(policy: Policy) -> String {
    let mut world = loaded(policy, 2, Load::Tasks(5.0));
    world.platform = Platform::Ignores;
    world.run(3 * MINUTE);
    let soon = world.count("not_applied", None);
    world.run(10 * MINUTE);
    format!("{soon} told soon, {:?}", world.asked)
}

/// A file that raises by utilization alone and lowers after a quiet minute.
const BASE: &[(&str, &str)] = &[
    ("api.project", "'cl12345'"),
    ("api.server_id", "'kvm123456'"),
    ("limits.min_cores", "1"),
    ("limits.max_cores", "8"),
    ("policy.boot_grace", "'0s'"),
    ("policy.up.queue", "'0s'"),
    ("policy.down.window", "'1m'"),
    ("policy.down.cooldown", "'1m'"),
    ("apply.lowering", "'learn'"),
];

fn table() -> BTreeMap<&'static str, Proof> {
    BTreeMap::from([
        (
            "state_dir",
            Program {
                values: ["'{dir}/one'", "'{dir}/two'"],
                api: Api::Http,
                ends: ["read, and made one", "read, and made two"],
            },
        ),
        (
            "runtime_dir",
            Program {
                values: ["'{dir}/one'", "'{dir}/two'"],
                api: Api::Http,
                ends: ["read, and made one", "read, and made two"],
            },
        ),
        (
            "api.project",
            Program {
                values: ["'cl12345'", "'cl99999'"],
                api: Api::Http,
                ends: ["read", "the project cl99999 is wrong"],
            },
        ),
        (
            "api.server_id",
            Program {
                values: ["'kvm123456'", "'kvm999999'"],
                api: Api::Http,
                ends: ["read", "no server kvm999999"],
            },
        ),
        (
            "api.key_file",
            Program {
                values: ["'{dir}/key'", "'{dir}/another-key'"],
                api: Api::Http,
                ends: ["read", "the key or the project cl12345 is wrong"],
            },
        ),
        (
            "api.url",
            Program {
                values: ["'{url}'", "'{url}/elsewhere'"],
                api: Api::Http,
                ends: ["read", "the call is refused"],
            },
        ),
        (
            "api.ca_file",
            Program {
                values: ["'{dir}/root.pem'", "''"],
                api: Api::Tls,
                ends: ["read", "signed by an unknown issuer"],
            },
        ),
        (
            "api.address_family",
            Program {
                values: ["'ipv4'", "'ipv6'"],
                api: Api::ByName,
                ends: ["read", "no connection to localhost"],
            },
        ),
        (
            "api.timeout",
            Program {
                values: ["'20s'", "'1s'"],
                api: Api::Slow,
                ends: ["read", "within 1s"],
            },
        ),
        (
            "limits.min_cores",
            Engine {
                values: ["1", "3"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[3]"],
            },
        ),
        (
            "limits.max_cores",
            Engine {
                values: ["8", "6"],
                with: &[],
                scenario: overloaded,
                ends: ["[7]", "[6]"],
            },
        ),
        (
            "limits.allowed_cores",
            Engine {
                values: ["[]", "[1, 2, 4, 8]"],
                with: &[],
                scenario: overloaded,
                ends: ["[7]", "[8]"],
            },
        ),
        (
            "limits.max_changes_per_day",
            Engine {
                values: ["96", "1"],
                with: &[("policy.down.max_step", "1")],
                scenario: idle,
                ends: ["[3, 2, 1]", "[3]"],
            },
        ),
        (
            "sampling.interval",
            Engine {
                values: ["'5s'", "'30s'"],
                with: &[],
                // Twenty seconds after the last sample.
                scenario: |policy| {
                    let mut world = loaded(policy, 4, Load::Tasks(2.5));
                    world.run(10 * MINUTE);
                    let later = world.now.plus(Duration::from_secs(20));
                    format!("{:?}", world.engine.status(later).waits_for)
                },
                ends: ["Some(Stale)", "None"],
            },
        ),
        (
            "sampling.steal",
            Sampler {
                test: "stolen_time_is_reported_or_demand_as_the_policy_asks",
            },
        ),
        (
            "sampling.ignore_nice",
            Engine {
                values: ["false", "true"],
                with: &[("policy.up.queue", "'15s'"), ("policy.up.window", "'5m'")],
                scenario: |policy| asked(policy, 2, 6.0, 1),
                ends: ["[8]", "[]"],
            },
        ),
        (
            "policy.mode",
            OneValue {
                refused: "'adaptive'",
            },
        ),
        (
            "policy.boot_grace",
            Engine {
                values: ["'0s'", "'20m'"],
                with: &[],
                scenario: |policy| {
                    let mut world = loaded(policy, 4, Load::Tasks(0.2));
                    world.restart(true, false);
                    world.run(10 * MINUTE);
                    format!("{:?}", world.asked)
                },
                ends: ["[1]", "[]"],
            },
        ),
        (
            "policy.up.utilization",
            Engine {
                values: ["90", "70"],
                with: &[
                    ("policy.up.target", "65"),
                    ("policy.down.utilization", "60"),
                ],
                scenario: |policy| asked(policy, 2, 1.5, 10),
                ends: ["[]", "[3]"],
            },
        ),
        (
            "policy.up.window",
            Engine {
                values: ["'1m'", "'9m'"],
                with: &[],
                scenario: |policy| asked(policy, 2, 5.0, 3),
                ends: ["[7]", "[]"],
            },
        ),
        (
            "policy.up.queue",
            Engine {
                values: ["'15s'", "'0s'"],
                with: &[("policy.up.window", "'5m'")],
                scenario: |policy| asked(policy, 2, 6.0, 1),
                ends: ["[8]", "[]"],
            },
        ),
        (
            "policy.up.pressure",
            Engine {
                values: ["0", "20"],
                with: &[],
                scenario: |policy| {
                    let mut world = loaded(policy, 2, Load::Tasks(1.0));
                    world.pressure = Some(0.5);
                    world.run(MINUTE + MINUTE / 3);
                    format!("{:?}", world.asked)
                },
                ends: ["[]", "[3]"],
            },
        ),
        (
            "policy.up.target",
            Engine {
                values: ["80", "65"],
                with: &[("policy.down.utilization", "60")],
                scenario: overloaded,
                ends: ["[7]", "[8]"],
            },
        ),
        (
            "policy.up.cooldown",
            Engine {
                values: ["'1m'", "'1h'"],
                with: &[("policy.up.max_step", "2")],
                scenario: overloaded,
                ends: ["[4, 6]", "[4]"],
            },
        ),
        (
            "policy.up.max_step",
            Engine {
                values: ["8", "3"],
                with: &[],
                scenario: overloaded,
                ends: ["[7]", "[5, 7]"],
            },
        ),
        (
            "policy.down.utilization",
            Engine {
                values: ["75", "40"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[2]"],
            },
        ),
        (
            "policy.down.headroom",
            Engine {
                values: ["0.5", "1.0"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[2]"],
            },
        ),
        (
            "policy.down.window",
            Engine {
                values: ["'1m'", "'30m'"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[]"],
            },
        ),
        (
            "policy.down.cooldown",
            Engine {
                values: ["'1m'", "'1h'"],
                with: &[("policy.down.max_step", "1")],
                scenario: idle,
                ends: ["[3, 2, 1]", "[3]"],
            },
        ),
        (
            "policy.down.max_step",
            Engine {
                values: ["8", "2"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[2, 1]"],
            },
        ),
        (
            "apply.raising",
            Engine {
                values: ["'learn'", "'never'"],
                with: &[],
                scenario: overloaded,
                ends: ["[7]", "[]"],
            },
        ),
        (
            "apply.lowering",
            Engine {
                values: ["'learn'", "'ask'"],
                with: &[],
                scenario: idle,
                ends: ["[1]", "[]"],
            },
        ),
        (
            "apply.unapplied",
            Engine {
                values: ["'revert'", "'hold'"],
                with: &[("apply.timeout", "'30s'")],
                scenario: without_effect,
                ends: ["1 told soon, [7, 2]", "1 told soon, [7]"],
            },
        ),
        (
            "apply.timeout",
            Engine {
                values: ["'30s'", "'5m'"],
                with: &[],
                scenario: without_effect,
                ends: ["1 told soon, [7, 2]", "0 told soon, [7, 2]"],
            },
        ),
    ])
}

/// The text of a policy file.
fn file(settings: &[&[(&str, &str)]]) -> String {
    let settings: BTreeMap<_, _> = settings.iter().copied().flatten().copied().collect();
    let (top, tables): (Vec<_>, Vec<_>) = settings.iter().partition(|(key, _)| !key.contains('.'));
    let lines = top.into_iter().chain(tables);
    lines
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect()
}

#[test]
fn every_key_has_a_proof_that_it_matters() {
    let keys: BTreeSet<_> = KEYS.iter().map(|key| key.path).collect();
    let proofs: BTreeSet<_> = table().into_keys().collect();
    assert_eq!(keys, proofs);
}

#[test]
fn every_key_of_the_engine_changes_what_it_does() {
    for (key, proof) in table() {
        let Engine {
            values,
            with,
            scenario,
            ends,
        } = proof
        else {
            continue;
        };
        assert_ne!(ends[0], ends[1], "{key}");
        for (value, end) in values.into_iter().zip(ends) {
            let text = file(&[BASE, with, &[(key, value)]]);
            let config = config::parse(&text, "test").unwrap_or_else(|e| panic!("{key}: {e:?}"));
            assert_eq!(scenario(config.policy), end, "{key} = {value}");
        }
    }
}

#[test]
fn every_key_of_the_program_changes_what_it_does() {
    let runs: Vec<_> = table()
        .into_iter()
        .filter_map(|(key, proof)| match proof {
            Program { values, api, ends } => Some((key, values, api, ends)),
            _ => None,
        })
        .flat_map(|(key, values, api, ends)| {
            assert_ne!(ends[0], ends[1], "{key}");
            let runs = values.into_iter().zip(ends);
            runs.map(move |(value, end)| (key, value, api, end))
        })
        .map(|(key, value, api, end)| {
            std::thread::spawn(move || {
                let run = Run::new(api);
                let value = run.filled_in(value);
                let places = run.places();
                let mut settings: BTreeMap<&str, &str> = BASE.iter().copied().collect();
                settings.extend(places.iter().map(|(key, place)| (*key, place.as_str())));
                settings.insert(key, &value);
                let settings: Vec<_> = settings.into_iter().collect();
                let seen = run.outcome(&file(&[&settings]));
                assert!(
                    seen == end || seen.contains(end) && end != "read",
                    "{key} = {value}: {seen}, expected {end}"
                );
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
}

#[test]
fn a_key_with_one_value_refuses_every_other() {
    for (key, proof) in table() {
        if let OneValue { refused } = proof {
            let text = file(&[BASE, &[(key, refused)]]);
            assert!(config::parse(&text, "test").is_err(), "{key} = {refused}");
        }
    }
}

#[test]
fn the_samplers_own_tests_are_there() {
    let tests = include_str!("../src/adapters/sampler/tests/signals.rs");
    for (key, proof) in table() {
        if let Sampler { test } = proof {
            assert!(tests.contains(&format!("fn {test}()")), "{key}: {test}");
        }
    }
}

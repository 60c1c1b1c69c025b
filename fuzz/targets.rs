//! What each fuzz target does with its bytes. Shared by the fuzzer (`fuzz/run`, nightly) and by
//! `tests/fuzz_corpora.rs` (stable): a target panics when a promise is broken.

#[path = "engine_driver.rs"]
mod engine_driver;

use glesys_autoscaler::adapters::control::Ask;
use glesys_autoscaler::adapters::glesys::envelope::{Code, Envelope, MAX_CORES};
use glesys_autoscaler::adapters::glesys::failure::{self, Function, Refusal};
use glesys_autoscaler::adapters::ledger;
use glesys_autoscaler::adapters::proc_reader::{CpuSet, Stat, parse_pressure, parse_runnable};
use glesys_autoscaler::adapters::state_dir::{self, Fault, Owner};
use glesys_autoscaler::adapters::text::{QUOTED, clip, one_line};
use glesys_autoscaler::config;
use glesys_autoscaler::engine::cloud::{ApiFailure, Server};
use glesys_autoscaler::engine::event::Event;
use std::time::Duration;

/// Panics when a promise is broken.
pub type Target = fn(&[u8]);

/// The targets by name, which is also that of the corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("policy_file", policy_file),
    ("api_response", api_response),
    ("state_file", state_file),
    ("ledger", ledger),
    ("proc_files", proc_files),
    ("control_socket", control_socket),
    ("engine_events", engine_events),
];

/// Long and odd enough that no input spells it by chance.
const CANARY: &str = "Zq7canaryXk29vLw4Rt8mNp3Yb6Hd1Gs5Jf0Ce";

/// `policy.toml`: no panic; what is printed is read again as the same policy; a key that was
/// written into the file is refused, and no message shows it.
pub fn policy_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(read) = config::parse(&text, "policy.toml") {
        let printed = config::print(&read);
        let again = config::parse(&printed, "printed");
        assert_eq!(again.as_ref(), Ok(&read), "{printed}");
    }
    if text.contains("canary") {
        return;
    }
    for planted in [
        format!("{text}\napi_key = \"{CANARY}\"\n"),
        format!("api_key = \"{CANARY}\"\n{text}"),
    ] {
        let faults = config::parse(&planted, "policy.toml");
        let faults = faults.expect_err("a key in the policy file is refused");
        for fault in &faults {
            assert!(!fault.to_string().contains(CANARY), "{fault}");
        }
        assert!(!format!("{faults:?}").contains(CANARY), "{faults:?}");
    }
}

/// An answer of the API: counts are believable, words are fit for a log, and the engine takes
/// whatever was read.
pub fn api_response(data: &[u8]) {
    let words = String::from_utf8_lossy(data);
    let line = clip(&one_line(&words));
    assert_one_line(&line);
    assert!(line.chars().count() <= QUOTED + 1);
    assert_eq!(one_line(&line), line);

    let Some(answer) = Envelope::read(data) else {
        return;
    };
    let code = match answer.code {
        Code::Is(code) => Some(code),
        Code::Absent | Code::Unreadable => None,
    };
    let text = clip(&one_line(&answer.text));
    let mut events = Vec::new();
    for function in [
        Function::Details,
        Function::Edit(4),
        Function::AllowedArguments,
    ] {
        for http in [200, 302, 400, 401, 403, 404, 409, 423, 429, 500, 503] {
            let kind = failure::sort(function, http, code, &answer.text);
            let refusal = Refusal {
                function,
                http,
                code,
                text: &text,
                location: Some(&text),
                source: None,
                server_id: "kvm123456",
                project: "cl12345",
            };
            let message = refusal.message(kind);
            assert_one_line(&message);
            assert!(message.chars().count() < 3 * QUOTED + 1000, "{message}");
            let failure = ApiFailure {
                kind,
                retry_after: None,
                message,
            };
            events.push(match function {
                Function::Details => Event::Details(Err(failure)),
                Function::Edit(_) => Event::Edited(Err(failure)),
                Function::AllowedArguments => Event::AllowedCores(Err(failure)),
            });
        }
    }
    for platform in ["KVM", "VMware", ""] {
        let counts = answer.allowed_cores(platform);
        assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
        assert!(counts.iter().all(|n| (1..=MAX_CORES).contains(n)));
        events.push(Event::AllowedCores(Ok(counts)));
    }
    match answer.server() {
        Ok(server) => {
            let Server { cores, .. } = server;
            assert!((1..=MAX_CORES).contains(&cores));
            assert_eq!(server.platform.trim(), server.platform);
            events.push(Event::Details(Ok(server)));
        }
        Err(fault) => assert!(!fault.is_empty()),
    }
    engine_driver::Driver::new(b"").feed(events);
}

/// `state.json`: never a panic, never a state of another server or machine, and the engine can
/// begin with whatever was accepted. What is written again is read as the same.
pub fn state_file(data: &[u8]) {
    let owner = Owner {
        server_id: "kvm123456".to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
    };
    let other = Owner {
        server_id: "kvm654321".to_owned(),
        ..owner.clone()
    };
    let Ok(stored) = state_dir::parse(data, &owner) else {
        return;
    };
    assert!(matches!(
        state_dir::parse(data, &other),
        Err(Fault::Foreign(_))
    ));
    // A field that we ignore may hold what this reader refuses.
    if let Ok(document) = serde_json::from_slice::<serde_json::Value>(data) {
        assert_eq!(document["server_id"], owner.server_id.as_str());
        assert_eq!(document["machine_id"], owner.machine_id.as_str());
    }

    let text = serde_json::to_string(&stored.state).expect("a state is written");
    let again = serde_json::from_str(&text).expect("and read");
    assert_eq!(stored.state, again);
    for begin in [&data[..0], &[7; 24][..], data] {
        engine_driver::Driver::resume(stored.state.clone(), begin).run();
    }
}

/// `history.jsonl`: every line is a record, or counted as none; a record is one line when written.
pub fn ledger(data: &[u8]) {
    let history = ledger::read_from(data).expect("memory can be read");
    let most = data.iter().filter(|byte| **byte == b'\n').count() + 1 + data.len() / (64 << 10);
    assert!(history.lines.len() + usize::try_from(history.unreadable).unwrap_or(0) <= most);
    let mut text = Vec::new();
    for line in &history.lines {
        let before = text.len();
        serde_json::to_writer(&mut text, line).expect("a record is written");
        assert!(!text[before..].contains(&b'\n'));
        text.push(b'\n');
    }
    let again = ledger::read_from(&text[..]).expect("memory can be read");
    assert_eq!(again.lines, history.lines);
    assert_eq!(again.unreadable, 0);
}

/// Files of `/proc` and `/sys`: what is read is finite and in range. Two readings of `/proc/stat`
/// are split by a line of three dashes.
pub fn proc_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(set) = CpuSet::parse(&text) {
        assert!(set.count() >= 1);
        let written = set.to_string();
        assert_eq!(CpuSet::parse(&written), Ok(set.clone()), "{written}");
        let few: Vec<u32> = set.numbers().take(1000).collect();
        assert!(few.is_sorted_by(|a, b| a < b));
        if set.count() < 1000 {
            assert_eq!(few.len(), set.count() as usize);
        }
    }
    let _any = (parse_runnable(&text), parse_pressure(&text));
    let (first, second) = text.split_once("\n---\n").unwrap_or((&text, &text));
    let (Ok(first), Ok(second)) = (Stat::parse(first), Stat::parse(second)) else {
        return;
    };
    assert!(first.cpus.is_sorted_by(|a, b| a.number < b.number));
    for (earlier, later) in [(&first, &second), (&second, &first)] {
        for span in [Duration::ZERO, Duration::from_secs(5), Duration::MAX] {
            let Some(usage) = later.usage_since(earlier, span) else {
                continue;
            };
            for share in [usage.busy, usage.steal, usage.nice] {
                assert!((0.0..=1.0).contains(&share), "{usage:?}");
            }
            assert!(usage.steal + usage.nice <= usage.busy + 1e-9, "{usage:?}");
        }
    }
}

/// A request on the control socket: understood or not, and the engine takes it.
pub fn control_socket(data: &[u8]) {
    let ask = match Ask::read(data) {
        Ok(ask) => ask,
        Err(why) => return assert_one_line(&why),
    };
    let text = serde_json::to_vec(&ask).expect("a request is written");
    assert!(text.len() < 4096);
    assert_eq!(Ask::read(&text), Ok(ask.clone()));
    if let Some(operator) = ask.operator() {
        let mut driver = engine_driver::Driver::new(b"");
        driver.feed(vec![operator.event(), operator.event()]);
        driver.run();
    }
}

/// Events in any order, with any values: see `engine_driver.rs`.
pub fn engine_events(data: &[u8]) {
    engine_driver::Driver::new(data).run();
}

fn assert_one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

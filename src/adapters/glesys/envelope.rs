//! Answers of the API into values (`glesys-api.md` sections 3 and 4).
//!
//! What an answer says is read leniently: numbers and booleans in every form that was ever seen,
//! unknown fields ignored, missing optional fields no error. Only what scaling rests on, the core
//! count, is insisted on.

use crate::engine::cloud::Server;
use serde_json::{Map, Value};

/// The most cores that are believed. A count above it is a fault of the answer, not a server.
pub const MAX_CORES: u32 = 1024;

/// The part of every answer that says how the call went, and the payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// `status.code`.
    pub code: Code,
    /// `status.text` as it came: untrimmed, not fit for a log.
    pub text: String,
    response: Map<String, Value>,
}

/// `status.code`, a number or a string (rec 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// None, or null.
    Absent,
    /// A number.
    Is(i64),
    /// Something else.
    Unreadable,
}

impl Envelope {
    /// `None` when the body is not an answer of the API: missing, HTML, cut, another JSON.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Envelope> {
        let mut root: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let Some(Value::Object(mut response)) = root.remove("response") else {
            return None;
        };
        let status = response.remove("status").unwrap_or_default();
        Some(Envelope {
            code: match &status["code"] {
                Value::Null => Code::Absent,
                code => integer(code).map_or(Code::Unreadable, Code::Is),
            },
            text: status["text"].as_str().unwrap_or_default().to_owned(),
            response,
        })
    }

    /// The server of `server/details`.
    ///
    /// # Errors
    /// What is missing or cannot be believed.
    pub fn server(&self) -> Result<Server, String> {
        let Some(Value::Object(server)) = self.response.get("server") else {
            return Err("it holds no server".to_owned());
        };
        let get = |name: &str| server.get(name).unwrap_or(&Value::Null);
        let is = |name: &str, word: &str| {
            get(name)
                .as_str()
                .is_some_and(|text| text.trim().eq_ignore_ascii_case(word))
        };
        Ok(Server {
            cores: cores(get("cpucores"))?,
            memory_mb: integer(get("memorysize")).and_then(|mb| u64::try_from(mb).ok()),
            platform: get("platform").as_str().unwrap_or("").trim().to_owned(),
            addresses: entries(get("iplist"))
                .filter_map(|entry| {
                    let address = entry.get("ipaddress").unwrap_or(entry);
                    address.as_str()?.trim().parse().ok()
                })
                .collect(),
            // `ready` on a running server is no lock: islocked is trusted over status and state
            // (section 6).
            locked: boolean(get("islocked"))
                .unwrap_or_else(|| is("status", "updating") || is("state", "locked")),
            running: boolean(get("isrunning")),
        })
    }

    /// The core counts that `server/allowedarguments` names for `platform`, ascending. Empty when
    /// it names none, or names them in a form that was never seen.
    #[must_use]
    pub fn allowed_cores(&self, platform: &str) -> Vec<u32> {
        let Some(arguments) = self.response.get("argumentslist") else {
            return Vec::new();
        };
        // Now: platforms.KVM.cpucores = [{"value":1},…] (cli 11).
        // 2012: OpenVZ.cpucores = {"units":[1,…],…} (rec 7).
        let counts = [arguments.get("platforms"), Some(arguments)]
            .into_iter()
            .flatten()
            .find_map(|platforms| entry_named(platforms, platform)?.get("cpucores"));
        let counts = counts.map(|counts| counts.get("units").unwrap_or(counts));
        let mut counts: Vec<u32> = counts
            .into_iter()
            .flat_map(entries)
            .filter_map(|entry| cores(entry.get("value").unwrap_or(entry)).ok())
            .collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    }
}

/// The member of an object whose name is `name` in any letter case.
fn entry_named<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let mut members = object.as_object()?.iter();
    members
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name.trim()))
        .map(|(_, value)| value)
}

/// The entries of a list. A list written as an object with the positions as names counts too; any
/// other object is no list: the values of `{"min":1,"max":8}` are not two counts.
fn entries(list: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match list {
        Value::Array(entries) => Box::new(entries.iter()),
        Value::Object(entries) => Box::new(
            entries
                .iter()
                .filter(|(position, _)| position.parse::<usize>().is_ok())
                .map(|(_, entry)| entry),
        ),
        _ => Box::new(std::iter::empty()),
    }
}

fn cores(value: &Value) -> Result<u32, String> {
    if value.is_null() {
        return Err("it holds no cpucores".to_owned());
    }
    integer(value)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=MAX_CORES).contains(count))
        .ok_or_else(|| format!("cpucores is {value}, not a whole number from 1 to {MAX_CORES}"))
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Every form of section 3: true, false, 1, 0, "1", "0", "yes", "no", "true", "false".
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(1) => Some(true),
            Some(0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" => Some(true),
            "0" | "no" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

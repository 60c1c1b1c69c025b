//! Writes an answer as the service does: the envelope of `glesys-api.md` section 3.

use super::api::Reply;
use super::switches::Numbers;
use jiff::Timestamp;
use jiff::tz::{TimeZone, offset};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

pub(super) fn json(reply: &Reply, arguments: &Map<String, Value>, numbers: Numbers) -> String {
    let mut response = Map::new();
    let mut status = json!({
        "code": reply.code,
        "timestamp": timestamp(),
        "text": reply.text,
        "transactionid": null,
    });
    let mut payload = Value::Object(reply.payload.clone());
    if numbers == Numbers::Quoted {
        quote(&mut status);
        quote(&mut payload);
    }
    response.insert("status".to_owned(), status);
    if let Value::Object(payload) = payload {
        response.extend(payload);
    }
    // Written in PHP: an empty map is the empty list.
    let input = match arguments.is_empty() {
        true => json!([]),
        false => Value::Object(arguments.clone()),
    };
    response.insert("debug".to_owned(), json!({"input": input}));
    json!({"response": response}).to_string()
}

fn quote(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Array(items) => items.iter_mut().for_each(quote),
        Value::Object(fields) => fields.values_mut().for_each(quote),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// Seconds, with the Swedish offset; without time zone data its winter offset.
fn timestamp() -> String {
    let now = clock_gettime(ClockId::Realtime);
    let now = Timestamp::from_second(now.tv_sec).unwrap_or(Timestamp::UNIX_EPOCH);
    let zone = TimeZone::get("Europe/Stockholm").unwrap_or_else(|_| offset(1).to_time_zone());
    now.to_zoned(zone)
        .strftime("%Y-%m-%dT%H:%M:%S%:z")
        .to_string()
}

//! Where log lines go and how they look.

use super::LogFormat;
use crate::adapters::clock::{SystemClock, rfc3339};
use crate::ports::Clock;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::linux::fs::MetadataExt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Every line on standard error is a JSON object.
static IN_JSON: AtomicBool = AtomicBool::new(false);

/// Whether whoever reads standard error takes nothing but JSON objects.
pub fn in_json() -> bool {
    IN_JSON.load(Ordering::Relaxed)
}

/// Starts logging. `$RUST_LOG` may ask for more than `info`, as in `debug`.
pub fn start(format: LogFormat) {
    IN_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = Targets::from_str(&wanted)
        .ok()
        .filter(|_| !wanted.is_empty())
        .unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let journal = match format {
        LogFormat::Journal => journal(),
        LogFormat::Auto if stderr_is_the_journal() => journal(),
        _ => None,
    };
    match journal {
        Some(layer) => tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .init(),
        None => {
            let lines = Lines {
                json: format == LogFormat::Json,
            };
            tracing_subscriber::registry()
                .with(lines.with_filter(filter))
                .init();
        }
    }
    report_panics();
}

/// For commands whose output is their own: only what went badly wrong.
pub fn start_quiet() {
    let filter = Targets::new().with_default(Level::ERROR);
    tracing_subscriber::registry()
        .with(Lines { json: false }.with_filter(filter))
        .init();
}

fn journal() -> Option<tracing_journald::Layer> {
    // Without it the lines go to standard error, which systemd puts into the journal too.
    tracing_journald::layer()
        .ok()
        .map(|layer| layer.with_field_prefix(None))
}

/// systemd names the stream that it connected to the journal by device and inode; a redirected
/// standard error is another one.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|meta| stream == format!("{}:{}", meta.st_dev(), meta.st_ino()))
}

fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        tracing::error!(target: "glesys_autoscaler", "bug: {info}; please report it");
        // Whoever parses the lines takes no other.
        if !in_json() {
            before(info);
        }
    }));
}

/// One event, one line on standard error: for people, or as a JSON object.
struct Lines {
    json: bool,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let ts = rfc3339(SystemClock::new().now().wall_ms);
        let mut line = if self.json {
            fields.json(&ts, level)
        } else {
            fields.text(&ts, level)
        };
        line.push('\n');
        // A log that cannot be written has nowhere to be complained of.
        let _unwritten = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

#[derive(Default)]
struct Fields(serde_json::Map<String, serde_json::Value>);

impl Fields {
    fn json(mut self, ts: &str, level: Level) -> String {
        self.0.insert("ts".to_owned(), ts.into());
        self.0
            .insert("level".to_owned(), level.as_str().to_lowercase().into());
        serde_json::Value::Object(self.0).to_string()
    }

    fn text(mut self, ts: &str, level: Level) -> String {
        let mut line = format!("{ts} {level:5} ");
        if let Some(serde_json::Value::String(event)) = self.0.get("event") {
            let _infallible = write!(line, "{event}: ");
        }
        match self.0.remove("message") {
            Some(serde_json::Value::String(message)) => line += &message,
            other => line += &other.unwrap_or_default().to_string(),
        }
        // What a person reads of a change is in the message; other lines show their fields.
        if !self.0.contains_key("event") {
            for (name, value) in &self.0 {
                let _infallible = write!(line, " {name}={value}");
            }
        }
        line
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

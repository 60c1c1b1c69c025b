//! Named points of an edit at which a test can end the process as `kill -9` would, or make it
//! panic. Not part of a release build.

/// Names the point to end at, or to panic at as `panic:POINT`.
#[cfg(debug_assertions)]
const VARIABLE: &str = "GLESYS_AUTOSCALER_CRASH_AT";

/// Ends the process if the environment names this point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    let Ok(at) = std::env::var(VARIABLE) else {
        return;
    };
    assert_ne!(
        at.strip_prefix("panic:"),
        Some(name),
        "{VARIABLE} asks for a panic here"
    );
    if at == name {
        let me = rustix::process::getpid();
        let _no_answer = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

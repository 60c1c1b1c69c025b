//! Named points of an edit at which a test can end the process as `kill -9` would. Not part of a
//! release build.

/// Ends the process if the environment names this point.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    if std::env::var_os("GLESYS_AUTOSCALER_CRASH_AT").is_some_and(|at| at == name) {
        let me = rustix::process::getpid();
        let _no_answer = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

//! Named points of an edit at which a test can end the process as `kill -9` would, make it panic,
//! or make it dwell, so as to be killed there from outside. Not part of a release build.

/// Names the point to end at; as `panic:POINT` the one to panic at, as `dwell:POINT` the one to
/// stay at for [`DWELL`].
#[cfg(debug_assertions)]
const VARIABLE: &str = "GLESYS_AUTOSCALER_CRASH_AT";

/// The kernel shows the name of the point as that of the process meanwhile.
#[cfg(debug_assertions)]
const DWELL: std::time::Duration = std::time::Duration::from_millis(500);

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
    if at.strip_prefix("dwell:") == Some(name) {
        dwell(name);
    }
    if at == name {
        let me = rustix::process::getpid();
        let _no_answer = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

#[cfg(debug_assertions)]
fn dwell(name: &str) {
    let Ok(shown) = std::ffi::CString::new(name) else {
        return;
    };
    let before = rustix::thread::name();
    let _unnamed = rustix::thread::set_name(&shown);
    std::thread::sleep(DWELL);
    let _unnamed = before.and_then(|before| rustix::thread::set_name(&before));
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}

//! Commands in the guest, over ssh.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// Seconds that one command in the guest may take.
const TIME_LIMIT: &str = "120";
/// ssh's own failure.
const NO_CONNECTION: i32 = 255;

/// A way into the guest, as root.
pub struct Shell {
    key: PathBuf,
    port: u16,
    /// The socket of the connection that the commands share: a new one costs the guest half a
    /// second of CPU.
    control: PathBuf,
}

impl Shell {
    pub fn new(key: &Path, port: u16, directory: &Path) -> Self {
        Self {
            key: key.to_owned(),
            port,
            control: directory.join("ssh"),
        }
    }

    /// Runs a script; `None` while there is no connection.
    pub fn try_run(&self, script: &str) -> Option<Output> {
        let output = self.ssh().arg(script).output().unwrap();
        if output.status.code() == Some(NO_CONNECTION) || output.status.code() == Some(124) {
            self.hang_up();
            return None;
        }
        Some(output)
    }

    /// Runs a script that must come to a good end; what it printed.
    pub fn run(&self, script: &str) -> String {
        let output = self.any_end(script);
        assert!(
            output.status.success(),
            "in the guest: {script}\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a script to whatever end, with some patience for a connection.
    pub fn any_end(&self, script: &str) -> Output {
        for _ in 0..20 {
            if let Some(output) = self.try_run(script) {
                return output;
            }
            thread::sleep(Duration::from_secs(1));
        }
        panic!("no connection to the guest for: {script}");
    }

    /// Puts a file there, to stay over a power cut.
    pub fn write(&self, path: &str, mode: &str, content: &[u8]) {
        use std::io::Write;
        let mut child = self
            .ssh()
            .arg(format!(
                "umask 077 && cat > {path} && chmod {mode} {path} && sync {path}"
            ))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        assert!(child.wait().unwrap().success(), "writing {path}");
    }

    /// Waits until the guest has booted.
    pub fn wait_for_boot(&self) {
        for _ in 0..180 {
            let state = self.try_run("systemctl is-system-running");
            let state = state.map(|output| text(&output.stdout));
            if let Some("running" | "degraded") = state.as_deref().map(str::trim) {
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
        panic!("the guest does not boot");
    }

    /// Forgets the shared connection, as after a reboot.
    pub fn hang_up(&self) {
        let _ = std::fs::remove_file(&self.control);
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("timeout");
        command
            .args([TIME_LIMIT, "ssh", "-F", "none", "-q", "-T"])
            .arg("-i")
            .arg(&self.key)
            .args(["-p", &self.port.to_string()])
            .arg("-o")
            .arg(format!("ControlPath={}", self.control.display()))
            .args(["-o", "ControlMaster=auto", "-o", "ControlPersist=600"])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "ConnectTimeout=10", "-o", "BatchMode=yes"])
            // A guest that lost its power does not close its connections.
            .args(["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"])
            .arg("root@127.0.0.1")
            .stdin(Stdio::null());
        command
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! The program with a policy file, up to its first look at the server.

use crate::emulator::Served;
use crate::tls::PrivateCa;
use glesys_autoscaler::sandbox::{Emulator, Fault, Function, Key, Project, Server, Times};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

const KEY: &str = "a-key-for-every-key";
/// Far above what any run needs, also on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the emulator is reached.
#[derive(Clone, Copy, PartialEq)]
pub enum Api {
    Http,
    Tls,
    /// As `localhost`.
    ByName,
    /// It thinks for three seconds before it answers.
    Slow,
}

/// One run of the program.
pub struct Run {
    directory: TempDir,
    api: Served,
    url: String,
}

impl Run {
    pub fn new(api: Api) -> Run {
        let directory = TempDir::new().unwrap();
        let server = Server::new("kvm123456", 2);
        let project = Project::new("cl12345")
            .key(Key::for_loopback(KEY))
            .server(server);
        let emulator = Emulator::builder().project(project).build();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("key", KEY);
        write("another-key", "not-that-key");
        let served = if api == Api::Tls {
            let ca = PrivateCa::new();
            write("root.pem", &ca.pem());
            Served::over_tls(emulator, ca.server(&["127.0.0.1"]))
        } else {
            Served::over_http(emulator)
        };
        if api == Api::Slow {
            let slow = Fault::DelayBefore(Duration::from_secs(3));
            served.inject(Function::Details, slow, Times::Always);
        }
        let url = match api {
            Api::ByName => served.url.replace("127.0.0.1", "localhost"),
            _ => served.url.clone(),
        };
        Run {
            directory,
            api: served,
            url,
        }
    }

    /// `value` with the places of this run in it.
    pub fn filled_in(&self, value: &str) -> String {
        let directory = self.directory.path().to_str().unwrap();
        value
            .replace("{dir}", directory)
            .replace("{url}", &self.url)
    }

    /// The keys that say where this run keeps and finds things.
    pub fn places(&self) -> Vec<(&'static str, String)> {
        [
            ("state_dir", "'{dir}/state'"),
            ("runtime_dir", "'{dir}/run'"),
            ("api.key_file", "'{dir}/key'"),
            ("api.url", "'{url}'"),
        ]
        .map(|(key, value)| (key, self.filled_in(value)))
        .into()
    }

    /// `read`, where the server could be read; else the words of the program. And which of the
    /// directories `one` and `two` it made.
    pub fn outcome(&self, policy_file: &str) -> String {
        let file = self.directory.path().join("policy.toml");
        fs::write(&file, policy_file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_glesys-autoscaler"))
            .args(["run", "--log-format", "json", "--config"])
            .arg(&file)
            .env_clear()
            // Where a program that was built for it writes its coverage.
            .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|at| ("LLVM_PROFILE_FILE", at)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let _ended = Ended(child);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _nobody_listens = sender.send(line);
            }
        });
        let mut said = String::new();
        for _ in 0..PATIENCE.as_millis() / 50 {
            let calls = self.api.calls_of(Function::Details);
            if calls.iter().any(|call| call.http == Some(200)) {
                let made = ["one", "two"]
                    .into_iter()
                    .find(|name| self.directory.path().join(name).exists());
                return made.map_or("read".to_owned(), |name| format!("read, and made {name}"));
            }
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    said += &line;
                    if line.contains("\"event\":\"api_error\"") {
                        return said;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return said,
            }
        }
        format!("nothing within {PATIENCE:?}: {said}")
    }
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

//! A guest with the package in it, the API outside, and what every scenario must leave true.

use crate::api::{Api, KEY, PROJECT, SERVER};
use crate::hypervisor::Hypervisor;
use crate::key_search;
use crate::qemu::{Begin, Image, Place};
use crate::shell::{Shell, text};
use crate::tls::PrivateCa;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Far above what anything needs on an idle machine: emulation is slow and uneven.
const PATIENCE: Duration = Duration::from_secs(240);
/// The directory that `tests/guest/image` printed.
const IMAGE: &str = "GLESYS_AUTOSCALER_TEST_GUEST";
/// The package to install.
const PACKAGE: &str = "GLESYS_AUTOSCALER_TEST_PACKAGE";

/// Short windows, so that a scenario takes a minute; all else as shipped.
const QUICK: &[(&str, &str)] = &[
    ("limits.min_cores", "1"),
    ("limits.max_cores", "3"),
    ("sampling.interval", "'1s'"),
    ("policy.boot_grace", "'5s'"),
    ("policy.up.window", "'5s'"),
    ("policy.up.queue", "'3s'"),
    ("policy.up.cooldown", "'5s'"),
    ("policy.down.window", "'15s'"),
    ("policy.down.cooldown", "'15s'"),
    ("apply.lowering", "'learn'"),
    ("apply.timeout", "'40s'"),
];

/// What all scenarios begin from, made once.
pub struct Prepared {
    pub ca: PrivateCa,
    pub package: PathBuf,
    image: Image,
    /// With two snapshots: `booted`, and `installed`. Without a name: what a test binary keeps to
    /// its end, it never removes.
    disk: File,
}

impl Prepared {
    pub fn get() -> &'static Self {
        static PREPARED: OnceLock<Prepared> = OnceLock::new();
        PREPARED.get_or_init(Self::new)
    }

    fn new() -> Self {
        let given = |name: &str| {
            let value = std::env::var_os(name);
            PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: see tests/guest/run")))
        };
        let image = Image::in_directory(given(IMAGE));
        let package = given(PACKAGE);
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = directory.path().join("disk.qcow2");
        fs::copy(image.disk(), &disk).unwrap();
        let ca = PrivateCa::new();

        println!("guest: with {}", crate::qemu::acceleration()[1]);
        let (mut qemu, ssh_port) =
            Place::start_at_free_port(&image, directory.path(), Begin::Boot(1));
        let shell = Shell::new(&image.ssh_key(), ssh_port, directory.path());
        shell.wait_for_boot();
        qemu.snapshot("booted");
        install(&shell, &package, &ca);
        qemu.snapshot("installed");
        qemu.end();
        Self {
            ca,
            package,
            image,
            disk: File::open(disk).unwrap(),
        }
    }

    fn copy_disk(&self, to: &Path) {
        let mut disk = &self.disk;
        disk.rewind().unwrap();
        io::copy(&mut disk, &mut File::create(to).unwrap()).unwrap();
    }
}

/// As the README says, and the root of our private CA beside it.
fn install(shell: &Shell, package: &Path, ca: &PrivateCa) {
    let root = "/usr/local/share/ca-certificates/test-bed.crt";
    shell.write(root, "644", ca.pem().as_bytes());
    shell.run("update-ca-certificates 2>&1");
    shell.write("/root/this.deb", "644", &fs::read(package).unwrap());
    shell.run("dpkg -i /root/this.deb 2>&1");
}

/// One scenario's guest. A scenario ends with [`holds`](Self::holds).
pub struct Bed {
    pub api: Api,
    pub platform: Hypervisor,
    pub shell: Shell,
    keys: BTreeMap<String, String>,
    /// Where what was seen is kept, for people.
    evidence: PathBuf,
    _directory: TempDir,
}

impl Bed {
    /// A guest in which the package is installed, and nothing is set up.
    pub fn installed(name: &str) -> Self {
        Self::from("installed", name)
    }

    /// A guest that has booted and knows nothing of the package.
    pub fn booted(name: &str) -> Self {
        Self::from("booted", name)
    }

    fn from(snapshot: &'static str, name: &str) -> Self {
        let prepared = Prepared::get();
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        prepared.copy_disk(&directory.path().join("disk.qcow2"));
        let place = directory.path().to_owned();
        let begin = Begin::Snapshot(snapshot);
        let platform = Hypervisor::start(&prepared.image, place, begin);
        let key = prepared.image.ssh_key();
        let shell = Shell::new(&key, platform.ssh_port(), directory.path());
        let evidence = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("guest")
            .join(name);
        let _ = fs::remove_dir_all(&evidence);
        fs::create_dir_all(&evidence).unwrap();
        let bed = Self {
            api: Api::of(&platform, &prepared.ca),
            platform,
            shell,
            keys: QUICK
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            evidence,
            _directory: directory,
        };
        bed.set_clock(0);
        bed
    }

    /// Sets the guest's wall clock to this many seconds after the true time: a guest from a
    /// snapshot lives in the past.
    #[expect(
        clippy::disallowed_methods,
        reason = "the true time, to set another machine's clock by"
    )]
    pub fn set_clock(&self, offset: i64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seconds = now.as_secs() as i64 + offset;
        self.shell.run(&format!("date -s @{seconds}"));
    }

    /// Installs the package and the root of the private CA.
    pub fn install(&self) {
        let prepared = Prepared::get();
        install(&self.shell, &prepared.package, &prepared.ca);
    }

    /// Changes keys of the policy, by their full names; written by [`set_up`](Self::set_up).
    pub fn policy(&mut self, keys: &[(&str, &str)]) {
        for (key, value) in keys {
            self.keys.insert((*key).to_owned(), (*value).to_owned());
        }
    }

    /// Writes the policy file and the key, as an operator would.
    pub fn set_up(&self) {
        self.write_policy();
        self.shell
            .write("/etc/glesys-autoscaler/api-key", "600", KEY.as_bytes());
    }

    /// Writes the policy file.
    pub fn write_policy(&self) {
        let mut lines = vec![
            format!("api.project = '{PROJECT}'"),
            format!("api.server_id = '{SERVER}'"),
            format!("api.url = '{}'", self.api.url()),
        ];
        lines.extend(
            self.keys
                .iter()
                .map(|(key, value)| format!("{key} = {value}")),
        );
        let text = lines.join("\n") + "\n";
        let path = "/etc/glesys-autoscaler/policy.toml";
        self.shell.write(path, "644", text.as_bytes());
    }

    /// Sets everything up and starts the unit; it is ready then.
    pub fn start(&self) {
        self.set_up();
        self.shell
            .run("systemctl enable --quiet --now glesys-autoscaler");
        self.note("started");
    }

    /// Sets the load: so many tasks that never sleep.
    pub fn load(&self, tasks: u32) {
        self.shell.run("systemctl stop load 2>/dev/null; true");
        if tasks > 0 {
            self.shell.run(&format!(
                "systemd-run --quiet --collect --unit load sh -c \
                 'for i in $(seq {tasks}); do (while :; do :; done) & done; wait'"
            ));
        }
        self.note(&format!("a load of {tasks} tasks"));
    }

    /// Waits until `done`.
    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..PATIENCE.as_secs() {
            if done() {
                self.note(what);
                return;
            }
            thread::sleep(Duration::from_secs(1));
        }
        panic!("it never came to this: {what}");
    }

    /// Waits for the status to fit.
    pub fn until_status(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        self.until(what, || {
            last = self.status().unwrap_or(Value::Null);
            fits(&last)
        });
        last
    }

    /// Waits until API, platform and kernel all have this count and nothing is under way.
    pub fn until_cores(&self, cores: u32) {
        self.until(&format!("{cores} cores"), || {
            self.api.cores(SERVER) == Ok(cores)
                && self.platform.cores() == cores
                && self.online() == Some(cores)
                && self
                    .status()
                    .is_some_and(|s| s["cores"] == cores && s["in_flight"].is_null())
        });
    }

    /// Waits for this many lines of this event, over all boots; the last of them.
    pub fn until_events(&self, event: &str, count: usize) -> Value {
        let mut found = Vec::new();
        self.until(&format!("{event}, line {count}"), || {
            found = self.events(event);
            found.len() >= count
        });
        found.remove(count - 1)
    }

    /// CPUs that the guest's kernel runs tasks on; `None` while it cannot be asked.
    pub fn online(&self) -> Option<u32> {
        let output = self.shell.try_run("grep -c ^processor /proc/cpuinfo")?;
        text(&output.stdout).trim().parse().ok()
    }

    /// What the running daemon says of itself; `None` while it does not answer.
    pub fn status(&self) -> Option<Value> {
        let output = self.shell.try_run("glesys-autoscaler status --json")?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The records of the ledger.
    pub fn history(&self) -> Vec<Value> {
        json_lines(&self.shell.run("glesys-autoscaler history --json"))
    }

    /// The result of each record.
    pub fn results(&self) -> Vec<String> {
        let result = |record: &Value| record["result"].as_str().unwrap().to_owned();
        self.history().iter().map(result).collect()
    }

    /// The journal's lines of one event, over all boots.
    pub fn events(&self, event: &str) -> Vec<Value> {
        let query = format!("journalctl -u glesys-autoscaler EVENT={event} -o json --no-pager");
        let output = self.shell.any_end(&query);
        json_lines(&text(&output.stdout))
    }

    /// How often systemd started the unit again.
    pub fn restarts(&self) -> u32 {
        let shown = self
            .shell
            .run("systemctl show -P NRestarts glesys-autoscaler");
        shown.trim().parse().unwrap()
    }

    /// Cuts the power and boots anew, with the count that the API shows.
    pub fn reboot(&self) {
        self.api.reboot(SERVER).unwrap();
        self.wait_for_boot();
    }

    /// Waits until the guest has booted anew and its clock is right.
    pub fn wait_for_boot(&self) {
        self.shell.hang_up();
        self.shell.wait_for_boot();
        self.note("booted");
    }

    /// A word for the story, with the CPUs as the kernel and the platform have them.
    pub fn note(&self, what: &str) {
        let online = self.shell.try_run("cat /sys/devices/system/cpu/online");
        let online = online.map_or("?".to_owned(), |o| text(&o.stdout).trim().to_owned());
        let line = format!(
            "{what}: online {online}, plugged {}, API {}\n",
            self.platform.cores(),
            self.api.cores(SERVER).unwrap()
        );
        print!("  {}: {line}", self.name());
        append(&self.evidence.join("story.txt"), &line);
    }

    fn name(&self) -> String {
        let name = self.evidence.file_name().unwrap();
        name.to_string_lossy().into_owned()
    }

    /// What must be true at the end of every scenario, whatever it was about.
    pub fn holds(self) {
        // In this order: what begins or ends meanwhile is not missed.
        let edits = self.api.edits();
        let mut announced = self.events("scale_up");
        announced.extend(self.events("scale_down"));
        let status = self.until_status("the daemon answers", Value::is_object);
        let in_flight = usize::from(!status["in_flight"].is_null());
        let history = self.history();
        self.keep_evidence();

        let ids: BTreeSet<&str> = history
            .iter()
            .filter_map(|r| r["decision_id"].as_str())
            .collect();
        assert_eq!(ids.len(), history.len(), "a record twice: {history:#?}");
        let unrecorded = announced
            .iter()
            .filter_map(|line| line["DECISION_ID"].as_str())
            .filter(|id| !ids.contains(id))
            .count();
        assert!(
            unrecorded <= in_flight,
            "announced and not recorded: {announced:#?}\n{history:#?}"
        );

        let accepted: Vec<u32> = edits
            .iter()
            .filter(|(_, http)| *http == Some(200))
            .map(|(cores, _)| *cores)
            .collect();
        let most = self.keys["limits.max_cores"].parse().unwrap();
        let least = self.keys["limits.min_cores"].parse().unwrap();
        let within = |cores: &u32| (least..=most).contains(cores);
        assert!(accepted.iter().all(within), "outside the limits: {edits:?}");
        let accounted: usize = history.iter().map(accepted_edits).sum();
        assert!(
            accepted.len() <= accounted + in_flight,
            "more edits were accepted than are recorded: {edits:?}\n{history:#?}"
        );

        self.keeps_the_key();
    }

    /// What must be true once the package was purged: there is nobody to ask.
    pub fn purged(self) {
        self.keep_evidence();
        self.keeps_the_key();
    }

    fn keeps_the_key(&self) {
        let said = self.journal();
        assert!(!said.is_empty(), "nothing to look for the key in");
        let forms: String = key_search::forms()
            .iter()
            .map(|form| format!(" -e {form}"))
            .collect();
        let leak = self.shell.any_end(&format!(
            "journalctl --no-pager -o export --all | grep -acF{forms}; \
             grep -rlF{forms} /var/lib/glesys-autoscaler /run/glesys-autoscaler"
        ));
        assert_eq!(text(&leak.stdout).trim(), "0", "the key is somewhere");
    }

    /// For people: the journal, the unit's line, the ledger, the calls.
    fn keep_evidence(&self) {
        for (file, script) in [
            (
                "journal.txt",
                "journalctl -u glesys-autoscaler --no-pager -o short-iso",
            ),
            (
                "journal-fields.txt",
                "journalctl -u glesys-autoscaler --no-pager -o verbose \
                 --output-fields=MESSAGE,EVENT,CORES_FROM,CORES_TO,REASON,UTILIZATION,DEMAND,SERVER_ID,DECISION_ID,MESSAGE_ID,PRIORITY",
            ),
            (
                "systemctl-status.txt",
                "systemctl status --no-pager -n 0 glesys-autoscaler",
            ),
            ("status.json", "glesys-autoscaler status --json"),
            ("history.json", "glesys-autoscaler history --json"),
        ] {
            if let Some(output) = self.shell.try_run(script) {
                fs::write(self.evidence.join(file), output.stdout).unwrap();
            }
        }
        let calls: String = self
            .api
            .calls()
            .iter()
            .map(|call| format!("{call:?}\n"))
            .collect();
        fs::write(self.evidence.join("calls.txt"), calls).unwrap();
    }

    /// Another one at each boot.
    pub fn boot_id(&self) -> String {
        self.shell.run("cat /proc/sys/kernel/random/boot_id")
    }

    /// Waits until the guest has booted, and it is another boot than `before`: for as long as it
    /// goes down, the old one answers.
    pub fn until_another_boot(&self, before: &str) {
        let mut answered = false;
        for _ in 0..PATIENCE.as_secs() {
            let id = self.shell.try_run("cat /proc/sys/kernel/random/boot_id");
            answered = id.is_some_and(|id| id.status.success() && text(&id.stdout) != before);
            if answered {
                break;
            }
            self.shell.hang_up();
            thread::sleep(Duration::from_secs(1));
        }
        assert!(answered, "the guest does not boot anew");
        self.wait_for_boot();
    }

    /// The daemon's lines, over all boots, without their fields.
    pub fn journal(&self) -> String {
        let query = "journalctl -u glesys-autoscaler --no-pager -o cat";
        text(&self.shell.any_end(query).stdout)
    }

    /// Waits until the API has taken the edit and the daemon knows it.
    pub fn until_accepted(&self) {
        self.until_status("the API took the change", |status| {
            status["in_flight"]["stage"] == "accepted"
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if thread::panicking() {
            self.keep_evidence();
            let journal = fs::read_to_string(self.evidence.join("journal.txt"));
            println!(
                "{}\nthe rest is in {}",
                journal.unwrap_or_default(),
                self.evidence.display()
            );
        }
        // The emulator's worker holds QEMU too, and may not be done.
        self.platform.end();
    }
}

/// How many edits the API has accepted at most for a change that ended so.
fn accepted_edits(record: &Value) -> usize {
    match record["result"].as_str() {
        Some("refused" | "failed") => 0,
        // The old count was posted back.
        Some("reverted") => 2,
        // Of a superseded one nobody knows.
        _ => 1,
    }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

fn append(path: &Path, line: &str) {
    use std::io::Write;
    let file = fs::File::options().create(true).append(true).open(path);
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

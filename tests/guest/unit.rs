//! The unit as systemd has it: its process, its settings, its lines; and a change under way in it.

use crate::api::SERVER;
use crate::bed::Bed;
use crate::shell::text;

const UNIT: &str = "glesys-autoscaler";

impl Bed {
    /// A guest with the package in it that goes from one core to three, and back, in one step
    /// whatever its first seconds of load look like: a scenario can count the edits.
    pub fn of_one_or_three_cores(name: &str) -> Self {
        let mut bed = Self::installed(name);
        bed.policy(&[("limits.allowed_cores", "[1, 3]")]);
        bed
    }

    /// A property of the unit, as `systemctl show` has it.
    pub fn property(&self, name: &str) -> String {
        let shown = self.shell.run(&format!("systemctl show -P {name} {UNIT}"));
        shown.trim().to_owned()
    }

    /// The daemon's process; 0 while there is none.
    pub fn process(&self) -> u32 {
        self.property("MainPID").parse().unwrap()
    }

    /// Sends a signal to the daemon alone.
    pub fn signal(&self, name: &str) {
        let process = self.process();
        assert_ne!(process, 0, "the daemon does not run");
        self.shell.run(&format!("kill -{name} {process}"));
        self.note(&format!("SIG{name}"));
    }

    /// Other settings of the service, as `systemctl edit` makes them.
    pub fn edit_unit(&self, settings: &str) {
        let directory = format!("/etc/systemd/system/{UNIT}.service.d");
        self.shell.run(&format!("mkdir -p {directory}"));
        let content = format!("[Service]\n{settings}\n");
        let path = format!("{directory}/scenario.conf");
        self.shell.write(&path, "644", content.as_bytes());
        self.shell.run("systemctl daemon-reload");
    }

    /// How many lines of the unit's journal, systemd's own among them, have this text.
    pub fn said(&self, what: &str) -> usize {
        let output = self
            .shell
            .any_end(&format!("journalctl -u {UNIT} -o cat --no-pager --all"));
        let journal = text(&output.stdout);
        journal.lines().filter(|line| line.contains(what)).count()
    }

    /// The counts of all calls of `server/edit`, however they ended.
    pub fn asked_for(&self) -> Vec<u32> {
        self.api.edits().iter().map(|(cores, _)| *cores).collect()
    }

    /// Sets a load for three cores, and waits until the API has accepted the raise. The server is
    /// locked for so many seconds from then on, and the guest has what it had.
    pub fn raise_under_way(&self, locked: u64) {
        self.api.locks_for(locked);
        self.load(3);
        self.until_accepted();
        assert_eq!(self.api.locked(SERVER), Ok(true), "it came too late");
    }

    /// Waits until another process than this one answers.
    pub fn until_started_anew(&self, before: u32) {
        self.until("started anew", || {
            let now = self.process();
            now != 0 && now != before && self.status().is_some()
        });
    }
}

//! One guest under QEMU: its process, and its management socket.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// More cores than this the guest's kernel is not told of.
pub const MOST_CORES: u32 = 8;
pub const MEMORY_MB: u64 = 512;
/// How long an answer of QEMU may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `tests/guest/image` built.
#[derive(Debug, Clone)]
pub struct Image(PathBuf);

impl Image {
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    pub fn disk(&self) -> PathBuf {
        self.0.join("disk.qcow2")
    }

    pub fn ssh_key(&self) -> PathBuf {
        self.0.join("ssh-key")
    }
}

/// How a guest begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// It boots with so many cores.
    Boot(u32),
    /// It goes on where a snapshot with one core was taken.
    Snapshot(&'static str),
}

/// A running QEMU. Dropping it pulls the plug.
pub struct Qemu {
    process: Child,
    monitor: BufReader<UnixStream>,
    /// Names of vCPUs, each used once: QEMU keeps the name of one that was asked to go.
    plugged: u32,
}

/// Where the guest's things are: `disk.qcow2`, and what QEMU makes there.
pub struct Place<'a> {
    pub image: &'a Image,
    pub directory: &'a Path,
    /// The port of 127.0.0.1 that leads to the guest's ssh.
    pub ssh_port: u16,
}

impl<'a> Place<'a> {
    /// Starts a guest at a port that nobody has, and says which. Between the choice and the start
    /// somebody may take it, as another guest does that starts beside this one: then at another.
    pub fn start_at_free_port(image: &'a Image, directory: &'a Path, begin: Begin) -> (Qemu, u16) {
        let mut failed = String::new();
        for _ in 0..3 {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let ssh_port = listener.local_addr().unwrap().port();
            drop(listener);
            let place = Place {
                image,
                directory,
                ssh_port,
            };
            match place.try_start(begin) {
                Ok(qemu) => return (qemu, ssh_port),
                Err(error) => failed = error,
            }
        }
        panic!("{failed}");
    }

    pub fn start(&self, begin: Begin) -> Qemu {
        self.try_start(begin)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A QEMU that is ready, or why it did not come to that.
    fn try_start(&self, begin: Begin) -> Result<Qemu, String> {
        let at = |name: &str| self.directory.join(name);
        let socket = at("qmp");
        let _ = std::fs::remove_file(&socket);
        let log = std::fs::File::create(at("qemu.log")).unwrap();
        let cores = match begin {
            Begin::Boot(cores) => cores,
            Begin::Snapshot(_) => 1,
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-machine", "pc", "-global", "PIIX4_PM.disable_s3=0"])
            .args(acceleration())
            .args(["-m", &MEMORY_MB.to_string()])
            // Under emulation QEMU ends itself at plug number `maxcpus` of its life.
            .arg("-smp")
            .arg(format!("{cores},sockets=1,cores=96,threads=1,maxcpus=96"))
            .arg("-kernel")
            .arg(self.image.0.join("kernel"))
            .arg("-initrd")
            .arg(self.image.0.join("initrd"))
            .arg("-append")
            // On a busy machine an emulated timer is so late that the kernel calls it broken.
            .arg(format!(
                "console=ttyS0 quiet net.ifnames=0 no_timer_check possible_cpus={MOST_CORES}"
            ))
            .arg("-drive")
            .arg(format!(
                "file={},if=none,id=disk,format=qcow2",
                at("disk.qcow2").display()
            ))
            .args(["-device", "virtio-blk-pci,drive=disk"])
            .args(["-netdev", "user,id=api,net=10.0.2.0/24,ipv6=off"])
            .args([
                "-device",
                "virtio-net-pci,id=api-nic,netdev=api,mac=52:54:00:00:00:01",
            ])
            .arg("-netdev")
            .arg(format!(
                "user,id=tests,net=10.0.3.0/24,ipv6=off,hostfwd=tcp:127.0.0.1:{}-10.0.3.15:22",
                self.ssh_port
            ))
            .args([
                "-device",
                "virtio-net-pci,netdev=tests,mac=52:54:00:00:00:02",
            ])
            .args(["-device", "virtio-rng-pci"])
            .arg("-chardev")
            .arg(format!(
                "file,id=console,append=on,path={}",
                at("console").display()
            ))
            .args(["-serial", "chardev:console"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Begin::Snapshot(name) = begin {
            command.args(["-loadvm", name]);
        }
        let mut process = command.spawn().unwrap();
        let mut connected = None;
        for _ in 0..600 {
            connected = UnixStream::connect(&socket).ok();
            if connected.is_some() || process.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let failed = |error: &str| {
            let log = std::fs::read_to_string(at("qemu.log")).unwrap();
            format!("QEMU did not start: {error}: {log}")
        };
        let Some(stream) = connected else {
            let _ = process.kill();
            let _ = process.wait();
            return Err(failed("no socket"));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut qemu = Qemu {
            process,
            monitor: BufReader::new(stream),
            plugged: 0,
        };
        // The socket is there before all else is, and before QEMU knows that it can be.
        qemu.line()
            .and_then(|_| qemu.try_ask("qmp_capabilities", json!({})))
            .map_err(|error| failed(&error))?;
        Ok(qemu)
    }
}

/// KVM only where it can run a stock kernel: there are machines whose `/dev/kvm` opens and then
/// boots nothing.
pub fn acceleration() -> [&'static str; 4] {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let virtual_machines = cpu
        .split_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm");
    let usable = virtual_machines
        && !Path::new("/sys/module/kvm_pvm").exists()
        && std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
    if usable {
        ["-accel", "kvm", "-cpu", "host"]
    } else {
        ["-accel", "tcg,thread=multi", "-cpu", "max"]
    }
}

impl Qemu {
    /// One line of the socket.
    fn line(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match self.monitor.read_line(&mut line) {
            Ok(0) => Err("QEMU ended".to_owned()),
            Ok(_) => Ok(serde_json::from_str(&line).unwrap()),
            Err(error) => Err(format!("QEMU does not answer: {error}")),
        }
    }

    /// Carries out a command; its answer, or QEMU's error.
    pub fn try_ask(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let request = json!({"execute": command, "arguments": arguments});
        let mut stream = self.monitor.get_ref();
        stream
            .write_all(format!("{request}\n").as_bytes())
            .map_err(|error| format!("{command}: {error}"))?;
        loop {
            // Events come in between.
            let mut line = self.line()?;
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = line.get("error") {
                return Err(format!("{command}: {error}"));
            }
        }
    }

    pub fn ask(&mut self, command: &str, arguments: Value) -> Value {
        self.try_ask(command, arguments).unwrap()
    }

    /// The plugged vCPUs: number and path, ascending.
    fn vcpus(&mut self) -> Vec<(u64, String)> {
        let slots = self.ask("query-hotpluggable-cpus", json!({}));
        let mut found: Vec<_> = slots
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|slot| {
                let path = slot.get("qom-path")?.as_str()?;
                Some((slot["props"]["core-id"].as_u64()?, path.to_owned()))
            })
            .collect();
        found.sort();
        found
    }

    pub fn cores(&mut self) -> u32 {
        self.vcpus().len() as u32
    }

    /// Plugs one vCPU more, with the lowest free number.
    pub fn plug(&mut self) -> Result<(), String> {
        let slots = self.ask("query-hotpluggable-cpus", json!({}));
        let driver = slots[0]["type"].as_str().unwrap().to_owned();
        let used: Vec<u64> = self.vcpus().iter().map(|(number, _)| *number).collect();
        let free = (0..).find(|number| !used.contains(number)).unwrap();
        self.plugged += 1;
        let arguments = json!({
            "driver": driver, "id": format!("vcpu-{free}-{}", self.plugged),
            "core-id": free, "socket-id": 0, "thread-id": 0,
        });
        self.try_ask("device_add", arguments).map(drop)
    }

    /// Asks the guest to give back the vCPU with the highest number.
    pub fn ask_back(&mut self) -> Result<(), String> {
        let (_, path) = self.vcpus().pop().unwrap();
        self.try_ask("device_del", json!({ "id": path })).map(drop)
    }

    /// Pulls or plugs the wire to the API.
    pub fn wire(&mut self, up: bool) {
        self.ask("set_link", json!({"name": "api-nic", "up": up}));
    }

    /// Keeps the whole guest under this name, in its disk image. Not once a vCPU went: QEMU's
    /// emulation then waits for it for ever.
    pub fn snapshot(&mut self, name: &str) {
        let command = json!({"command-line": format!("savevm {name}")});
        let said = self.ask("human-monitor-command", command);
        assert_eq!(said, "", "savevm");
    }

    /// The power button.
    pub fn press_power(&mut self) {
        self.ask("system_powerdown", json!({}));
    }

    /// Waits for the guest to switch itself off; whether it did.
    pub fn ends_within(&mut self, patience: Duration) -> bool {
        for _ in 0..patience.as_millis() / 100 {
            if self.process.try_wait().unwrap().is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// Pulls the plug, and waits until the disk is free.
    pub fn end(mut self) {
        // A guest that switched itself off took its QEMU along.
        if self.process.try_wait().unwrap().is_none() {
            let _ = self.try_ask("quit", json!({}));
            let _ = self.ends_within(Duration::from_secs(10));
        }
    }

    /// What the whole guest does: `running`, `paused`, `suspended`.
    pub fn state(&mut self) -> String {
        let answer = self.ask("query-status", json!({}));
        answer["status"].as_str().unwrap().to_owned()
    }

    /// Stops the whole guest, which does not know of it, or lets it go on. Not once a vCPU went:
    /// QEMU's emulation then waits for it for ever.
    pub fn pause(&mut self, paused: bool) {
        self.ask(if paused { "stop" } else { "cont" }, json!({}));
    }

    /// Wakes a guest that suspended itself. Not one with a vCPU that was plugged since its boot: the
    /// firmware then waits for ever.
    pub fn wake(&mut self) {
        self.ask("system_wakeup", json!({}));
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! What tells this machine from another: the facts by which the engine proves that the server it
//! is about to change is the one it runs on.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The facts of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Every address of every interface, ascending, loopback included.
    pub addresses: Vec<IpAddr>,
    /// Hardware addresses of the network cards, ascending, in lower case. Interfaces without a
    /// device behind them (loopback, bridges, `veth`, tunnels) come and go with containers and
    /// are left out.
    pub macs: Vec<String>,
    /// `/etc/machine-id`: 32 hexadecimal digits, kept for the life of the installation, and
    /// copied with it when a VM is cloned.
    pub machine_id: String,
    /// Another one at each boot.
    pub boot_id: String,
    /// Memory that the kernel can use, in MB of 2^20 bytes: some percent less than the VM was
    /// given, since the kernel keeps a part from the start.
    pub memory_mb: u64,
}

/// Why a fact could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `machine-id` is missing, empty or not set yet, as in an image that has never booted.
    #[error("{} holds no machine id; `systemd-machine-id-setup` writes one", path.display())]
    NoMachineId {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what belongs there.
    #[error("{} does not hold {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What belongs there.
        expected: &'static str,
    },
    /// The interfaces could not be listed.
    #[error("cannot list the network interfaces: {0}")]
    Interfaces(String),
}

impl Facts {
    /// Reads the facts, the files of them below `root` (`/` is the machine itself). Addresses
    /// come from the kernel, whatever the root.
    ///
    /// # Errors
    /// A fact that every machine has is missing. Having no network card is no error.
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        Ok(Self {
            addresses: addresses()?,
            macs: macs(&root.join("sys/class/net")),
            machine_id: machine_id(root.join("etc/machine-id"))?,
            boot_id: boot_id(root.join("proc/sys/kernel/random/boot_id"))?,
            memory_mb: memory_mb(root.join("proc/meminfo"))?,
        })
    }

    /// The addresses that other machines can know this one by: without loopback and link-local.
    pub fn known_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses
            .iter()
            .copied()
            .filter(|address| match address {
                IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local()),
                IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local()),
            })
    }
}

fn addresses() -> Result<Vec<IpAddr>, FactsError> {
    let networks = sysinfo::Networks::new_with_refreshed_list()
        .map_err(|e| FactsError::Interfaces(e.to_string()))?;
    let addresses: BTreeSet<IpAddr> = networks
        .values()
        .flat_map(|interface| interface.ip_networks())
        .map(|network| network.addr)
        .collect();
    Ok(addresses.into_iter().collect())
}

fn macs(interfaces: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(interfaces) else {
        return Vec::new();
    };
    let macs: BTreeSet<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|interface| interface.join("device").exists())
        .filter_map(|interface| fs::read_to_string(interface.join("address")).ok())
        .map(|address| address.trim().to_ascii_lowercase())
        .filter(|address| is_hardware_address(address))
        .collect();
    macs.into_iter().collect()
}

fn is_hardware_address(text: &str) -> bool {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes.is_some_and(|bytes| bytes.len() >= 6 && bytes.iter().any(|byte| *byte != 0))
}

fn machine_id(path: PathBuf) -> Result<String, FactsError> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(FactsError::NoMachineId { path });
        }
        Err(source) => return Err(FactsError::Io { path, source }),
    };
    let id = text.trim();
    // systemd writes the word where an id is to be made at the next boot.
    if id.is_empty() || id == "uninitialized" {
        return Err(FactsError::NoMachineId { path });
    }
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(FactsError::Malformed {
            path,
            expected: "32 hexadecimal digits",
        });
    }
    Ok(id.to_ascii_lowercase())
}

fn boot_id(path: PathBuf) -> Result<String, FactsError> {
    let text = read(&path)?;
    let id = text.trim();
    if id.is_empty() {
        return Err(FactsError::Malformed {
            path,
            expected: "a boot id",
        });
    }
    Ok(id.to_owned())
}

fn memory_mb(path: PathBuf) -> Result<u64, FactsError> {
    let text = read(&path)?;
    let kb = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kb| kb.trim().parse::<u64>().ok());
    match kb {
        Some(kb) => Ok(kb / 1024),
        None => Err(FactsError::Malformed {
            path,
            expected: "the line `MemTotal: … kB`",
        }),
    }
}

fn read(path: &Path) -> Result<String, FactsError> {
    fs::read_to_string(path).map_err(|source| FactsError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE_ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let machine = Self {
                root: tempfile::tempdir().unwrap(),
            };
            machine.write("etc/machine-id", &format!("{MACHINE_ID}\n"));
            machine.write("proc/sys/kernel/random/boot_id", "b00t-1\n");
            machine.write(
                "proc/meminfo",
                "MemTotal:        4030464 kB\nMemFree:         1 kB\n",
            );
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn interface(&self, name: &str, address: &str, has_device: bool) {
            self.write(&format!("sys/class/net/{name}/address"), address);
            if has_device {
                self.write(&format!("sys/class/net/{name}/device/vendor"), "0x1af4\n");
            }
        }

        fn facts(&self) -> Result<Facts, FactsError> {
            Facts::read(self.root.path())
        }
    }

    #[test]
    fn the_facts_of_a_machine() {
        let machine = Machine::new();
        let facts = machine.facts().unwrap();
        assert_eq!(facts.machine_id, MACHINE_ID);
        assert_eq!(facts.boot_id, "b00t-1");
        assert_eq!(facts.memory_mb, 3936);
        assert!(facts.macs.is_empty());
    }

    #[test]
    fn only_network_cards_have_a_hardware_address_that_counts() {
        let machine = Machine::new();
        machine.interface("eth1", "52:54:00:AB:CD:02\n", true);
        machine.interface("eth0", "52:54:00:ab:cd:01\n", true);
        machine.interface("bond-slave", "52:54:00:ab:cd:01\n", true);
        machine.interface("lo", "00:00:00:00:00:00\n", false);
        machine.interface("docker0", "02:42:00:00:00:01\n", false);
        machine.interface("veth12", "12:34:00:00:00:01\n", false);
        machine.interface("odd0", "00:00:00:00:00:00\n", true);
        machine.interface("odd1", "\n", true);
        machine.interface("odd2", "not:an:ad:dr:es:s\n", true);
        // A file beside the interfaces, as `bonding_masters`.
        machine.write("sys/class/net/bonding_masters", "\n");
        assert_eq!(
            machine.facts().unwrap().macs,
            ["52:54:00:ab:cd:01", "52:54:00:ab:cd:02"]
        );
    }

    #[test]
    fn a_missing_machine_id_says_how_to_make_one() {
        let machine = Machine::new();
        let path = machine.root.path().join("etc/machine-id");
        for text in ["", "\n", "uninitialized\n"] {
            machine.write("etc/machine-id", text);
            let error = machine.facts().unwrap_err();
            assert!(matches!(error, FactsError::NoMachineId { .. }), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(
            machine.facts().unwrap_err().to_string(),
            format!(
                "{} holds no machine id; `systemd-machine-id-setup` writes one",
                path.display()
            )
        );
    }

    #[test]
    fn a_fact_that_is_no_fact_is_an_error_that_names_the_file() {
        for (file, text) in [
            ("etc/machine-id", "0f1e2d3c"),
            ("etc/machine-id", "zf1e2d3c4b5a69788796a5b4c3d2e1f0"),
            ("proc/sys/kernel/random/boot_id", ""),
            ("proc/meminfo", ""),
            ("proc/meminfo", "MemTotal: many kB\n"),
            ("proc/meminfo", "MemTotal: 12 GB\n"),
        ] {
            let machine = Machine::new();
            machine.write(file, text);
            let error = machine.facts().unwrap_err();
            assert!(
                matches!(error, FactsError::Malformed { .. }),
                "{file} {text}"
            );
            assert!(error.to_string().contains(file), "{error}");
        }
        for file in ["proc/sys/kernel/random/boot_id", "proc/meminfo"] {
            let machine = Machine::new();
            fs::remove_file(machine.root.path().join(file)).unwrap();
            assert!(
                matches!(machine.facts(), Err(FactsError::Io { .. })),
                "{file}"
            );
        }
    }

    #[test]
    fn this_machine_has_its_loopback_address_which_is_not_known_to_others() {
        let facts = Machine::new().facts().unwrap();
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(facts.addresses.contains(&loopback));
        assert!(
            facts
                .known_addresses()
                .all(|address| !address.is_loopback())
        );
    }

    #[test]
    fn link_local_addresses_are_not_known_to_others() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let facts = Facts {
            addresses: [
                "127.0.0.1",
                "::1",
                "fe80::1",
                "169.254.0.7",
                "192.0.2.1",
                "2001:db8::1",
            ]
            .map(parse)
            .to_vec(),
            ..Machine::new().facts().unwrap()
        };
        let known: Vec<_> = facts.known_addresses().collect();
        assert_eq!(known, ["192.0.2.1", "2001:db8::1"].map(parse));
    }
}

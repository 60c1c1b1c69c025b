//! The ports on a real machine: one file for each, and the files and sockets beside them.

pub mod api_key;
pub mod clock;
pub mod control;
pub mod cpu_hotplug;
pub mod directory_locks;
pub mod glesys;
mod guarded_files;
pub mod ledger;
pub mod machine;
pub mod pinning;
pub mod proc_reader;
pub mod sampler;
pub mod service_manager;
pub mod signals;
pub mod state_dir;
pub mod text;

//! The ports on a real machine: one file for each.

pub mod clock;
pub mod control;
pub mod ledger;
pub mod machine;
pub mod proc_reader;
pub mod sampler;
pub mod service_manager;
pub mod signals;
pub mod state_dir;

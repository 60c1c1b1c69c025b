//! The ports on a real machine: one file for each.

pub mod clock;
pub mod machine;
pub mod proc_reader;
pub mod sampler;

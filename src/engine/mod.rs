//! The policy engine: no I/O, no clock, no async. Observations and instants go in as events,
//! decisions come out.

pub mod cloud;
pub mod policy;
pub mod sample;
pub mod time;

//! The policy engine: no I/O, no clock, no async. Observations and instants go in as events,
//! decisions come out.

pub mod cloud;
pub mod decision;
pub mod policy;
pub mod proof;
pub mod record;
pub mod sample;
pub mod time;
pub mod window;

//! The policy engine: no I/O, no clock, no async. Observations and instants go in as events,
//! decisions come out.

pub mod cloud;
pub mod decision;
pub mod event;
pub mod gate;
pub mod policy;
pub mod proof;
pub mod record;
pub mod sample;
pub mod state;
pub mod time;
pub mod window;

mod actuation;
mod api_reads;
mod core;
mod status;
mod tell;
mod trial;
mod trouble;
mod verification;

pub use self::core::Engine;
pub use self::status::Status;
pub use self::tell::{because, span};

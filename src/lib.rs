//! `glesys-autoscaler`: an in-guest CPU autoscaler for VMs at Glesys.
//!
//! ```text
//! sample ──▶ window ──▶ decision ──▶ gate ──▶ actuation ──▶ verification ──▶ record
//! Sampler    └───────────────── engine (pure) ─────────────────────────┘     StateStore, journal
//! ```
//!
//! - [`engine`] decides: no I/O, no clock, no async.
//! - [`ports`] is the outside world on one page; [`adapters`] and [`sandbox`] implement it.
//! - [`config`] turns the policy file into the policy as meant.
//! - [`runtime`] is the loop that drives the engine through the ports.
//! - [`cli`] is what people type.
//!
//! Dependencies point one way: `cli → {runtime, adapters, sandbox, config} → ports → engine`.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod engine;
pub mod ports;
pub mod runtime;
pub mod sandbox;

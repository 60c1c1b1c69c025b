//! `glesys-autoscaler`: an in-guest CPU autoscaler for VMs at Glesys.

pub mod adapters;
pub mod config;
pub mod engine;
pub mod ports;
pub mod runtime;
pub mod sandbox;

//! One test is one story. Each begins from a snapshot and ends with what always holds.

mod cores;
mod network;
mod outside;
mod package;
mod process;
mod reboots;
mod scaling;
mod state;
mod time;

//! End-to-end tests of the commands, on snapshots that real servers wrote.
//!
//! Those that write into a real OpenSearch are ignored unless asked for: `cargo xtask test` starts one and runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod aws;
mod bombs;
mod cluster;
mod damage;
mod earlier;
mod exits;
mod export;
mod failed;
mod interrupted;
mod limit;
mod memory;
mod replaced;
mod simulator;
mod support;
mod types;
mod verify;
mod versions;
mod waiting;
mod worker;

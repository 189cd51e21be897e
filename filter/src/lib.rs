//! Serin's Envoy filter: a thin adapter between the proxy and [`serin_filter_core`], where all decisions are made.
//!
//! A panic in one request takes down its worker's VM, and with it all requests of that worker, so this crate denies
//! whatever can panic, and asks the proxy only through `host.rs` and `raw.rs`.
//!
//! # Entries
//!
//! Each entry of the proxy into the VM costs 0.5 to 3 us, so there are as few as the job allows (`abi.rs`), and state of
//! a request is freed when it is logged. The SDK's own entry points keep it until a later one and come in twenty kinds;
//! `serin-trim` (filter/trim) drops them from the built module and gives ours their names.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proxy_wasm::types::LogLevel;

mod abi;
mod counters;
mod exchange;
mod fuses;
mod host;
#[cfg(target_family = "wasm")]
mod memory;
mod metrics;
mod plugin;
mod raw;
mod ticks;

proxy_wasm::main! {{
    // This also installs the logger.
    proxy_wasm::set_log_level(LogLevel::Warn);
}}

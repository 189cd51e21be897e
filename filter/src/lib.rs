//! Serin's Envoy filter: a thin adapter between the proxy and [`serin_filter_core`], where all decisions are made.
//!
//! A panic in one request takes down its worker's VM, and with it all requests of that worker, so this crate denies
//! whatever can panic, and asks the proxy only through `host.rs`.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proxy_wasm::types::LogLevel;

mod host;
mod http;
mod metrics;
mod root;

proxy_wasm::main! {{
    // This also installs the hook that logs a panic, which would be silent otherwise.
    proxy_wasm::set_log_level(LogLevel::Warn);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}

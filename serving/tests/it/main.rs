//! The `serin-serve` program with real TorchScript models, traced here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking"
)]

mod batching;
mod bench;
mod bucket;
mod cache;
mod check;
mod clients;
mod configuration;
mod corpus;
mod devices;
mod kinds;
mod lazy;
mod limits;
mod malformed;
mod metrics;
mod models;
mod process;
mod reload;
mod s3;
mod server;
mod silero;
mod soak;
mod start;
mod torch;
mod traces;
mod warm_up;
mod wire;

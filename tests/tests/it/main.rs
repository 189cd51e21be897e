//! Everything that needs real peers, in one binary: linking libtorch once is enough.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails; the helpers of this binary are tests too"
)]

mod cluster;
mod demo;
mod demo_run;
mod filter;
mod manifests;
mod prometheus_tls;
mod promtool;
mod queries;
mod rollout;

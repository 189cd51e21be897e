//! x
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "helpers of tests, which clippy sees as code")]

#[path = "model/controller.rs"]
mod controller;
#[path = "model/server.rs"]
mod server;
#[path = "model/system.rs"]
mod system;
#[path = "model/world.rs"]
mod world;

use system::System;

#[test]
fn undisturbed() {
    for bad in [false, true] {
        for state in System::new(bad, 20, 0, &[]).undisturbed() {
            eprintln!("{state:?} broken {:b}", state.world.broken);
        }
    }
}

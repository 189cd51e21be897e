//! What the programs of the benches have in common.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// How the program of this bench ends: with the reason, where it failed.
#[must_use]
pub fn end(name: &str, result: Result<()>) -> ExitCode {
    if let Err(error) = result {
        tell(name, &format!("{error:#}"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Says how the bench goes.
pub fn tell(name: &str, line: &str) {
    // Who closed stderr does not want to know.
    writeln!(std::io::stderr(), "{name}: {line}").ok();
}

/// One thread: the one whose CPU the Envoys inherit. Traffic has a thread of its own.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .context("failed to start a runtime")
}

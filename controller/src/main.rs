//! The one binary of the controller: `serin run`, and what a person types.

use std::io::IsTerminal;
use std::process::ExitCode;

use serin_controller::cli::{execute, parse};
use tracing_subscriber::EnvFilter;

// Thousands of rollouts are thousands of small texts, which leave the system's allocator with holes: with it a controller
// of 10 000 rollouts spent two thirds of its time in there (make bench-controller).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(cli) = parse() else {
        return ExitCode::SUCCESS;
    };
    let filter = EnvFilter::try_from_env("SERIN_LOG").unwrap_or_else(|_| EnvFilter::new(cli.log()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log file keeps to plain text.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    execute(cli).await
}

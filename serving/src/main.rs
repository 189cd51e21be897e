//! `serin-serve`: see the library.

use std::{
    io::{self, IsTerminal, Write},
    thread::available_parallelism,
};

use anyhow::Context;
use clap::Parser;
use serin_serving::{args::Args, bind, shutdown};
use tracing_subscriber::EnvFilter;

fn main() {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(filter)
        .init();
    let status = match serve(args) {
        Ok(()) => 0,
        Err(error) => {
            // A person reads this one: lists stay lists, and nothing is escaped. With stderr gone nobody reads it.
            let _ = writeln!(io::stderr(), "serin-serve: {error:#}");
            1
        }
    };
    shutdown::end(status)
}

#[tokio::main]
async fn serve(args: Args) -> anyhow::Result<()> {
    let cores = available_parallelism().map_or(1, usize::from);
    // Before the models are loaded: that may take minutes, and a signal ends it too.
    let mut shutdown = Box::pin(shutdown::signals().context("failed to listen for signals")?);
    // It would end the process while nobody listens.
    let hangups = shutdown::hangups().context("failed to listen for SIGHUP")?;
    let bound = tokio::select! {
        bound = bind(args.into_config(cores)) => bound?,
        () = &mut shutdown => return Ok(()),
    };
    let (rest, grpc) = (bound.address(), bound.grpc_address());
    // In one piece: who reads only the first line may close the pipe then.
    let lines = format!("listening on http://{rest}\nlistening on grpc://{grpc}\n");
    io::stdout()
        .write_all(lines.as_bytes())
        .context("failed to write to stdout")?;
    bound
        .run(shutdown, hangups)
        .await
        .context("failed to serve")
}

//! `serin run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Installation;
use crate::cells::Grid;
use crate::prometheus::Selectors;
use crate::quantity::Span;
use crate::standalone::{self, Options};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    installation: Installation,
    /// Base address of Prometheus
    #[arg(
        long,
        env = "SERIN_PROMETHEUS",
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        value_parser = endpoint
    )]
    prometheus: String,
    /// The filter, at the path where Envoy finds it
    #[arg(long, env = "SERIN_WASM", value_name = "FILE")]
    wasm: PathBuf,
    /// Length of the cells in which counts are compared; at least twice the scrape interval
    #[arg(long, env = "SERIN_CELL", default_value = "30s")]
    cell: Span,
    /// How long after its end a cell is read; at least twice the scrape interval
    #[arg(long, env = "SERIN_LAG", default_value = "30s")]
    lag: Span,
    /// Label matchers of the proxies' scrape targets
    #[arg(long, env = "SERIN_PROXIES", value_name = "MATCHERS", default_value_t = Selectors::default().proxies)]
    proxies: String,
    /// Where the read-only status endpoint listens
    #[arg(
        long,
        env = "SERIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9321"
    )]
    listen: SocketAddr,
}

fn endpoint(text: &str) -> Result<String, String> {
    let web = text.starts_with("http://") || text.starts_with("https://");
    web.then(|| text.to_owned())
        .ok_or_else(|| format!("write it as http://{text}"))
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs {
        installation,
        prometheus,
        wasm,
        cell: Span(cell),
        lag: Span(lag),
        proxies,
        listen,
    } = args;
    let options = Options {
        dir: installation.dir,
        prometheus,
        selectors: Selectors {
            proxies,
            ..Selectors::default()
        },
        wasm,
        grid: Grid::new(cell, lag)?,
        listen,
    };
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping; the state is on disk");
        stop.cancel();
    });
    standalone::run(options, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

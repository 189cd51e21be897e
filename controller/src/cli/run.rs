//! `serin run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serin_filter_core::stat::Encoding;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cells::Grid;
use crate::prometheus::Selectors;
use crate::quantity::Span;
use crate::standalone::{self, Options};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Folder of a standalone installation
    #[arg(long = "standalone", env = "SERIN_STANDALONE", value_name = "DIR")]
    dir: PathBuf,
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
    /// How labels travel in the names of the proxies' metrics: istio (proxies declare the tags of ours) or builtin (all
    /// labels in one that every Istio proxy knows, without a restart); both are judged, also side by side
    #[arg(
        long,
        env = "SERIN_STAT_ENCODING",
        value_name = "ENCODING",
        default_value = "istio",
        value_parser = encoding
    )]
    stat_encoding: Encoding,
    /// Where the read-only status endpoint listens
    #[arg(
        long,
        env = "SERIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9321"
    )]
    listen: SocketAddr,
    /// How many releases may be in progress at once; the others wait for their turn
    #[arg(long, env = "SERIN_MAX_RELEASES", value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    max_releases: Option<u16>,
}

pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let web = text.starts_with("http://") || text.starts_with("https://");
    web.then(|| text.to_owned())
        .ok_or_else(|| format!("write it as http://{text}"))
}

fn encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "istio" => Ok(Encoding::Istio),
        "builtin" => Ok(Encoding::Builtin),
        "plain" => Err(
            "plain names have no labels to judge by, so that no release would ever go on: say istio or builtin"
                .to_owned(),
        ),
        _ => Err("say istio or builtin".to_owned()),
    }
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs {
        dir,
        prometheus,
        wasm,
        cell: Span(cell),
        lag: Span(lag),
        proxies,
        stat_encoding,
        listen,
        max_releases,
    } = args;
    let options = Options {
        dir,
        prometheus,
        selectors: Selectors {
            proxies,
            ..Selectors::default()
        },
        wasm,
        grid: Grid::new(cell, lag)?,
        encoding: stat_encoding,
        listen,
        max_releases: max_releases.map(usize::from),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_without_labels_is_refused_with_the_reason() {
        assert_eq!(encoding("istio"), Ok(Encoding::Istio));
        assert_eq!(encoding("builtin"), Ok(Encoding::Builtin));
        assert!(encoding("plain").unwrap_err().contains("judge"));
        assert_eq!(encoding("x").unwrap_err(), "say istio or builtin");
    }
}

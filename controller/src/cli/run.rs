//! `serin run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serin_filter_core::stat::Encoding;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::access::AccessArgs;
use super::operate::{self, Common, OperateArgs};
use crate::cells::Grid;
use crate::prometheus::{Client, Selectors};
use crate::quantity::Span;
use crate::standalone::{self, Options};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Run on this machine alone, on a folder of rollout files; without it, in a cluster
    #[arg(long, env = "SERIN_STANDALONE", value_name = "DIR")]
    standalone: Option<PathBuf>,
    /// Base address of Prometheus
    #[arg(
        long,
        env = "SERIN_PROMETHEUS",
        value_name = "URL",
        default_value = "http://127.0.0.1:9090",
        value_parser = endpoint
    )]
    prometheus: String,
    /// The filter, at the path where Envoy finds it (standalone)
    #[arg(long, env = "SERIN_WASM", value_name = "FILE")]
    wasm: Option<PathBuf>,
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
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    operate: OperateArgs,
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
        standalone,
        prometheus,
        access,
        wasm,
        cell: Span(cell),
        lag: Span(lag),
        proxies,
        stat_encoding,
        listen,
        max_releases,
        operate,
    } = args;
    let selectors = Selectors {
        proxies,
        ..Selectors::default()
    };
    let access = access.access();
    if access.is_in_clear(&prometheus) {
        tracing::warn!(
            "the credentials for Prometheus go over http://, where whoever is on the way can read them: write its address with https://, unless a sidecar encrypts it"
        );
    }
    let prometheus = Client::with_access(&prometheus, access)?;
    let grid = Grid::new(cell, lag)?;
    let max_releases = max_releases.map(usize::from);
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    let Some(dir) = standalone else {
        let common = Common {
            prometheus,
            selectors,
            grid,
            encoding: stat_encoding,
            listen,
            max_releases,
        };
        operate::operate(operate, common, shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(wasm) = wasm else {
        bail!("--wasm is missing: say where Envoy finds the filter");
    };
    let options = Options {
        dir,
        prometheus,
        selectors,
        wasm,
        grid,
        encoding: stat_encoding,
        listen,
        max_releases,
    };
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

//! The controller on one machine: a folder of rollout files instead of an API server, the same engine and format.

pub mod driver;
mod folder;
pub mod store;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serin_filter_core::stat::Encoding;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::cells::Grid;
use crate::endpoint::{self, Board, Shown};
use crate::prometheus::{Client, QueryError, Selectors};
use driver::{Driver, LoadError};
use store::{Store, StoreError};

/// How often the folder is read and Prometheus asked for what the guards watch. Polling, because it also notices what
/// file notifications miss: network folders, a replaced folder, drift of our own files.
const TICK: Duration = Duration::from_millis(500);

/// How long open connections may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Settings of a standalone controller.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the installation.
    pub dir: PathBuf,
    /// Base address of Prometheus.
    pub prometheus: String,
    /// Which scrape targets are the proxies.
    pub selectors: Selectors,
    /// The filter, as Envoy finds it.
    pub wasm: PathBuf,
    /// Cells.
    pub grid: Grid,
    /// How labels travel in the names of the proxies' metrics.
    pub encoding: Encoding,
    /// Where the read-only endpoint listens.
    pub listen: SocketAddr,
    /// How many releases may be in progress at once; `None`: any number.
    pub max_releases: Option<usize>,
}

/// Why the controller cannot start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The folder.
    #[error("failed to use the folder")]
    Store(#[source] StoreError),
    /// What is in it.
    #[error("failed to take up the rollouts")]
    Load(#[source] LoadError),
    /// Prometheus' client.
    #[error("failed to set up the connection to Prometheus")]
    Prometheus(#[source] QueryError),
    /// The endpoint.
    #[error("failed to listen on {address}: choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The endpoint stopped.
    #[error("failed to serve the status endpoint")]
    Serve(#[source] std::io::Error),
    /// No filter.
    #[error("there is no filter at '{0}': build it with 'make wasm', or give its path with --wasm")]
    NoWasm(PathBuf),
    /// Another file.
    #[error(
        "'{0}' is no WebAssembly module, and an Envoy that starts with it refuses its traffic: give the filter's path with --wasm"
    )]
    NotWasm(PathBuf),
}

/// What every WebAssembly module begins with (core specification, section 5.5.16).
const WASM: [u8; 4] = *b"\0asm";

/// Runs until `shutdown`. Everything that matters is in files, so it may as well be killed.
///
/// # Errors
/// [`StandaloneError`] when it cannot start, or its endpoint breaks.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), StandaloneError> {
    let wasm = options
        .wasm
        .canonicalize()
        .map_err(|_| StandaloneError::NoWasm(options.wasm.clone()))?;
    let mut magic = [0; WASM.len()];
    let begun = File::open(&wasm).and_then(|mut file| file.read_exact(&mut magic));
    if begun.is_err() || magic != WASM {
        return Err(StandaloneError::NotWasm(options.wasm));
    }
    let store = Store::open(&options.dir).map_err(StandaloneError::Store)?;
    let _lock = store.lock().map_err(StandaloneError::Store)?;
    let client = Client::new(&options.prometheus).map_err(StandaloneError::Prometheus)?;
    let listen = |source| StandaloneError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;

    let board = Board::default();
    let settings = driver::Settings {
        wasm,
        grid: options.grid,
        encoding: options.encoding,
        selectors: options.selectors,
        address: format!("http://{address}"),
        max_releases: options.max_releases,
    };
    let mut driver =
        Driver::load(settings, store, client, board.clone()).map_err(StandaloneError::Load)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, dir = %options.dir.display(), "controller started");

    let shown = Shown {
        board,
        metrics: None,
    };
    // A task of its own: people and probes are answered while a tick waits for Prometheus.
    let mut server = tokio::spawn(endpoint::serve(listener, shown, shutdown.clone()));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            served = &mut server => return ended(served),
            () = async {
                ticks.tick().await;
                driver.tick(Timestamp::now()).await;
            } => {}
        }
    }
    // A client that keeps its connection open must not keep the controller.
    match tokio::time::timeout(GRACE, &mut server).await {
        Ok(served) => ended(served),
        Err(_) => {
            server.abort();
            Ok(())
        }
    }
}

fn ended(
    served: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> Result<(), StandaloneError> {
    served
        .map_err(std::io::Error::other)
        .and_then(|served| served)
        .map_err(StandaloneError::Serve)
}

//! `serin-serve bench`: what serving adds to a model, on the machine where it will be served.

mod client;
mod timing;

use std::{
    io::{self, Write},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use comfy_table::{CellAlignment, Table, presets};
use futures::{FutureExt, StreamExt, future, stream};
use tokio::sync::oneshot;

use self::{client::Client, timing::Timing};
use crate::{
    BindError, Config,
    backend::{BackendError, Load, infer_checked, torch, warm_up},
    bind_candidates,
    registry::Candidate,
    repository::{Entry, Problems},
    source::Source,
    spec::{ModelSpec, Sample},
    tensor::TensorError,
};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// How long each measurement takes.
    pub time: Duration,
    /// Connections at once, beside one alone.
    pub connections: usize,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The repository has problems.
    #[error(transparent)]
    Repository(Problems),
    /// There is no such model.
    #[error("model '{wanted}' is not found: there are {there}")]
    Absent {
        /// What was asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
    /// A request cannot be made.
    #[error("failed to make a request of what the model is warmed up with")]
    Request(#[from] TensorError),
    /// No thread.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
    /// The model does not load or run.
    #[error("failed to run the model")]
    Run(#[from] BackendError),
    /// The server does not start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A request failed.
    #[error("a request was not answered: {0}")]
    Client(String),
    /// The result cannot be written.
    #[error("failed to write the result")]
    Write(#[source] io::Error),
}

/// Measures `model`, a name or NAME/VERSION, with the repository and server of `config`: forwards one after the other on what
/// it is warmed up with first, alone and as the largest batch, and then requests to a server of its own over the loopback
/// interface. Writes a table to `out`.
///
/// # Errors
/// [`BenchError`]
pub async fn bench(
    config: Config,
    model: &str,
    amount: Amount,
    out: &mut impl Write,
) -> Result<(), BenchError> {
    let source = Source::open(&config.models, &config.access).map_err(BenchError::Repository)?;
    let entries = source.read().await.map_err(BenchError::Repository)?;
    let entry = find(&entries, model)?;
    let threads = config
        .threads
        .unwrap_or(config.cores / entry.spec.serving.on_cpu().max(1));
    torch::prepare(threads.max(1));
    let samples = || entry.spec.samples().filter(|it| it.shape == 0);
    let most = samples().map(|it| it.rows).max();
    let measured = samples().filter(|it| it.rows == 1 || Some(it.rows) == most);
    let mut timings = Vec::new();
    for sample in measured.collect::<Vec<_>>() {
        let rows = sample.rows;
        let name = format!("forwards without a server, rows together: {rows}");
        timings.push(Timing::of(
            name,
            rows,
            forwards(&entry, sample, amount.time).await?,
            amount.time,
        ));
    }
    let alone = timings.first().map(Timing::p50).unwrap_or_default();
    let client = Client::new(&entry)?;
    let candidate = Candidate {
        loads: torch::loaders(&entry),
        entry,
    };
    let bound = bind_candidates(&config, source, vec![candidate]).await?;
    let address = bound.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = bound.run(stopped.into_stream().map(drop), stream::pending());
    let measured = async {
        let served = requests(&client, address, amount).await;
        drop(stop);
        served
    };
    let (served, measured) = future::join(server, measured).await;
    let requests = measured?;
    served.map_err(|error| BenchError::Client(error.to_string()))?;
    let one = requests.first().map(Timing::p50).unwrap_or_default();
    let added = one.saturating_sub(alone);
    timings.extend(requests);
    writeln!(
        out,
        "{}\n\nserving adds {added:?} to one request (p50); the clients share the machine with the server",
        table(&timings)
    )
    .map_err(BenchError::Write)
}

/// Requests over one connection, and over many.
async fn requests(
    client: &Client,
    server: SocketAddr,
    amount: Amount,
) -> Result<Vec<Timing>, BenchError> {
    let mut timings = Vec::new();
    for connections in [1, amount.connections] {
        let times = client.ask(server, connections, amount.time).await?;
        let name = format!("requests of 1 row, {connections} at a time");
        timings.push(Timing::of(name, 1, times, amount.time));
    }
    Ok(timings)
}

/// The version that a URL would mean by this name.
fn find(entries: &[Entry], wanted: &str) -> Result<Entry, BenchError> {
    let (model, version) = match wanted.rsplit_once('/') {
        Some((model, version)) => (model, Some(version)),
        None => (wanted, None),
    };
    let meant = |it: &&Entry| {
        it.model == model && version.is_none_or(|wanted| it.version.to_string() == wanted)
    };
    let found = entries.iter().filter(meant).max_by_key(|it| it.version);
    found.cloned().ok_or_else(|| {
        let there = entries
            .iter()
            .map(|it| format!("{}/{}", it.model, it.version));
        BenchError::Absent {
            wanted: wanted.to_owned(),
            there: there.collect::<Vec<_>>().join(", "),
        }
    })
}

/// Times of forwards on a thread like those that serve.
async fn forwards(
    entry: &Entry,
    sample: Sample,
    time: Duration,
) -> Result<Vec<Duration>, BenchError> {
    let load = torch::loaders(entry).into_iter().next();
    let load = load.ok_or(BackendError::Panicked)?;
    let spec = entry.spec.clone();
    let (done, times) = oneshot::channel();
    let run = move || drop(done.send(run(load, &spec, sample, time)));
    thread::Builder::new()
        .spawn(run)
        .map_err(BenchError::Thread)?;
    Ok(times.await.unwrap_or(Err(BackendError::Panicked))?)
}

fn run(
    load: Load,
    spec: &ModelSpec,
    sample: Sample,
    time: Duration,
) -> Result<Vec<Duration>, BackendError> {
    let mut backend = load()?;
    warm_up(&mut *backend, spec)?;
    let inputs = spec.inputs_of(sample)?;
    let begun = Instant::now();
    let mut times = Vec::new();
    while begun.elapsed() < time {
        let forward = Instant::now();
        infer_checked(&mut *backend, spec, &inputs)?;
        times.push(forward.elapsed());
    }
    Ok(times)
}

fn table(timings: &[Timing]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["", "rows/s", "p50", "p99"]);
    for timing in timings {
        let rate = format!("{:.0}", timing.rate());
        let [p50, p99] = [timing.p50(), timing.p99()].map(|it| format!("{it:?}"));
        table.add_row([timing.name.clone(), rate, p50, p99]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

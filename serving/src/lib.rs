//! Serves TorchScript models over the Open Inference Protocol v2.
//!
//! ```text
//! args -> Config -> bind: source (S3 -> disk) -> repository (disk -> Entry) -> registry (Entry -> worker thread per version)
//! poll | SIGHUP | load -> reload: source -> repository -> repository::changes -> registry
//! request -> http | grpc -> protocol::request (bytes -> Tensor) -> inference -> worker -> backend::torch
//!         -> protocol::response
//! ```
//!
//! Rules that hold everywhere:
//! * A model lives on one thread; nothing else touches libtorch.
//! * Nothing of a request reaches libtorch before it is a checked [`tensor::Tensor`] that fits the model's spec.
//! * A request never reads the disk, and no path, source or stack of the server goes into an answer.
//! * All models are loaded and warm before the first request is accepted (give Kubernetes a `startupProbe`), and a
//!   version that comes later before its first request; but those that say `load: lazy` are loaded by it.
//! * What only a new process mends ends this one, by itself and with a code of its own ([`watchdog`]).

pub mod args;
mod aside;
pub mod backend;
pub mod batch;
pub mod bench;
pub mod cache;
pub mod check;
pub mod clients;
mod control;
pub mod device;
pub mod error;
pub mod grpc;
pub mod http;
pub mod inference;
pub mod lazy;
pub mod limits;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod protocol;
pub mod reference;
pub mod registry;
pub mod reload;
pub mod repository;
pub mod shutdown;
pub mod source;
pub mod spec;
pub mod tensor;
pub mod traces;
pub mod watchdog;
pub mod worker;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, stream};
use hyper_util::service::TowerToHyperService;
use opentelemetry_otlp::ExporterBuildError;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{
    backend::torch,
    cache::{Address, Shared},
    clients::Clients,
    control::Control,
    http::{connections, direct::Api},
    inference::App,
    lazy::Sleeper,
    limits::Limits,
    memory::Memory,
    metrics::Metrics,
    registry::{Candidate, Failures, Registry},
    reload::{Loads, Reloader},
    repository::Problems,
    shutdown::{Drain, Impatience},
    source::{Access, Place, Source},
    spec::Serving,
    traces::{Collector, Traces},
    watchdog::Doom,
    worker::Spin,
};

/// How long requests in flight may take where the process ends by itself.
const LAST: Duration = Duration::from_secs(5);

/// How long the workers may take to finish once the requests in flight have ended, or are left.
const JOIN: Duration = Duration::from_secs(3);

/// What the server is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The model repository.
    pub models: Place,
    /// How it is reached, if it is a bucket.
    pub access: Access,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any.
    pub port: u16,
    /// Port of gRPC to listen on; 0 for any.
    pub grpc_port: u16,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Requests that may wait for each model version.
    pub queue: usize,
    /// Threads of one forward; by default the cores shared among all instances that are there at start. Fixed from then
    /// on: libtorch's threads keep the number that they began with.
    pub threads: Option<usize>,
    /// Cores of the machine.
    pub cores: usize,
    /// How long an instance looks for its next request before it sleeps; zero: not at all.
    pub spin: Duration,
    /// How often the repository is read again; `None`: only when somebody asks.
    pub poll: Option<Duration>,
    /// Host and port where models can be loaded and unloaded over HTTP; `None`: nowhere.
    pub repository_api: Option<(String, u16)>,
    /// The same over gRPC; `None`: nowhere.
    pub repository_grpc: Option<(String, u16)>,
    /// Where spans of requests go; `None`: there are none.
    pub traces: Option<Collector>,
    /// How long the end may take.
    pub drain: Drain,
    /// What the metrics show.
    pub metrics: metrics::Style,
    /// What it puts up with.
    pub limits: Limits,
    /// The Redis that caches share, and how long a request waits for it.
    pub cache_redis: Option<(Address, Duration)>,
    /// Gives memory that is free back to the system, as the program's allocator does that.
    pub give_back: fn(),
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The repository has problems.
    #[error(transparent)]
    Repository(Problems),
    /// Models do not load or warm up.
    #[error(transparent)]
    Models(Failures),
    /// The address cannot be listened on.
    #[error("failed to listen for {protocol} on '{host}' port {port}, choose another with {flag}")]
    Listen {
        /// What is spoken there.
        protocol: &'static str,
        /// The flag that says the port.
        flag: &'static str,
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The collector of spans cannot be spoken to.
    #[error(
        "failed to set up traces, check --otlp-endpoint and the variables OTEL_EXPORTER_OTLP_..."
    )]
    Traces(#[source] ExporterBuildError),
    /// The metric families are not valid.
    #[error("failed to register the metrics")]
    Metrics(#[source] prometheus::Error),
}

/// A server with warm models and open ports, which accepts once it runs.
pub struct Bound {
    rest: Listening,
    grpc: Listening,
    repository_api: Option<Listening>,
    repository_grpc: Option<Listening>,
    app: Arc<App>,
    reloader: Arc<Reloader>,
    poll: Option<Duration>,
    drain: Drain,
    linger: Duration,
    headers: Duration,
}

/// An open port.
struct Listening {
    address: SocketAddr,
    listener: TcpListener,
}

/// Reads the repository, opens the ports, loads and warms all models.
///
/// # Errors
/// [`BindError`]
pub async fn bind(config: Config) -> Result<Bound, BindError> {
    let source = Source::open(&config.models, &config.access).map_err(BindError::Repository)?;
    let entries = source.read().await.map_err(BindError::Repository)?;
    let servings = || entries.iter().map(|it| &it.spec.serving);
    let instances: usize = servings().map(|it| it.instances.len()).sum();
    // Those of other devices need next to nothing.
    let on_cpu: usize = servings().map(Serving::on_cpu).sum();
    let threads = config.threads.unwrap_or(config.cores / on_cpu.max(1));
    let threads = threads.max(1);
    tracing::info!(
        versions = entries.len(),
        instances,
        threads,
        max_body = config.max_body,
        queue = config.queue,
        "loading models"
    );
    torch::prepare(threads);
    let candidates = entries.into_iter().map(|entry| Candidate {
        loads: torch::loaders(&entry),
        entry,
    });
    let candidates = candidates.collect();
    bind_candidates(&config, source, candidates).await
}

/// As [`bind`], with models that were read from a source.
///
/// # Errors
/// [`BindError`]
pub async fn bind_candidates(
    config: &Config,
    source: Source,
    candidates: Vec<Candidate>,
) -> Result<Bound, BindError> {
    let host = &config.host;
    // The ports first: that one is taken should not wait for gigabytes of models.
    let rest = listen("REST", "--port", host, config.port).await?;
    let grpc = listen("gRPC", "--grpc-port", host, config.grpc_port).await?;
    let repository_api = listen_if(
        "the repository API",
        "--repository-api",
        config.repository_api.as_ref(),
    );
    let repository_api = repository_api.await?;
    let repository_grpc = listen_if(
        "the repository API over gRPC",
        "--repository-grpc",
        config.repository_grpc.as_ref(),
    );
    let repository_grpc = repository_grpc.await?;
    let metrics = Metrics::new(config.metrics.clone()).map_err(BindError::Metrics)?;
    // As many as the models of the start have places for: see `Worker::admit`.
    let places = candidates.iter().map(|Candidate { entry, .. }| {
        let serving = &entry.spec.serving;
        serving.places(serving.queue_size.unwrap_or(config.queue))
    });
    let max_reading = places.fold(0, usize::saturating_add);
    let entries = candidates.iter().map(|it| it.entry.clone()).collect();
    let (lazy, candidates): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|it| it.entry.spec.serving.lazy);
    let shared = config.cache_redis.clone();
    let shared = shared.map(|(address, patience)| Shared::new(address, patience));
    let shared = shared.transpose().map_err(BindError::Metrics)?;
    let shared = shared.map(Arc::new);
    if let Some(shared) = &shared {
        for theirs in shared.collectors() {
            metrics.adopt(theirs).map_err(BindError::Metrics)?;
        }
    }
    let spin = Spin::new(config.spin, config.cores);
    let registry = Registry::load(candidates, config.queue, &config.limits, shared, spin)
        .await
        .map_err(BindError::Models)?;
    let loads: Loads = Arc::new(torch::loaders);
    let lazy = lazy
        .into_iter()
        .map(|it| Sleeper::new(it.entry, Arc::clone(&loads), config.queue));
    let lazy: Vec<_> = lazy.collect();
    registry.change(|models| lazy.iter().cloned().for_each(|it| models.insert_lazy(it)));
    let traces = config.traces.as_ref().map(|collector| {
        let spans = metrics.spans().map_err(BindError::Metrics)?;
        Traces::new(collector, spans).map_err(BindError::Traces)
    });
    let traces = traces.transpose()?;
    let app = Arc::new(App {
        traces,
        draining: AtomicBool::new(false),
        registry,
        metrics,
        max_body: config.max_body,
        max_reading,
        memory: Memory::new(config.limits.memory.find(), config.give_back),
        clients: config.limits.client.clone().map(Clients::new),
    });
    let reloader = Reloader::new(Arc::clone(&app), source, config.queue, entries, loads);
    Ok(Bound {
        rest,
        grpc,
        repository_api,
        repository_grpc,
        app,
        reloader: Arc::new(reloader),
        poll: config.poll,
        drain: config.drain,
        linger: config.limits.linger,
        headers: config.limits.headers,
    })
}

async fn listen(
    protocol: &'static str,
    flag: &'static str,
    host: &str,
    port: u16,
) -> Result<Listening, BindError> {
    let refused = |source| BindError::Listen {
        protocol,
        flag,
        host: host.to_owned(),
        port,
        source,
    };
    let listener = TcpListener::bind((host, port)).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Listening { address, listener })
}

async fn listen_if(
    protocol: &'static str,
    flag: &'static str,
    place: Option<&(String, u16)>,
) -> Result<Option<Listening>, BindError> {
    match place {
        Some((host, port)) => Ok(Some(listen(protocol, flag, host, *port).await?)),
        None => Ok(None),
    }
}

impl Bound {
    /// Where the server listens for REST, with the port that was picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.rest.address
    }

    /// Where the server listens for gRPC, with the port that was picked.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address
    }

    /// Where models can be loaded and unloaded over HTTP, with the port that was picked.
    #[must_use]
    pub fn repository_address(&self) -> Option<SocketAddr> {
        self.repository_api.as_ref().map(|it| it.address)
    }

    /// Where models can be loaded and unloaded over gRPC, with the port that was picked.
    #[must_use]
    pub fn repository_grpc_address(&self) -> Option<SocketAddr> {
        self.repository_grpc.as_ref().map(|it| it.address)
    }

    /// Serves until the first of `signals`, drains, and unloads the models. A second signal leaves the requests in flight.
    /// At each of `pushes` the repository is read again.
    ///
    /// It ends by itself, too, when a model can never answer again, and says what it is about it then. Call
    /// [`shutdown::end`] after that: the model's thread may compute for ever.
    ///
    /// # Errors
    /// [`io::Error`] if the listener fails.
    pub async fn run(
        self,
        signals: impl Stream<Item = ()> + Send + 'static,
        pushes: impl Stream<Item = ()> + Send + 'static,
    ) -> io::Result<Option<Doom>> {
        let reloading = reload::follow(Arc::clone(&self.reloader), self.poll, pushes);
        let reloading = tokio::spawn(reloading);
        let sleeping = tokio::spawn(lazy::put_to_sleep(Arc::clone(&self.app)));
        let weighing = tokio::spawn(memory::follow(Arc::clone(&self.app)));
        let shared = self.app.registry.shared_cache();
        let connecting = tokio::spawn(async move {
            if let Some(shared) = shared {
                shared.follow().await;
            }
        });
        let (stopping, stopped) = oneshot::channel();
        let shutdown = stopped.map(|_: Result<(), _>| ()).boxed().shared();
        let times = (self.drain, self.linger);
        let impatience = end(Arc::clone(&self.app), times, signals, stopping);
        let app = self.app;
        let control = Control::new(self.reloader);
        let (headers, peers) = (self.headers, app.clients.is_some());
        let rest = connections::serve(
            self.rest.listener,
            Api::new(Arc::clone(&app)),
            (headers, peers),
            shutdown.clone(),
        );
        let repository = async {
            if let Some(Listening { listener, .. }) = self.repository_api {
                let routes = http::repository::router(Arc::clone(&app), control.clone());
                let routes = TowerToHyperService::new(routes);
                connections::serve(listener, routes, (headers, false), shutdown.clone()).await;
            }
        };
        let repository_grpc = async {
            match self.repository_grpc {
                Some(Listening { listener, .. }) => {
                    let routes = grpc::repository(Arc::clone(&app), control.clone());
                    grpc::serve(listener, routes, headers, shutdown.clone()).await
                }
                None => Ok(()),
            }
        };
        let routes = grpc::inference(Arc::clone(&app));
        let grpc = grpc::serve(self.grpc.listener, routes, headers, shutdown.clone());
        // If one cannot go on, the process ends and is started anew: without that port it would be of no use.
        let server = async {
            tokio::try_join!(rest.map(Ok), repository.map(Ok), grpc, repository_grpc)
                .map(|_| ())
                .map_err(io::Error::other)
        };
        let served = tokio::select! {
            served = server => served,
            (why, timeout) = impatience => {
                match why {
                    Impatience::Timeout => {
                        tracing::warn!("requests were still in flight after {timeout:?}: leaving them");
                    }
                    Impatience::Signal => {
                        tracing::warn!("a second signal: leaving the requests in flight");
                    }
                }
                Ok(())
            }
        };
        // What it was loading is dropped; what a client has asked for ends with the runtime.
        reloading.abort();
        let _ = reloading.await;
        sleeping.abort();
        let _ = sleeping.await;
        weighing.abort();
        connecting.abort();
        let doom = app.registry.watchdog().doom().cloned();
        // Nothing that belongs to it ends any more.
        if doom.is_none()
            && tokio::time::timeout(JOIN, app.registry.stop())
                .await
                .is_err()
        {
            tracing::warn!("a model was still computing after {JOIN:?}: leaving it");
        }
        if let Some(traces) = &app.traces {
            traces.stop().await;
        }
        served.map(|()| doom)
    }
}

/// Waits for a signal, or for what makes the process end by itself, in which case others are served for `linger`; drains;
/// and ends when requests in flight shall be left, after so long.
async fn end(
    app: Arc<App>,
    (drain, linger): (Drain, Duration),
    signals: impl Stream<Item = ()> + Send + 'static,
    stopping: oneshot::Sender<()>,
) -> (Impatience, Duration) {
    let mut signals = Box::pin(signals);
    let watchdog = app.registry.watchdog();
    let drain = tokio::select! {
        _ = signals.next() => drain,
        doom = watchdog.wait() => {
            app.metrics.doomed(doom);
            let Doom { model, version, fault } = doom;
            let code = doom.exit_code();
            tracing::error!(
                model,
                version,
                "{fault}: nothing but a new process mends that, so this one ends in {linger:?} with code {code}"
            );
            Drain { delay: linger, timeout: LAST }
        }
    };
    let Drain { delay, timeout } = drain;
    let begin = || {
        app.draining.store(true, Ordering::Relaxed);
        tracing::info!("shutting down: not ready any more, but taking requests for {delay:?}");
    };
    let stop = || {
        tracing::info!("shutting down: finishing the requests in flight");
        let _ = stopping.send(());
    };
    let first = stream::iter([()]);
    let why = drain.follow(first.chain(signals), begin, stop).await;
    (why, timeout)
}

//! From a checked request to outputs: the one way to a model, whichever protocol a request came by.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;

use crate::{
    aside::aside,
    cache::{Cache, Origin},
    clients::{Clients, Turn},
    error::ApiError,
    memory::Memory,
    metrics::{InFlight, Metrics},
    protocol::parameters::Scheduling,
    registry::{ModelVersion, Registry},
    tensor::{Tensor, bytes_of},
    traces::Traces,
    worker::{Place, Urgency, WorkerError},
};

/// The name of this server in its metadata.
pub const SERVER: &str = "serin-serve";

/// The extensions of the protocol that are there, by Triton's names.
pub const EXTENSIONS: [&str; 3] = ["binary_tensor_data", "model_configuration", "statistics"];

/// The priority of requests that name none; 1 is the most urgent.
const DEFAULT_PRIORITY: u64 = 100;

/// What all requests share.
pub struct App {
    /// Whether the server is about to end.
    pub draining: AtomicBool,
    /// The loaded models.
    pub registry: Registry,
    /// The metric families.
    pub metrics: Metrics,
    /// Spans, if a collector takes them.
    pub traces: Option<Traces>,
    /// Largest body of a request, in bytes; what a compressed one holds counts too.
    pub max_body: usize,
    /// Messages of gRPC that may be read at once: which model they are for is only known then.
    pub max_reading: usize,
    /// Whether the process takes too much.
    pub memory: Memory,
    /// What clients have in flight, if that is bounded.
    pub clients: Option<Clients>,
}

impl App {
    /// Whether the server wants requests: every model version can serve, and it is not about to end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.registry.is_ready()
    }

    /// The same of one model version.
    #[must_use]
    pub fn serves(&self, loaded: &ModelVersion) -> bool {
        !self.draining.load(Ordering::Relaxed) && loaded.worker.is_alive()
    }
}

/// A place for a request, to be held until it has an answer. Take it before the request is read.
///
/// # Errors
/// [`ApiError::Worker`] if all places are taken, and [`ApiError::Memory`].
pub fn admit<'a>(app: &App, loaded: &'a ModelVersion) -> Result<Place<'a>, ApiError> {
    if app.memory.is_high() {
        return Err(ApiError::Memory);
    }
    let full = |reason| unavailable(loaded, reason);
    loaded.worker.admit().map_err(full)
}

/// A client's place, to be held until it has an answer. Take it before the request is read.
///
/// # Errors
/// [`ApiError::Greedy`]
pub fn take_turn<'a>(
    app: &'a App,
    headers: &HeaderMap,
    peer: impl FnOnce() -> Option<IpAddr>,
) -> Result<Option<Turn<'a>>, ApiError> {
    let clients = app.clients.as_ref();
    let turn = clients.map(|clients| clients.admit(headers, peer()));
    turn.transpose().map_err(ApiError::Greedy)
}

/// Runs a model: inputs and outputs are in the order of model.yaml, and fit its spec.
///
/// The time that `scheduling` gives counts from the request's arrival.
///
/// # Errors
/// [`ApiError`] of the worker, of the model, or that the time is over.
pub async fn infer(
    loaded: &ModelVersion,
    inputs: Vec<Tensor>,
    scheduling: Scheduling,
    in_flight: &InFlight<'_>,
) -> Result<Vec<Tensor>, ApiError> {
    // A request may want less time than the model gives, not more.
    let own = loaded.spec.serving.timeout;
    let timeout = own.into_iter().chain(scheduling.timeout).min();
    let urgency = Urgency {
        priority: match scheduling.priority {
            0 => DEFAULT_PRIORITY,
            given => given,
        },
        // Beyond what the clock can count there is no deadline.
        deadline: timeout.and_then(|it| in_flight.start().checked_add(it)),
    };
    let asked = Asked {
        loaded,
        urgency,
        timeout,
        in_flight,
    };
    let to_count = in_flight.to_count(&inputs);
    let outputs = match &loaded.cache {
        None => asked.compute(inputs).await,
        // Apart, so that requests without a cache carry nothing of it.
        Some(cache) => Box::pin(asked.find_or_compute(cache, inputs)).await,
    }?;
    if let Some(inputs) = to_count {
        in_flight.answered(&inputs, &outputs);
    }
    Ok(outputs)
}

/// What is known of a request beside its inputs.
#[derive(Clone, Copy)]
struct Asked<'a> {
    loaded: &'a ModelVersion,
    urgency: Urgency,
    timeout: Option<Duration>,
    in_flight: &'a InFlight<'a>,
}

impl Asked<'_> {
    async fn compute(self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, ApiError> {
        let answer = self.loaded.worker.infer(inputs, self.urgency).await;
        let answer = answer.map_err(|reason| match (reason, self.timeout) {
            (WorkerError::Late, Some(timeout)) => ApiError::Expired(timeout),
            (reason, _) => unavailable(self.loaded, reason),
        })?;
        self.in_flight.computed(&answer);
        answer.outputs.map_err(|error| failed(self.loaded, &error))
    }

    async fn find_or_compute(
        self,
        cache: &Cache,
        inputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, ApiError> {
        let Some((timeout, deadline)) = self.timeout.zip(self.urgency.deadline) else {
            return self.find(cache, inputs).await;
        };
        // Another request may be computing the same, for longer than this one has time.
        let found = tokio::time::timeout_at(deadline.into(), self.find(cache, inputs)).await;
        found.unwrap_or(Err(ApiError::Expired(timeout)))
    }

    async fn find(self, cache: &Cache, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, ApiError> {
        let start = Instant::now();
        let key = aside(bytes_of(&inputs), || cache.key(&inputs));
        let mut origin = Origin::Memory;
        let keyed = start.elapsed();
        let mut looked = None;
        let mut failure = None;
        let fresh = async {
            let asked = Instant::now();
            if let Some(kept) = cache.fetch(&key, &self.loaded.spec).await {
                origin = Origin::Redis;
                return Ok(kept);
            }
            origin = Origin::Model;
            looked = Some(keyed + asked.elapsed());
            match self.compute(inputs.clone()).await {
                Ok(outputs) => Ok(cache.keep(key, outputs)),
                Err(error) => {
                    failure = Some(error);
                    Err(())
                }
            }
        };
        let found = cache.find(key, fresh).await;
        let took = looked.unwrap_or_else(|| start.elapsed());
        match (found, failure) {
            (Ok(kept), _) => {
                self.in_flight.found(origin, took);
                Ok(kept.outputs.to_vec())
            }
            (Err(()), Some(error)) => {
                self.in_flight.found(origin, took);
                Err(error)
            }
            // Another request failed, which may have had less time, or no place.
            (Err(()), None) => {
                self.in_flight.found(Origin::Model, keyed);
                self.compute(inputs).await
            }
        }
    }
}

/// Counts a request by how it ended, and logs what the operator should know of.
///
/// # Errors
/// Those of `result`.
pub fn settle<T>(mut in_flight: InFlight<'_>, result: Result<T, ApiError>) -> Result<T, ApiError> {
    let error = result.as_ref().err();
    in_flight.ended(error);
    if let Some(error) = error.filter(|it| it.status().is_server_error()) {
        tracing::warn!(%error, "request failed");
    }
    result
}

/// The model did not compute an answer that can be sent. `reason` must be safe to show.
pub fn failed(loaded: &ModelVersion, reason: &impl ToString) -> ApiError {
    ApiError::Failed {
        model: loaded.model.clone(),
        version: loaded.version,
        reason: reason.to_string(),
    }
}

fn unavailable(loaded: &ModelVersion, reason: WorkerError) -> ApiError {
    ApiError::Worker {
        model: loaded.model.clone(),
        version: loaded.version,
        reason,
    }
}

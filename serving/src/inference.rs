//! From a checked request to outputs: the one way to a model, whichever protocol a request came by.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    error::ApiError,
    metrics::{InFlight, Metrics},
    protocol::parameters::Scheduling,
    registry::{ModelVersion, Registry},
    tensor::Tensor,
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

/// A place for a request, to be held until its answer is written. Take it before the request is read.
///
/// # Errors
/// [`ApiError::Worker`] if all places are taken.
pub fn admit(loaded: &ModelVersion) -> Result<Place<'_>, ApiError> {
    let full = |reason| unavailable(loaded, reason);
    loaded.worker.admit().map_err(full)
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
    let answer = loaded.worker.infer(inputs, urgency).await;
    let answer = answer.map_err(|reason| match (reason, timeout) {
        (WorkerError::Late, Some(timeout)) => ApiError::Expired(timeout),
        (reason, _) => unavailable(loaded, reason),
    })?;
    in_flight.computed(&answer);
    answer.outputs.map_err(|error| failed(loaded, &error))
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

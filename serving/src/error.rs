//! What a client gets when it does not get an inference: the one place where errors become HTTP statuses.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    metrics::Outcome, protocol::request::RequestError, registry::NotFound, reload::ReloadError,
    worker::WorkerError,
};

/// An error that a client sees, as `{"error": <one sentence>}`.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The URL is none of ours.
    #[error("this path is not part of the Open Inference Protocol")]
    Path,
    /// The URL is ours, with another verb.
    #[error("this path does not take this method")]
    Method,
    /// No such model or version.
    #[error(transparent)]
    NotFound(NotFound),
    /// The request is wrong.
    #[error(transparent)]
    Request(RequestError),
    /// The body is compressed in a way that this server does not know.
    #[error(
        "content encoding '{0}' is not supported: use gzip, deflate, zstd or none, and one of them only"
    )]
    Encoding(String),
    /// The body is not what its encoding says.
    #[error("the request body is not valid {0}: it is broken, too short or too long")]
    Compressed(&'static str),
    /// The answer came too late.
    #[error("the answer was not ready within the request's timeout of {} microseconds", .0.as_micros())]
    Expired(Duration),
    /// Models cannot be loaded or unloaded where everybody asks.
    #[error(
        "loading and unloading models is not enabled on this server's public ports: start it with --repository-api HOST:PORT, or --repository-grpc HOST:PORT for gRPC, and ask there"
    )]
    RepositoryReadOnly,
    /// What was asked of the repository along with what it can do.
    #[error("the request is refused: {0}")]
    Wish(String),
    /// A model was not loaded or unloaded.
    #[error(transparent)]
    Reload(ReloadError),
    /// The body did not arrive as a whole.
    #[error("the request body broke off")]
    BrokenBody,
    /// The body did not arrive in time.
    #[error("the request body took longer than {0} seconds")]
    SlowBody(u64),
    /// The body is too large.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The process takes too much memory.
    #[error("the server has hardly any memory left: try again in a moment")]
    Memory,
    /// So many messages of gRPC are being read that there is no room for another.
    #[error("too many requests are being read at the moment: try again")]
    Reading,
    /// The client has so many requests in flight, and more are not allowed.
    #[error(
        "the client has {0} requests in flight, and more are not allowed at once: try again when one is answered"
    )]
    Greedy(usize),
    /// The model's thread cannot take the request.
    #[error("model '{model}' version {version} {}: {reason}", .reason.verb())]
    Worker {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
        /// Why.
        reason: WorkerError,
    },
    /// The model is loaded when it is asked for, and that did not succeed. `reason` is already safe to show.
    #[error("model '{model}' version {version} cannot be loaded: {reason}; it will be tried again")]
    NotLoaded {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
        /// Why, in words.
        reason: String,
    },
    /// The model did not compute an answer that can be sent. `reason` is already safe to show.
    #[error("model '{model}' version {version} failed: {reason}")]
    Failed {
        /// The model.
        model: String,
        /// Its version.
        version: u64,
        /// Why, in words.
        reason: String,
    },
}

impl ApiError {
    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::NotFound(_) | Self::Reload(ReloadError::Absent(_)) => {
                StatusCode::NOT_FOUND
            }
            // As Triton has it.
            Self::Reload(ReloadError::Problems(_) | ReloadError::Failed { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::Reload(ReloadError::BrokenOff) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Method | Self::RepositoryReadOnly => StatusCode::METHOD_NOT_ALLOWED,
            Self::Request(_) | Self::Wish(_) | Self::BrokenBody | Self::Compressed(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Expired(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Worker { reason, .. } => match reason {
                WorkerError::Full | WorkerError::Dead | WorkerError::Ending => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                WorkerError::Late | WorkerError::Hung(_) => StatusCode::GATEWAY_TIMEOUT,
                WorkerError::Rows(_) => StatusCode::BAD_REQUEST,
            },
            Self::Greedy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotLoaded { .. } | Self::Memory | Self::Reading => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may be tried again in a second, as every protocol says in its own way.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Worker {
                reason: WorkerError::Full | WorkerError::Ending,
                ..
            } | Self::NotLoaded { .. }
                | Self::Memory
                | Self::Reading
                | Self::Greedy(_)
        )
    }

    /// How the request is counted.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Worker {
                reason: WorkerError::Full,
                ..
            }
            | Self::Memory
            | Self::Reading => Outcome::Overloaded,
            Self::Greedy(_) => Outcome::Limited,
            Self::Worker {
                reason: WorkerError::Dead | WorkerError::Ending,
                ..
            }
            | Self::NotLoaded { .. } => Outcome::Unavailable,
            Self::Worker {
                reason: WorkerError::Late | WorkerError::Hung(_),
                ..
            } => Outcome::Expired,
            Self::Failed { .. } => Outcome::Failed,
            Self::Expired(_) => Outcome::Expired,
            _ => Outcome::Refused,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.to_string() }));
        let mut response = (self.status(), body).into_response();
        if self.is_passing() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

//! What a client gets when it does not get an inference: the one place where errors become HTTP statuses.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    metrics::Outcome,
    protocol::{request::RequestError, response::NotFinite},
    registry::NotFound,
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
    /// The request is encoded as this server cannot read.
    #[error("{0} is not supported: send plain JSON")]
    Encoding(&'static str),
    /// The body did not arrive as a whole.
    #[error("the request body broke off")]
    BrokenBody,
    /// The body did not arrive in time.
    #[error("the request body took longer than {0} seconds")]
    SlowBody(u64),
    /// The body is too large.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
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
    /// An answer that JSON cannot carry is the model's failure, not the client's.
    #[must_use]
    pub fn not_finite(model: &str, version: u64, reason: &NotFinite) -> Self {
        Self::Failed {
            model: model.to_owned(),
            version,
            reason: reason.to_string(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Path | Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Request(_) | Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::SlowBody(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Worker { reason, .. } => match reason {
                WorkerError::Full | WorkerError::Dead => StatusCode::SERVICE_UNAVAILABLE,
                WorkerError::Late => StatusCode::GATEWAY_TIMEOUT,
                WorkerError::Rows(_) => StatusCode::BAD_REQUEST,
            },
            Self::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How the request is counted.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Worker {
                reason: WorkerError::Full,
                ..
            } => Outcome::Overloaded,
            Self::Worker {
                reason: WorkerError::Dead,
                ..
            } => Outcome::Unavailable,
            Self::Worker {
                reason: WorkerError::Late,
                ..
            } => Outcome::Late,
            Self::Failed { .. } => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.to_string() }));
        let mut response = (self.status(), body).into_response();
        if matches!(
            self,
            Self::Worker {
                reason: WorkerError::Full,
                ..
            }
        ) {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

//! Errors as gRPC says them.

use tonic::{Code, Status, metadata::MetadataValue};

use crate::{error::ApiError, worker::WorkerError};

/// Milliseconds after which a client may try again, as gRPC's own retries read it.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::NotFound(_) | ApiError::Path => Code::NotFound,
            ApiError::Request(_)
            | ApiError::Wish(_)
            | ApiError::Encoding(_)
            | ApiError::Compressed(_)
            | ApiError::BrokenBody => Code::InvalidArgument,
            // Nothing of this port comes to it.
            ApiError::Reload(_) => Code::FailedPrecondition,
            ApiError::Method | ApiError::RepositoryReadOnly => Code::Unimplemented,
            ApiError::SlowBody(_) | ApiError::Expired(_) => Code::DeadlineExceeded,
            ApiError::TooLarge(_) => Code::ResourceExhausted,
            ApiError::Worker { reason, .. } => match reason {
                WorkerError::Full | WorkerError::Dead => Code::Unavailable,
                WorkerError::Late => Code::DeadlineExceeded,
                WorkerError::Rows(_) => Code::InvalidArgument,
            },
            ApiError::NotLoaded { .. } => Code::Unavailable,
            ApiError::Failed { .. } => Code::Internal,
        };
        let mut status = Self::new(code, error.to_string());
        if let ApiError::Worker {
            reason: WorkerError::Full,
            ..
        } = error
        {
            let pushback = MetadataValue::from_static("1000");
            status.metadata_mut().insert(PUSHBACK, pushback);
        }
        status
    }
}

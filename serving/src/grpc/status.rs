//! Errors as gRPC says them.

use tonic::{Code, Status, metadata::MetadataValue};

use crate::{error::ApiError, reload::ReloadError, worker::WorkerError};

/// Milliseconds after which a client may try again, as gRPC's own retries read it.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

impl From<&ApiError> for Code {
    fn from(error: &ApiError) -> Self {
        match error {
            ApiError::NotFound(_) | ApiError::Path => Self::NotFound,
            ApiError::Request(_)
            | ApiError::Wish(_)
            | ApiError::Encoding(_)
            | ApiError::Compressed(_)
            | ApiError::BrokenBody => Self::InvalidArgument,
            ApiError::Reload(reason) => match reason {
                ReloadError::Absent(_) => Self::NotFound,
                ReloadError::Problems(_) | ReloadError::Failed { .. } => Self::FailedPrecondition,
                ReloadError::BrokenOff => Self::Internal,
            },
            ApiError::Method | ApiError::RepositoryReadOnly => Self::Unimplemented,
            ApiError::SlowBody(_) | ApiError::Expired(_) => Self::DeadlineExceeded,
            ApiError::TooLarge(_) | ApiError::Greedy(_) => Self::ResourceExhausted,
            ApiError::Worker { reason, .. } => match reason {
                WorkerError::Full | WorkerError::Dead | WorkerError::Ending => Self::Unavailable,
                WorkerError::Late | WorkerError::Hung(_) => Self::DeadlineExceeded,
                WorkerError::Rows(_) => Self::InvalidArgument,
            },
            ApiError::NotLoaded { .. } | ApiError::Memory => Self::Unavailable,
            ApiError::Failed { .. } => Self::Internal,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::new(Code::from(&error), error.to_string());
        if matches!(
            error,
            ApiError::Worker {
                reason: WorkerError::Full | WorkerError::Ending,
                ..
            } | ApiError::Memory
                | ApiError::Greedy(_)
        ) {
            let pushback = MetadataValue::from_static("1000");
            status.metadata_mut().insert(PUSHBACK, pushback);
        }
        status
    }
}

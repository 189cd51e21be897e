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
            // Triton says INTERNAL to all of them, and its clients look at none.
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
            ApiError::NotLoaded { .. } | ApiError::Memory | ApiError::Reading => Self::Unavailable,
            ApiError::Failed { .. } => Self::Internal,
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut status = Self::new(Code::from(&error), error.to_string());
        if error.is_passing() {
            let pushback = MetadataValue::from_static("1000");
            status.metadata_mut().insert(PUSHBACK, pushback);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{http::header::RETRY_AFTER, response::IntoResponse};

    use super::*;

    fn worker(reason: WorkerError) -> ApiError {
        ApiError::Worker {
            model: "fraud".to_owned(),
            version: 7,
            reason,
        }
    }

    fn not_loaded() -> ApiError {
        ApiError::NotLoaded {
            model: "fraud".to_owned(),
            version: 7,
            reason: "no model".to_owned(),
        }
    }

    #[test]
    fn what_goes_by_says_when_to_try_again_over_either_protocol_and_nothing_else_does() {
        let errors: [(fn() -> ApiError, bool); 10] = [
            (not_loaded, true),
            (|| ApiError::Memory, true),
            (|| ApiError::Reading, true),
            (|| ApiError::Greedy(1), true),
            (|| worker(WorkerError::Full), true),
            (|| worker(WorkerError::Ending), true),
            (|| worker(WorkerError::Dead), false),
            (|| worker(WorkerError::Late), false),
            (|| ApiError::Expired(Duration::from_secs(1)), false),
            (|| ApiError::TooLarge(1), false),
        ];
        for (error, passes) in errors {
            let (status, response) = (Status::from(error()), error().into_response());
            let pushback = status.metadata().get(PUSHBACK);
            let after = response.headers().get(RETRY_AFTER);
            let wanted = |value| passes.then_some(value);
            assert_eq!(pushback.map(|it| it.to_str().unwrap()), wanted("1000"));
            assert_eq!(after.map(|it| it.to_str().unwrap()), wanted("1"));
        }
    }
}

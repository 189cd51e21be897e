//! How many messages may be read at once, and for how long.
//!
//! Which model a request is for stands in its message, so it cannot take a place at the model before it is read, as a
//! request over REST does.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::Response,
};
use futures::{StreamExt, stream};
use http_body_util::{LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

use crate::{error::ApiError, inference::App};

/// The one call whose messages are large.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// How a message is packed, and how the answer may be.
const ENCODING: &str = "grpc-encoding";
const ACCEPTED: &str = "grpc-accept-encoding";

/// Bytes of any other message.
const SMALL: usize = 64 << 10;

/// A message that takes longer holds memory for nobody.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Counts the messages that are being read.
#[derive(Clone)]
pub(super) struct Admission {
    app: Arc<App>,
    permits: Arc<Semaphore>,
}

/// Held while a message is being read; the service drops it once the request has a place at its model.
#[derive(Clone)]
pub(super) struct Reading {
    _permit: Arc<OwnedSemaphorePermit>,
    /// When the request came.
    pub(super) since: std::time::Instant,
}

impl Admission {
    /// At most [`App::max_reading`] messages at once.
    pub(super) fn new(app: Arc<App>) -> Self {
        let permits = app.max_reading.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            app,
            permits: Arc::new(Semaphore::new(permits)),
        }
    }
}

/// Lets a request in if there is room for its message, and cuts off messages that take too long.
pub(super) async fn admit(
    State(Admission { app, permits }): State<Admission>,
    mut request: Request,
    next: Next,
) -> Response {
    pack_for_packers(request.headers_mut());
    if request.uri().path() != INFER {
        return next.run(request.map(|body| small(body, ""))).await;
    }
    if app.memory.is_high() {
        // Before the message is there.
        return Status::from(ApiError::Memory).into_http();
    }
    let Ok(permit) = permits.try_acquire_owned() else {
        return Status::from(ApiError::Reading).into_http();
    };
    request.extensions_mut().insert(Reading {
        _permit: Arc::new(permit),
        since: std::time::Instant::now(),
    });
    next.run(request.map(in_time)).await
}

/// Lets the answer be packed where the client packs, too: every one says what it could unpack, asked or not, and only that
/// one wants the work.
pub(super) fn pack_for_packers(headers: &mut HeaderMap) {
    let packs = headers.get(ENCODING).is_some_and(|it| it != "identity");
    if !packs {
        headers.remove(ACCEPTED);
    }
}

/// The same body, which fails with a sentence when it is large or not complete in time.
pub(super) fn small(body: Body, hint: &str) -> Body {
    let chunks = Body::new(Limited::new(body, SMALL)).into_data_stream();
    let sentence = format!("the message is larger than {SMALL} bytes{hint}");
    let chunks = chunks.map(move |chunk| {
        chunk.map_err(|error| {
            let error = error.into_inner();
            if error.is::<LengthLimitError>() {
                axum::Error::new(Status::resource_exhausted(sentence.clone()))
            } else {
                axum::Error::new(error)
            }
        })
    });
    in_time(Body::from_stream(chunks))
}

/// The same body, which fails when it is not complete in time.
fn in_time(body: Body) -> Body {
    let deadline = Instant::now() + TIMEOUT;
    let late = stream::once(async move {
        let seconds = TIMEOUT.as_secs();
        let sentence = format!("the request took longer than {seconds} seconds to arrive");
        (Instant::now() >= deadline)
            .then(|| Err(axum::Error::new(Status::deadline_exceeded(sentence))))
    });
    let chunks = body
        .into_data_stream()
        .take_until(tokio::time::sleep_until(deadline))
        .chain(late.filter_map(std::future::ready));
    Body::from_stream(chunks)
}

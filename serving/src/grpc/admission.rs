//! How many messages may be read at once, and for how long.
//!
//! Which model a request is for stands in its message, so it cannot take a place at the model before it is read, as a
//! request over REST does.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::{StreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

/// The one call whose messages are large.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A message that takes longer holds memory for nobody.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Counts the messages that are being read.
#[derive(Clone)]
pub(super) struct Admission(Arc<Semaphore>);

/// Held while a message is being read; the service drops it once the request has a place at its model.
#[derive(Clone)]
pub(super) struct Reading(
    #[allow(dead_code, reason = "held to be dropped")] Arc<OwnedSemaphorePermit>,
);

impl Admission {
    /// At most `max_reading` messages at once.
    pub(super) fn new(max_reading: usize) -> Self {
        let permits = max_reading.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(permits)))
    }
}

/// Lets a request in if there is room for its message, and cuts off messages that take too long.
pub(super) async fn admit(
    State(Admission(permits)): State<Admission>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() != INFER {
        return next.run(request).await;
    }
    let Ok(permit) = permits.try_acquire_owned() else {
        let sentence = "too many requests are being read at the moment: try again";
        return Status::unavailable(sentence).into_http();
    };
    request.extensions_mut().insert(Reading(Arc::new(permit)));
    next.run(request.map(in_time)).await
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

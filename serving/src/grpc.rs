//! The gRPC API of the Open Inference Protocol v2 with Triton's extensions, and gRPC's own health service.

mod admission;
pub mod codec;
mod health;
mod infer;
mod opening;
pub mod proto;
mod repository;
mod service;
mod status;

use std::{sync::Arc, time::Duration};

use axum::middleware;
use futures::StreamExt;
use tokio::net::TcpListener;
use tonic::{
    codec::CompressionEncoding,
    service::Routes,
    transport::{Error, Server, server::TcpIncoming},
};
use tonic_health::pb::health_server::HealthServer;

use self::{
    admission::Admission, health::HealthService, opening::Opening,
    proto::grpc_inference_service_server::GrpcInferenceServiceServer, service::InferenceService,
};
use crate::{control::Control, http::connections, inference::App};

/// A client that is gone without a word is noticed after this and as long again.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Requests at once on one connection; a client that wants more waits, or opens another.
const MAX_STREAMS: u32 = 256;

/// Bytes that a client may send before it is told that they have arrived: the default of 64 KiB makes a tensor of
/// megabytes wait for many round trips.
const WINDOW: u32 = 1 << 20;

/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Bytes of all headers of a request.
const MAX_HEADERS: u32 = 16 << 10;

/// Serves `routes` until `shutdown`, drops connections that do not begin within `patience`, and finishes the requests in
/// flight.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Routes,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let incoming = TcpIncoming::from(listener);
    // Without a free descriptor the next try fails as well, and at once.
    let incoming = incoming.then(move |accepted| async move {
        if let Err(error) = &accepted
            && !connections::is_of_the_client(error)
        {
            tracing::error!(%error, "failed to accept a connection");
            tokio::time::sleep(PAUSE).await;
        }
        accepted.map(|stream| {
            connections::prepare(&stream);
            Opening::new(stream, patience)
        })
    });
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .http2_max_header_list_size(Some(MAX_HEADERS))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .initial_stream_window_size(Some(WINDOW))
        .initial_connection_window_size(Some(WINDOW))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

/// What is answered to everybody.
pub(crate) fn inference(app: Arc<App>) -> Routes {
    let admission = Admission::new(Arc::clone(&app));
    let routes = Routes::new(service(Arc::clone(&app), None));
    let health = HealthServer::new(HealthService(app));
    let router = routes
        .add_service(health)
        .into_axum_router()
        .layer(middleware::from_fn_with_state(admission, admission::admit));
    Routes::from(router)
}

/// What is answered on the port of the repository.
pub(crate) fn repository(app: Arc<App>, control: Control) -> Routes {
    let router = Routes::new(service(app, Some(control)))
        .into_axum_router()
        .layer(middleware::from_fn(repository::only));
    Routes::from(router)
}

fn service(
    app: Arc<App>,
    control: Option<Control>,
) -> GrpcInferenceServiceServer<InferenceService> {
    let max_body = app.max_body;
    GrpcInferenceServiceServer::new(InferenceService { app, control })
        .max_decoding_message_size(max_body)
        // No zstd: tonic lets a message ask for a window of 128 MiB, and no client of this protocol speaks it.
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate)
}

#[cfg(test)]
pub(crate) mod tests;

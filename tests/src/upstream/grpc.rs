//! A gRPC server's stand-in: HTTP/2 without TLS, whose calls end as their clients ask.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The request header that says how a call ends: `trailers N` after a message with gRPC status N, `headers N` with that
/// status in place of a message, `cut` with a reset after the message, `nothing` after a message without any status.
pub const ENDING: HeaderName = HeaderName::from_static("x-ending");

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A message of two bytes, not compressed: the flag, the length, the message (gRPC over HTTP/2, "Requests").
const MESSAGE: &[u8] = b"\0\0\0\0\x02ok";

/// The running server.
#[derive(Debug)]
pub struct GrpcUpstream {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl GrpcUpstream {
    /// Starts it on a port of its own, in the runtime of the caller.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<GrpcUpstream> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("failed to listen")?;
        let address = listener
            .local_addr()
            .context("failed to learn the port of an upstream")?;
        let server = tokio::spawn(accept(listener));
        Ok(GrpcUpstream { address, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream));
    }
}

async fn serve(stream: TcpStream) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request)));
    // A connection that breaks is the peer's to notice.
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

fn answer(request: &Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let wanted = request.headers().get(ENDING);
    let wanted = wanted.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (how, status) = wanted.split_once(' ').unwrap_or((wanted, ""));
    let status = HeaderValue::from_str(status).ok();
    let last = match (how, status) {
        ("headers", Some(status)) => {
            // An empty body ends with the headers, so that they are the only frame.
            let mut response =
                Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            response.headers_mut().extend([grpc(), (STATUS, status)]);
            return response;
        }
        ("trailers", Some(status)) => Some(Ok(Frame::trailers(HeaderMap::from_iter([(
            STATUS, status,
        )])))),
        ("cut", _) => Some(Err(io::Error::other("asked to cut the call"))),
        _ => None,
    };
    let message = Ok(Frame::data(Bytes::from_static(MESSAGE)));
    let frames = stream::iter([message].into_iter().chain(last));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().extend([grpc()]);
    response
}

fn grpc() -> (HeaderName, HeaderValue) {
    (CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
}

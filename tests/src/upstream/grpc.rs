//! A gRPC server's stand-in: HTTP/2 without TLS, whose calls end as their clients ask.

use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The request header that says how a call goes: `trailers N` answers with a message and gRPC status N, `headers N` with
/// that status in place of a message, `nothing` with a message and no status, `reset` not at all. `stream N` and `cut` answer each message
/// with itself as it comes, and when the client has said all, end with that status or with a reset.
pub const ENDING: HeaderName = HeaderName::from_static("x-ending");

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A message: two bytes, not compressed: the flag, the length, the message (gRPC over HTTP/2, "Requests").
pub const MESSAGE: &[u8] = b"\0\0\0\0\x02ok";

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
    let service = service_fn(async |request| answer(request));
    // A connection that breaks is the peer's to notice.
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

fn answer(request: Request<Incoming>) -> io::Result<Response<Body>> {
    let wanted = request.headers().get(ENDING).cloned();
    let wanted = wanted.as_ref().and_then(|value| value.to_str().ok());
    let wanted = wanted.unwrap_or_default();
    let (how, status) = wanted.split_once(' ').unwrap_or((wanted, ""));
    let Ok(status) = HeaderValue::from_str(status) else {
        return Ok(head(message([])));
    };
    let trailers = || {
        Ok(Frame::trailers(HeaderMap::from_iter([(
            STATUS,
            status.clone(),
        )])))
    };
    Ok(match how {
        "reset" => return Err(io::Error::other("asked to reset")),
        "headers" => {
            // An empty body ends with the headers, so that they are the only frame.
            let mut response = head(Empty::new().map_err(|never| match never {}).boxed_unsync());
            response.headers_mut().insert(STATUS, status);
            response
        }
        "trailers" => head(message([trailers()])),
        "stream" => head(echo(request, trailers())),
        "cut" => head(echo(
            request,
            Err(io::Error::other("asked to cut the call")),
        )),
        _ => head(message([])),
    })
}

/// The answer to a gRPC call, with this body.
fn head(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

type Next = io::Result<Frame<Bytes>>;

/// One message and what follows it.
fn message<const N: usize>(rest: [Next; N]) -> Body {
    let message = Ok(Frame::data(Bytes::from_static(MESSAGE)));
    StreamBody::new(stream::iter([message].into_iter().chain(rest))).boxed_unsync()
}

/// What the client sends, while it sends it, and then this end.
fn echo(request: Request<Incoming>, end: Next) -> Body {
    let data = BodyStream::new(request.into_body()).try_filter(|it| ready(it.is_data()));
    let echoed = data.map_err(io::Error::other);
    StreamBody::new(echoed.chain(stream::once(ready(end)))).boxed_unsync()
}

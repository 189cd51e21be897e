//! A model server's stand-in, inside the process, that behaves as badly as a test wants.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::traffic::VERSION_HEADER;

pub mod grpc;

/// How much of the body it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The first half; then it closes the connection.
    CutShort,
    /// The first half; then nothing more comes, and the connection stays.
    Stalled,
}

/// How it answers from now on.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// The status of the answer.
    pub status: StatusCode,
    /// How long it thinks first.
    pub delay: Duration,
    /// Whether it never answers.
    pub hang: bool,
    /// Whether it closes the connection instead of answering.
    pub reset: bool,
    /// How much of the body it sends.
    pub extent: Extent,
    /// Whether it reads the bodies of requests and keeps them, for [`Upstream::bodies`].
    pub keep: bool,
}

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            status: StatusCode::OK,
            delay: Duration::ZERO,
            hang: false,
            reset: false,
            extent: Extent::Whole,
            keep: false,
        }
    }
}

/// The running server. Answers carry its name as the model's version; their body is a JSON object with the headers of
/// the request as they arrived, each a list of values (bytes that are no text are replaced).
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    name: String,
    behaviour: RwLock<Behaviour>,
    requests: AtomicU64,
    bodies: Mutex<Vec<Bytes>>,
}

impl Upstream {
    /// Starts it on a port of its own, of all addresses of this machine, in the runtime of the caller.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &str) -> Result<Upstream> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))
            .await
            .context("failed to listen")?;
        let port = listener
            .local_addr()
            .context("failed to learn the port of an upstream")?
            .port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let state = Arc::new(State {
            name: name.to_owned(),
            behaviour: RwLock::default(),
            requests: AtomicU64::new(0),
            bodies: Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Upstream {
            address,
            state,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// The bodies of the requests that were to be kept and came whole, in the order in which they ended.
    #[must_use]
    pub fn bodies(&self) -> Vec<Bytes> {
        let bodies = self.state.bodies.lock();
        bodies.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes how it answers, for requests that arrive from now on.
    pub fn set(&self, behaviour: Behaviour) {
        *self
            .state
            .behaviour
            .write()
            .unwrap_or_else(PoisonError::into_inner) = behaviour;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Connections end with the server: a test that drops an upstream wants it gone.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    // Without it answers wait for acknowledgements; a socket that refuses is a slower one.
    stream.set_nodelay(true).ok();
    let service = service_fn(async |request| answer(&state, request).await);
    // A connection that breaks is the peer's to notice.
    http1::Builder::new()
        // A hundred are hyper's limit, and Envoy passes on more.
        .max_headers(4096)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let behaviour = *state
        .behaviour
        .read()
        .unwrap_or_else(PoisonError::into_inner);
    if behaviour.hang {
        std::future::pending::<()>().await;
    }
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    if behaviour.reset {
        // An error of the service closes the connection without an answer.
        return Err(std::io::Error::other("asked to reset"));
    }
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.as_str()).or_default().push(value);
    }
    let body = serde_json::to_vec(&headers).map_err(std::io::Error::other)?;
    if behaviour.keep {
        let whole = request.into_body().collect().await;
        let whole = whole.map_err(std::io::Error::other)?.to_bytes();
        let mut bodies = state.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.push(whole);
    }
    let mut response = Response::builder()
        .status(behaviour.status)
        .header(VERSION_HEADER, &state.name);
    if behaviour.status == StatusCode::SWITCHING_PROTOCOLS {
        // The tunnel closes at once: nobody here speaks the other protocol.
        response = response
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "websocket");
    }
    if behaviour.extent != Extent::Whole {
        // Without it the body would end where the connection does.
        response = response.header(CONTENT_LENGTH, body.len());
    }
    response
        .body(part(Bytes::from(body), behaviour.extent))
        .map_err(std::io::Error::other)
}

fn part(body: Bytes, extent: Extent) -> Body {
    if extent == Extent::Whole {
        return Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync();
    }
    let half = stream::once(std::future::ready(Ok(Frame::data(
        body.slice(..body.len() / 2),
    ))));
    let rest = stream::once(async move {
        if extent == Extent::Stalled {
            std::future::pending::<()>().await;
        }
        // The server writes what it has before it asks for more a second time.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("asked to cut the answer short"))
    });
    StreamBody::new(half.chain(rest)).boxed_unsync()
}

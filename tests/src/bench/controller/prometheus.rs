//! Prometheus' stand-in: it counts what it is asked, and answers what a bench says.

pub mod fleet;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The rows of an answer, as the inside of a JSON list; none for a query that is not known.
pub type Answer = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The running server.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    answer: Box<Answer>,
    queries: AtomicU64,
    unknown: Mutex<Option<String>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queries", &self.queries)
            .finish_non_exhaustive()
    }
}

impl Stub {
    /// Starts it on a port of its own.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(
        answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Stub> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("failed to listen")?;
        let address = listener.local_addr().context("failed to learn the port")?;
        let state = Arc::new(State {
            answer: Box::new(answer),
            queries: AtomicU64::new(0),
            unknown: Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Stub {
            address,
            state,
            server,
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How much it was asked.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.state.queries.load(Ordering::Relaxed)
    }

    /// A query that it could not answer.
    #[must_use]
    pub fn unknown(&self) -> Option<String> {
        let unknown = self.state.unknown.lock();
        unknown.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(async |request| answer(&state, request).await);
    // A connection that breaks is the peer's to notice.
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

async fn answer(state: &State, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    state.queries.fetch_add(1, Ordering::Relaxed);
    let in_url = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let query = query_of(in_url.as_bytes()).or_else(|| query_of(&body));
    let query = query.unwrap_or_default();
    let rows = (state.answer)(&query);
    let (status, text) = match rows {
        Some(rows) => (
            StatusCode::OK,
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#),
        ),
        None => {
            let mut unknown = state.unknown.lock().unwrap_or_else(PoisonError::into_inner);
            *unknown = Some(query);
            let text = r#"{"status":"error","errorType":"bad_data","error":"not a query that the bench knows"}"#;
            (StatusCode::BAD_REQUEST, text.to_owned())
        }
    };
    let response = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json");
    Ok(response.body(Full::new(text.into()))?)
}

fn query_of(form: &[u8]) -> Option<String> {
    let mut fields = form_urlencoded::parse(form);
    fields.find_map(|(name, value)| (name == "query").then(|| value.into_owned()))
}

/// A row without labels.
#[must_use]
pub fn scalar(value: f64) -> String {
    format!(r#"{{"metric":{{}},"value":[0,"{value}"]}}"#)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serin_controller::prometheus::Client;

    use super::*;

    #[tokio::test]
    async fn it_counts_queries_and_remembers_one_that_it_does_not_know() {
        let stub = Stub::start(|query| (query == "up + 1").then(|| scalar(2.5)))
            .await
            .unwrap();
        let client = Client::new(&stub.url()).unwrap();
        let rows = client.query("up + 1", Timestamp::now()).await.unwrap();
        assert_eq!(rows[0].number(), Some(2.5));
        assert_eq!((stub.queries(), stub.unknown()), (1, None));
        client.query("down", Timestamp::now()).await.unwrap_err();
        assert_eq!(
            (stub.queries(), stub.unknown()),
            (2, Some("down".to_owned()))
        );
    }
}

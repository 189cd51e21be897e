//! The API over real sockets, with the fake backend.

mod cache;
mod connections;
mod draining;
mod failures;
mod hung;
mod limits;
mod malformed;
mod malformed_binary;
mod scheduling;
mod values;
mod wire;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::{channel::mpsc, stream};
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    Config,
    backend::fake::{self, Gate},
    bind_candidates,
    limits::Limits,
    metrics::Style,
    registry::Candidate,
    repository::{Entry, Stamp},
    shutdown::Drain,
    source::{Access, Place},
    spec::ModelSpec,
    watchdog::Doom,
};

pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// A server of model `fraud`, versions 7 and 9.
pub(crate) struct Server {
    pub(crate) url: String,
    /// Where gRPC is spoken.
    pub(crate) grpc: String,
    /// Where models are loaded and unloaded over gRPC.
    pub(crate) repository_grpc: Option<String>,
    pub(crate) client: Client,
    pub(crate) gate: Gate,
    stop: mpsc::UnboundedSender<()>,
    done: JoinHandle<std::io::Result<Option<Doom>>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: header::HeaderMap,
    pub(crate) json: Value,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(8).await
    }

    pub(crate) async fn start_with(queue: usize) -> Self {
        Self::start_as(queue, |_| ()).await
    }

    pub(crate) async fn start_within(queue: usize, limits: Limits) -> Self {
        Self::start_as(queue, |config| config.limits = limits).await
    }

    pub(crate) async fn start_as(queue: usize, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_of(fake::spec(), PathBuf::new(), queue, change).await
    }

    /// Of another spec, read from a file.
    pub(crate) async fn start_of(
        spec: ModelSpec,
        file: PathBuf,
        queue: usize,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let spec = Arc::new(spec);
        let candidate = |version| {
            let (gate, load) = match spec.serving.max_batch_size {
                None => fake::load(),
                Some(_) => fake::load_rows(),
            };
            let spec = Arc::clone(&spec);
            (
                gate,
                Candidate {
                    entry: Entry {
                        model: "fraud".to_owned(),
                        version,
                        spec,
                        notes: Arc::default(),
                        file: file.clone(),
                        stamp: Stamp::default(),
                        manifest: None,
                    },
                    loads: vec![load],
                },
            )
        };
        let ((_, seven), (gate, nine)) = (candidate(7), candidate(9));
        let mut config = Config {
            models: Place::Folder(PathBuf::new()),
            access: Access::default(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            grpc_port: 0,
            max_body: MAX_BODY,
            queue,
            threads: None,
            cores: 1,
            spin: Duration::ZERO,
            poll: None,
            repository_api: None,
            repository_grpc: None,
            traces: None,
            drain: Drain {
                delay: Duration::ZERO,
                timeout: LONG,
            },
            metrics: Style {
                variant: None,
                triton: true,
            },
            limits: Limits::default(),
            cache_redis: None,
            give_back: || (),
        };
        change(&mut config);
        let bound = bind_candidates(&config, PathBuf::new().into(), vec![seven, nine])
            .await
            .unwrap();
        let url = format!("http://{}", bound.address());
        let grpc = format!("http://{}", bound.grpc_address());
        let repository_grpc = bound.repository_grpc_address();
        let repository_grpc = repository_grpc.map(|it| format!("http://{it}"));
        let (stop, stopped) = mpsc::unbounded();
        let done = tokio::spawn(bound.run(stopped, stream::pending()));
        Self {
            url,
            grpc,
            repository_grpc,
            client: Client::new(),
            gate,
            stop,
            done,
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        answer(
            self.client
                .request(method, format!("{}{path}", self.url))
                .body(body),
        )
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn infer(&self, first: f32) -> Answer {
        self.send(Method::POST, "/v2/models/fraud/infer", body(first))
            .await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.client
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub(crate) async fn assert_counted(&self, lines: &[&str]) {
        let metrics = self.metrics().await;
        for line in lines {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
    }

    /// Waits until something is counted.
    pub(crate) async fn until_counted(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let metrics = self.metrics().await;
            if metrics.lines().any(|it| it == line) {
                return;
            }
            assert!(Instant::now() < deadline, "never {line}\n{metrics}");
        }
    }

    pub(crate) async fn stop(self) {
        self.stop_after(|_| {}).await;
    }

    /// Sends the signal, does something, and waits for the end.
    pub(crate) async fn stop_after(self, then: impl FnOnce(&Gate)) {
        self.stop.unbounded_send(()).unwrap();
        then(&self.gate);
        self.done.await.unwrap().unwrap();
    }
}

pub(crate) fn body(first: f32) -> String {
    format!(
        r#"{{"id": "a", "inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [{first}, 1.5]}}]}}"#
    )
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request
        .timeout(Duration::from_secs(20))
        .send()
        .await
        .unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer {
        status,
        headers,
        json: response.json().await.unwrap(),
    }
}

#[tokio::test]
async fn health_and_metadata_follow_the_protocol() {
    let server = Server::start().await;
    let check = async |path: &str, wanted: Value| {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.json), (200, wanted), "{path}");
    };
    check("/v2/health/live", json!({"live": true})).await;
    check("/v2/health/ready", json!({"ready": true})).await;
    check(
        "/v2",
        json!({"name": "serin-serve", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}),
    )
    .await;
    check(
        "/v2/models/fraud/ready",
        json!({"name": "fraud", "ready": true}),
    )
    .await;
    let metadata = json!({
        "name": "fraud", "versions": ["7", "9"], "platform": "pytorch_libtorch",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}, {"name": "n", "datatype": "INT64", "shape": [1]}],
    });
    check("/v2/models/fraud", metadata.clone()).await;
    check("/v2/models/fraud/versions/7", metadata).await;
    server.stop().await;
}

#[tokio::test]
async fn inference_echoes_the_id_and_selects_outputs_and_versions() {
    let server = Server::start().await;
    let whole = server.infer(2.0).await;
    let y = json!({"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [4.0, 3.0]});
    let n = json!({"name": "n", "datatype": "INT64", "shape": [1], "data": [1]});
    assert_eq!(
        whole.json,
        json!({"model_name": "fraud", "model_version": "9", "id": "a", "outputs": [y, n]})
    );
    let selected = body(2.0).replace(r#""id": "a""#, r#""outputs": [{"name": "n"}]"#);
    let part = server
        .send(Method::POST, "/v2/models/fraud/versions/7/infer", selected)
        .await;
    assert_eq!(
        part.json,
        json!({"model_name": "fraud", "model_version": "7", "outputs": [n]})
    );
    assert_eq!(
        (
            &whole.headers["x-serin-model-version"],
            &part.headers["x-serin-model-version"]
        ),
        (&"9".parse().unwrap(), &"7".parse().unwrap())
    );
    server.stop().await;
}

#[tokio::test]
async fn every_answer_of_a_model_names_the_version_and_no_request_header_can_change_it() {
    let server = Server::start().await;
    let check =
        async |method: Method, path: &str, body: String, status: u16, version: Option<&str>| {
            let request = server
                .client
                .request(method, format!("{}{path}", server.url))
                .body(body);
            let request = request
                .header("x-serin-model", "evil")
                .header("x-serin-model-version", "666");
            let answer = answer(request).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.json);
            let header = |name: &str| {
                answer
                    .headers
                    .get(name)
                    .map(|value| value.to_str().unwrap())
            };
            assert_eq!(header("x-serin-model"), version.map(|_| "fraud"), "{path}");
            assert_eq!(header("x-serin-model-version"), version, "{path}");
            if status != 200 {
                assert!(
                    answer.json["error"]
                        .as_str()
                        .is_some_and(|error| !error.is_empty()),
                    "{path}: {}",
                    answer.json
                );
            }
        };
    let fraud = "/v2/models/fraud";
    let infer = "/v2/models/fraud/infer";
    check(Method::POST, infer, body(1.0), 200, Some("9")).await;
    check(Method::GET, fraud, String::new(), 200, Some("9")).await;
    check(
        Method::GET,
        "/v2/models/fraud/versions/7/ready",
        String::new(),
        200,
        Some("7"),
    )
    .await;
    check(Method::POST, infer, "{".to_owned(), 400, Some("9")).await;
    check(
        Method::POST,
        infer,
        " ".repeat(MAX_BODY + 1),
        413,
        Some("9"),
    )
    .await;
    check(Method::POST, infer, body(fake::FAIL), 500, Some("9")).await;
    check(Method::GET, infer, String::new(), 405, Some("9")).await;
    check(Method::POST, fraud, body(1.0), 405, Some("9")).await;
    check(
        Method::POST,
        "/v2/models/fraud/versions/8/infer",
        body(1.0),
        404,
        None,
    )
    .await;
    check(
        Method::POST,
        "/v2/models/fraud/versions/09/infer",
        body(1.0),
        404,
        None,
    )
    .await;
    check(Method::POST, "/v2/models/other/infer", body(1.0), 404, None).await;
    check(
        Method::GET,
        "/v2/models/..%2f..%2fetc%2fpasswd",
        String::new(),
        404,
        None,
    )
    .await;
    check(Method::GET, "/v2/models", String::new(), 200, None).await;
    check(Method::DELETE, "/v2/health/live", String::new(), 405, None).await;
    check(Method::GET, "/nothing", String::new(), 404, None).await;
    server.stop().await;
}

#[tokio::test]
async fn tritons_extensions_tell_what_is_known() {
    let server = Server::start().await;
    server.infer(1.0).await;
    server.infer(fake::FAIL).await;
    let models = server.get("/v2/models").await;
    assert_eq!(models.json, json!({"models": ["fraud"]}));
    let config = server.get("/v2/models/fraud/config").await;
    let wanted = json!({
        "name": "fraud", "platform": "pytorch_libtorch", "backend": "pytorch", "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1, 2]}, {"name": "n", "data_type": "TYPE_INT64", "dims": [1]}],
        "default_model_filename": "model.pt",
    });
    assert_eq!(config.json, wanted);
    for (path, versions) in [
        ("/v2/models/stats", 2),
        ("/v2/models/fraud/stats", 2),
        ("/v2/models/fraud/versions/9/stats", 1),
    ] {
        let stats = server.get(path).await.json;
        let stats = stats["model_stats"].as_array().unwrap();
        assert_eq!(stats.len(), versions, "{path}");
        let nine = &stats[versions - 1];
        let counts = ["success", "fail", "compute_infer", "queue"]
            .map(|kind| nine["inference_stats"][kind]["count"].as_u64());
        assert_eq!(counts, [1, 1, 2, 2].map(Some), "{path}");
    }
    assert_eq!(
        server.get("/v2/models/fraud/versions/8/stats").await.status,
        404
    );
    server.stop().await;
}

#[tokio::test]
async fn the_repository_can_be_read_but_not_changed() {
    let server = Server::start().await;
    server.infer(fake::PANIC).await;
    let post = async |path: &str, body: &'static str| server.send(Method::POST, path, body).await;
    let seven = json!({"name": "fraud", "version": "7", "state": "READY", "reason": ""});
    let nine = json!({"name": "fraud", "version": "9", "state": "UNAVAILABLE", "reason": "its worker thread has ended"});
    for (body, wanted) in [
        ("", json!([seven, nine])),
        ("{}", json!([seven, nine])),
        (r#"{"ready": true}"#, json!([seven])),
    ] {
        assert_eq!(post("/v2/repository/index", body).await.json, wanted);
    }
    assert_eq!(post("/v2/repository/index", "[]").await.status, 400);
    for action in ["load", "unload"] {
        let answer = post(&format!("/v2/repository/models/fraud/{action}"), "{}").await;
        let sentence = "loading and unloading models is not enabled on this server's public ports: start it with --repository-api HOST:PORT, or --repository-grpc HOST:PORT for gRPC, and ask there";
        assert_eq!(
            (answer.status, answer.json["error"].as_str()),
            (405, Some(sentence))
        );
    }
    server.stop().await;
}

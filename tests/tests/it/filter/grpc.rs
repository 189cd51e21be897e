//! gRPC calls, whose HTTP status is 200 however they end: their class is that of their own status.

use std::convert::Infallible;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::upstream::grpc::{ENDING, GrpcUpstream, MESSAGE};
use tokio::net::TcpStream;

use super::{CANARY, Rig, STABLE, rendered, rollout};

const HOST: &str = "grpc.ml";
const ROLLOUT: &str = "ml/grpc.ml";

/// How calls end, how often, in which class, and whether that is bad.
const CALLS: [(&str, u64, &str, bool); 13] = [
    ("trailers 0", 1, "grpc_ok", false),
    // Not found, and too many requests: what the client asked for.
    ("trailers 5", 2, "grpc_client_error", false),
    ("trailers 8", 3, "grpc_client_error", false),
    // Unknown, deadline exceeded, internal, unavailable.
    ("trailers 2", 4, "grpc_server_error", true),
    ("trailers 4", 5, "grpc_server_error", true),
    ("trailers 13", 6, "grpc_server_error", true),
    ("trailers 14", 7, "grpc_server_error", true),
    // Answers without a message have their status in the headers.
    ("headers 7", 8, "grpc_client_error", false),
    ("headers 12", 9, "grpc_server_error", true),
    // No status, or none that can be read, is status unknown.
    ("cut", 10, "grpc_server_error", true),
    ("nothing", 11, "grpc_server_error", true),
    ("trailers what", 12, "grpc_server_error", true),
    // Envoy answers in the place of the server, with status unavailable.
    ("reset", 13, "grpc_server_error", true),
];

type Message = Result<Frame<Bytes>, Infallible>;
type Messages = UnboundedSender<Message>;

/// A connection of a gRPC client.
struct Client {
    connection: SendRequest<StreamBody<UnboundedReceiver<Message>>>,
    content_type: &'static str,
}

impl Client {
    async fn connect(rig: &Rig) -> Client {
        let stream = TcpStream::connect(rig.envoy.address()).await.unwrap();
        let connection = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (client, driver) = connection.await.unwrap();
        tokio::spawn(async move { driver.await.ok() });
        Client {
            connection: client,
            content_type: "application/grpc+proto",
        }
    }

    /// Begins a call that is to end like this; returns its answer as far as the headers, and where to write messages.
    async fn call(
        &mut self,
        ending: &str,
        metadata: &[(&str, &str)],
    ) -> (Response<Incoming>, Messages) {
        let (messages, body) = unbounded();
        say(&messages);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{HOST}/ml.Fraud/Score"))
            .header("content-type", self.content_type)
            .header("te", "trailers")
            .header(ENDING, ending);
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(StreamBody::new(body)).unwrap();
        let answer = self.connection.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{ending}");
        (answer, messages)
    }
}

/// Sends a message.
fn say(messages: &Messages) {
    let message = Frame::data(Bytes::from_static(MESSAGE));
    messages.unbounded_send(Ok(message)).unwrap();
}

/// Waits for a message.
async fn hear(answer: &mut Response<Incoming>) {
    let frame = answer.frame().await.expect("a message").unwrap();
    assert_eq!(frame.into_data().unwrap(), MESSAGE);
}

/// An Envoy before gRPC servers, with a rollout of these fields.
async fn start(fields: Value) -> (Rig, GrpcUpstream) {
    let upstream = GrpcUpstream::start().await.unwrap();
    let rollout = rollout(HOST, fields);
    let rig = Rig::start_altered(&rendered(1, &[rollout]), |bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        for cluster in clusters.unwrap() {
            speak_http2(cluster, upstream.address().port());
        }
    })
    .await;
    rig.settle(1).await;
    (rig, upstream)
}

/// The labels of one variant's series, narrowed by one more.
fn of<'a>(variant: &'a str, more: (&'a str, &'a str)) -> [(&'a str, &'a str); 3] {
    [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant), more]
}

#[tokio::test]
async fn a_call_has_the_class_of_its_grpc_status_however_that_arrives() {
    let (rig, _upstream) = start(json!({"table": [[10_000, 1]]})).await;
    let mut client = Client::connect(&rig).await;
    for (ending, times, _, _) in CALLS {
        for _ in 0..times {
            let (mut answer, messages) = client.call(ending, &[]).await;
            if ending == "cut" {
                // The answer has begun for sure when the server cuts it.
                hear(&mut answer).await;
            }
            drop(messages);
            let whole = answer.into_body().collect().await;
            if ending == "cut" {
                // Envoy passes the reset on as an error since 1.37; before, the answer just ends, without a status.
                assert!(!whole.is_ok_and(|whole| whole.trailers().is_some()));
            } else {
                assert!(whole.is_ok(), "{ending}");
            }
        }
    }

    let total = |accept: &dyn Fn(&str, bool) -> bool| -> u64 {
        let counted = CALLS
            .iter()
            .filter(|(_, _, class, bad)| accept(class, *bad));
        counted.map(|(_, times, ..)| times).sum()
    };
    for class in ["grpc_ok", "grpc_client_error", "grpc_server_error"] {
        let expected = total(&|its, _| its == class);
        let labels = of("canary", (stat::CLASS, class));
        rig.reads(stat::REQUESTS_TOTAL, &labels, expected).await;
    }
    let split = of("canary", (stat::GROUP, stat::GROUP_NONE));
    rig.reads(stat::SPLIT_TOTAL, &split, total(&|_, _| true))
        .await;
    rig.reads(stat::SPLIT_BAD_TOTAL, &split, total(&|_, bad| bad))
        .await;
    let canary = of("canary", (stat::COHORT, "split"));
    rig.reads(stat::REQUESTS_TOTAL, &canary, total(&|_, _| true))
        .await;
}

#[tokio::test]
async fn a_grpc_web_call_without_a_status_may_have_it_in_its_body() {
    let (rig, _upstream) = start(json!({"table": [[10_000, 1]]})).await;
    let mut client = Client::connect(&rig).await;
    client.content_type = "application/grpc-web+proto";
    for (number, (ending, class, bad)) in (1..).zip([
        ("nothing", "2xx", 0),
        ("trailers 13", "grpc_server_error", 1),
    ]) {
        let (answer, messages) = client.call(ending, &[]).await;
        drop(messages);
        answer.into_body().collect().await.unwrap();
        rig.reads(stat::REQUESTS_TOTAL, &of("canary", (stat::CLASS, class)), 1)
            .await;
        let split = of("canary", (stat::GROUP, stat::GROUP_NONE));
        rig.reads(stat::SPLIT_TOTAL, &split, number).await;
        rig.reads(stat::SPLIT_BAD_TOTAL, &split, bad).await;
    }
}

#[tokio::test]
async fn a_stream_counts_when_it_is_over_and_as_what_it_ended() {
    let (rig, _upstream) = start(json!({"table": [[10_000, 1]]})).await;
    let mut client = Client::connect(&rig).await;
    let endings = [
        ("stream 0", "0", "grpc_ok", 0),
        ("stream 14", "14", "grpc_server_error", 1),
    ];
    for (begun, (ending, status, class, bad)) in (1..).zip(endings) {
        let (mut answer, messages) = client.call(ending, &[]).await;
        for _ in 0..5 {
            hear(&mut answer).await;
            say(&messages);
        }
        // Started, and after a flush still not finished.
        let random = of("canary", (stat::REASON, "random"));
        rig.reads(stat::ASSIGNMENTS_TOTAL, &random, begun).await;
        rig.flush().await;
        let labels = of("canary", (stat::CLASS, class));
        let metrics = rig.envoy.metrics().await.unwrap();
        let over = metrics
            .iter()
            .find(|it| it.is(stat::REQUESTS_TOTAL, &labels));
        assert_eq!(over, None, "{ending}");

        drop(messages);
        let trailers = answer.into_body().collect().await.unwrap();
        assert_eq!(trailers.trailers().unwrap()["grpc-status"], status);
        rig.reads(stat::REQUESTS_TOTAL, &labels, 1).await;
        let canary = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, "canary")];
        rig.reads(stat::SPLIT_TOTAL, &canary, begun).await;
        rig.reads(stat::SPLIT_BAD_TOTAL, &canary, bad).await;
    }

    // A client that cancels in mid stream blames nobody.
    let (mut answer, messages) = client.call("stream 0", &[]).await;
    hear(&mut answer).await;
    drop((answer, messages));
    let canary = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, "canary")];
    rig.reads(stat::SPLIT_TOTAL, &canary, 3).await;
    rig.reads(stat::SPLIT_BAD_TOTAL, &canary, 1).await;
    let labels = of("canary", (stat::CLASS, "2xx"));
    rig.reads(stat::REQUESTS_TOTAL, &labels, 1).await;
}

#[tokio::test]
async fn metadata_of_a_call_is_its_key_and_what_a_rule_asks_for() {
    // Only the bucket of alice@example.com (see filter/core/README.md) is the canary's.
    let (rig, _upstream) = start(json!({
        "key": [{"grpcMetadata": "user"}],
        "table": [[5369, 0], [5370, 1], [10_000, 0]],
        // Metadata whose name ends like this is bytes, and travels in base64: here 00 ff.
        "rules": [{"variant": 1, "when": [{"grpcMetadata": "trace-bin", "equals": "AP8="}]}],
    }))
    .await;
    let mut client = Client::connect(&rig).await;
    let (alice, bob) = (("user", "alice@example.com"), ("user", "bob@example.com"));
    let calls: [(&[(&str, &str)], u64); 4] = [
        (&[alice], 1),
        (&[alice, ("trace-bin", "AP4=")], 2),
        (&[bob], 3),
        (&[bob, ("trace-bin", "AP8=")], 4),
    ];
    for (metadata, times) in calls {
        for _ in 0..times {
            let (answer, messages) = client.call("trailers 0", metadata).await;
            drop(messages);
            answer.into_body().collect().await.unwrap();
        }
    }
    for (variant, cohort, expected) in [
        ("canary", "split", 3),
        ("stable", "split", 3),
        ("canary", "forced", 4),
    ] {
        let labels = of(variant, (stat::COHORT, cohort));
        rig.reads(stat::REQUESTS_TOTAL, &labels, expected).await;
    }
}

/// Leads a cluster to the gRPC server.
fn speak_http2(cluster: &mut Value, port: u16) {
    assert!([STABLE, CANARY].map(Value::from).contains(&cluster["name"]));
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster["typed_extension_protocol_options"] = json!({OPTIONS: {
        "@type": format!("type.googleapis.com/{OPTIONS}"),
        "explicit_http_config": {"http2_protocol_options": {}},
    }});
    let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
    endpoint["address"]["socket_address"]["port_value"] = port.into();
}

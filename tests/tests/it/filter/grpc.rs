//! gRPC calls, whose HTTP status is 200 however they end: their class is that of their own status.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::upstream::grpc::{ENDING, GrpcUpstream};
use tokio::net::TcpStream;

use super::{CANARY, Rig, STABLE, rendered, rollout};

const HOST: &str = "grpc.ml";
const ROLLOUT: &str = "ml/grpc.ml";

/// How calls end, how often, in which class, and whether that is bad.
const CALLS: [(&str, u64, &str, bool); 12] = [
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
];

#[tokio::test]
async fn a_call_has_the_class_of_its_grpc_status_however_that_arrives() {
    let upstream = GrpcUpstream::start().await.unwrap();
    let everybody = rollout(
        HOST,
        json!({"key": [{"grpcMetadata": "x-user-id"}], "table": [[10_000, 1]]}),
    );
    let rig = Rig::start_altered(&rendered(1, &[everybody]), |bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        for cluster in clusters.unwrap() {
            speak_http2(cluster, upstream.address().port());
        }
    })
    .await;
    rig.settle(1).await;

    let stream = TcpStream::connect(rig.envoy.address()).await.unwrap();
    let connection = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, driver) = connection.await.unwrap();
    tokio::spawn(async move { driver.await.ok() });
    for (ending, times, _, _) in CALLS {
        for _ in 0..times {
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("http://{HOST}/ml.Fraud/Score"))
                .header("content-type", "application/grpc+proto")
                .header("te", "trailers")
                .header("x-user-id", "42")
                .header(ENDING, ending)
                .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))
                .unwrap();
            let answer = client.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200, "{ending}");
            let whole = answer.into_body().collect().await;
            assert_eq!(whole.is_err(), ending == "cut", "{ending}");
        }
    }

    let total = |accept: &dyn Fn(&str, bool) -> bool| -> u64 {
        let counted = CALLS
            .iter()
            .filter(|(_, _, class, bad)| accept(class, *bad));
        counted.map(|(_, times, ..)| times).sum()
    };
    let of = |label| [(stat::ROLLOUT, ROLLOUT), label];
    for class in ["grpc_ok", "grpc_client_error", "grpc_server_error"] {
        let expected = total(&|its, _| its == class);
        rig.reads(stat::REQUESTS_TOTAL, &of((stat::CLASS, class)), expected)
            .await;
    }
    let canary = of((stat::VARIANT, "canary"));
    rig.reads(stat::REQUESTS_TOTAL, &canary, total(&|_, _| true))
        .await;
    rig.reads(stat::SPLIT_TOTAL, &canary, total(&|_, _| true))
        .await;
    rig.reads(stat::SPLIT_BAD_TOTAL, &canary, total(&|_, bad| bad))
        .await;
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

//! Spans as a collector gets them.

mod collector;

use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::trace::v1::{Span as Sent, span::SpanKind, status::StatusCode};
use tonic::{Request, transport::Endpoint};

use self::collector::attribute;
use super::*;
use crate::{
    backend::fake,
    grpc::{proto::grpc_inference_service_client::GrpcInferenceServiceClient, tests::request},
    http::tests::{Server, body},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn start(endpoint: &str, sample: f64) -> Server {
    let traces = Collector {
        endpoint: endpoint.to_owned(),
        sample,
        variant: Some("canary".to_owned()),
    };
    Server::start_as(8, |config| config.traces = Some(traces)).await
}

async fn infer(server: &Server, first: f32, traceparent: Option<&str>) -> u16 {
    let url = format!("{}/v2/models/fraud/infer", server.url);
    let mut request = server.client.post(url).body(body(first));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.send().await.unwrap().status().as_u16()
}

/// The one span of the server and its children, which lie in it one behind the other.
fn family(spans: &[Sent]) -> (&Sent, Vec<&Sent>) {
    let server = |it: &&Sent| it.kind == i32::from(SpanKind::Server);
    let [parent] = spans.iter().filter(server).collect::<Vec<_>>()[..] else {
        panic!("{spans:#?}");
    };
    let mut children: Vec<_> = spans.iter().filter(|it| !server(it)).collect();
    children.sort_by_key(|it| it.end_time_unix_nano);
    let mut last = parent.start_time_unix_nano;
    for child in &children {
        assert_eq!(child.trace_id, parent.trace_id);
        assert_eq!(child.parent_span_id, parent.span_id);
        assert!(last <= child.start_time_unix_nano);
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano);
        last = child.end_time_unix_nano;
    }
    assert!(last <= parent.end_time_unix_nano);
    (parent, children)
}

#[track_caller]
fn check(span: &Sent, wanted: &[(&str, &str)]) {
    for (key, value) in wanted {
        let found = attribute(&span.attributes, key);
        assert_eq!(found.as_deref(), Some(*value), "{key}: {span:#?}");
    }
}

#[tokio::test]
async fn an_inference_is_a_span_with_the_queue_and_the_forward_in_it() {
    let mut collector = collector::Collector::start().await;
    let server = start(&collector.url, 1.0).await;
    let before = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    assert_eq!(infer(&server, 1.0, None).await, 200);
    let after = UNIX_EPOCH.elapsed().unwrap().as_nanos();
    server.stop().await;
    let (resources, spans): (Vec<_>, Vec<_>) = collector.spans().into_iter().unzip();
    let resource = |key| attribute(&resources[0].attributes, key);
    assert_eq!(resource("service.name").as_deref(), Some("serin-serve"));
    assert_eq!(resource("serin.variant").as_deref(), Some("canary"));
    let (parent, children) = family(&spans);
    assert_eq!(parent.name, "POST /v2/models/{model}/infer");
    assert!(parent.parent_span_id.is_empty());
    assert!(before <= parent.start_time_unix_nano.into());
    // The clock and what measures differ by less.
    assert!(u128::from(parent.end_time_unix_nano) <= after + 1_000_000);
    check(
        parent,
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v2/models/{model}/infer"),
            ("url.path", "/v2/models/fraud/infer"),
            ("http.response.status_code", "200"),
            ("serin.model.name", "fraud"),
            ("serin.model.version", "9"),
            ("serin.batch.requests", "1"),
        ],
    );
    let names: Vec<&str> = children.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["queue", "compute"]);
}

#[tokio::test]
async fn a_call_of_grpc_is_in_the_span_of_its_caller() {
    let mut collector = collector::Collector::start().await;
    let server = start(&collector.url, 0.0).await;
    let channel = Endpoint::from_shared(server.grpc.clone()).unwrap();
    let mut client = GrpcInferenceServiceClient::new(channel.connect().await.unwrap());
    let mut call = Request::new(request(1.0));
    let traceparent = format!("00-{TRACE}-{PARENT}-01").parse().unwrap();
    call.metadata_mut().insert("traceparent", traceparent);
    client.model_infer(call).await.unwrap();
    drop(client);
    server.stop().await;
    let (_, spans): (Vec<_>, Vec<_>) = collector.spans().into_iter().unzip();
    let (parent, children) = family(&spans);
    assert_eq!(parent.name, "inference.GRPCInferenceService/ModelInfer");
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect::<String>()
    };
    assert_eq!(hex(&parent.trace_id), TRACE);
    assert_eq!(hex(&parent.parent_span_id), PARENT);
    check(
        parent,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", "inference.GRPCInferenceService/ModelInfer"),
            ("rpc.response.status_code", "OK"),
        ],
    );
    assert_eq!(children.len(), 2);
}

#[tokio::test]
async fn the_parent_says_whether_and_else_the_share_does() {
    let (with, without) = (
        format!("00-{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}-00"),
    );
    let malformed = format!("00-{TRACE}-{PARENT}");
    for (sample, traceparent, traced) in [
        (0.0, Some(&with), true),
        (1.0, Some(&without), false),
        (0.0, None, false),
        (1.0, None, true),
        (0.0, Some(&malformed), false),
        (1.0, Some(&malformed), true),
    ] {
        let mut collector = collector::Collector::start().await;
        let server = start(&collector.url, sample).await;
        let traceparent = traceparent.map(String::as_str);
        assert_eq!(infer(&server, 1.0, traceparent).await, 200);
        server.stop().await;
        let spans = collector.spans();
        assert_eq!(
            spans.len(),
            if traced { 3 } else { 0 },
            "{sample} {traceparent:?}"
        );
    }
}

#[tokio::test]
async fn only_what_is_the_servers_fault_is_an_error() {
    for (first, status, code) in [
        (fake::FAIL, 500, StatusCode::Error),
        (fake::NAN, 500, StatusCode::Error),
    ] {
        let mut collector = collector::Collector::start().await;
        let server = start(&collector.url, 1.0).await;
        assert_eq!(infer(&server, first, None).await, status);
        server.stop().await;
        let (_, spans): (Vec<_>, Vec<_>) = collector.spans().into_iter().unzip();
        let (parent, _) = family(&spans);
        assert_eq!(parent.status.as_ref().unwrap().code(), code);
        check(parent, &[("error.type", &status.to_string())]);
    }
    let mut collector = collector::Collector::start().await;
    let server = start(&collector.url, 1.0).await;
    let url = format!("{}/v2/models/fraud/infer", server.url);
    let answer = server.client.post(url).body("{").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    server.stop().await;
    let (_, spans): (Vec<_>, Vec<_>) = collector.spans().into_iter().unzip();
    let (parent, children) = family(&spans);
    assert_eq!(
        parent.status.clone().unwrap_or_default().code(),
        StatusCode::Unset
    );
    check(parent, &[("http.response.status_code", "400")]);
    assert_eq!(attribute(&parent.attributes, "error.type"), None);
    assert!(children.is_empty(), "it was not computed");
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_the_spans_alone() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let server = start(&nobody, 1.0).await;
    // More than the queue of spans holds.
    for _ in 0..1_000 {
        assert_eq!(infer(&server, 1.0, None).await, 200);
    }
    let metrics = server.metrics().await;
    for line in [
        "serin_serve_spans_made_total 3000",
        "serin_serve_spans_sent_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    server.stop().await;
}

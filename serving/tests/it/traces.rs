//! Spans of the program as its environment asks for them.

#[path = "../../src/traces/tests/collector.rs"]
mod collector;

use self::collector::{Collector, attribute};
use crate::{
    models::{repository, scorer, scorer_yaml},
    reload::row,
    server::{Server, command},
};

#[tokio::test]
async fn the_standards_variables_say_where_spans_go_and_whose_they_are() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let mut collector = Collector::start().await;
    let mut command = command(dir.path());
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_SERVICE_NAME", "fraud-scores");
    let server = Server::start_by(&mut command);
    assert_eq!(server.infer("fraud", row()).await.0, 200);
    let process = server.into_process();
    let status = tokio::task::spawn_blocking(|| process.end("TERM")).await;
    assert!(status.unwrap().success());
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "all of them have left before the end");
    for (resource, _) in spans {
        let name = attribute(&resource.attributes, "service.name");
        assert_eq!(name.as_deref(), Some("fraud-scores"));
    }
}

#[tokio::test]
async fn without_a_collector_there_are_no_spans() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let mut command = command(dir.path());
    let server = Server::start_by(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", ""));
    assert_eq!(server.infer("fraud", row()).await.0, 200);
    let metrics = server
        .client
        .get(format!("{}/metrics", server.url))
        .send()
        .await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(!metrics.contains("serin_serve_spans"), "{metrics}");
}

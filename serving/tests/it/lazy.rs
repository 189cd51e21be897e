//! Models that are loaded by their first request.

use std::fs;

use crate::{
    models::{repository, scorer, scorer_yaml},
    reload::{bits, row, until, wanted},
    server::Server,
};

const READY: &str = "/v2/models/fraud/ready";
const INDEX: &str = "/v2/repository/index";

async fn status(server: &Server, path: &str) -> u16 {
    let answer = server.client.get(format!("{}{path}", server.url)).send();
    answer.await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_lazy_model_comes_with_its_first_request_and_goes_when_nobody_asks() {
    let yaml = format!("{}load: lazy\nunloadAfter: 200ms\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    let server = Server::start(dir.path());
    assert_eq!(status(&server, "/v2/health/ready").await, 200);
    for _ in 0..3 {
        assert_eq!(status(&server, READY).await, 503, "asking loads nothing");
        assert_eq!(status(&server, "/v2/models/fraud/stats").await, 200);
        until(&server, "known", INDEX, |_, text| {
            text.contains("not loaded: its next request loads it")
        })
        .await;
        // All at once.
        let ask = || server.infer("fraud", row());
        for (status, answer) in futures::future::join_all([ask(), ask(), ask(), ask()]).await {
            assert_eq!(status, 200, "{answer}");
            assert_eq!(bits(&answer), wanted(1));
        }
        until(&server, "unloaded", INDEX, |_, text| {
            text.contains("not loaded")
        })
        .await;
    }
}

#[tokio::test]
async fn a_lazy_model_that_does_not_load_is_503_with_the_reason_until_it_does() {
    let yaml = format!("{}load: lazy\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    let file = dir.path().join("fraud/1/model.pt");
    let good = fs::read(&file).unwrap();
    fs::write(&file, "not a model").unwrap();
    let server = Server::start(dir.path());
    let url = format!("{}/v2/models/fraud/infer", server.url);
    let answer = server.client.post(url).body(row()).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let header = |name: &str| answer.headers().get(name).map(|it| it.to_str().unwrap());
    assert_eq!(header("retry-after"), Some("1"));
    assert_eq!(header("x-serin-model"), Some("fraud"));
    assert_eq!(header("x-serin-model-version"), Some("1"));
    let text = answer.text().await.unwrap();
    assert!(
        text.contains(
            "model 'fraud' version 1 cannot be loaded: failed to load: failed to read the model"
        ),
        "{text}"
    );
    until(&server, "counted", "/metrics", |_, text| {
        let labels = r#"{model="fraud",outcome="unavailable",version="1"}"#;
        text.contains(&format!("serin_serve_requests_total{labels} 1"))
    })
    .await;
    until(&server, "the reason", INDEX, |_, text| {
        text.contains("its last load failed: failed to load")
    })
    .await;
    assert_eq!(status(&server, "/v2/health/ready").await, 200);
    fs::write(&file, good).unwrap();
    server.process().signal("HUP");
    until(&server, "known anew", INDEX, |_, text| {
        text.contains("not loaded: ")
    })
    .await;
    let (status, answer) = server.infer("fraud", row()).await;
    assert_eq!(status, 200, "{answer}");
}

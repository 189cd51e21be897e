//! Requests that run together are answered as if they had run alone.

use futures::future::join_all;
use tch::CModule;

use crate::{
    models::{FEATURES, ROWS, embedding, embedding_yaml, numbers, repository, scorer, scorer_yaml},
    server::{DEADLINE, Server, body},
};

/// Batches, and the requests in all of them, by the server's own count.
pub(crate) async fn batches(server: &Server, model: &str) -> (f64, f64) {
    let url = format!("{}/metrics", server.url);
    let text = server.client.get(url).send().await.unwrap();
    let text = text.text().await.unwrap();
    let value = |end: &str| {
        let name = format!("serin_serve_batch_requests_{end}{{model=\"{model}\"");
        let line = text.lines().find(|line| line.starts_with(&name));
        line.map_or(0.0, |line| {
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    };
    (value("count"), value("sum"))
}

#[tokio::test]
async fn rows_that_run_together_are_those_of_a_forward_alone() {
    let yaml = format!("{}maxBatchSize: 16\ninstances: 2\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(7));
    let direct = CModule::load(dir.path().join("fraud/1/model.pt")).unwrap();
    let server = Server::start(dir.path());
    let begun = std::time::Instant::now();
    loop {
        let calls = (0..64).map(|call| {
            let rows = call % 5 + 1;
            let features = numbers(call, &[rows, FEATURES]);
            let values: Vec<f32> = Vec::try_from(features.flatten(0, -1)).unwrap();
            let request = body("features", "FP32", &[rows, FEATURES], &values);
            let wanted = tch::no_grad(|| direct.forward_ts(&[&features])).unwrap();
            let wanted: Vec<f32> = Vec::try_from(wanted.flatten(0, -1)).unwrap();
            let server = &server;
            async move { (server.infer("fraud", request).await, wanted) }
        });
        for ((status, answer), wanted) in join_all(calls).await {
            assert_eq!(status, 200, "{answer}");
            let served: Vec<f32> =
                serde_json::from_value(answer["outputs"][0]["data"].clone()).unwrap();
            assert_eq!(served.len(), wanted.len());
            for (served, wanted) in served.iter().zip(&wanted) {
                assert!((served - wanted).abs() <= 1e-5, "{served} {wanted}");
            }
        }
        let (batches, requests) = batches(&server, "fraud").await;
        if requests > batches {
            return;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "no two of {requests} requests ran together"
        );
    }
}

#[tokio::test]
async fn a_request_that_throws_fails_alone() {
    let yaml = format!("{}maxBatchSize: 32\n", embedding_yaml());
    let dir = repository("words", &yaml, &embedding());
    let server = Server::start(dir.path());
    let calls = (0..64).map(|call| {
        let token = if call % 8 == 3 { ROWS } else { call % ROWS };
        let request = body("tokens", "INT64", &[1], &[token]);
        let server = &server;
        async move { (server.infer("words", request).await.0, token) }
    });
    for (status, token) in join_all(calls).await {
        assert_eq!(status, if token == ROWS { 500 } else { 200 }, "{token}");
    }
}

#[tokio::test]
async fn a_model_that_mixes_its_rows_is_what_a_batch_cannot_be_made_of() {
    // One value for all rows, whatever their number: nobody could tell whose it is.
    let one = crate::models::trace(&[numbers(1, &[1, FEATURES])], |inputs| {
        inputs[0].sum(tch::Kind::Float).reshape([1, 1])
    });
    let yaml = format!("{}maxBatchSize: 4\n", scorer_yaml());
    let dir = repository("sum", &yaml, &one);
    let output = crate::server::command(dir.path())
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let refusal = String::from_utf8(output.stderr).unwrap();
    let sentence = "its output 'score' has 1 rows, but the inputs had 2";
    assert!(refusal.contains(sentence), "{refusal}");
}

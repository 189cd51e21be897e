//! What Prometheus sees, of the program as it is started.

use crate::{
    models::{FEATURES, numbers, repository, scorer, scorer_yaml},
    server::{Server, body},
};

async fn scrape(server: &Server) -> String {
    let url = format!("{}/metrics", server.url);
    let answer = server.client.get(url).send().await.unwrap();
    answer.text().await.unwrap()
}

fn rows(count: i64) -> String {
    let features = numbers(1, &[count, FEATURES]);
    let values: Vec<f32> = Vec::try_from(features.flatten(0, -1)).unwrap();
    body("features", "FP32", &[count, FEATURES], &values)
}

#[tokio::test]
async fn the_variant_is_the_deployments_word_and_rows_are_tritons_inferences() {
    let yaml = format!("{}maxBatchSize: 8\n", scorer_yaml());
    let dir = repository("fraud", &yaml, &scorer(1));
    let server = Server::start_with(dir.path(), &["--variant", "canary", "--triton-metrics"]);
    let url = format!("{}/v2/models/fraud/infer", server.url);
    for count in [3, 5] {
        let request = server.client.post(&url).body(rows(count));
        let request = request.header("x-serin-variant", "stable");
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let metrics = scrape(&server).await;
    let series: Vec<&str> = metrics.lines().filter(|it| !it.starts_with('#')).collect();
    let stranger = series.iter().find(|it| !it.contains(r#"variant="canary""#));
    assert_eq!(stranger, None);
    for line in [
        r#"serin_serve_requests_total{model="fraud",outcome="ok",version="1",variant="canary"} 2"#,
        r#"serin_serve_rows_total{model="fraud",version="1",variant="canary"} 8"#,
        r#"nv_inference_count{model="fraud",variant="canary",version="1"} 8"#,
        r#"nv_inference_request_success{model="fraud",variant="canary",version="1"} 2"#,
    ] {
        assert!(series.contains(&line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn tritons_names_and_a_variant_are_there_when_they_are_asked_for() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let server = Server::start(dir.path());
    assert_eq!(server.infer("fraud", rows(1)).await.0, 200);
    let metrics = scrape(&server).await;
    let line = r#"serin_serve_requests_total{model="fraud",outcome="ok",version="1"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(!metrics.contains("nv_inference"), "{metrics}");
}

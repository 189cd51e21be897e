//! Models whose answers are given again.

use tempfile::NamedTempFile;

use super::*;
use crate::spec::CacheSpec;

async fn start() -> (Server, NamedTempFile) {
    let file = NamedTempFile::new().unwrap();
    let mut spec = fake::spec();
    spec.serving.cache = Some(CacheSpec {
        size: 1 << 20,
        ttl: Some(Duration::from_secs(3600)),
    });
    let path = file.path().to_owned();
    let server = Server::start_of(spec, path, 8, |_| ()).await;
    (server, file)
}

#[tokio::test]
async fn the_same_inputs_are_computed_once_and_answered_as_ever() {
    let (server, _file) = start().await;
    let first = server.infer(2.0).await;
    // Its id and the outputs that it wants are its own.
    let other = body(2.0).replace(r#""id": "a""#, r#""id": "b", "outputs": [{"name": "n"}]"#);
    let again = server
        .send(Method::POST, "/v2/models/fraud/infer", other)
        .await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(
        (&first.json["id"], &again.json["id"]),
        (&json!("a"), &json!("b"))
    );
    assert_eq!(again.json["outputs"].as_array().unwrap().len(), 1);
    assert_eq!(first.json["outputs"][1], again.json["outputs"][0]);
    assert_eq!(again.headers["x-serin-model-version"], "9");
    assert_eq!(server.infer(2.0).await.json, first.json);
    assert_eq!(
        server.infer(3.0).await.json["outputs"][0]["data"],
        json!([6.0, 3.0])
    );
    let seven = "/v2/models/fraud/versions/7/infer";
    let seven = server.send(Method::POST, seven, body(2.0)).await;
    assert_eq!(seven.json["model_version"], "7");
    server
        .assert_counted(&[
            r#"serin_serve_requests_total{model="fraud",outcome="ok",version="9"} 4"#,
            r#"serin_serve_forwards_total{model="fraud",version="9"} 2"#,
            r#"serin_serve_forwards_total{model="fraud",version="7"} 1"#,
            r#"serin_serve_cache_requests_total{model="fraud",result="hit",version="9"} 2"#,
            r#"serin_serve_cache_requests_total{model="fraud",result="miss",version="9"} 2"#,
            r#"nv_cache_num_hits_per_model{model="fraud",version="9"} 2"#,
            r#"nv_cache_num_misses_per_model{model="fraud",version="9"} 2"#,
            r#"nv_cache_hit_duration_per_model{model="fraud",version="9"} "#,
            r#"nv_cache_miss_duration_per_model{model="fraud",version="9"} "#,
        ])
        .await;
    let stats = server.get("/v2/models/fraud/versions/9/stats").await.json;
    let stats = &stats["model_stats"][0]["inference_stats"];
    for looked in [&stats["cache_hit"], &stats["cache_miss"]] {
        assert_eq!(looked["count"], 2, "{stats}");
        assert!(looked["ns"].as_u64().unwrap() > 0, "{stats}");
    }
    server.stop().await;
}

#[tokio::test]
async fn failures_are_not_kept() {
    let (server, _file) = start().await;
    for _ in 0..2 {
        assert_eq!(server.infer(fake::FAIL).await.status, 500);
    }
    let forwards = r#"serin_serve_forwards_total{model="fraud",version="9"} 2"#;
    server.assert_counted(&[forwards]).await;
    server.stop().await;
}

/// A request that stands at the gate, and more of the same behind it.
async fn together(
    first: String,
    more: Vec<String>,
) -> (Arc<Server>, NamedTempFile, Vec<JoinHandle<Answer>>) {
    let (server, file) = start().await;
    let server = Arc::new(server);
    let count = 1 + more.len();
    let mut asking = Vec::new();
    for body in std::iter::once(first).chain(more) {
        let theirs = Arc::clone(&server);
        let infer = "/v2/models/fraud/versions/9/infer";
        asking.push(tokio::spawn(async move {
            theirs.send(Method::POST, infer, body).await
        }));
        if asking.len() == 1 {
            let gate = Arc::clone(&server);
            let gate = tokio::task::spawn_blocking(move || gate.gate.wait_for_request());
            gate.await.unwrap();
        }
    }
    let line = format!(r#"serin_serve_requests_in_flight{{model="fraud",version="9"}} {count}"#);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.metrics().await.contains(&line) {
        assert!(Instant::now() < deadline, "never {line}");
    }
    (server, file, asking)
}

#[tokio::test]
async fn requests_that_ask_the_same_at_once_share_a_forward() {
    let (server, _file, asking) = together(body(fake::WAIT), vec![body(fake::WAIT); 3]).await;
    // There is no second one to be let through.
    server.gate.release();
    for asked in asking {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let forwards = r#"serin_serve_forwards_total{model="fraud",version="9"} 1"#;
    server.assert_counted(&[forwards]).await;
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn who_waits_for_anothers_forward_neither_waits_too_long_nor_fails_with_it() {
    let hurried = |micros: u32| {
        let parameters = format!(r#"{{"parameters": {{"timeout": {micros}}}, "#);
        body(fake::WAIT).replacen('{', &parameters, 1)
    };
    // The first gives up long before it is let through, and the others behind it.
    let more = vec![body(fake::WAIT), hurried(2_500_000)];
    let (server, _file, asking) = together(hurried(2_000_000), more).await;
    let mut asking = asking.into_iter();
    assert_eq!(asking.next().unwrap().await.unwrap().status, 504);
    let patient = asking.next().unwrap();
    assert_eq!(asking.next().unwrap().await.unwrap().status, 504);
    // The forward of the first, and the one that the patient request needs for itself.
    server.gate.release();
    server.gate.release();
    assert_eq!(patient.await.unwrap().status, 200);
    Arc::into_inner(server).unwrap().stop().await;
}

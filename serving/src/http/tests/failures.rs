//! Failing models, dead workers, full queues, shutdown, and how all of that is counted.

use super::*;

#[tokio::test]
async fn failures_of_the_model_are_500_with_a_sentence() {
    let server = Server::start().await;
    let check = async |first: f32, sentence: &str| {
        let answer = server.infer(first).await;
        assert_eq!(
            (answer.status, answer.json["error"].as_str()),
            (500, Some(sentence))
        );
    };
    check(
        fake::FAIL,
        "model 'fraud' version 9 failed: index out of range in self",
    )
    .await;
    check(fake::NAN, "model 'fraud' version 9 failed: its output 'y' holds NaN or an infinity, which JSON cannot carry (binary data can, see parameters.binary_data_output)").await;
    check(
        fake::RESHAPE,
        "model 'fraud' version 9 failed: its output 'y' is not what model.yaml declares: shape is [1, 3], but the \
         model has [-1, 2] (-1 is any size)",
    )
    .await;
    assert_eq!(server.infer(1.0).await.status, 200, "the model goes on");
    server.stop().await;
}

#[tokio::test]
async fn a_dead_worker_ends_readiness_and_liveness_and_other_versions_go_on() {
    let server = Server::start().await;
    let answer = server.infer(fake::PANIC).await;
    let sentence = "model 'fraud' version 9 is unavailable: its worker thread has ended, by a panic (see the server's \
                    log) or because the server is shutting down";
    assert_eq!(
        (answer.status, answer.json["error"].as_str()),
        (503, Some(sentence))
    );
    assert_eq!(server.infer(1.0).await.status, 503);
    for (path, status) in [
        ("/v2/health/live", 503),
        ("/v2/health/ready", 503),
        ("/v2/models/fraud/ready", 503),
        ("/v2/models/fraud/versions/7/ready", 200),
    ] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    let metrics = server.metrics().await;
    assert!(
        metrics.contains(r#"serin_serve_model_loaded{model="fraud",version="9"} 0"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"serin_serve_model_loaded{model="fraud",version="7"} 1"#),
        "{metrics}"
    );
    let other = server
        .send(Method::POST, "/v2/models/fraud/versions/7/infer", body(1.0))
        .await;
    assert_eq!(other.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_503_with_retry_after_and_shutdown_finishes_what_was_taken() {
    let server = Arc::new(Server::start_with(1).await);
    let call = |first| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.infer(first).await.status })
    };
    let running = call(fake::WAIT);
    let gate = Arc::clone(&server);
    tokio::task::spawn_blocking(move || gate.gate.wait_for_request())
        .await
        .unwrap();
    // Of two more one fits the queue, the other does not; which one is up to the scheduler.
    let (one, two) = (call(1.0), call(1.0));
    let mut pending = vec![one, two];
    let (refused, _, rest) = futures::future::select_all(pending.drain(..)).await;
    assert_eq!(refused.unwrap(), 503);
    let refused = server.infer(1.0).await;
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    assert_eq!(
        refused.json["error"],
        "model 'fraud' version 9 is unavailable: the queue is full"
    );
    let metrics = server.metrics().await;
    assert!(
        metrics.contains(r#"serin_serve_requests_in_flight{model="fraud",version="9"} 2"#),
        "{metrics}"
    );
    // A large body is read to its end, or the client would see a reset connection instead of this answer.
    let large = server
        .send(
            Method::POST,
            "/v2/models/fraud/infer",
            " ".repeat(2 * MAX_BODY),
        )
        .await;
    assert_eq!(
        (large.status, &large.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    server.gate.release();
    assert_eq!(running.await.unwrap(), 200);
    for waiting in rest {
        assert_eq!(waiting.await.unwrap(), 200);
    }
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn bodies_that_are_still_being_read_take_places_and_give_them_back() {
    use tokio::io::AsyncWriteExt;
    let server = Server::start_with(1).await;
    let mut streams = Vec::new();
    for n_reading in 1..=2 {
        let address = server.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let part = b"POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
        stream.write_all(part).await.unwrap();
        streams.push(stream);
        wait_for_in_flight(&server, n_reading).await;
    }
    assert_eq!(server.infer(1.0).await.status, 503);
    drop(streams);
    wait_for_in_flight(&server, 0).await;
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

async fn wait_for_in_flight(server: &Server, wanted: usize) {
    let line = format!(r#"serin_serve_requests_in_flight{{model="fraud",version="9"}} {wanted}"#);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.metrics().await.contains(&line) {
        assert!(Instant::now() < deadline, "never {line}");
    }
}

#[tokio::test]
async fn shutdown_lets_the_request_in_flight_finish() {
    let server = Server::start().await;
    let request = server
        .client
        .post(format!("{}/v2/models/fraud/infer", server.url))
        .body(body(fake::WAIT));
    let running = tokio::spawn(async move { answer(request).await.status });
    let Server {
        gate, stop, done, ..
    } = server;
    let gate = tokio::task::spawn_blocking(move || {
        gate.wait_for_request();
        gate
    });
    let gate = gate.await.unwrap();
    stop.unbounded_send(()).unwrap();
    gate.release();
    assert_eq!(running.await.unwrap(), 200);
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_are_counted_by_how_they_ended() {
    let server = Server::start().await;
    for first in [1.0, 1.0, fake::FAIL] {
        server.infer(first).await;
    }
    server
        .send(Method::POST, "/v2/models/fraud/infer", "{")
        .await;
    let metrics = server.metrics().await;
    for line in [
        r#"serin_serve_requests_total{model="fraud",outcome="ok",version="9"} 2"#,
        r#"serin_serve_requests_total{model="fraud",outcome="failed",version="9"} 1"#,
        r#"serin_serve_requests_total{model="fraud",outcome="refused",version="9"} 1"#,
        r#"serin_serve_request_duration_seconds_count{model="fraud",version="9"} 4"#,
        r#"serin_serve_compute_duration_seconds_count{model="fraud",version="9"} 3"#,
        r#"serin_serve_requests_in_flight{model="fraud",version="9"} 0"#,
        r#"serin_serve_model_loaded{model="fraud",version="7"} 1"#,
        r#"serin_serve_forwards_total{model="fraud",version="9"} 3"#,
        r#"serin_serve_rows_total{model="fraud",version="9"} 2"#,
        r#"nv_inference_request_success{model="fraud",version="9"} 2"#,
        r#"nv_inference_request_failure{model="fraud",reason="BACKEND",version="9"} 1"#,
        r#"nv_inference_request_failure{model="fraud",reason="OTHER",version="9"} 1"#,
        r#"nv_inference_request_failure{model="fraud",reason="REJECTED",version="9"} 0"#,
        r#"nv_inference_request_failure{model="fraud",reason="CANCELED",version="9"} 0"#,
        r#"nv_inference_count{model="fraud",version="9"} 2"#,
        r#"nv_inference_exec_count{model="fraud",version="9"} 3"#,
        r#"nv_inference_pending_request_count{model="fraud",version="9"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for time in ["request", "queue", "compute_infer"] {
        let name = format!(r#"nv_inference_{time}_duration_us{{model="fraud",version="9"}} "#);
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let micros: Option<u64> = value.and_then(|it| it.parse().ok());
        assert!(micros.is_some(), "{name} is not in\n{metrics}");
    }
    server.stop().await;
}

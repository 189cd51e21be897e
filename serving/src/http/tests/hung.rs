//! A server whose model does not come back.

use super::*;
use crate::worker::Fault;

const PATIENCE: Duration = Duration::from_millis(200);

async fn start(linger: Duration) -> Server {
    let limits = Limits {
        forward_timeout: Some(PATIENCE),
        linger,
        ..Limits::default()
    };
    Server::start_within(8, limits).await
}

#[tokio::test]
async fn a_forward_that_does_not_end_fails_readiness_and_others_are_served_for_a_while() {
    let server = start(Duration::from_secs(600)).await;
    let hung = server.infer(fake::WAIT).await;
    let sentence = hung.json["error"].as_str().unwrap();
    let wanted = "model 'fraud' version 9 is late: its forward was still running after ";
    assert_eq!(hung.status, 504, "{sentence}");
    assert!(sentence.starts_with(wanted), "{sentence}");
    let next = server.infer(1.0).await;
    assert_eq!(
        (next.status, &next.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    for path in ["/v2/health/ready", "/v2/models/fraud/ready"] {
        assert_eq!(server.get(path).await.status, 503, "{path}");
    }
    let other = "/v2/models/fraud/versions/7/infer";
    let other = server.send(Method::POST, other, body(1.0)).await;
    assert_eq!(other.status, 200);
    let line = r#"serin_serve_fatal{model="fraud",reason="hung",version="9"} 1"#;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.metrics().await.contains(line) {
        assert!(Instant::now() < deadline, "never {line}");
    }
    let metrics = server.metrics().await;
    for line in [
        r#"serin_serve_requests_total{model="fraud",outcome="expired",version="9"} 1"#,
        r#"serin_serve_requests_total{model="fraud",outcome="unavailable",version="9"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    // A signal ends the wait.
    server.stop().await;
}

#[tokio::test]
async fn the_server_ends_by_itself_and_says_what_it_was() {
    let server = start(Duration::ZERO).await;
    assert_eq!(server.infer(fake::WAIT).await.status, 504);
    let Server { gate, done, .. } = server;
    let doom = done.await.unwrap().unwrap().unwrap();
    assert_eq!((doom.model.as_str(), doom.version), ("fraud", 9));
    assert!(matches!(doom.fault, Fault::Hung(time) if time >= PATIENCE));
    gate.release();
}

//! Which requests wait for which, and what is counted of those that run together.

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;
use crate::spec::Serving;

async fn start(serving: Serving) -> Arc<Server> {
    let spec = match serving.max_batch_size {
        None => ModelSpec {
            serving,
            ..fake::spec()
        },
        Some(_) => fake::rows_spec(serving),
    };
    Arc::new(Server::start_of(spec, PathBuf::new(), 8, |_| ()).await)
}

fn ask(server: &Arc<Server>, body: String) -> JoinHandle<Answer> {
    let server = Arc::clone(server);
    let infer = "/v2/models/fraud/infer";
    tokio::spawn(async move { server.send(Method::POST, infer, body).await })
}

/// Waits until a request stands at the gate, without holding up the server, which runs on this thread.
async fn at_the_gate(server: &Arc<Server>) {
    let server = Arc::clone(server);
    let waiting = tokio::task::spawn_blocking(move || server.gate.wait_for_request());
    waiting.await.unwrap();
}

/// A request that the instance is busy with.
async fn occupy(server: &Arc<Server>) -> JoinHandle<Answer> {
    let running = ask(server, body(fake::WAIT));
    at_the_gate(server).await;
    running
}

/// Waits until so many requests wait for the instance.
async fn until_waiting(server: &Server, count: usize) {
    let line = format!(r#"serin_serve_requests_waiting{{model="fraud",version="9"}} {count}"#);
    server.until_counted(&line).await;
}

async fn stop(server: Arc<Server>) {
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn the_urgent_are_answered_before_those_that_came_before_them() {
    let server = start(Serving::default()).await;
    let running = occupy(&server).await;
    let mut asking = FuturesUnordered::new();
    let priorities = [None, Some(200), Some(1), Some(99), None, Some(1)];
    for (index, priority) in priorities.into_iter().enumerate() {
        let mut body = body(fake::WAIT);
        if let Some(priority) = priority {
            let parameters = format!(r#"{{"parameters": {{"priority": {priority}}}, "#);
            body = body.replacen('{', &parameters, 1);
        }
        let asked = ask(&server, body);
        asking.push(async move { (index, asked.await.unwrap().status) });
        until_waiting(&server, index + 1).await;
    }
    server.gate.release();
    assert_eq!(running.await.unwrap().status, 200);
    // Each stands at the gate once those before it have been answered, and only one is let through.
    for index in [2, 5, 3, 0, 4, 1] {
        at_the_gate(&server).await;
        server.gate.release();
        assert_eq!(asking.next().await, Some((index, 200)));
    }
    drop(asking);
    stop(server).await;
}

#[tokio::test]
async fn as_many_requests_wait_as_the_model_says_and_not_as_the_server_does() {
    let server = start(Serving {
        queue_size: Some(1),
        ..Serving::default()
    })
    .await;
    let running = occupy(&server).await;
    let waiting = ask(&server, body(1.0));
    until_waiting(&server, 1).await;
    let refused = server.infer(1.0).await;
    assert_eq!(
        (refused.status, refused.json["error"].as_str()),
        (
            503,
            Some("model 'fraud' version 9 is unavailable: the queue is full")
        )
    );
    server.gate.release();
    for asked in [running, waiting] {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    stop(server).await;
}

fn batches(most: usize, delay: Duration) -> Serving {
    Serving {
        max_batch_size: Some(most),
        max_queue_delay: delay,
        ..Serving::default()
    }
}

fn forwards(count: usize) -> String {
    format!(r#"serin_serve_forwards_total{{model="fraud",version="9"}} {count}"#)
}

/// Lines of forwards that answered, of their requests altogether, and of those that answered no more than so many.
fn together(count: usize, requests: usize, upto: [(usize, usize); 2]) -> Vec<String> {
    let line = |end: &str, more: String, value| {
        let name = format!("serin_serve_batch_requests_{end}");
        format!(r#"{name}{{model="fraud",version="9"{more}}} {value}"#)
    };
    let buckets = upto.map(|(most, count)| line("bucket", format!(r#",le="{most}""#), count));
    let mut lines = vec![
        line("count", String::new(), count),
        line("sum", String::new(), requests),
    ];
    lines.extend(buckets);
    lines
}

#[tokio::test]
async fn a_batch_that_is_not_full_waits_for_more_as_long_as_the_model_says() {
    // Longer than anybody has time: only what makes it full ends the wait.
    let server = start(batches(2, LONG)).await;
    let first = ask(&server, body(1.0));
    until_waiting(&server, 1).await;
    let second = ask(&server, body(2.0));
    for asked in [first, second] {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let mut lines = together(1, 2, [(1, 0), (2, 1)]);
    lines.push(forwards(1));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    server.assert_counted(&lines).await;
    stop(server).await;
    // And one that comes alone is answered after that.
    let delay = Duration::from_millis(50);
    let server = start(batches(2, delay)).await;
    let begun = Instant::now();
    assert_eq!(server.infer(1.0).await.status, 200);
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    stop(server).await;
}

#[tokio::test]
async fn a_batch_is_counted_once_and_of_one_that_fails_the_parts_that_are_answered() {
    let server = start(batches(4, Duration::ZERO)).await;
    let running = occupy(&server).await;
    let waiting: Vec<_> = (1_u8..=4)
        .map(|it| ask(&server, body(f32::from(it))))
        .collect();
    until_waiting(&server, 4).await;
    server.gate.release();
    assert_eq!(running.await.unwrap().status, 200);
    for asked in waiting {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let mut lines = together(2, 5, [(2, 1), (4, 2)]);
    lines.push(forwards(2));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    server.assert_counted(&lines).await;
    let running = occupy(&server).await;
    let firsts = [1.0, 2.0, fake::FAIL, 4.0];
    let mut waiting = Vec::new();
    for (index, first) in firsts.into_iter().enumerate() {
        waiting.push(ask(&server, body(first)));
        // The halves are made in their order.
        until_waiting(&server, index + 1).await;
    }
    server.gate.release();
    assert_eq!(running.await.unwrap().status, 200);
    let mut statuses = Vec::new();
    for asked in waiting {
        statuses.push(asked.await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 500, 200]);
    // Of the four: all of them (fails), the first two, the other two (fails), and each of these alone (one fails).
    let mut lines = together(5, 9, [(1, 3), (2, 4)]);
    lines.push(forwards(2 + 1 + 5));
    lines.push(r#"serin_serve_rows_total{model="fraud",version="9"} 9"#.to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    server.assert_counted(&lines).await;
    let stats = server.get("/v2/models/fraud/versions/9/stats").await.json;
    let stats = &stats["model_stats"][0];
    assert_eq!(
        (&stats["inference_count"], &stats["execution_count"]),
        (&json!(9), &json!(8))
    );
    stop(server).await;
}

#[tokio::test]
async fn a_request_whose_client_closes_its_connection_is_dropped_and_not_computed() {
    let server = start(Serving::default()).await;
    let running = occupy(&server).await;
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = body(1.0);
    let request = format!(
        "POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until_waiting(&server, 1).await;
    drop(stream);
    let dropped = r#"serin_serve_requests_total{model="fraud",outcome="dropped",version="9"} 1"#;
    server.until_counted(dropped).await;
    server.gate.release();
    assert_eq!(running.await.unwrap().status, 200);
    assert_eq!(server.infer(1.0).await.status, 200);
    server
        .assert_counted(&[
            &forwards(2),
            r#"serin_serve_requests_total{model="fraud",outcome="ok",version="9"} 2"#,
            r#"serin_serve_requests_in_flight{model="fraud",version="9"} 0"#,
            r#"nv_inference_request_failure{model="fraud",reason="CANCELED",version="9"} 1"#,
        ])
        .await;
    stop(server).await;
}

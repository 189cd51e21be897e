//! How requests end: every ending in its class, and bad only where the service is to blame.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::discovery::{self, Route};
use serin_tests::upstream::{Behaviour, Extent};
use serin_tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HOST, PATH, Rig, STABLE, USER, config};

/// All users on the canary, of which each request is counted in a group.
async fn canary_only() -> Rig {
    Rig::start(&config(1, 10_000)).await
}

fn status(status: StatusCode) -> Behaviour {
    Behaviour {
        status,
        ..Behaviour::default()
    }
}

fn extent(extent: Extent) -> Behaviour {
    Behaviour {
        extent,
        ..Behaviour::default()
    }
}

impl Rig {
    /// Waits for so many finished requests of the canary, of which so many are bad.
    async fn finished(&self, all: u64, bad: u64) {
        self.counts(stat::SPLIT_TOTAL, "canary", &[], all).await;
        self.counts(stat::SPLIT_BAD_TOTAL, "canary", &[], bad).await;
    }

    async fn class(&self, class: &str, expected: u64) {
        let labels = [(stat::CLASS, class)];
        self.counts(stat::REQUESTS_TOTAL, "canary", &labels, expected)
            .await;
    }

    /// Sends the head of a request with further header lines, and leaves the rest to the caller.
    async fn open(&self, more: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.envoy.address()).await.unwrap();
        let head = format!("GET {PATH} HTTP/1.1\r\nhost: {HOST}\r\nx-user-id: user\r\n{more}\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client
    }
}

#[tokio::test]
async fn errors_and_broken_answers_of_an_upstream_are_bad() {
    let rig = canary_only().await;
    rig.visit(0..10).await;
    rig.canary.set(status(StatusCode::NOT_FOUND));
    rig.visit(0..20).await;
    rig.finished(30, 0).await;

    rig.canary.set(status(StatusCode::SERVICE_UNAVAILABLE));
    rig.visit(0..40).await;
    rig.finished(70, 40).await;

    // The client sees Envoy's 503 for the answer that never came.
    rig.canary.set(Behaviour {
        reset: true,
        ..Behaviour::default()
    });
    rig.visit(0..80).await;
    rig.finished(150, 120).await;

    for (class, expected) in [("2xx", 10), ("4xx", 20), ("5xx", 120)] {
        rig.class(class, expected).await;
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_bad_in_the_class_of_its_status() {
    let rig = canary_only().await;
    rig.visit(0..10).await;
    rig.finished(10, 0).await;
    rig.canary.set(extent(Extent::CutShort));
    assert_eq!(rig.visit(0..30).await.total().bad, 30);
    rig.finished(40, 30).await;
    rig.class("2xx", 40).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_answer_does_not_make_the_version_bad() {
    let rig = canary_only().await;
    rig.canary.set(Behaviour {
        hang: true,
        ..Behaviour::default()
    });
    for sent in 1..=3 {
        let client = rig.open("").await;
        wait::until_true(
            Duration::from_secs(20),
            "the request to arrive",
            async || rig.canary.requests() == sent,
        )
        .await
        .unwrap();
        drop(client);
        rig.class("none", sent).await;
        rig.finished(sent, 0).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_in_mid_body_does_not_make_the_version_bad() {
    let rig = canary_only().await;
    rig.canary.set(extent(Extent::Stalled));
    for sent in 1..=3 {
        let mut client = rig.open("").await;
        let (head, body) = read_until(&mut client, |body| !body.is_empty()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}{body}");
        drop(client);
        rig.class("2xx", sent).await;
        rig.finished(sent, 0).await;
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_whole_one() {
    let rig = canary_only().await;
    let url = format!("http://{}{PATH}", rig.envoy.address());
    let cases = [
        (Method::HEAD, StatusCode::OK),
        (Method::GET, StatusCode::NO_CONTENT),
        (Method::GET, StatusCode::NOT_MODIFIED),
    ];
    for (sent, (method, expected)) in (1..).zip(cases) {
        rig.canary.set(status(expected));
        let request = rig.client.request(method, &url).header("host", HOST);
        let answer = request.header(USER, "user").send().await.unwrap();
        assert_eq!(answer.status(), expected);
        rig.finished(sent, 0).await;
    }
    rig.class("2xx", 2).await;
    rig.class("3xx", 1).await;
}

#[tokio::test]
async fn an_answer_of_the_proxy_itself_is_a_whole_one() {
    let rig = canary_only().await;
    let nowhere = [Route::when("x-nobody", "sends this", STABLE)];
    discovery::write_routes(&rig.world.file("rds.json"), &nowhere).unwrap();
    let mut sent = 0;
    wait::until_true(Duration::from_secs(20), "no route to be left", async || {
        sent += 1;
        let (head, _) = read_until(&mut rig.open("").await, |_| true).await;
        head.starts_with("HTTP/1.1 404")
    })
    .await
    .unwrap();
    rig.finished(sent, 0).await;
    rig.class("4xx", 1).await;
}

#[tokio::test]
async fn a_websocket_is_good_however_it_closes() {
    let rig = canary_only().await;
    let path = rig.world.file("rds.json");
    let mut routes: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let list = &mut routes["resources"][0]["virtual_hosts"][0]["routes"];
    for route in list.as_array_mut().unwrap() {
        route["route"]["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    }
    discovery::replace(&path, routes.to_string().as_bytes()).unwrap();
    rig.canary.set(status(StatusCode::SWITCHING_PROTOCOLS));
    let mut sent = 0;
    wait::until_true(Duration::from_secs(20), "an upgrade", async || {
        let mut client = rig
            .open("connection: upgrade\r\nupgrade: websocket\r\n")
            .await;
        let (head, _) = read_until(&mut client, |_| true).await;
        // Refusals of routes that know no upgrade come before the filter.
        sent += u64::from(head.starts_with("HTTP/1.1 101"));
        sent == 3
    })
    .await
    .unwrap();
    rig.class("1xx", sent).await;
    rig.finished(sent, 0).await;
}

/// Reads the head of an answer, and of its body until that is enough.
async fn read_until(client: &mut TcpStream, enough: impl Fn(&str) -> bool) -> (String, String) {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && enough(body)
            {
                return (head.to_owned(), body.to_owned());
            }
            let more = client.read_buf(&mut bytes).await.unwrap();
            assert!(more > 0, "the answer ends with {text:?}");
        }
    };
    let limit = tokio::time::timeout(Duration::from_secs(20), read).await;
    limit.expect("an answer in time")
}

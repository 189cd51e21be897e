//! What strangers send: everything is served, or refused by Envoy itself, and the filter's VM lives on.

use std::time::Duration;

use hyper::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue};
use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::discovery::Route;
use serin_tests::upstream::{Behaviour, Extent};
use serin_tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CANARY, ROUTE, Rig, STABLE, Seen, rendered, rollout};

const HOST: &str = "hostile.ml";
const ROLLOUT: &str = "ml/hostile.ml";

/// Asks for every attribute that a request can have, in every way.
fn asks_for_everything() -> Value {
    let unlikely = "[a-z]*(x+x+)+y";
    rollout(
        HOST,
        json!({
            "key": [
                {"cookie": "uid"},
                {"query": "user"},
                {"jwtClaim": "sub"},
                {"unverifiedJwtClaim": ["a", "sub"]},
                {"source": "principal"},
                {"grpcMetadata": "x-meta"},
                {"header": "x-user-id"},
            ],
            "cookie": {"name": "serin-user"},
            "rules": [
                {"variant": 1, "when": [{"any": [
                    {"cookie": "c", "regex": unlikely},
                    {"query": "q", "range": {"min": 1e300}},
                    {"unverifiedJwtClaim": "c", "regex": unlikely},
                    {"header": "x-odd", "regex": unlikely},
                    {"header": "x-odd", "range": {"min": 1e300}},
                    {"request": "path", "suffix": "/never"},
                    {"request": "method", "prefix": "NEVER"},
                ]}]},
            ],
            "override": {"header": "x-serin-variant", "secret": {
                "header": "x-serin-secret",
                "sha256": "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0",
            }},
            // Only the bucket of alice@example.com (see filter/core/README.md) is the canary's.
            "table": [[5369, 0], [5370, 1], [10_000, 0]],
        }),
    )
}

/// Lets through whatever Envoy can be made to let through.
fn unlimited(bootstrap: &mut Value) {
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["max_request_headers_kb"] = 1024.into();
    manager["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
    manager["common_http_protocol_options"] = json!({"max_headers_count": 4096});
}

impl Rig {
    /// Sends bytes and returns the status of what comes back; none: Envoy hung up.
    async fn raw(&self, bytes: &[u8]) -> Option<u16> {
        let mut client = TcpStream::connect(self.envoy.address()).await.unwrap();
        // Envoy may refuse and close before it has read all.
        client.write_all(bytes).await.ok();
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .expect("an end of the connection")
            .ok();
        let text = String::from_utf8_lossy(&answer);
        let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?;
        Some(status.parse().unwrap())
    }

    /// Waits for so many finished requests of a class.
    async fn of_class(&self, class: &str, expected: u64) {
        let labels = [(stat::ROLLOUT, ROLLOUT), (stat::CLASS, class)];
        self.reads(stat::REQUESTS_TOTAL, &labels, expected).await;
    }

    /// A request in bytes, with this line and these header lines.
    async fn lines(&self, line: &[u8], headers: &[&[u8]]) -> Option<u16> {
        let mut bytes = [line, b"\r\nhost: hostile.ml\r\nconnection: close\r\n"].concat();
        for header in headers {
            bytes.extend([header, b"\r\n".as_slice()].concat());
        }
        bytes.extend(b"\r\n");
        self.raw(&bytes).await
    }
}

#[tokio::test]
async fn whatever_strangers_send_is_served_and_the_vm_lives_on() {
    let config = rendered(1, &[asks_for_everything()]);
    let mut rig = Rig::start_altered(&config, unlimited).await;
    rig.settle(1).await;
    let tunnel = json!({
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": STABLE,
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    });
    let [canary, stable] =
        [Route::when(ROUTE, CANARY, CANARY), Route::default(STABLE)].map(|it| it.to_json());
    rig.reroute_raw(&[tunnel, canary, stable]).await;
    const VMS: [&str; 2] = [
        "wasm.envoy.wasm.runtime.v8.active",
        "wasm.envoy.wasm.runtime.v8.created",
    ];
    let before = (
        rig.envoy.stat(VMS[0]).await.unwrap(),
        rig.envoy.stat(VMS[1]).await.unwrap(),
    );
    assert!(before.0 > 0, "there is no VM");
    let mut served = 0;

    // Much: the key stands behind all of it, and is found.
    let long = format!("{}uid=alice@example.com", "a=b; ".repeat(64 * 1024 / 5));
    let seen = Seen::of(rig.request(HOST, "/").header(COOKIE, long)).await;
    assert_eq!(seen.version, "8");
    let mut many = rig.request(HOST, "/");
    for number in 0..1000 {
        many = many.header(format!("x-many-{number}"), "value");
    }
    assert_eq!(
        Seen::of(many.header("x-user-id", "alice@example.com"))
            .await
            .version,
        "8"
    );
    let mut crumbs = rig.request(HOST, "/");
    for number in 0..1000 {
        crumbs = crumbs.header(COOKIE, format!("crumb{number}=x"));
    }
    assert_eq!(
        Seen::of(crumbs.header(COOKIE, "uid=alice@example.com"))
            .await
            .version,
        "8"
    );
    let query = format!("/?{}user=alice%40example.com", "a=%ff&".repeat(5_000));
    assert_eq!(Seen::of(rig.request(HOST, &query)).await.version, "8");
    served += 4;

    // Bytes that are no text, tokens that are none, numbers and texts beyond every bound: all users of stable.
    let bearer = |payload: &[u8]| [b"Bearer e30.", payload, b".x"].concat();
    let nested = base64(&[b"[".repeat(5_000), b"]".repeat(5_000)].concat());
    let odd: [&[u8]; 7] = [
        b"\xff\xfe\x80",
        b"caf\xe9=\"; ;;==;=",
        b"%%%f%zz%\xc3\x28",
        &b"x".repeat(50_000),
        &b"\xff".repeat(50_000),
        &b"9".repeat(20_000),
        b"",
    ];
    for bytes in odd {
        let value = || HeaderValue::from_bytes(bytes).unwrap();
        let within = |before: &[u8]| HeaderValue::from_bytes(&[before, bytes].concat()).unwrap();
        let token = HeaderValue::from_bytes(&bearer(bytes)).unwrap();
        let requests = [
            rig.request(HOST, "/").header("x-user-id", value()),
            rig.request(HOST, "/").header("x-odd", value()),
            rig.request(HOST, "/").header("x-meta", value()),
            rig.request(HOST, "/").header(COOKIE, value()),
            rig.request(HOST, "/").header(COOKIE, within(b"uid=")),
            rig.request(HOST, "/").header(COOKIE, within(b"c=")),
            rig.request(HOST, "/").header(AUTHORIZATION, value()),
            rig.request(HOST, "/")
                .header(AUTHORIZATION, within(b"Bearer ")),
            rig.request(HOST, "/").header(AUTHORIZATION, token),
            rig.request(HOST, "/")
                .header(CONTENT_TYPE, within(b"application/grpc")),
            rig.request(HOST, "/")
                .header("x-serin-variant", value())
                .header("x-serin-secret", "s3cret"),
            rig.request(HOST, "/")
                .header("x-serin-variant", "canary")
                .header("x-serin-secret", value()),
            rig.request(HOST, "/")
                .header("x-serin-route", value())
                .header("x-serin-shadow", value()),
        ];
        for request in requests {
            assert_eq!(
                Seen::of(request).await.version,
                "7",
                "{:?}",
                &bytes[..bytes.len().min(20)]
            );
            served += 1;
        }
    }
    let nested = HeaderValue::from_bytes(&bearer(nested.as_bytes())).unwrap();
    Seen::of(rig.request(HOST, "/").header(AUTHORIZATION, nested)).await;
    served += 1;
    let total = [(stat::ROLLOUT, ROLLOUT)];
    rig.reads(stat::REQUESTS_TOTAL, &total, served).await;

    // What Envoy refuses by itself: the filter meets it at its end, if at all.
    assert_eq!(rig.raw(b"GET / HTTP/1.1\r\n\r\n").await, Some(400));
    assert_eq!(rig.raw(b"\x16\x03\x01 nonsense\r\n\r\n").await, Some(400));
    assert_eq!(rig.lines(b"GET /\xff HTTP/1.1", &[]).await, Some(400));
    assert_eq!(
        rig.lines(b"GET / HTTP/1.1", &[b"x-bad: \0"]).await,
        Some(400)
    );
    assert_eq!(
        rig.lines(b"GET / HTTP/1.1", &[b"host: \xff"]).await,
        Some(400)
    );
    assert_eq!(rig.lines(b"OPTIONS * HTTP/1.1", &[]).await, Some(404));
    // A request without a path comes past the filter.
    let connect = b"CONNECT hostile.ml:443 HTTP/1.1\r\nhost: hostile.ml:443\r\n\r\n";
    let within = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(
        rig.raw(&[connect.as_slice(), within].concat()).await,
        Some(200)
    );
    served += 1;
    rig.reads(stat::REQUESTS_TOTAL, &total, served).await;

    // Connections that break in the middle of a body, from either side.
    rig.stable.set(Behaviour {
        keep: true,
        ..Behaviour::default()
    });
    let arrived = rig.stable.requests();
    for sent in 1..=3 {
        let mut client = TcpStream::connect(rig.envoy.address()).await.unwrap();
        let half = b"POST / HTTP/1.1\r\nhost: hostile.ml\r\ncontent-length: 1000\r\n\r\nhalf";
        client.write_all(half).await.unwrap();
        wait::until_true(Duration::from_secs(20), "a request", async || {
            rig.stable.requests() == arrived + sent
        })
        .await
        .unwrap();
    }
    rig.of_class("none", 3).await;
    rig.stable.set(Behaviour {
        extent: Extent::CutShort,
        ..Behaviour::default()
    });
    for _ in 0..3 {
        let answer = rig.request(HOST, "/").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap_err();
    }
    // All but the one that said it was gRPC, and got no status.
    rig.of_class("2xx", served - 1 + 3).await;
    rig.of_class("grpc_server_error", 1).await;
    rig.stable.set(Behaviour::default());

    // The filter of each worker is still there: it counts, and still knows Alice.
    for _ in 0..20 {
        // Another connection each time, and so at some time each worker.
        rig.client = reqwest::Client::new();
        let alice = rig
            .request(HOST, "/")
            .header("x-user-id", "alice@example.com");
        assert_eq!(Seen::of(alice).await.upstream[ROUTE], json!([CANARY]));
    }
    // All that began has ended.
    rig.reads(stat::REQUESTS_TOTAL, &total, served + 26).await;
    rig.reads(stat::ASSIGNMENTS_TOTAL, &total, served + 26)
        .await;
    let after = (
        rig.envoy.stat(VMS[0]).await.unwrap(),
        rig.envoy.stat(VMS[1]).await.unwrap(),
    );
    assert_eq!(after, before, "a VM has died or was made again");
    let log = rig.envoy.process().log();
    assert!(!log.contains("wasm"), "{log}");
}

/// In the alphabet of tokens, without padding (RFC 4648, section 5).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut block = [0; 3];
        block[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, block[0], block[1], block[2]]);
        for digit in 0..=chunk.len() {
            text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into());
        }
    }
    text
}

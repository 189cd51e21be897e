//! What the filter does to requests: its own header is its own, and no header of a client breaks it.

use serde_json::Value;
use serin_filter_core::split::bucket;
use serin_filter_core::stat;

use super::{CANARY, HOST, ROUTE, Rig, config};

#[tokio::test]
async fn a_spoofed_route_header_is_stripped_whether_or_not_a_rollout_matches() {
    let rig = Rig::start(&config(1, 5000)).await;
    let spoofed: [&[(&str, &[u8])]; 3] = [
        &[],
        &[(ROUTE, CANARY.as_bytes())],
        &[(ROUTE, b"nowhere"), (ROUTE, CANARY.as_bytes())],
    ];
    let (stable, canary) = (
        user_of(|bucket| bucket < 5000),
        user_of(|bucket| bucket >= 5000),
    );
    for headers in spoofed {
        let (version, seen) = rig.ask(HOST, stable.as_bytes(), headers).await;
        assert_eq!(
            (version.as_str(), &seen[ROUTE]),
            ("7", &Value::Null),
            "{headers:?}"
        );

        let (version, seen) = rig.ask(HOST, canary.as_bytes(), headers).await;
        assert_eq!(
            (version.as_str(), &seen[ROUTE][0]),
            ("8", &CANARY.into()),
            "{headers:?}"
        );
        assert_eq!(seen[ROUTE].as_array().unwrap().len(), 1, "{headers:?}");

        // Nobody's host: the header would lead to the canary if it stayed.
        let (version, seen) = rig.ask("other.ml", canary.as_bytes(), headers).await;
        assert_eq!(
            (version.as_str(), &seen[ROUTE]),
            ("7", &Value::Null),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn header_values_that_are_no_text_are_served() {
    let rig = Rig::start(&config(1, 5000)).await;
    let odd: [&[u8]; 4] = [b"\xff\xfe", b"caf\xe9", b"a\xc0\xafb", &[0x80; 300]];
    for (sent, user) in odd.iter().enumerate() {
        let meant = if bucket("fraud-8", user) < 5000 {
            "7"
        } else {
            "8"
        };
        let (version, _) = rig.ask(HOST, user, &[("x-odd", user), (ROUTE, user)]).await;
        assert_eq!(version, meant, "{user:?}");
        // A trap of the filter would have let the request fail, or pass without being counted.
        let total = [(stat::ROLLOUT, super::ROLLOUT), (stat::CLASS, "2xx")];
        let expected = sent as f64 + 1.0;
        rig.envoy
            .metric(stat::REQUESTS_TOTAL, &total, |value| value == expected)
            .await
            .unwrap();
    }
}

/// A user whose bucket is of this kind.
fn user_of(kind: impl Fn(u16) -> bool) -> String {
    (0..)
        .map(super::key)
        .find(|key| kind(bucket("fraud-8", key.as_bytes())))
        .unwrap()
}

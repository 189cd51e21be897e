//! The cookie that makes a user of a client which shows no key.

use std::collections::BTreeSet;

use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::json;
use serin_filter_core::stat;

use super::{Rig, Seen, USER, rollout};

const HOST: &str = "cookie.ml";
const ROLLOUT: &str = "ml/cookie.ml";

/// Enough that chance would leave all of them on one version, or bring each back by luck, once in 2^39 runs.
const CLIENTS: u64 = 40;

/// The cookie that an answer issues: the pair that a client returns, and the attributes.
fn issued(seen: &Seen) -> Option<(&str, Vec<&str>)> {
    let mut cookies = seen.headers.get_all(SET_COOKIE).iter();
    let cookie = cookies.next()?.to_str().unwrap();
    assert_eq!(cookies.next(), None, "a second cookie beside {cookie}");
    let mut parts = cookie.split("; ");
    Some((parts.next().unwrap(), parts.collect()))
}

#[tokio::test]
async fn a_client_without_a_key_gets_a_cookie_and_keeps_its_variant_with_it() {
    let rig = Rig::start_rollouts(&[
        rollout(
            HOST,
            json!({
                "key": [{"header": "x-user-id"}],
                "cookie": {"name": "serin-user", "maxAge": 2_592_000, "sameSite": "Strict"},
                "table": [[5000, 0], [10_000, 1]],
            }),
        ),
        rollout(
            "session.ml",
            json!({"cookie": {"name": "s", "secure": false}}),
        ),
    ])
    .await;

    let (mut versions, mut pairs) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..CLIENTS {
        let first = Seen::of(rig.request(HOST, "/")).await;
        let (pair, attributes) = issued(&first).expect("a cookie for a client without a key");
        assert!(pair.starts_with("serin-user="), "{pair}");
        let expected = [
            "Path=/",
            "Max-Age=2592000",
            "SameSite=Strict",
            "Secure",
            "HttpOnly",
        ];
        assert_eq!(attributes, expected);

        let again = rig
            .request(HOST, "/")
            .header(COOKIE, format!("a=b; {pair}"));
        let again = Seen::of(again).await;
        assert_eq!(again.version, first.version, "{pair}");
        assert_eq!(issued(&again), None, "a second cookie for {pair}");

        // Who shows a key is known by it, and by nothing else.
        let keyed = rig.request(HOST, "/").header(USER, "42");
        let keyed = Seen::of(keyed.header(COOKIE, pair)).await;
        // 42 has bucket 3057: see filter/core/README.md.
        assert_eq!(keyed.version, "7", "{pair}");
        assert_eq!(issued(&keyed), None, "a cookie for a client with a key");

        versions.insert(first.version.clone());
        pairs.insert(pair.to_owned());
    }
    assert_eq!(versions.len(), 2, "all clients on {versions:?}");
    assert_eq!(pairs.len() as u64, CLIENTS, "clients share a cookie");

    let assigned = |reason| [(stat::ROLLOUT, ROLLOUT), (stat::REASON, reason)];
    rig.reads(stat::ASSIGNMENTS_TOTAL, &assigned("cookie"), 2 * CLIENTS)
        .await;
    rig.reads(stat::ASSIGNMENTS_TOTAL, &assigned("weight"), CLIENTS)
        .await;
    // They are users, of which each has a group.
    rig.reads(stat::SPLIT_TOTAL, &[(stat::ROLLOUT, ROLLOUT)], 3 * CLIENTS)
        .await;
    let grouped = rig.envoy.metrics().await.unwrap();
    let none = [(stat::ROLLOUT, ROLLOUT), (stat::GROUP, stat::GROUP_NONE)];
    assert!(!grouped.iter().any(|it| it.is(stat::SPLIT_TOTAL, &none)));

    let session = Seen::of(rig.request("session.ml", "/")).await;
    let (_, attributes) = issued(&session).expect("a cookie for a client without a key");
    assert_eq!(attributes, ["Path=/", "SameSite=Lax", "HttpOnly"]);
    // A rollout without cookies issues none, and so does the proxy for requests of nobody.
    assert_eq!(issued(&Seen::of(rig.request("nobody.ml", "/")).await), None);
}

//! Copies of requests: of the sampled share, whole, and of no request that a stranger marked.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use serin_filter_core::config::DEFAULT_SHADOW_HEADER;
use serin_filter_core::stat;
use serin_tests::discovery::Route;
use serin_tests::envoy::cluster;
use serin_tests::upstream::{Behaviour, Upstream};
use serin_tests::wait;

use super::{CANARY, ROUTE, Rig, STABLE, Seen, USER, rendered, rollout};

const SHADOW: &str = "fraud-v9";
const HOST: &str = "shadow.ml";
const ROLLOUT: &str = "ml/shadow.ml";
const REQUESTS: u64 = 400;

/// Half of the requests are copied.
fn sampled() -> Value {
    rollout(HOST, json!({"shadow": {"cluster": SHADOW, "sample": 5000}}))
}

#[tokio::test]
async fn the_sampled_share_of_requests_reaches_the_shadow_whole_and_no_other_does() {
    let shadow = Upstream::start("9").await.unwrap();
    shadow.set(Behaviour {
        keep: true,
        ..Behaviour::default()
    });
    let port = shadow.address().port();
    let rig = Rig::start_altered(&rendered(1, &[sampled()]), |bootstrap| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        clusters.unwrap().push(cluster(SHADOW, port));
    })
    .await;
    rig.settle(1).await;
    let routes = [Route::when(ROUTE, CANARY, CANARY), Route::default(STABLE)].map(|route| {
        let mut route = route.to_json();
        let policy = json!([{"cluster_header": DEFAULT_SHADOW_HEADER}]);
        route["route"]["request_mirror_policies"] = policy;
        route
    });
    rig.reroute_raw(&routes).await;

    // Each body is another one, and long enough to come in pieces.
    let body = |number: u64| format!("{number:06}").repeat(20_000);
    let mut copied = 0_u64;
    for number in 0..REQUESTS {
        // What a stranger asks for is not what decides.
        let request = rig
            .request(HOST, "/v2/models/fraud/infer")
            .header(DEFAULT_SHADOW_HEADER, CANARY)
            .body(body(number));
        let seen = Seen::of(request).await;
        assert_eq!(seen.version, "7");
        if seen.upstream[DEFAULT_SHADOW_HEADER] != Value::Null {
            assert_eq!(seen.upstream[DEFAULT_SHADOW_HEADER], json!([SHADOW]));
            copied += 1;
        }
    }
    // Five standard deviations: once in two million runs.
    assert!(
        copied.abs_diff(REQUESTS / 2) < 50,
        "{copied} of {REQUESTS} copied"
    );
    rig.reads(stat::SHADOWED_TOTAL, &[(stat::ROLLOUT, ROLLOUT)], copied)
        .await;

    wait::until_true(Duration::from_secs(20), "the last copies", async || {
        shadow.bodies().len() as u64 == copied
    })
    .await
    .unwrap();
    let all: BTreeSet<String> = (0..REQUESTS).map(body).collect();
    let bodies = shadow.bodies();
    let distinct: BTreeSet<String> = bodies
        .iter()
        .map(|body| String::from_utf8_lossy(body).into_owned())
        .collect();
    assert_eq!(
        distinct.len() as u64,
        copied,
        "copies of one request or of none"
    );
    assert!(distinct.is_subset(&all), "a copy is not what was sent");

    // The header of a stranger leads nowhere where there is no shadow either, whoever the request belongs to.
    let (before, canary) = (shadow.requests(), rig.canary.requests());
    let unsampled = rollout(HOST, json!({}));
    rig.write(&rendered(2, &[unsampled]));
    rig.settle(2).await;
    for host in [HOST, "nobody.ml"] {
        for cluster in [SHADOW, CANARY] {
            let request = rig.request(host, "/").header(USER, "42");
            let seen = Seen::of(request.header(DEFAULT_SHADOW_HEADER, cluster)).await;
            assert_eq!(seen.upstream[DEFAULT_SHADOW_HEADER], Value::Null, "{host}");
        }
    }
    // What Envoy sends after these would have followed a copy of them.
    let upstream = format!("cluster.{SHADOW}.upstream_rq_total");
    rig.flush().await;
    assert_eq!(rig.envoy.stat(&upstream).await.unwrap(), before);
    assert_eq!((shadow.requests(), rig.canary.requests()), (before, canary));
}

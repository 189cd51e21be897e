//! Where requests really went: a route that is wrong is found.

use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::discovery::Route;

use super::{CANARY, HOST, ROLLOUT, ROUTE, Rig, STABLE, config};

/// Clusters as Istio names them.
const ISTIO_STABLE: &str = "outbound|80|v7|fraud.ml";
const ISTIO_CANARY: &str = "outbound|80|v8|fraud.ml";

#[tokio::test]
async fn a_route_that_ignores_the_header_shows_with_the_first_canary_request_after_each_change() {
    let rig = Rig::start(&config(1, 10_000)).await;
    rig.reroute(&[Route::default(STABLE)]).await;
    for generation in 1..=3 {
        let (version, _) = rig.ask(HOST, b"user", &[]).await;
        assert_eq!(version, "7");
        rig.counts(stat::SAMPLED_TOTAL, "canary", &[], generation)
            .await;
        rig.counts(stat::MISROUTED_TOTAL, "canary", &[], generation)
            .await;
        rig.configure(&config(generation + 1, 10_000)).await;
    }
}

#[tokio::test]
async fn a_route_that_becomes_wrong_shows_within_200_requests_of_its_variant() {
    let labels = |variant| [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant)];
    let rig = Rig::start(&config(1, 5000)).await;
    rig.visit(0..1000).await;
    for (variant, every) in [("stable", 64.0), ("canary", 16.0)] {
        // One in so many of about 500, and the first on each worker.
        let about = 500.0 / every;
        let sampled = |value| (0.7 * about..1.5 * about + 2.0).contains(&value);
        rig.envoy
            .metric(stat::SAMPLED_TOTAL, &labels(variant), sampled)
            .await
            .unwrap();
        rig.counts(stat::MISROUTED_TOTAL, variant, &[], 0).await;
    }

    // All users are one variant's, so that each of 200 requests is. No worker needs more than 16 of its own to look.
    rig.configure(&config(2, 10_000)).await;
    rig.visit(0..77).await;
    rig.none_misrouted("canary").await;
    rig.reroute(&[Route::default(STABLE)]).await;
    assert_eq!(rig.visit(0..200).await.version("7").requests, 200);
    rig.envoy
        .metric(stat::MISROUTED_TOTAL, &labels("canary"), |it| it >= 1.0)
        .await
        .unwrap();

    // The same for the default route, if that leads to the canary; of the live variant a worker looks at one in 64.
    rig.reroute(&[Route::when(ROUTE, CANARY, CANARY), Route::default(STABLE)])
        .await;
    rig.configure(&config(3, 0)).await;
    rig.visit(0..77).await;
    rig.none_misrouted("stable").await;
    rig.reroute(&[Route::default(CANARY)]).await;
    assert_eq!(rig.visit(0..200).await.version("8").requests, 200);
    rig.envoy
        .metric(stat::MISROUTED_TOTAL, &labels("stable"), |it| it >= 1.0)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cluster_that_begins_with_a_bar_is_the_end_of_its_name() {
    // In a mesh, where the port is part of a cluster's name and nobody who writes the configuration knows it.
    let on_canary = |generation| {
        let mut config = config(generation, 10_000);
        let ends = ["|v7|fraud.ml", "|v8|fraud.ml"];
        for (variant, end) in config.rollouts[0].variants.iter_mut().zip(ends) {
            variant.cluster = Some(end.to_owned());
        }
        config
    };
    let renamed = |bootstrap: &mut Value| {
        let clusters = bootstrap["static_resources"]["clusters"].as_array_mut();
        for cluster in clusters.unwrap() {
            let name = if cluster["name"] == STABLE {
                ISTIO_STABLE
            } else {
                ISTIO_CANARY
            };
            cluster["name"] = json!(name);
            cluster["load_assignment"]["cluster_name"] = json!(name);
        }
    };
    let configuration = serde_json::to_string(&on_canary(1)).unwrap();
    let rig = Rig::start_altered(&configuration, renamed).await;
    rig.settle(1).await;
    rig.reroute(&[
        Route::when(ROUTE, CANARY, ISTIO_CANARY),
        Route::default(ISTIO_STABLE),
    ])
    .await;
    assert_eq!(rig.visit(0..100).await.version("8").requests, 100);
    rig.none_misrouted("canary").await;

    // The same host and port, the other subset.
    rig.reroute(&[Route::default(ISTIO_STABLE)]).await;
    rig.configure(&on_canary(2)).await;
    assert_eq!(rig.visit(0..1).await.version("7").requests, 1);
    rig.counts(stat::MISROUTED_TOTAL, "canary", &[], 1).await;
}

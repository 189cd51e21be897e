//! Where requests really went: a route that is wrong is found.

use serin_filter_core::stat;
use serin_tests::discovery::Route;

use super::{CANARY, HOST, ROLLOUT, ROUTE, Rig, STABLE, config};

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

//! The proxies' fuses in a release: users are sent home at once, and the controller ends the release when they open
//! again and again.

use hyper::StatusCode;
use serin_controller::rollout::{Outcome, Phase};
use serin_tests::upstream::Behaviour;

use super::evidence::recomputed;
use super::{Bench, canary_requests, rollout};

/// A comparison that finds everything healthy and a gate that nothing passes: fuses have the word alone.
fn fuses_alone() -> String {
    let steps = "        - {weight: 50, gate: {ratio: 1, absolute: 0pp}}";
    let more = "  fuse: {consecutiveErrors: 5, cooldown: 2s}
  analysis:
    metrics: [{name: errors, errorRate: {}, tolerance: {ratio: 1, absolute: 100pp}}]
";
    format!("{}{more}", rollout(steps, "1s"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_dies_is_rolled_back_for_its_fuses_although_a_controller_dies_meanwhile() {
    let mut bench = Bench::start("fuse", &fuses_alone()).await;
    bench
        .until("a healthy canary", |status| canary_requests(status) > 200)
        .await;
    assert_eq!(bench.traffic.snapshot().total().bad, 0);
    bench.canary.set(Behaviour {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..Behaviour::default()
    });
    let fused = |status: &serin_controller::report::Status| {
        let release = status.release.as_ref();
        release.map_or(0, |release| release.canary().fused)
    };
    bench
        .until("users sent home", |status| fused(status) > 0)
        .await;
    // Its evidence since the last checkpoint is on no disk, and is read again.
    bench.installation.kill_controller().await.unwrap();
    bench.installation.start_controller().await.unwrap();
    let status = bench
        .until("the rollback", |status| status.phase == Phase::RolledBack)
        .await;
    assert!(
        status.message.starts_with(
            "guard fuse: the proxies' fuses cut version 8 off again and again while version 7 was well"
        ),
        "{}",
        status.message
    );
    let get = bench.serin(&["get", "fraud", "-o", "wide"]).await;
    assert!(
        get.1
            .contains("requests meant for the canary were sent to stable"),
        "{}",
        get.1
    );

    let release = bench.installation.state().unwrap().state.release.unwrap();
    assert_eq!(release.outcome, Some(Outcome::RolledBack));
    assert_eq!(release.evidence.canary.trips.len(), 3);
    assert_eq!(
        release.evidence,
        recomputed(&bench.installation.prometheus, "ml/fraud", &release).await,
        "trips or requests sent home were lost, or counted twice"
    );
    assert_eq!(fused(&status), release.evidence.canary.fused);

    // Five in a row and then single probes, in each of two workers; without fuses there would be 125 a second.
    let bad = bench.stop().await.total().bad;
    assert!((1..=40).contains(&bad), "{bad} users saw an error");
}

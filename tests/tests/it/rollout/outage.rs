//! No data is neither success nor failure.

use std::time::{Duration, Instant};

use serin_controller::report::{Status, Verdict};
use serin_controller::rollout::Phase;

use super::evidence::check_exactly_once;
use super::{Bench, canary_requests, rollout, weight};

/// The outage that the rollout must survive.
const OUTAGE: Duration = Duration::from_secs(30);

fn data_is_fresh(status: &Status) -> Option<bool> {
    status
        .conditions
        .iter()
        .find(|condition| condition.kind == "DataFresh")?
        .status
}

#[tokio::test(flavor = "multi_thread")]
async fn without_prometheus_the_weight_holds_and_the_evidence_goes_on_afterwards() {
    // A gate that no evidence passes without a single error: were the outage taken for success, the weight would rise,
    // were it taken for failure, it would fall.
    let steps = "        - {weight: 20, gate: {ratio: 1, absolute: 0pp}}";
    let mut bench = Bench::start("outage", &rollout(steps, "1s")).await;
    let before = bench
        .until("evidence", |status| canary_requests(status) > 100)
        .await;
    bench.installation.prometheus.down().await.unwrap();

    let status = bench
        .until("the outage to be noticed", |status| {
            data_is_fresh(status) == Some(false)
        })
        .await;
    assert!(
        status.message.contains("Prometheus does not answer"),
        "{}",
        status.message
    );
    assert_eq!(status.release.as_ref().unwrap().verdict, Verdict::Error);
    let counted = canary_requests(&status);
    let begun = Instant::now();
    // Not a wait for luck: the condition must hold all through the outage.
    while begun.elapsed() < OUTAGE {
        let status = bench.status().await;
        assert_eq!(
            (status.phase, weight(&status)),
            (Phase::Progressing, 20.0),
            "{}",
            status.message
        );
        assert_eq!(canary_requests(&status), counted, "evidence out of nowhere");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let get = bench
        .installation
        .serin(&["get", "fraud", "-o", "wide"])
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&get.stdout).into_owned();
    assert!(
        shown.contains("DataFresh no data") && shown.contains("the weight holds"),
        "{shown}"
    );

    bench.installation.prometheus.up().await.unwrap();
    let enough = counted + (OUTAGE.as_secs_f64() * super::RATE * 0.2 * 0.5) as u64;
    let after = bench
        .until("the requests of the outage", |status| {
            canary_requests(status) > enough
        })
        .await;
    assert_eq!((after.phase, weight(&after)), (Phase::Progressing, 20.0));
    assert_eq!(data_is_fresh(&after), Some(true));
    assert!(canary_requests(&before) <= counted);
    check_exactly_once(&bench.installation).await;
    bench.stop().await;
}

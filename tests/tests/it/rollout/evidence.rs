//! The evidence is what the scraped counters say, each cell once, whatever happens to the controller.

use serin_controller::evidence::Evidence;
use serin_controller::observation::Cell;
use serin_controller::prometheus::{Client, RolloutCounts, Selectors, cell_query};
use serin_controller::rollout::Release;
use serin_controller::validate::validate;
use serin_tests::installation::Installation;
use serin_tests::prometheus::Prometheus;

use serin_controller::rollout::Stage;

use super::{Bench, canary_requests, rollout, weight};

/// The evidence computed a second time, cell by cell, from nothing but Prometheus and the accepted file.
pub(crate) async fn recomputed(prometheus: &Prometheus, name: &str, release: &Release) -> Evidence {
    let plan = validate(&release.rollout).unwrap();
    let grid = release.grid;
    let client = Client::new(&prometheus.url()).unwrap();
    let query = cell_query(&Selectors::default(), grid.cell());
    let mut evidence = Evidence::new(&plan, release.first_cell);
    for index in release.first_cell..release.evidence.next_cell {
        let rows = client.query(&query, grid.end(index)).await.unwrap();
        let counts: RolloutCounts = rows.iter().collect();
        let cell = Cell {
            index,
            stable: counts.of(name, "7"),
            arms: vec![counts.of(name, "8")],
        };
        let counted = release.slow_counted;
        let slow_counted = counted.is_some_and(|since| grid.begin(index) >= since);
        evidence.consume(&plan, &cell, slow_counted);
    }
    if release.outcome.is_some() {
        evidence.close();
    }
    evidence
}

/// The counter itself at the end of the last consumed cell: the sum of all differences must be just that.
async fn scraped_total(installation: &Installation, release: &Release, version: &str) -> u64 {
    let grid = release.grid;
    let client = Client::new(&installation.prometheus.url()).unwrap();
    let query =
        format!(r#"sum(last_over_time(serin_split_total{{serin_version="{version}"}}[15m]))"#);
    let rows = client
        .query(&query, grid.begin(release.evidence.next_cell))
        .await
        .unwrap();
    rows.first().and_then(|row| row.number()).unwrap() as u64
}

/// Asserts that the state on disk counts every scraped request exactly once.
pub(super) async fn check_exactly_once(installation: &Installation) -> Release {
    // A pause writes the state as it is now.
    assert!(
        installation
            .serin(&["pause", "fraud"])
            .await
            .unwrap()
            .status
            .success()
    );
    let release = installation.state().unwrap().state.release.unwrap();
    assert_eq!(
        release.evidence,
        recomputed(&installation.prometheus, "ml/fraud", &release).await,
        "the evidence is not that of its cells"
    );
    for (version, tally) in [
        ("8", release.evidence.canary.requests),
        ("7", release.evidence.stable),
    ] {
        assert_eq!(
            tally.total,
            scraped_total(installation, &release, version).await,
            "version {version}"
        );
    }
    assert!(
        installation
            .serin(&["resume", "fraud"])
            .await
            .unwrap()
            .status
            .success()
    );
    release
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_controller_goes_on_at_the_same_step_and_counts_nothing_twice() {
    let steps = "        - {weight: 10, gate: {ratio: 3, absolute: 10pp}}
        - {weight: 20, gate: {ratio: 3, absolute: 5pp}, pause: {approval: true}}";
    let mut bench = Bench::start("kill", &rollout(steps, "1s")).await;
    bench
        .until("evidence at the second step", |status| {
            canary_requests(status) > 200 && weight(status) == 20.0
        })
        .await;
    let before = check_exactly_once(&bench.installation).await;

    // Killed well after its last write: what it consumed since is on no disk.
    let unwritten = canary_requests(&bench.status().await) + 200;
    bench
        .until("evidence beyond the checkpoint", |status| {
            canary_requests(status) > unwritten
        })
        .await;
    let killed_at = canary_requests(&bench.status().await);
    bench.installation.kill_controller().await.unwrap();
    let on_disk = bench.installation.state().unwrap().state.release.unwrap();
    assert!(
        on_disk.evidence.canary.requests.total < killed_at,
        "the kill must lose something for this test to mean anything"
    );

    bench.installation.start_controller().await.unwrap();
    let status = bench
        .until("new evidence", |status| {
            canary_requests(status) > killed_at + 100
        })
        .await;
    assert_eq!(weight(&status), 20.0);
    assert_eq!(before.stage, Stage::Step(1));
    let after = check_exactly_once(&bench.installation).await;
    assert_eq!(
        (after.started, after.stage, &after.table),
        (before.started, before.stage, &before.table)
    );
    assert_eq!(after.first_cell, before.first_cell);
    assert!(after.evidence.next_cell > on_disk.evidence.next_cell);
    bench.stop().await;
}

//! The life of a series: it begins with its first use, and ends with the module.

use std::collections::BTreeSet;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::upstream::Behaviour;
use serin_tests::wait;

use super::{CANARY, Rig, Seen, rendered, rollout};

const HOST: &str = "series.ml";
const ROLLOUT: &str = "ml/series.ml";

/// All users on a canary of this version.
fn canary(version: &str) -> Value {
    let mut rollout = rollout(HOST, json!({"table": [[10_000, 1]]}));
    rollout["variants"][1]["version"] = version.into();
    rollout
}

impl Rig {
    /// The values of a label on all our series.
    async fn values(&self, label: &str) -> BTreeSet<String> {
        let samples = self.envoy.metrics().await.unwrap();
        let values = samples
            .into_iter()
            .filter_map(|mut it| it.labels.remove(label));
        values.collect()
    }

    async fn send(&self, host: &str, times: usize) {
        for _ in 0..times {
            self.request(host, "/").send().await.unwrap();
        }
    }

    async fn of_version(&self, version: &str, expected: u64) {
        let labels = [(stat::ROLLOUT, ROLLOUT), (stat::VERSION, version)];
        for name in [
            stat::REQUESTS_TOTAL,
            stat::ASSIGNMENTS_TOTAL,
            stat::SPLIT_TOTAL,
        ] {
            self.reads(name, &labels, expected).await;
        }
    }
}

fn set<const N: usize>(values: [&str; N]) -> BTreeSet<String> {
    values.map(str::to_owned).into()
}

#[tokio::test]
async fn a_series_appears_when_it_is_first_used() {
    let others = (0..500).map(|number| rollout(&format!("other-{number}.ml"), json!({})));
    let rollouts: Vec<Value> = others.chain([canary("8")]).collect();
    let rig = Rig::start_rollouts(&rollouts).await;
    assert_eq!(rig.values(stat::ROLLOUT).await, set([]));

    rig.send(HOST, 1).await;
    rig.of_version("8", 1).await;
    assert_eq!(rig.values(stat::ROLLOUT).await, set([ROLLOUT]));
    assert_eq!(rig.values(stat::VARIANT).await, set(["canary"]));
    assert_eq!(rig.values(stat::CLASS).await, set(["2xx"]));

    rig.canary.set(Behaviour {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..Behaviour::default()
    });
    rig.send(HOST, 1).await;
    rig.send("other-499.ml", 1).await;
    rig.of_version("8", 2).await;
    rig.of_rollout("ml/other-499.ml").await;
    assert_eq!(
        rig.values(stat::ROLLOUT).await,
        set([ROLLOUT, "ml/other-499.ml"])
    );
    assert_eq!(rig.values(stat::CLASS).await, set(["2xx", "5xx"]));
}

impl Rig {
    async fn of_rollout(&self, rollout: &str) {
        self.reads(stat::REQUESTS_TOTAL, &[(stat::ROLLOUT, rollout)], 1)
            .await;
    }
}

#[tokio::test]
async fn the_series_of_a_removed_version_stay_count_on_when_it_returns_and_go_with_the_module() {
    let mut rig = Rig::start_rollouts(&[canary("8")]).await;
    rig.send(HOST, 10).await;
    rig.of_version("8", 10).await;

    for (generation, version, eight) in [(2, "9", 10), (3, "8", 30)] {
        rig.write(&rendered(generation, &[canary(version)]));
        rig.settle(generation).await;
        rig.send(HOST, 20).await;
        rig.of_version("8", eight).await;
        rig.of_version("9", 20).await;
    }

    // The rollout itself goes.
    rig.write(&rendered(4, &[rollout("other.ml", json!({}))]));
    rig.settle(4).await;
    let seen = Seen::of(rig.request(HOST, "/").header(super::ROUTE, CANARY)).await;
    assert_eq!(seen.version, "7");
    rig.flush().await;
    rig.of_version("8", 30).await;
    rig.of_version("9", 20).await;

    rig.replace_binary(&rendered(5, &[canary("10")])).await;
    rig.settle(5).await;
    rig.send(HOST, 5).await;
    rig.of_version("10", 5).await;
    wait::until_true(
        Duration::from_secs(20),
        "the old series to go",
        async || rig.values(stat::VERSION).await == set(["10"]),
    )
    .await
    .unwrap();
}

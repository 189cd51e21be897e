//! Configurations that cannot be used: traffic goes on, a gauge says so, and the log says it once.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use serin_filter_core::stat;
use serin_tests::{discovery, wait};

use super::{CANARY, HOST, ROUTE, Rig, config};

const BROKEN: [&str; 3] = [
    "no JSON",
    r#"{"version": 1, "generation": 9, "rollouts": 5}"#,
    "",
];

impl Rig {
    /// Waits until a configuration that cannot be used has been met everywhere.
    async fn refused(&self) {
        self.reads(stat::CONFIG_INVALID, &[], 1).await;
        self.flush().await;
    }

    /// Waits for a configuration that is in use after bad ones.
    async fn recovered(&self) {
        self.reads(stat::CONFIG_INVALID, &[], 0).await;
    }

    /// Demands that the filter complained so many times, and each time said what is in use now.
    #[track_caller]
    fn told(&mut self, times: usize, consequence: &str) {
        let log = self.envoy.process().log();
        let told: Vec<_> = log
            .lines()
            .filter(|line| line.contains("serin: invalid filter configuration"))
            .collect();
        assert_eq!(told.len(), times, "{log}");
        assert!(
            told.iter().all(|line| line.ends_with(consequence)),
            "{told:#?}"
        );
    }

    /// The same filter as another binary: with one more custom section, which nobody reads.
    fn another_binary(&self) -> PathBuf {
        let mut module = std::fs::read(&self.wasm).unwrap();
        // Section 0 of five bytes: a name of four.
        module.extend_from_slice(b"\x00\x05\x04next");
        let path = self.world.file("next.wasm");
        std::fs::write(&path, module).unwrap();
        path
    }

    /// Replaces the binary and the configuration, and waits until the old VMs have gone.
    pub(super) async fn replace_binary(&mut self, configuration: &str) {
        const CREATED: &str = "wasm.envoy.wasm.runtime.v8.created";
        let before = self.envoy.stat(CREATED).await.unwrap();
        self.wasm = self.another_binary();
        discovery::write_plugin(&self.world.file("ecds.json"), &self.wasm, configuration).unwrap();
        // Base, canary, main thread and two workers.
        wait::until_true(Duration::from_secs(30), "new VMs", async || {
            self.envoy.stat(CREATED).await.unwrap() >= before + 5
        })
        .await
        .unwrap();
        self.flush().await;
    }
}

#[tokio::test]
async fn a_bad_update_keeps_the_last_good_configuration_and_raises_the_gauge() {
    let mut rig = Rig::start(&config(1, 4000)).await;
    let before = rig.visit(0..500).await;
    for (times, bad) in (1..).zip(BROKEN) {
        rig.write(bad);
        rig.refused().await;
        let after = rig.visit(0..500).await;
        assert_eq!(after.total().bad, 0, "{bad}");
        assert_eq!(
            before.assignment().unwrap(),
            after.assignment().unwrap(),
            "{bad}"
        );
        rig.reads(stat::CONFIG_GENERATION, &[], 1).await;
        rig.told(times, "; generation 1 stays in use");

        // A good one is taken as if nothing had been.
        rig.configure(&config(1, 4000)).await;
        rig.recovered().await;
    }
    rig.configure(&config(3, 10_000)).await;
    assert_eq!(rig.visit(0..500).await.version("8").requests, 500);
}

#[tokio::test]
async fn a_mistake_is_told_once_for_each_generation_that_it_leaves_in_use() {
    let mut rig = Rig::start(&config(1, 4000)).await;
    for generation in [1, 2] {
        rig.configure(&config(generation, 4000)).await;
        rig.recovered().await;
        rig.write(BROKEN[0]);
        rig.refused().await;
    }
    let log = rig.envoy.process().log();
    for generation in [1, 2] {
        let said = format!("; generation {generation} stays in use");
        assert_eq!(log.matches(&said).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn a_bad_first_configuration_lets_traffic_pass_to_the_default_route() {
    let mut rig = Rig::start_with(BROKEN[1]).await;
    rig.refused().await;
    rig.reads(stat::CONFIG_GENERATION, &[], 0).await;
    rig.told(1, "; all requests take the default route");
    let tally = rig.visit(0..500).await;
    assert_eq!((tally.total().bad, tally.version("7").requests), (0, 500));
    // Even then nobody chooses a variant from outside.
    let (version, _) = rig.ask(HOST, b"user", &[(ROUTE, CANARY.as_bytes())]).await;
    assert_eq!(version, "7");
    assert_eq!(rig.stable.requests(), 501);

    rig.configure(&config(1, 10_000)).await;
    assert_eq!(rig.visit(0..500).await.version("8").requests, 500);
    rig.recovered().await;
}

#[tokio::test]
async fn a_new_binary_under_a_bad_configuration_goes_on_with_the_last_good_one() {
    let mut rig = Rig::start(&config(7, 4000)).await;
    let before = rig.visit(0..500).await;
    // One that the old VMs refused, and one that only the new ones meet.
    rig.write(BROKEN[0]);
    rig.refused().await;
    rig.replace_binary(BROKEN[1]).await;

    rig.reads(stat::CONFIG_INVALID, &[], 1).await;
    rig.reads(stat::CONFIG_GENERATION, &[], 7).await;
    rig.told(2, "; generation 7 stays in use");
    let after = rig.visit(0..500).await;
    assert_eq!(after.total().bad, 0);
    assert_eq!(before.assignment().unwrap(), after.assignment().unwrap());
}

#[tokio::test]
async fn a_new_binary_without_any_good_configuration_says_that_none_is_in_use() {
    let mut rig = Rig::start_with(BROKEN[0]).await;
    rig.refused().await;
    rig.replace_binary(BROKEN[1]).await;
    rig.reads(stat::CONFIG_INVALID, &[], 1).await;
    rig.reads(stat::CONFIG_GENERATION, &[], 0).await;
    rig.told(2, "; all requests take the default route");
    assert_eq!(rig.visit(0..500).await.version("7").requests, 500);
}

#[tokio::test]
async fn what_is_wrong_is_told_in_one_sentence_that_names_the_field() {
    let mut rig = Rig::start(&config(1, 10_000)).await;
    let good = serde_json::to_value(config(2, 0)).unwrap();
    let with = |path: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        bad.to_string()
    };
    let mut newer = good.clone();
    newer["version"] = 2.into();
    // Another format altogether, but for its version.
    newer["rollouts"] = json!({"ml/fraud": "8"});
    let mistakes = [
        (
            with("/rollouts/0/variants/1/route", 8.into()),
            "rollouts[0].variants[1].route: ",
        ),
        (
            with("/rollouts/0/variants/1/version", "8;".into()),
            "rollouts[0].variants[1].version: ",
        ),
        (
            with("/rollouts/0/table", json!([[9_999, 0]])),
            "rollouts[0].table: ",
        ),
        (
            with("/rollouts/0/key/0", json!({"moon": "full"})),
            "rollouts[0].key[0]: ",
        ),
        (
            newer.to_string(),
            "version: version 2 is newer than this filter reads: upgrade the filter ",
        ),
    ];
    for (mistake, field) in mistakes {
        rig.write(&mistake);
        let expected = format!("serin: invalid filter configuration: {field}");
        let line = rig
            .envoy
            .process()
            .line(Duration::from_secs(20), field, |line| {
                let said = line.split_once(&expected).map(|(_, said)| said.to_owned());
                said.filter(|_| line.contains("warning"))
            })
            .await
            .unwrap();
        assert!(line.ends_with("; generation 1 stays in use"), "{line}");
        rig.refused().await;
        assert_eq!(rig.visit(0..50).await.version("8").requests, 50, "{field}");
    }
}

#[tokio::test]
async fn fields_of_a_newer_minor_version_are_passed_over() {
    let mut config = serde_json::to_value(config(1, 10_000)).unwrap();
    let rollout = &mut config["rollouts"][0];
    rollout["cookie"] = json!({"name": "serin-user"});
    rollout["override"] = json!({"header": "x-serin-variant", "principals": ["spiffe://a/b"]});
    rollout["fuse"] = json!({"consecutiveErrors": 5});
    rollout["shadow"] = json!({"cluster": "nowhere", "sample": 0});
    rollout["slow"] = json!([{"name": "latency", "aboveMicros": 1000}]);
    rollout["rules"] = json!([{"variant": 0, "when": [{"header": "x-beta", "equals": "no"}]}]);
    let objects = [
        "",
        "/rollouts/0",
        "/rollouts/0/variants/1",
        "/rollouts/0/cookie",
        "/rollouts/0/override",
        "/rollouts/0/fuse",
        "/rollouts/0/shadow",
        "/rollouts/0/slow/0",
        "/rollouts/0/rules/0",
    ];
    for (object, value) in objects
        .iter()
        .zip([json!({"a": [1]}), json!("x"), json!(null)].iter().cycle())
    {
        config.pointer_mut(object).unwrap()["inventedLater"] = value.clone();
    }
    let mut rig = Rig::start_with(&config.to_string()).await;
    rig.settle(1).await;
    rig.reads(stat::CONFIG_INVALID, &[], 0).await;
    assert_eq!(rig.visit(0..50).await.version("8").requests, 50);
    let log = rig.envoy.process().log();
    assert!(!log.contains("serin:"), "{log}");
}

//! How labels travel: each encoding, in an Envoy whose statistics are configured as Istio's bootstrap does it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use serin_filter_core::stat::{self, LABELS, tag_regex, unpack};
use serin_tests::exposition::Sample;

use super::{Rig, Seen, USER, rendered, rollout};

const HOST: &str = "labels.ml";
const ROLLOUT: &str = "ml/labels.ml";
/// Istio's own expressions look for `tag.`, `cache.` and `component.` anywhere.
const VERSION: &str = "stag.8-cache.2";
const USERS: u64 = 20;

/// Some labels of Istio's own metrics; of the last one ours could be a part, and the other way round.
const OF_ISTIO: [&str; 3] = ["reporter", "source_version", "destination_version"];
/// The name of a statistic as Istio's metrics have it, in the place where a test can have Envoy use one.
const PREFIX: &str = "reporter=.=source;.;source_version=.=v1;.;destination_version=.=v2;.;istio";

/// What Istio's bootstrap says of statistics, with these tags in the place of `extraStatTags`
/// (`tools/packaging/common/envoy_bootstrap.json` of Istio).
fn as_istio(bootstrap: &mut Value, extra: &[&str]) {
    let tag = |name: &str, regex: &str| json!({"tag_name": name, "regex": regex});
    let mut tags = vec![
        tag(
            "cluster_name",
            r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)",
        ),
        tag("response_code", r"_rq(_(\d{3}))$"),
        tag("response_code_class", r"_rq(_(\dxx))$"),
    ];
    tags.extend(extra.iter().map(|name| tag(name, &tag_regex(name))));
    tags.extend([
        tag("cache", r"(cache\.(.+?)\.)"),
        tag("component", r"(component\.(.+?)\.)"),
        tag("tag", r"(tag\.(.+?);\.)"),
        tag("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
    ]);
    // Beside what Istio includes, what this test reads.
    let kept = [
        "cluster_manager",
        "listener_manager",
        "server",
        "wasm",
        "component",
        "istio",
        "http",
    ];
    let kept: Vec<Value> = kept
        .iter()
        .map(|prefix| json!({"prefix": prefix}))
        .collect();
    bootstrap["stats_config"] = json!({
        "use_all_default_tags": false,
        "stats_tags": tags,
        "stats_matcher": {"inclusion_list": {"patterns": kept}},
    });
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    listener["filter_chains"][0]["filters"][0]["typed_config"]["stat_prefix"] = PREFIX.into();
}

fn halves(generation: u64, stats: &str) -> String {
    let mut rollout = rollout(
        HOST,
        json!({"key": [{"header": "x-user-id"}], "table": [[5000, 0], [10_000, 1]]}),
    );
    rollout["variants"][1]["version"] = VERSION.into();
    let mut config: Value = serde_json::from_str(&rendered(generation, &[rollout])).unwrap();
    config["stats"] = stats.into();
    config.to_string()
}

impl Rig {
    /// One request of each user; returns how many were on the canary.
    async fn visitors(&self) -> u64 {
        let mut canary = 0;
        for user in 0..USERS {
            let request = self.request(HOST, "/").header(USER, user.to_string());
            canary += u64::from(Seen::of(request).await.version == "8");
        }
        assert!((1..USERS).contains(&canary), "all users on one version");
        canary
    }

    /// Our series, after the last flush.
    async fn ours(&self) -> Vec<Sample> {
        self.flush().await;
        let mut samples = self.envoy.metrics().await.unwrap();
        samples.retain(|it| it.name.contains("serin_") && !it.name.starts_with("envoy_"));
        samples
    }
}

/// The labels of a series of finished requests.
fn labels<'a>(variant: &'a str, version: &'a str) -> BTreeMap<&'a str, &'a str> {
    BTreeMap::from([
        (stat::ROLLOUT, ROLLOUT),
        (stat::VARIANT, variant),
        (stat::VERSION, version),
        (stat::COHORT, "split"),
        (stat::CLASS, "2xx"),
    ])
}

#[tokio::test]
async fn without_tags_of_our_own_labels_are_packed_into_one_or_part_of_the_name() {
    let rig = Rig::start_altered(&halves(1, "builtin"), |it| as_istio(it, &[])).await;
    rig.settle(1).await;
    let canary = rig.visitors().await;
    let ours = rig.ours().await;
    let mut requests = BTreeMap::new();
    for sample in &ours {
        let gauge = [stat::CONFIG_GENERATION, stat::CONFIG_INVALID].contains(&sample.name.as_str());
        assert_eq!(
            sample.labels.contains_key(stat::PACKED),
            !gauge,
            "{sample:?}"
        );
        if sample.name == stat::REQUESTS_TOTAL {
            let packed: BTreeMap<_, _> = unpack(&sample.labels[stat::PACKED]).collect();
            requests.insert(packed, sample.value);
        }
    }
    let expected = BTreeMap::from([
        (labels("stable", "7"), (USERS - canary) as f64),
        (labels("canary", VERSION), canary as f64),
    ]);
    assert_eq!(requests, expected);
    let names: BTreeSet<_> = ours.iter().map(|it| it.name.as_str()).collect();
    let whole = [
        "serin_assignments_total",
        "serin_config_generation",
        "serin_config_invalid",
        "serin_misrouted_total",
        "serin_request_duration_ms_bucket",
        "serin_request_duration_ms_count",
        "serin_request_duration_ms_sum",
        "serin_requests_total",
        "serin_sampled_total",
        "serin_split_bad_total",
        "serin_split_total",
    ];
    assert_eq!(names, BTreeSet::from(whole));

    rig.write(&halves(2, "plain"));
    rig.settle(2).await;
    rig.visitors().await;
    let plain = rig.ours().await;
    let of = |name: &str| -> f64 {
        let mut all = plain.iter().filter(|it| it.name == name);
        let sample = all
            .next()
            .unwrap_or_else(|| panic!("no {name} in {plain:#?}"));
        assert!(
            sample
                .labels
                .keys()
                .all(|label| !label.starts_with("serin_"))
        );
        sample.value
    };
    let stable = of("serin_requests_total_ml_labels_ml_stable_7_split_2xx");
    assert_eq!(stable, (USERS - canary) as f64);
}

#[tokio::test]
async fn tags_that_istio_declares_for_us_give_each_label_and_leave_those_of_istio_alone() {
    let declared: Vec<&str> = OF_ISTIO.iter().chain(&LABELS).copied().collect();
    let rig = Rig::start_altered(&halves(1, "istio"), |it| as_istio(it, &declared)).await;
    rig.settle(1).await;
    let canary = rig.visitors().await;
    let ours = rig.ours().await;
    for (labels, expected) in [
        (labels("stable", "7"), USERS - canary),
        (labels("canary", VERSION), canary),
    ] {
        let found: Vec<_> = ours
            .iter()
            .filter(|it| it.name == stat::REQUESTS_TOTAL)
            .filter(|it| {
                labels
                    .iter()
                    .all(|(label, value)| it.labels.get(*label).is_some_and(|its| its == value))
            })
            .collect();
        assert_eq!(found.len(), 1, "{labels:?} in {ours:#?}");
        assert_eq!(found[0].value, expected as f64, "{labels:?}");
        // Ours gain nothing that Istio would take for its own.
        assert!(
            OF_ISTIO
                .iter()
                .all(|label| !found[0].labels.contains_key(*label))
        );
    }

    let metrics = rig.envoy.metrics().await.unwrap();
    let total = "envoy_http_istio_downstream_rq_total";
    let of_istio = metrics.iter().find(|it| it.name == total).unwrap();
    let values = ["source", "v1", "v2"].map(str::to_owned);
    let expected: BTreeMap<_, _> = OF_ISTIO
        .map(str::to_owned)
        .into_iter()
        .zip(values)
        .collect();
    assert_eq!(of_istio.labels, expected);
    assert_eq!(of_istio.value, USERS as f64);
}

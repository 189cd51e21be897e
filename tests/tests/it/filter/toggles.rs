//! `enabled: false`: as if absent, and nothing of it lags behind.

use serde_json::{Value, json};
use serin_filter_core::stat;

use super::{CANARY, ROUTE, Rig, Seen, USER, rendered, rollout};

const HOST: &str = "toggle.ml";
const ROLLOUT: &str = "ml/toggle.ml";
const SHADOW: &str = "x-serin-shadow";
const OVERRIDE: &str = "x-serin-variant";

/// A rollout with all users on the canary, and an override.
fn canary() -> Value {
    let fields = json!({
        "key": [{"header": "x-user-id"}],
        "table": [[10_000, 1]],
        "override": {
            "header": OVERRIDE,
            "secret": {
                "header": "x-serin-secret",
                "sha256": "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0",
            },
        },
    });
    rollout(HOST, fields)
}

impl Rig {
    async fn toggle(&self, generation: u64, rollout: &Value) {
        self.write(&rendered(generation, std::slice::from_ref(rollout)));
        self.settle(generation).await;
    }

    /// Sends requests of 20 users, with headers that nobody may send, and demands one version for all of them.
    async fn all_on(&self, version: &str) {
        for user in 0..20 {
            let request = self.request(HOST, "/").header(USER, user.to_string());
            let request = request.header(ROUTE, CANARY).header(SHADOW, CANARY);
            let seen = Seen::of(request).await;
            assert_eq!(seen.version, version, "user {user}");
            let route = if version == "8" {
                json!([CANARY])
            } else {
                Value::Null
            };
            assert_eq!(seen.upstream[ROUTE], route, "user {user}");
            assert_eq!(seen.upstream[SHADOW], Value::Null, "user {user}");
        }
    }

    async fn assigned(&self, canary: u64, stable: Option<u64>) {
        let of = |variant| [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant)];
        self.reads(stat::ASSIGNMENTS_TOTAL, &of("canary"), canary)
            .await;
        self.reads(stat::REQUESTS_TOTAL, &of("canary"), canary)
            .await;
        let Some(stable) = stable else {
            let metrics = self.envoy.metrics().await.unwrap();
            assert!(
                !metrics
                    .iter()
                    .any(|it| it.is(stat::ASSIGNMENTS_TOTAL, &of("stable")))
            );
            return;
        };
        self.reads(stat::ASSIGNMENTS_TOTAL, &of("stable"), stable)
            .await;
        self.reads(stat::REQUESTS_TOTAL, &of("stable"), stable)
            .await;
    }
}

#[tokio::test]
async fn a_rollout_or_variant_that_is_off_is_as_if_absent_from_its_generation_on() {
    let on = canary();
    let rig = Rig::start_rollouts(std::slice::from_ref(&on)).await;
    rig.all_on("8").await;
    rig.assigned(20, None).await;

    // Nobody's requests: on the default route, not counted, and still without headers that only we may set.
    let mut off = on.clone();
    off["enabled"] = false.into();
    rig.toggle(2, &off).await;
    rig.all_on("7").await;
    rig.flush().await;
    rig.assigned(20, None).await;

    rig.toggle(3, &on).await;
    rig.all_on("8").await;
    rig.assigned(40, None).await;

    // Still the rollout's, on live; nor does a trusted override lead to what is off.
    let mut off = on.clone();
    off["variants"][1]["enabled"] = false.into();
    rig.toggle(4, &off).await;
    rig.all_on("7").await;
    rig.assigned(40, Some(20)).await;
    let request = rig.request(HOST, "/").header(OVERRIDE, "canary");
    let seen = Seen::of(request.header("x-serin-secret", "s3cret")).await;
    assert_eq!(
        (seen.version.as_str(), &seen.upstream[OVERRIDE]),
        ("7", &Value::Null)
    );
    rig.assigned(40, Some(21)).await;

    rig.toggle(5, &on).await;
    rig.all_on("8").await;
    rig.assigned(60, Some(21)).await;
    assert_eq!((rig.stable.requests(), rig.canary.requests()), (41, 60));
}

//! Releases under everything that can happen to the parts beside them. Afterwards the decision is that of an undisturbed
//! release, each cell is counted once, and the proxies were never given more than the step's weight.

mod control_plane;
mod controllers;
mod surroundings;

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;
use serin_controller::api::status::RolloutStatus;
use serin_controller::cluster::names;
use serin_controller::rollout::{HoldReason, Phase};
use serin_tests::cluster::mesh::{CONTROLLER as FIRST, Mesh};
use serin_tests::cluster::model::Model;
use serin_tests::cluster::witness::Witness;
use serin_tests::wait;

use super::LIMIT;

use crate::rollout::evidence::recomputed;

/// Its second step waits for somebody, so that there is a moment at which all that was counted is in status.
const STEPS: &str = "canary: {steps: [{weight: 20, gate: {ratio: 3, absolute: 4pp}}, {weight: 50, gate: {ratio: 3, absolute: 8pp}, pause: {approval: true}}], soak: 1s}";
/// What the proxies are given of the new version by such a release, in 1/10 000.
const SHARES: [u16; 3] = [2_000, 5_000, 10_000];

/// A release of a version that is well, in an installation of its own.
struct Chaos {
    mesh: Mesh,
    model: Model,
    witness: Witness,
}

impl Chaos {
    /// Up to the first users of the new version.
    async fn start(name: &str) -> Chaos {
        let mut chaos = Chaos::prepare(name).await;
        chaos.mesh.start_controller(FIRST, &[]).await.unwrap();
        chaos.begin().await;
        chaos
    }

    /// Without a controller and a release.
    async fn prepare(name: &str) -> Chaos {
        let mesh = Mesh::without_controller(name, &["7"], &[]).await.unwrap();
        let model = Model::start(&mesh, "good", &["7", "8"]).await.unwrap();
        let witness = Witness::start(&mesh).await.unwrap();
        Chaos {
            mesh,
            model,
            witness,
        }
    }

    async fn begin(&mut self) {
        self.mesh
            .apply(&self.model.rollout(STEPS, ""))
            .await
            .unwrap();
        let carried = self.model.is_carried(&self.mesh, FIRST).await;
        carried.unwrap();
        self.model.open(&self.mesh).unwrap();
        let shown = async || Some(self.mesh.report(FIRST, "good").await.ok()?.release?);
        wait::until_true(LIMIT, "users of the new version", async || {
            let release = shown().await;
            release.is_some_and(|it| it.canary().requests.total > 0)
        })
        .await
        .unwrap();
    }

    async fn until(&self, what: &str, accept: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
        self.mesh.until("good", what, accept).await.unwrap()
    }

    /// Waits until the second step wants an approval, and holds what was counted by then against Prometheus.
    async fn asks_for_approval(&self) {
        self.until("the wish for approval", |status| {
            status.phase == Some(Phase::Paused)
        })
        .await;
        let release = self.mesh.state("good").await.unwrap().release.unwrap();
        let held = release.hold.as_ref().map(|it| it.reason);
        assert_eq!(held, Some(HoldReason::Approval), "{:?}", release.hold);
        assert!(release.evidence.canary.requests.total > 0);
        let again = recomputed(&self.mesh.prometheus, "ml/good", &release).await;
        assert_eq!(
            release.evidence, again,
            "the evidence is not that of its cells"
        );
    }

    /// The end, which must be that of an undisturbed release.
    async fn succeeds(&self) {
        let status = self.until("the end", ended).await;
        let live = status.live.map(|it| it.version);
        assert_eq!(
            (status.phase, live.as_deref()),
            (Some(Phase::Succeeded), Some("8")),
            "{:?}",
            status.message
        );
    }

    /// All that is left to do: the approval, the end, and what must hold of it.
    async fn finish(self) {
        self.asks_for_approval().await;
        approve(&self.mesh).await;
        self.succeeds().await;
        self.close().await;
    }

    async fn close(mut self) {
        self.witness.check().unwrap();
        assert_eq!(self.witness.shares("ml/good"), SHARES);
        for tally in self.model.close().await.unwrap() {
            let (stable, canary) = (tally.version("7"), tally.version("8"));
            assert_eq!(stable.bad + canary.bad, 0, "somebody was let down");
        }
        self.mesh.stop().await.unwrap();
    }

    /// Lets this time pass; all the while the users of both versions are served.
    async fn serves_for(&self, time: Duration) {
        let begun = Instant::now();
        let count = || {
            let seen = self.model.seen();
            let of = |version| -> u64 { seen.iter().map(|it| it.version(version).requests).sum() };
            (of("7"), of("8"))
        };
        let mut before = count();
        while begun.elapsed() < time {
            // Not a wait for luck: this is how long it lasts.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = count();
            assert!(now.0 > before.0 && now.1 > before.1, "{before:?}, {now:?}");
            before = now;
        }
    }
}

fn ended(status: &RolloutStatus) -> bool {
    matches!(status.phase, Some(Phase::Succeeded | Phase::RolledBack))
}

/// As a person does who does not wait for the answer.
async fn approve(mesh: &Mesh) {
    let action = json!({"id": "approval", "do": "promote", "by": "ann"}).to_string();
    let patch = json!({"metadata": {"annotations": {names::ACTION: action}}});
    let rollouts = mesh.rollouts().await.unwrap();
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    let patched = rollouts.patch("good", &parameters, &patch);
    patched.await.unwrap();
}

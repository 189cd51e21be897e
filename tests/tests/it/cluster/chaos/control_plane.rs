//! The API server, etcd and istiod are away, or lose what the controller had of them.

use std::time::Duration;

use anyhow::ensure;
use kube::api::{ListParams, Patch, PatchParams};
use rustix::process::Signal;
use serde_json::{Value, json};
use serin_controller::api::status::RolloutStatus;
use serin_controller::rollout::Stage;
use serin_tests::cluster::objects;
use serin_tests::{tools, wait};

use super::super::LIMIT;
use super::{Chaos, FIRST};

const LEADS: &str = "serin_controller_leader";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_for_a_minute_nothing_moves_and_the_release_goes_on_afterwards() {
    let mut chaos = Chaos::start("chaos-api").await;
    chaos.mesh.control_plane.kill_api().await.unwrap();
    chaos.serves_for(Duration::from_secs(60)).await;
    let leads = chaos.mesh.controller_metric(FIRST, LEADS, &[]).await;
    assert_eq!(leads.unwrap(), 0.0, "it leads without a Lease");
    chaos.mesh.control_plane.start_api().await.unwrap();
    chaos.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_etcd_comes_back_the_release_goes_on() {
    let mut chaos = Chaos::start("chaos-etcd").await;
    chaos.mesh.control_plane.kill_etcd().await.unwrap();
    let rollouts = chaos.mesh.rollouts().await.unwrap();
    wait::until(LIMIT, "the API server to miss etcd", async || {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
        let parameters = PatchParams::default();
        let patch = rollouts.patch("good", &parameters, &patch);
        let written = tokio::time::timeout(Duration::from_secs(1), patch).await;
        ensure!(!matches!(written, Ok(Ok(_))), "it still writes");
        Ok(())
    })
    .await
    .unwrap();
    chaos.serves_for(Duration::from_secs(4)).await;
    chaos.mesh.control_plane.start_etcd().await.unwrap();
    chaos.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_istiod_no_step_is_left_because_no_proxy_has_its_weight() {
    let mut chaos = Chaos::start("chaos-istiod").await;
    chaos.mesh.istiod.kill().await.unwrap();
    let at_half = |status: &RolloutStatus| status.weight.as_deref() == Some("50%");
    chaos.until("the second step", at_half).await;
    let waiting = wait::until(LIMIT, "the proxies to be waited for", async || {
        let shown = chaos.mesh.report(FIRST, "good").await?;
        ensure!(
            shown.message.contains("proxies run generation"),
            "{}",
            shown.message
        );
        Ok(())
    });
    waiting.await.unwrap();
    chaos.serves_for(Duration::from_secs(8)).await;
    let release = chaos.mesh.state("good").await.unwrap().release.unwrap();
    assert_eq!((release.stage, release.hold), (Stage::Step(1), None));
    chaos.mesh.istiod.up().await.unwrap();
    chaos.finish().await;
}

/// Lets etcd forget all but the present, so that no watch can go on from the past.
async fn compact(chaos: &Chaos) {
    let rollouts = chaos.mesh.rollouts().await.unwrap();
    let list = rollouts.list(&ListParams::default()).await.unwrap();
    let revision = list.metadata.resource_version.unwrap();
    chaos.mesh.control_plane.compact(&revision).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_has_expired_begins_anew_and_misses_nothing() {
    let mut chaos = Chaos::start("chaos-expiry").await;
    // It sleeps while the world changes, for less than its lease.
    let controller = chaos.mesh.controller(FIRST).unwrap();
    controller.signal(Signal::STOP).unwrap();
    chaos.mesh.control_plane.kill_api().await.unwrap();
    chaos.mesh.control_plane.start_api().await.unwrap();
    let client = chaos.mesh.control_plane.client().await.unwrap();
    let routes = objects::api(
        &client,
        "networking.istio.io/v1",
        "VirtualService",
        Some("ml"),
    );
    let routes = routes.await.unwrap();
    let all = routes.list(&ListParams::default()).await.unwrap();
    let name = all.items[0].metadata.name.clone().unwrap();
    let patch = Patch::Merge(json!({"spec": {"exportTo": ["*"]}}));
    let edited = routes.patch(&name, &PatchParams::default(), &patch).await;
    edited.unwrap();
    compact(&chaos).await;
    let controller = chaos.mesh.controller(FIRST).unwrap();
    controller.signal(Signal::CONT).unwrap();
    wait::until(LIMIT, "a watch to expire", async || {
        let log = chaos.mesh.controller(FIRST).unwrap().log();
        let expired = ["too old resource version", "Expired", "compacted"];
        let line = log.lines().find(|line| {
            line.contains("a watch broke off") && expired.iter().any(|it| line.contains(it))
        });
        ensure!(line.is_some(), "{log}");
        Ok(())
    })
    .await
    .unwrap();
    wait::until(LIMIT, "the routes to be put right", async || {
        let found = routes.get(&name).await?;
        ensure!(
            found.data["spec"]["exportTo"] == Value::Null,
            "{:?}",
            found.data
        );
        Ok(())
    })
    .await
    .unwrap();
    chaos.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_changes_nothing_for_a_release_on_its_way() {
    let chaos = Chaos::start("chaos-crd").await;
    let client = chaos.mesh.control_plane.client().await.unwrap();
    let file = tools::repository().join("manifests/base/crd.yaml");
    let mut definition = objects::read_file(&file).unwrap().remove(0);
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let schema = definition.pointer_mut(schema).unwrap();
    let text = json!({"type": "string"});
    schema["spec"]["properties"]["team"] = text.clone();
    schema["status"]["properties"]["weather"] = text;
    objects::define(&client, vec![definition]).await.unwrap();

    // Somebody uses the new field, which this controller does not know: whether it sees it or not (the API server leaves
    // it out of watches that began before), what runs is untouched.
    let rollout = chaos.model.rollout(super::STEPS, "  team: fraud");
    wait::until(LIMIT, "the API server to keep the field", async || {
        chaos.mesh.apply(&rollout).await?;
        let kept = chaos.mesh.rollouts().await?.get("good").await?;
        ensure!(kept.spec["team"] == "fraud", "{}", kept.spec);
        Ok(())
    })
    .await
    .unwrap();
    chaos.finish().await;
}

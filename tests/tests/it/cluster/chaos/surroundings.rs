//! Prometheus is away, others write into the controller's objects, the clock jumps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use serin_controller::report::Verdict;
use serin_tests::cluster::clock::Clock;
use serin_tests::cluster::mesh::MODELS;
use serin_tests::cluster::objects;
use serin_tests::wait;

use super::super::LIMIT;
use super::{Chaos, FIRST, approve};

#[tokio::test(flavor = "multi_thread")]
async fn without_prometheus_the_weight_holds_and_what_it_missed_is_counted_afterwards() {
    let mut chaos = Chaos::start("chaos-prometheus").await;
    chaos.mesh.prometheus.down().await.unwrap();
    let error = wait::until(LIMIT, "the outage to be noticed", async || {
        let shown = chaos.mesh.report(FIRST, "good").await?;
        let verdict = shown.release.context("no release")?.verdict;
        ensure!(verdict == Verdict::Error, "{verdict:?}");
        Ok(shown.message)
    });
    let message = error.await.unwrap();
    assert!(message.contains("Prometheus does not answer"), "{message}");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let shown = chaos.mesh.report(FIRST, "good").await.unwrap();
        let weight = shown.release.unwrap().canary().weight;
        assert_eq!(weight, 20.0);
        chaos.serves_for(Duration::from_secs(2)).await;
    }
    chaos.mesh.prometheus.up().await.unwrap();
    chaos.finish().await;
}

/// Every how many rounds the plugin's place among others is changed: the proxies then begin to count at 0, and what they
/// counted since Prometheus read it last is lost.
const RARELY: u64 = 40;

/// Edits of an object one right after the other.
const HURRIES: usize = 5;

/// Writes into everything that the controller reads and writes, as somebody who means well, again and again.
async fn meddle(client: Client, edits: Arc<AtomicU64>) -> Result<()> {
    let rollouts =
        objects::api(&client, "serin.dev/v1alpha1", "ModelRollout", Some(MODELS)).await?;
    let routes = objects::api(
        &client,
        "networking.istio.io/v1",
        "VirtualService",
        Some(MODELS),
    )
    .await?;
    let subsets = objects::api(
        &client,
        "networking.istio.io/v1",
        "DestinationRule",
        Some(MODELS),
    )
    .await?;
    let plugins = objects::api(
        &client,
        "extensions.istio.io/v1alpha1",
        "TrafficExtension",
        Some("istio-system"),
    )
    .await?;
    let parameters = PatchParams::default();
    let everything = ListParams::default();
    for round in 0_u64.. {
        let text = round.to_string();
        let status = Patch::Merge(json!({"status": {"message": text}}));
        let _ = rollouts.patch_status("good", &parameters, &status).await;
        let label = Patch::Merge(json!({"metadata": {"labels": {"round": text}}}));
        let _ = rollouts.patch("good", &parameters, &label).await;
        let export = Patch::Merge(json!({"spec": {"exportTo": ["*"]}}));
        for api in [&routes, &subsets] {
            for object in api.list(&everything).await?.items {
                let name = object.metadata.name.context("no name")?;
                let _ = api.patch(&name, &parameters, &export).await;
                // While the controller puts that right.
                for hurry in 0..HURRIES {
                    let text = format!("{round}-{hurry}");
                    let label = Patch::Merge(json!({"metadata": {"labels": {"round": text}}}));
                    let _ = api.patch(&name, &parameters, &label).await;
                }
            }
        }
        let _ = plugins.patch("serin", &parameters, &label).await;
        if round % RARELY == 0 {
            let priority = Patch::Merge(json!({"spec": {"priority": 1}}));
            let _ = plugins.patch("serin", &parameters, &priority).await;
        }
        edits.fetch_add(1, Ordering::Relaxed);
        // Several times between any two writes of the controller, and not so often that nobody else gets a turn.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_others_write_in_between_the_release_comes_to_its_end() {
    let chaos = Chaos::start("chaos-conflicts").await;
    let edits = Arc::new(AtomicU64::new(0));
    let client = chaos.mesh.control_plane.client().await.unwrap();
    let meddler = tokio::spawn(meddle(client, Arc::clone(&edits)));
    chaos.asks_for_approval().await;
    approve(&chaos.mesh).await;
    chaos.succeeds().await;
    assert!(!meddler.is_finished(), "{:?}", meddler.await);
    meddler.abort();
    assert!(edits.load(Ordering::Relaxed) > 20);
    let drift = "serin_controller_drift_total";
    for kind in ["VirtualService", "DestinationRule", "TrafficExtension"] {
        let labels = [("kind", kind)];
        let put_right = chaos.mesh.controller_metric(FIRST, drift, &labels).await;
        assert!(put_right.unwrap() > 0.0, "{kind}");
    }
    let (errors, labels) = (
        "serin_controller_api_errors_total",
        [("reason", "conflict")],
    );
    let conflicts = chaos.mesh.controller_metric(FIRST, errors, &labels).await;
    assert!(conflicts.unwrap() > 0.0, "nobody was in the way");
    chaos.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_the_clock_jumps_each_cell_is_counted_in_its_time() {
    let mut chaos = Chaos::prepare("chaos-clock").await;
    let clock = Clock::new().unwrap();
    let variables = clock.variables();
    chaos
        .mesh
        .start_controller(FIRST, &variables)
        .await
        .unwrap();
    chaos.begin().await;
    for ahead in [3_600, -3_600, 30, 0] {
        clock.jump(ahead).unwrap();
        let counted = async || -> Result<u64> {
            let shown = chaos.mesh.report(FIRST, "good").await?;
            Ok(shown.release.context("no release")?.canary().requests.total)
        };
        let before = counted().await.unwrap();
        wait::until(LIMIT, "the next cells", async || {
            let now = counted().await?;
            ensure!(now > before + 50, "it is {now} after {before} at {ahead} s");
            Ok(())
        })
        .await
        .unwrap();
    }
    chaos.finish().await;
}

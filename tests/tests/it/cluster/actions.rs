//! What people ask of a rollout in the mesh, by annotation and at the command line; what switches do; what stays when a
//! resource goes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use serin_controller::api::status::{RolloutStatus, Truth};
use serin_controller::cluster::conditions::{DEFAULT_ROUTE_MOVED, ROUTES_FOLLOW_HEADER};
use serin_controller::cluster::{names, plugin};
use serin_controller::rollout::{Do, Phase};
use serin_filter_core::config::DEFAULT_ROUTE_HEADER;
use serin_tests::cluster::control_plane::DEV;
use serin_tests::cluster::mesh::{GATEWAYS, MODELS};
use serin_tests::cluster::objects;
use serin_tests::wait;

use super::strategies::Case;
use super::{LIMIT, all_hold, condition};

/// Gates that no traffic of minutes passes: what moves is moved by people.
const STEPS: &str = "canary: {steps: [{weight: 20, gate: {ratio: 1, absolute: 0pp}}, {weight: 50, gate: {ratio: 1, absolute: 0pp}}], soak: 1h}";

/// How a person asks.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Annotation,
    CommandLine,
}

impl Way {
    fn person(self) -> &'static str {
        match self {
            Way::Annotation => "ann",
            Way::CommandLine => DEV,
        }
    }
}

/// As it is typed.
fn words(what: Do) -> &'static [&'static str] {
    match what {
        Do::Promote => &["promote"],
        Do::PromoteFull => &["promote", "--full"],
        Do::Skip => &["skip"],
        Do::SetWeight => &["set-weight", "35"],
        Do::Retry => &["retry"],
        Do::Abort => &["abort"],
        Do::Pause => &["pause"],
        Do::Resume => &["resume"],
    }
}

impl Case {
    async fn annotate(&self, id: &str, what: Do, more: Value) {
        let weight = (what == Do::SetWeight).then_some(35.0);
        let action = json!({"id": id, "do": what, "by": Way::Annotation.person(), "why": "why not", "weight": weight});
        let mut patch = json!({"metadata": {"annotations": {names::ACTION: action.to_string()}}});
        if !more.is_null() {
            patch["spec"] = more;
        }
        let rollouts = self.mesh().rollouts().await.unwrap();
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = rollouts.patch(&self.model.name, &parameters, &patch);
        patched.await.unwrap();
    }

    /// Asks for something and returns what it came to.
    async fn ask(&self, way: Way, what: Do) -> RolloutStatus {
        if way == Way::Annotation {
            let id = format!(
                "{what:?}-{}",
                ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            );
            self.annotate(&id, what, Value::Null).await;
            let answered = |status: &RolloutStatus| {
                let last = status.last_action.as_ref();
                last.is_some_and(|it| it.id == id)
            };
            let status = self.until("an answer", answered).await;
            assert_eq!(status.last_action.as_ref().unwrap().by, way.person());
            return status;
        }
        self.serin(words(what)).await;
        let status = self.mesh().status(&self.model.name).await.unwrap();
        let last = status.last_action.clone().unwrap();
        // The API server knows who asks.
        assert_eq!((last.what, last.by.as_str()), (what, way.person()));
        status
    }

    async fn phase(&self, phase: Phase) -> RolloutStatus {
        let is = |status: &RolloutStatus| status.phase == Some(phase);
        self.until(&format!("{phase:?}"), is).await
    }

    /// Waits until the API server has events with these reasons about it, each told by somebody.
    async fn told(&self, reasons: &[&str]) {
        let client = self.mesh().control_plane.client().await.unwrap();
        let events = Api::<Event>::namespaced(client, MODELS);
        let about = format!("involvedObject.name={}", self.model.name);
        let about = ListParams::default().fields(&about);
        wait::until(LIMIT, "the events", async || {
            let found = events.list(&about).await?.items;
            let found: BTreeMap<_, _> = found
                .into_iter()
                .filter_map(|event| Some((event.reason?, event.message?)))
                .collect();
            for reason in reasons {
                let note = found.get(*reason);
                let note = note.with_context(|| format!("no {reason} in {found:?}"))?;
                ensure!(!note.is_empty(), "{reason} says nothing");
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}

static ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

async fn people_move_a_release_to_its_end(name: &'static str, way: Way) {
    let case = Case::start(name, STEPS).await;
    case.weighs("20%").await;
    let status = case.ask(way, Do::Pause).await;
    assert_eq!(status.phase, Some(Phase::Paused));
    let status = case.ask(way, Do::Resume).await;
    assert_eq!(status.phase, Some(Phase::Progressing));
    let status = case.ask(way, Do::SetWeight).await;
    assert_eq!(status.phase, Some(Phase::Paused));
    assert_eq!(status.weight.as_deref(), Some("35%"));
    let status = case.ask(way, Do::Resume).await;
    assert_eq!(status.weight.as_deref(), Some("20%"), "the step's own");
    let status = case.ask(way, Do::Promote).await;
    assert_eq!(status.weight.as_deref(), Some("50%"));
    let status = case.ask(way, Do::PromoteFull).await;
    assert_eq!(status.phase, Some(Phase::Soaking));
    assert_eq!(status.weight.as_deref(), Some("100%"));
    case.ask(way, Do::Skip).await;
    case.ends(Phase::Succeeded, "8").await;
    let status = case.ask(way, Do::Abort).await;
    assert_eq!(status.phase, Some(Phase::Succeeded), "what ended, ended");
    let answer = status.last_action.unwrap().answer;
    assert!(answer.starts_with("nothing to do"), "{answer}");
    let told = [
        "ReleaseStarted",
        "Paused",
        "Resumed",
        "StepCompleted",
        "Soaking",
        "ReleaseSucceeded",
    ];
    case.told(&told).await;
}

async fn people_end_a_release_and_try_it_again(name: &'static str, way: Way) {
    let case = Case::start(name, STEPS).await;
    case.weighs("20%").await;
    let status = case.ask(way, Do::Abort).await;
    assert_eq!(status.phase, Some(Phase::RolledBack));
    assert_eq!(status.weight.as_deref(), Some("0%"));
    case.reaches("7", &[("x-user-id", "1")]).await;
    let status = case.ask(way, Do::Retry).await;
    assert_eq!(status.phase, Some(Phase::Progressing));
    assert_eq!(status.weight.as_deref(), Some("20%"));
    case.ask(way, Do::Abort).await;
    case.ends(Phase::RolledBack, "7").await;
    case.told(&["ReleaseStarted", "RolledBack"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_does_what_it_says_by_annotation_and_at_the_command_line() {
    all_hold([
        people_move_a_release_to_its_end("moved", Way::Annotation).boxed_local(),
        people_move_a_release_to_its_end("moved-cli", Way::CommandLine).boxed_local(),
        people_end_a_release_and_try_it_again("ended", Way::Annotation).boxed_local(),
        people_end_a_release_and_try_it_again("ended-cli", Way::CommandLine).boxed_local(),
        an_action_is_consumed_once().boxed_local(),
        a_switch_takes_a_version_away_and_gives_it_back().boxed_local(),
    ])
    .await;
}

async fn an_action_is_consumed_once() {
    let case = Case::start("once", STEPS).await;
    case.weighs("20%").await;
    case.annotate("first", Do::Pause, Value::Null).await;
    case.phase(Phase::Paused).await;
    let status = case.ask(Way::CommandLine, Do::Resume).await;
    assert_eq!(status.phase, Some(Phase::Progressing));
    // The same request again, as a copy of the resource from somewhere would bring it; the edit beside it shows when the
    // controller has read it.
    let edit = json!({"strategy": {"canary": {"soak": "2h"}}});
    case.annotate("first", Do::Pause, edit).await;
    let rollouts = case.mesh().rollouts().await.unwrap();
    let generation = rollouts.get("once").await.unwrap().metadata.generation;
    let read = |status: &RolloutStatus| status.observed_generation == generation;
    let status = case.until("the edit to be read", read).await;
    assert_eq!(status.phase, Some(Phase::Progressing));
    let records = case.release().await.records;
    let pauses = records.iter().filter(|it| it.message.starts_with("paused"));
    assert_eq!(pauses.count(), 1, "{records:#?}");
}

async fn a_switch_takes_a_version_away_and_gives_it_back() {
    let mut case = Case::start_with("switch", &["7", "8"]).await;
    let on = case.model.rollout(STEPS, "").replace(
        "    salt: switch-8\n",
        "    salt: switch-8\n    rules: [{variant: canary, when: [{header: x-beta, exists: true}]}]\n",
    );
    case.begin(&on).await;
    let beta = [("x-beta", "1")];
    case.reaches("8", &beta).await;
    let off = on.replace(
        "route: {subset: v8}}",
        "route: {subset: v8}, enabled: false}",
    );
    case.apply(&off).await;
    case.reaches("7", &beta).await;
    case.apply(&on).await;
    case.reaches("8", &beta).await;
    case.ask(Way::CommandLine, Do::Abort).await;
    case.reaches("7", &beta).await;
}

/// Two gates that seconds of traffic pass, and no soak.
const QUICK: &str = "canary: {steps: [{weight: 20, gate: {ratio: 3, absolute: 8pp}}], soak: 1s}";

async fn routes_of_ones_own_are_read_and_what_they_lack_is_said() {
    let mut case = Case::start_with("own-routes", &["7", "8"]).await;
    let client = case.mesh().control_plane.client().await.unwrap();
    let service = case.model.service().clone();
    let through = format!("{GATEWAYS}/ingress");
    let routes = |live: &str| service.virtual_service(DEFAULT_ROUTE_HEADER, live, &[&through]);
    let mut deaf = routes("v7");
    let all = deaf["spec"]["http"].as_array_mut().unwrap();
    let default = all.pop().unwrap();
    *all = vec![default];
    let own = vec![service.destination_rule(), deaf];
    objects::apply_all(&client, own).await.unwrap();
    let rollout = case.model.rollout(QUICK, "");
    let ours = format!("route: {{gateways: [{through}, mesh]}}");
    let own = rollout.replace(&ours, "route: {manage: false}");
    case.begin(&own).await;

    let lacks = |status: &RolloutStatus| {
        condition(status, ROUTES_FOLLOW_HEADER).is_some_and(|it| it.status == Truth::False)
    };
    let status = case.until("what the routes lack", lacks).await;
    let why = &condition(&status, ROUTES_FOLLOW_HEADER).unwrap().message;
    let wanted = "'x-serin-route: v8' to subset 'v8' of own-routes.ml.svc.cluster.local: add such a route before";
    assert!(why.contains(wanted), "{why}");
    assert_eq!(status.weight.as_deref(), Some("20%"));
    assert_eq!(case.model.versions["8"].requests(), 0);

    objects::apply(&client, routes("v7")).await.unwrap();
    let unmoved = |status: &RolloutStatus| {
        condition(status, DEFAULT_ROUTE_MOVED).is_some_and(|it| it.status == Truth::False)
    };
    let status = case.until("the default route's turn", unmoved).await;
    let why = &condition(&status, DEFAULT_ROUTE_MOVED).unwrap().message;
    assert!(why.contains("does not lead to subset 'v8'"), "{why}");
    assert_eq!(status.weight.as_deref(), Some("100%"));
    let live = status.live.map(|it| it.version);
    assert_eq!(live.as_deref(), Some("7"));

    objects::apply(&client, routes("v8")).await.unwrap();
    case.ends(Phase::Succeeded, "8").await;
}

/// Deletes the resource, and waits until it and its part of the plugin are gone.
async fn delete(case: &Case) -> Result<()> {
    let name = &case.model.name;
    case.mesh().delete(name).await?;
    let rollouts = case.mesh().rollouts().await?;
    wait::until(LIMIT, "the resource to go", async || {
        let left = rollouts.get_opt(name).await?;
        ensure!(left.is_none(), "{:?}", left.map(|it| it.metadata));
        let config = plugin::config_in(&case.mesh().plugin().await?);
        let config = config.context("the plugin has no config")?;
        let full = format!("{MODELS}/{name}");
        ensure!(
            config.rollouts.iter().all(|it| it.name != full),
            "it is there"
        );
        Ok(())
    })
    .await
}

async fn a_deleted_release_leaves_what_was_live_before_it() {
    let mut case = Case::start("deleted", STEPS).await;
    case.weighs("20%").await;
    let reached = case.model.versions["8"].requests();
    wait::until_true(LIMIT, "users of the new version", async || {
        case.model.versions["8"].requests() > reached
    })
    .await
    .unwrap();
    delete(&case).await.unwrap();
    for user in 0..20 {
        let user = user.to_string();
        case.reaches("7", &[("x-user-id", &user)]).await;
    }
    for tally in case.model.close().await.unwrap() {
        assert_eq!(tally.version("7").bad + tally.version("8").bad, 0);
    }
}

async fn a_deleted_rollout_leaves_what_it_made_live() {
    let case = Case::start("left", QUICK).await;
    case.ends(Phase::Succeeded, "8").await;
    delete(&case).await.unwrap();
    for user in 0..20 {
        let user = user.to_string();
        case.reaches("8", &[("x-user-id", &user)]).await;
    }
    // A new rollout of the same name knows what is live, though its file is older than that.
    case.apply(&case.model.rollout(QUICK, "")).await;
    let said = |status: &RolloutStatus| status.message.is_some();
    let status = case.until("a word on what is live", said).await;
    assert_eq!(
        status.live.map(|it| it.version).as_deref(),
        Some("8"),
        "{:?}",
        status.message
    );
    case.reaches("8", &[("x-user-id", "1")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_owns_the_routes_what_is_live_goes_on_serving() {
    all_hold([
        routes_of_ones_own_are_read_and_what_they_lack_is_said().boxed_local(),
        a_deleted_release_leaves_what_was_live_before_it().boxed_local(),
        a_deleted_rollout_leaves_what_it_made_live().boxed_local(),
    ])
    .await;
}

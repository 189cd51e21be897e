//! Every strategy but canary (which is `release`'s) in the mesh, from the resource to its end; all in one installation
//! at the same time, each with a model of its own.

use std::sync::Arc;

use futures::FutureExt;
use serin_controller::api::status::RolloutStatus;
use serin_controller::rollout::{Outcome, Phase, Release};
use serin_tests::cluster::mesh::{CONTROLLER, Mesh};
use serin_tests::cluster::model::Model;

use super::all_hold;

const GATE: &str = "gate: {ratio: 3, absolute: 8pp}";

/// A model with a rollout.
pub(super) struct Case {
    mesh: Arc<Mesh>,
    pub(super) model: Model,
}

impl Case {
    /// Versions 7 and 8 under traffic.
    pub(super) async fn start(name: &str, strategy: &str) -> Case {
        let mut case = Case::start_with(name, &["7", "8"]).await;
        case.begin(&case.model.rollout(strategy, "")).await;
        case
    }

    /// Without a rollout, and without users.
    pub(super) async fn start_with(name: &str, versions: &[&str]) -> Case {
        let mesh = Mesh::shared().await.unwrap();
        let model = Model::start(&mesh, name, versions).await.unwrap();
        Case { mesh, model }
    }

    /// Applies the first rollout, and lets users come as soon as the proxies have it.
    pub(super) async fn begin(&mut self, rollout: &str) {
        self.apply(rollout).await;
        let carried = self.model.is_carried(&self.mesh, CONTROLLER).await;
        carried.unwrap();
        self.model.open(&self.mesh).unwrap();
    }

    pub(super) fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    pub(super) async fn apply(&self, rollout: &str) {
        self.mesh.apply(rollout).await.unwrap();
    }

    /// Waits for a status.
    pub(super) async fn until(
        &self,
        what: &str,
        accept: impl Fn(&RolloutStatus) -> bool,
    ) -> RolloutStatus {
        let what = format!("{} of {}", what, self.model.name);
        let found = self.mesh.until(&self.model.name, &what, accept).await;
        found.unwrap()
    }

    pub(super) async fn weighs(&self, weight: &str) -> RolloutStatus {
        let weighs = |status: &RolloutStatus| status.weight.as_deref() == Some(weight);
        self.until(weight, weighs).await
    }

    /// Waits for the end, which must be this one, with this version live.
    pub(super) async fn ends(&self, phase: Phase, live: &str) -> RolloutStatus {
        let ended = |status: &RolloutStatus| {
            matches!(status.phase, Some(Phase::Succeeded | Phase::RolledBack))
        };
        let status = self.until("the end", ended).await;
        let found = status.live.as_ref().map(|it| it.version.as_str());
        assert_eq!(
            (status.phase, found),
            (Some(phase), Some(live)),
            "{}: {:?}",
            self.model.name,
            status.message
        );
        status
    }

    pub(super) async fn release(&self) -> Release {
        let state = self.mesh.state(&self.model.name).await.unwrap();
        state.release.unwrap()
    }

    /// Asks for something, as a person at the command line.
    pub(super) async fn serin(&self, arguments: &[&str]) -> String {
        let (verb, rest) = arguments.split_first().unwrap();
        let name = format!("ml/{}", self.model.name);
        let all = [&[*verb, name.as_str()], rest].concat();
        let output = self.mesh.serin(&all).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (said, error) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{all:?}: {said}{error}");
        said
    }

    /// Waits until a request of this kind reaches a version, at both entrances.
    pub(super) async fn reaches(&self, version: &str, headers: &[(&str, &str)]) {
        for entrance in self.mesh.entrances {
            serin_tests::wait::until(super::LIMIT, "the version", async || {
                let found = self.model.asked(entrance, headers).await?;
                anyhow::ensure!(found == version, "it is {found}");
                Ok(())
            })
            .await
            .unwrap();
        }
    }
}

fn said(status: &RolloutStatus) -> &str {
    status.message.as_deref().unwrap_or_default()
}

async fn linear_goes_up_in_equal_steps() {
    let strategy = format!("linear: {{stepWeight: 20, maxWeight: 40, {GATE}, soak: 1s}}");
    let case = Case::start("linear", &strategy).await;
    case.ends(Phase::Succeeded, "8").await;
    let records = case.release().await.records;
    let mut weights: Vec<_> = records.iter().map(|it| it.weight).collect();
    weights.dedup();
    assert_eq!(weights, [20.0, 40.0, 100.0]);
}

async fn linear_goes_home_when_the_version_breaks_at_its_second_step() {
    let strategy = format!("linear: {{stepWeight: 20, maxWeight: 40, {GATE}, soak: 1s}}");
    let case = Case::start("linear-bad", &strategy).await;
    case.weighs("40%").await;
    case.model.breaks("8", true);
    case.ends(Phase::RolledBack, "7").await;
    case.reaches("7", &[("x-user-id", "1")]).await;
}

/// The strategy, and a rule that leads testers to the new version.
fn blue_green(model: &Model, soak: &str) -> String {
    let rollout = model.rollout(&format!("blueGreen: {{soak: {soak}}}"), "");
    let salt = format!("    salt: {}-8\n", model.name);
    let rule = "    rules: [{variant: canary, when: [{header: x-beta, exists: true}]}]\n";
    rollout.replace(&salt, &format!("{salt}{rule}"))
}

async fn blue_green_shows_itself_to_whom_a_rule_names_and_then_takes_all() {
    let mut case = Case::start_with("blue-green", &["7", "8"]).await;
    case.begin(&blue_green(&case.model, "2s")).await;
    let waiting = |status: &RolloutStatus| status.phase == Some(Phase::Paused);
    let status = case.until("the wish for approval", waiting).await;
    assert_eq!(status.weight.as_deref(), Some("0%"));
    let asked = case.model.versions["8"].requests();
    assert_eq!(asked, 0, "nobody meets a preview by chance");
    case.reaches("8", &[("x-beta", "1")]).await;
    let said = case.serin(&["promote", "--why", "looks fine"]).await;
    assert!(said.contains("approved by"), "{said}");
    case.ends(Phase::Succeeded, "8").await;
}

async fn blue_green_takes_everybody_back_when_the_version_breaks_in_the_soak() {
    let mut case = Case::start_with("blue-green-bad", &["7", "8"]).await;
    case.begin(&blue_green(&case.model, "10m")).await;
    let waiting = |status: &RolloutStatus| status.phase == Some(Phase::Paused);
    case.until("the wish for approval", waiting).await;
    case.serin(&["promote"]).await;
    let soaking = |status: &RolloutStatus| status.phase == Some(Phase::Soaking);
    case.until("the soak", soaking).await;
    case.reaches("8", &[("x-user-id", "1")]).await;
    case.model.breaks("8", true);
    case.ends(Phase::RolledBack, "7").await;
    case.reaches("7", &[("x-user-id", "1")]).await;
}

async fn rolling_follows_the_ready_endpoints_up_and_down() {
    let strategy = format!("rolling: {{maxWeight: 60, {GATE}, soak: 1s}}");
    let mut case = Case::start("rolling", &strategy).await;
    let mesh = Arc::clone(&case.mesh);
    case.weighs("50%").await;
    let endpoints: &[(&str, usize)] = &[("7", 3), ("8", 1)];
    case.model.set_endpoints(&mesh, endpoints).await.unwrap();
    case.weighs("25%").await;
    let endpoints: &[(&str, usize)] = &[("7", 1), ("8", 3)];
    case.model.set_endpoints(&mesh, endpoints).await.unwrap();
    case.weighs("75%").await;
    case.model.set_endpoints(&mesh, &[("8", 3)]).await.unwrap();
    case.ends(Phase::Succeeded, "8").await;
}

/// Three versions, each with a third.
async fn test_of_three(name: &str) -> Case {
    let mut case = Case::start_with(name, &["7", "8", "9"]).await;
    let strategy = "abTest: {weights: {canary: 33, other: 33}, difference: 10pp, for: 1h}";
    let rollout = case.model.rollout(strategy, "").replace(
        "  assignment:",
        "    - {name: other, version: \"9\", route: {subset: v9}}\n  assignment:",
    );
    case.begin(&rollout).await;
    case
}

async fn versions_that_are_alike_are_said_to_be_and_everybody_goes_home() {
    let case = test_of_three("alike").await;
    let status = case.ends(Phase::Succeeded, "7").await;
    assert_eq!(case.release().await.outcome, Some(Outcome::Concluded));
    let alike = "no difference larger than 10 pp by errors";
    assert!(said(&status).starts_with(alike), "{status:?}");
    for version in ["8", "9"] {
        assert!(case.model.versions[version].requests() > 100);
    }
}

async fn a_version_that_breaks_leaves_the_test_and_the_others_go_on() {
    let case = test_of_three("out").await;
    case.model.breaks("8", true);
    case.ends(Phase::Succeeded, "7").await;
    let release = case.release().await;
    assert_eq!(release.outcome, Some(Outcome::Concluded));
    let out = "canary is out of the test";
    assert!(
        release.records.iter().any(|it| it.message.ends_with(out)),
        "{:#?}",
        release.records
    );
}

const SHADOW: &str = "shadow: {sample: 100%, gate: {ratio: 3, absolute: 8pp}}";

async fn a_shadow_is_judged_by_its_answers_to_copies_and_nobody_meets_it() {
    let mut case = Case::start("shadow", SHADOW).await;
    let status = case.ends(Phase::Succeeded, "7").await;
    assert_eq!(case.release().await.outcome, Some(Outcome::Concluded));
    let copies = "on copies, canary errors 0 % vs 0 %";
    assert!(said(&status).starts_with(copies), "{status:?}");
    assert!(case.model.versions["8"].requests() > 100, "it got copies");
    for tally in case.model.close().await.unwrap() {
        assert_eq!(tally.version("8").requests, 0, "nobody met it");
    }
}

async fn a_shadow_that_fails_gets_no_more_copies_and_hurts_nobody() {
    let mut case = Case::start("shadow-bad", SHADOW).await;
    case.model.breaks("8", true);
    case.ends(Phase::RolledBack, "7").await;
    for tally in case.model.close().await.unwrap() {
        assert_eq!(tally.version("8").requests, 0, "nobody met it");
        assert_eq!(tally.version("7").bad, 0);
    }
}

async fn manual_weights_are_peoples() {
    let case = Case::start("manual", "manual: {weight: 5, soak: 1s}").await;
    case.weighs("5%").await;
    for (asked, expected) in [("30", "30%"), ("10", "10%")] {
        let said = case.serin(&["set-weight", asked]).await;
        assert!(said.contains("weight set to"), "{said}");
        case.weighs(expected).await;
    }
    let said = case.serin(&["promote", "--full"]).await;
    assert!(said.contains("on to 100 %"), "{said}");
    case.ends(Phase::Succeeded, "8").await;
}

async fn under_manual_weights_the_judge_still_watches() {
    let case = Case::start("manual-bad", "manual: {weight: 30, soak: 1s}").await;
    case.weighs("30%").await;
    case.model.breaks("8", true);
    case.ends(Phase::RolledBack, "7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_comes_to_its_good_end() {
    all_hold([
        linear_goes_up_in_equal_steps().boxed_local(),
        blue_green_shows_itself_to_whom_a_rule_names_and_then_takes_all().boxed_local(),
        rolling_follows_the_ready_endpoints_up_and_down().boxed_local(),
        versions_that_are_alike_are_said_to_be_and_everybody_goes_home().boxed_local(),
        a_shadow_is_judged_by_its_answers_to_copies_and_nobody_meets_it().boxed_local(),
        manual_weights_are_peoples().boxed_local(),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_strategy_takes_users_back_from_a_version_that_breaks() {
    all_hold([
        linear_goes_home_when_the_version_breaks_at_its_second_step().boxed_local(),
        blue_green_takes_everybody_back_when_the_version_breaks_in_the_soak().boxed_local(),
        a_version_that_breaks_leaves_the_test_and_the_others_go_on().boxed_local(),
        a_shadow_that_fails_gets_no_more_copies_and_hurts_nobody().boxed_local(),
        under_manual_weights_the_judge_still_watches().boxed_local(),
    ])
    .await;
}

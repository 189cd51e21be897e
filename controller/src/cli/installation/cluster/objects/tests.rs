use serde_json::{Value, json};

use super::*;
use crate::api::ModelRollout as File;
use crate::cluster::status::status as written_status;
use crate::fixtures::{in_mesh, source, started_with};
use crate::report::Verdict;
use crate::rollout::{Do, Outcome};

/// A resource as the API server has it.
fn resource(metadata: &Value, status: Option<Value>) -> ModelRollout {
    let file: File = source(&in_mesh()).rollout;
    let mut all =
        json!({"name": "fraud", "namespace": "ml", "generation": 2, "resourceVersion": "7"});
    all.as_object_mut()
        .unwrap()
        .extend(metadata.as_object().unwrap().clone());
    let mut object = json!({
        "apiVersion": "serin.dev/v1alpha1", "kind": "ModelRollout",
        "metadata": all, "spec": file.spec,
    });
    if let Some(status) = status {
        object["status"] = status;
    }
    serde_json::from_value(object).unwrap()
}

/// Its status as the controller writes it.
fn written(state: &RolloutState, view: &View, generation: i64) -> Value {
    let plan = source(&in_mesh()).plan;
    let checkpoint = serde_json::to_string(state).unwrap();
    let reported = report(Some(&plan), state, view);
    let now = Timestamp::UNIX_EPOCH;
    let status = written_status(&reported, state, None, Some(generation), checkpoint, now);
    serde_json::to_value(status).unwrap()
}

fn started() -> RolloutState {
    started_with(&in_mesh()).1
}

fn action(id: &str) -> String {
    let action = Action {
        id: id.to_owned(),
        what: Do::Pause,
        by: "ann".to_owned(),
        why: String::new(),
        seen: None,
        weight: None,
    };
    serde_json::to_string(&action).unwrap()
}

#[test]
fn a_checkpoint_gives_what_the_controller_would_report() {
    let (plan, state) = started_with(&in_mesh());
    let view = View {
        waiting_for: Some("the gate of step 1 wants more requests".to_owned()),
        last_cell: vec![900, 100],
        generation: Some(12),
        ..View::default()
    };
    let seen = seen(&resource(&json!({}), Some(written(&state, &view, 2))));
    let mut expected = report(Some(&plan), &state, &view);
    // Not part of status: where a person sees it live, the endpoint gives it.
    for condition in &mut expected.conditions {
        condition.reason = None;
    }
    let mut found = seen.status.clone();
    for condition in &mut found.conditions {
        assert!(condition.reason.take().is_some());
    }
    assert_eq!(found, expected);
    assert!(seen.current);
    assert_eq!(seen.version.as_deref(), Some("7"));
}

#[test]
fn an_edit_that_the_controller_has_not_read_is_no_news_of_it() {
    let status = written(&started(), &View::default(), 1);
    let seen = seen(&resource(&json!({}), Some(status)));
    assert!(!seen.current);
    assert!(seen.notes()[0].contains("has not read the latest edit"));
}

#[test]
fn a_resource_without_status_is_pending_and_its_mistakes_are_told_already() {
    let found = seen(&resource(&json!({}), None));
    assert_eq!(found.status.phase, Phase::Pending);
    assert_eq!(
        found.status.message,
        "the controller has not taken it up yet"
    );
    assert!(!found.current);
    let mut wrong = resource(&json!({}), None);
    wrong.spec["strategy"]["canary"]["steps"][0]["weight"] = json!(0);
    let found = seen(&wrong).status;
    assert!(
        found.message.contains("steps[0].weight"),
        "{}",
        found.message
    );
    assert_eq!(found.conditions[0].status, Some(false));
    wrong.spec["strategy"] = json!({"dance": {}});
    let found = seen(&wrong).status;
    assert!(
        found.message.starts_with("spec.strategy"),
        "{}",
        found.message
    );
}

#[test]
fn what_another_version_wrote_is_shown_as_far_as_it_is_understood() {
    let mut status = written(&started(), &View::default(), 2);
    status["checkpoint"] = json!("{\"from\": \"the future\"}");
    let found = seen(&resource(&json!({}), Some(status))).status;
    assert_eq!(found.phase, Phase::Progressing);
    assert_eq!(found.live.version, "7");
    status = json!({"phase": "Dancing", "checkpoint": "{}"});
    let found = seen(&resource(&json!({}), Some(status))).status;
    assert!(
        found.message.contains("another version"),
        "{}",
        found.message
    );
}

#[test]
fn an_action_waits_until_its_id_is_among_the_answered() {
    let annotated = |id: &str| json!({"annotations": {"serin.dev/action": action(id)}});
    let mut state = started();
    let status = written(&state, &View::default(), 2);
    let waits = seen(&resource(&annotated("1"), Some(status)));
    assert_eq!(waits.pending.as_ref().unwrap().by, "ann");
    assert!(waits.notes()[0].contains("pause by ann waits"));
    state.consumed_actions.push("1".to_owned());
    let status = written(&state, &View::default(), 2);
    let answered = seen(&resource(&annotated("1"), Some(status)));
    assert_eq!(answered.pending, None);
    // What nobody can understand, nobody will answer.
    let nonsense = json!({"annotations": {"serin.dev/action": "pause please"}});
    assert_eq!(seen(&resource(&nonsense, None)).pending, None);
}

#[test]
fn live_numbers_are_taken_unless_they_are_behind_the_resource() {
    let (plan, state) = started_with(&in_mesh());
    let of = |state: &RolloutState| report(Some(&plan), state, &View::default());
    let here = || {
        seen(&resource(
            &json!({}),
            Some(written(&state, &View::default(), 2)),
        ))
    };

    let mut live = of(&state);
    live.release.as_mut().unwrap().verdict = Verdict::Pass;
    let mut found = here();
    take_live(&mut found, live.clone());
    assert_eq!(found.status, live);

    // One that lost the lead does not know how the release ended.
    let mut ended = state.clone();
    let release = ended.release.as_mut().unwrap();
    release.outcome = Some(Outcome::RolledBack);
    release.record(Timestamp::UNIX_EPOCH, "rolled back");
    let mut found = seen(&resource(
        &json!({}),
        Some(written(&ended, &View::default(), 2)),
    ));
    take_live(&mut found, live.clone());
    assert_eq!(found.status.phase, Phase::RolledBack);

    // Nor what it did not answer.
    let mut answered = state.clone();
    answered.consumed_actions.push("1".to_owned());
    let mut found = seen(&resource(
        &json!({}),
        Some(written(&answered, &View::default(), 2)),
    ));
    take_live(&mut found, live);
    assert_eq!(found.status.consumed_actions, ["1"]);
}

#[test]
fn a_deleted_resource_says_so() {
    let deleted = json!({"deletionTimestamp": "2026-11-21T10:00:00Z"});
    let status = written(&started(), &View::default(), 2);
    let found = seen(&resource(&deleted, Some(status))).status;
    assert!(
        found.message.starts_with("is being deleted: "),
        "{}",
        found.message
    );
}

#[test]
fn what_is_explained_is_the_state_else_what_is_written() {
    let status = written(&started(), &View::default(), 2);
    assert!(matches!(
        inner(&resource(&json!({}), Some(status))),
        Ok(Inner::State(_))
    ));
    assert!(matches!(
        inner(&resource(&json!({}), None)),
        Ok(Inner::Spec(_))
    ));
    let mut wrong = resource(&json!({}), None);
    wrong.spec["strategy"]["canary"]["steps"] = json!([]);
    assert!(inner(&wrong).unwrap_err().contains("steps"));
}

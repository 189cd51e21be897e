use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::cluster::resource::ModelRollout;
use crate::fixtures::started;
use crate::observation::Proxy;
use crate::report::{View, report};
use crate::validate::Plan;

fn of(plan: &Plan, state: &RolloutState, view: &View, now: i64) -> RolloutStatus {
    after(None, plan, state, view, now)
}

fn after(
    previous: Option<&RolloutStatus>,
    plan: &Plan,
    state: &RolloutState,
    view: &View,
    now: i64,
) -> RolloutStatus {
    let now = Timestamp::from_millisecond(now * 1000 + 700).unwrap();
    let report = report(Some(plan), state, view);
    let previous = previous.map(|it| Written::of(it, false));
    status(
        &report,
        state,
        previous.as_ref(),
        Some(3),
        "{}".to_owned(),
        now,
    )
}

fn condition<'a>(status: &'a RolloutStatus, kind: &str) -> &'a Condition {
    let mut all = status.conditions.iter();
    all.find(|condition| condition.kind == kind).unwrap()
}

/// A proxy that runs the given generation.
fn proxy(target: &str, generation: u64) -> Proxy {
    Proxy {
        target: target.to_owned(),
        namespace: None,
        up: true,
        generation: Some(generation),
        invalid: false,
    }
}

#[test]
fn columns_say_step_weight_and_what_was_seen() {
    let (plan, state) = started();
    let view = View {
        last_cell: vec![951, 49],
        ..View::default()
    };
    let status = of(&plan, &state, &view, 0);
    assert_eq!(status.step.as_deref(), Some("1/3"));
    assert_eq!(status.weight.as_deref(), Some("10%"));
    assert_eq!(status.observed.as_deref(), Some("4.9%"));
    assert_eq!(status.observed_generation, Some(3));
    assert_eq!(
        (status.stable.as_deref(), status.canary.as_deref()),
        (Some("7"), Some("8"))
    );
    assert_eq!(status.live.unwrap().route, "fraud-v7");
}

#[test]
fn small_weights_keep_two_decimals() {
    assert_eq!(
        [0.0, 0.25, 1.0, 33.33, 100.0].map(percent),
        ["0%", "0.25%", "1%", "33.3%", "100%"]
    );
}

#[test]
fn at_most_ten_proxies_are_named_as_laggards() {
    let (plan, state) = started();
    let behind = (0..12).map(|number| proxy(&format!("proxy-{number}"), 6));
    let view = View {
        proxies: Some(Ok(Arc::new(behind.chain([proxy("in-time", 7)]).collect()))),
        generation: Some(7),
        ..View::default()
    };
    let proxies = of(&plan, &state, &view, 0).proxies.unwrap();
    assert_eq!((proxies.running, proxies.expected), (1, 13));
    assert_eq!(proxies.laggards.len(), 10);
    assert!(!proxies.laggards.contains(&"in-time".to_owned()));
}

#[test]
fn the_last_twenty_transitions_are_shown_newest_last() {
    let (plan, mut state) = started();
    let release = state.release.as_mut().unwrap();
    for number in 1..=30 {
        release.record(Timestamp::UNIX_EPOCH, format!("line {number}"));
    }
    let transitions = of(&plan, &state, &View::default(), 0).transitions;
    assert_eq!(transitions.len(), 20);
    assert_eq!(transitions.last().unwrap().message, "line 30");
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let (plan, state) = started();
    let down = View {
        proxies: Some(Err("connection refused".to_owned())),
        ..View::default()
    };
    let first = of(&plan, &state, &down, 10);
    let second = after(Some(&first), &plan, &state, &down, 20);
    let up = View {
        proxies: Some(Ok(Arc::default())),
        ..View::default()
    };
    let third = after(Some(&second), &plan, &state, &up, 30);
    let fresh = [&first, &second, &third].map(|status| condition(status, conditions::DATA_FRESH));
    let seconds = fresh.map(|condition| condition.last_transition_time.as_millisecond() / 1000);
    assert_eq!(seconds, [10, 10, 30]);
    assert_eq!(
        fresh.map(|condition| (condition.status, condition.reason.as_str())),
        [
            (Truth::False, "PrometheusUnavailable"),
            (Truth::False, "PrometheusUnavailable"),
            (Truth::True, "PrometheusAnswers")
        ]
    );
}

#[test]
fn times_are_whole_seconds() {
    let (plan, state) = started();
    let status = of(&plan, &state, &View::default(), 10);
    let ready = condition(&status, conditions::READY);
    assert_eq!(
        ready.last_transition_time.to_string(),
        "1970-01-01T00:00:10Z"
    );
}

#[test]
fn why_a_release_stands_still_is_said_in_one_word() {
    let (plan, mut state) = started();
    let progressing = |state: &RolloutState| {
        let status = of(&plan, state, &View::default(), 0);
        condition(&status, conditions::PROGRESSING).reason.clone()
    };
    assert_eq!(progressing(&state), "Advancing");
    let release = state.release.as_mut().unwrap();
    release.hold = Some(crate::rollout::Hold {
        reason: HoldReason::Approval,
        message: "waits for approval".to_owned(),
        since: Timestamp::UNIX_EPOCH,
    });
    assert_eq!(progressing(&state), reasons::AWAITING_APPROVAL);
    state.release.as_mut().unwrap().outcome = Some(Outcome::RolledBack);
    assert_eq!(progressing(&state), reasons::ROLLED_BACK);
}

#[test]
fn a_reason_that_is_given_is_kept() {
    let (plan, state) = started();
    let mut report = report(Some(&plan), &state, &View::default());
    report.conditions.push(report::Condition {
        kind: conditions::SOLE_PLUGIN.to_owned(),
        status: Some(false),
        reason: Some("Forbidden".to_owned()),
        message: "may not patch".to_owned(),
    });
    let now = Timestamp::UNIX_EPOCH;
    let status = status(&report, &state, None, None, String::new(), now);
    assert_eq!(
        condition(&status, conditions::SOLE_PLUGIN).reason,
        "Forbidden"
    );
}

#[test]
fn a_status_reads_back_the_same() {
    let (plan, state) = started();
    let view = View {
        last_cell: vec![90, 10],
        proxies: Some(Ok(Arc::new(vec![proxy("a", 1)]))),
        generation: Some(1),
        ..View::default()
    };
    let status = of(&plan, &state, &view, 0);
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(
        serde_json::from_str::<RolloutStatus>(&json).unwrap(),
        status
    );
}

#[test]
fn a_status_that_is_not_understood_still_gives_its_checkpoint() {
    let resource = json!({
        "metadata": {"name": "fraud"},
        "spec": {},
        "status": {"phase": "Levitating", "checkpoint": "{\"a\":1}"},
    });
    let resource: ModelRollout = serde_json::from_value(resource).unwrap();
    let status = resource.status.unwrap();
    assert_eq!(status.checkpoint.as_deref(), Some("{\"a\":1}"));
    assert_eq!(status.phase, None);
}

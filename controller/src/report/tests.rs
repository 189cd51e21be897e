mod verdicts;

use super::*;
use crate::fixtures::{cell, started};
use crate::rollout::Outcome;

fn condition<'a>(status: &'a Status, kind: &str) -> &'a Condition {
    status
        .conditions
        .iter()
        .find(|condition| condition.kind == kind)
        .unwrap()
}

#[test]
fn an_unreachable_prometheus_is_said_aloud_and_is_no_failure() {
    let (plan, state) = started();
    let view = View {
        proxies: Some(Err("connection refused".to_owned())),
        ..View::default()
    };
    let status = report(Some(&plan), &state, &view);
    assert_eq!(status.phase, Phase::Progressing);
    assert_eq!(status.release.as_ref().unwrap().verdict, Verdict::Error);
    let fresh = condition(&status, "DataFresh");
    assert_eq!(fresh.status, Some(false));
    assert!(
        fresh.message.contains("the weight holds"),
        "{}",
        fresh.message
    );
}

#[test]
fn a_canary_without_requests_has_no_data() {
    let (plan, state) = started();
    let status = report(Some(&plan), &state, &View::default());
    assert_eq!(status.release.unwrap().verdict, Verdict::NoData);
}

#[test]
fn a_broken_file_shows_while_the_release_goes_on() {
    let (plan, state) = started();
    let view = View {
        file_problems: vec!["fraud.yaml:3: x: broken".to_owned()],
        ..View::default()
    };
    let status = report(Some(&plan), &state, &view);
    assert_eq!(condition(&status, "Ready").status, Some(false));
    assert_eq!(status.phase, Phase::Progressing);
}

#[test]
fn status_reads_back_the_same() {
    let (plan, state) = started();
    let status = report(
        Some(&plan),
        &state,
        &View {
            last_cell: vec![90, 10],
            ..View::default()
        },
    );
    assert_eq!(
        status.release.as_ref().unwrap().arms[0].observed_weight,
        Some(10.0)
    );
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
}

#[test]
fn a_canary_whose_requests_stay_away_has_no_data_again() {
    let (plan, mut state) = started();
    let evidence = &mut state.release.as_mut().unwrap().evidence;
    evidence.consume(&plan, &cell(0, (10, 0), (90, 0)), true);
    for index in 1..=metrics::IDLE {
        evidence.consume(
            &plan,
            &cell(index.try_into().unwrap(), (0, 0), (90, 0)),
            true,
        );
    }
    let status = report(Some(&plan), &state, &View::default());
    assert_eq!(status.release.unwrap().verdict, Verdict::NoData);
}

#[test]
fn a_soak_that_the_fuse_interrupts_is_undecided_and_says_how_much_was_sent_home() {
    let (plan, mut state) = started();
    let release = state.release.as_mut().unwrap();
    let evidence = &mut release.evidence;
    for index in 0..5 {
        evidence.consume(&plan, &cell(index, (200, 0), (1800, 1)), true);
    }
    evidence.freeze_limits(&plan);
    let mut bad = cell(5, (900, 0), (0, 0));
    bad.arms[0].fused[2] = 100;
    evidence.consume(&plan, &bad, true);
    release.stage = Stage::Soak;
    let release = report(Some(&plan), &state, &View::default())
        .release
        .unwrap();
    assert_eq!(
        (release.verdict, release.arms[0].fused),
        (Verdict::Undecided, 100)
    );
    let metric = &release.metrics[0];
    assert!(
        metric.sentence.starts_with(
            "the soak goes on: 10 % of its requests were bad or sent home by the fuse (100)"
        ),
        "{}",
        metric.sentence
    );
}

#[test]
fn what_a_release_has_shown_is_still_there_when_it_has_ended() {
    let (plan, mut state) = started();
    let release = state.release.as_mut().unwrap();
    for index in release.first_cell..release.first_cell + 20 {
        let cell = cell(index, (200, 3), (1_800, 9));
        release.evidence.consume(&plan, &cell, true);
    }
    let status = |state: &RolloutState| {
        let status = report(Some(&plan), state, &View::default());
        status.release.unwrap()
    };
    let before = status(&state);
    let kept = |state: &RolloutState| serde_json::to_string(state).unwrap().len();
    let bytes = kept(&state);
    let release = state.release.as_mut().unwrap();
    release.end(Outcome::RolledBack, Timestamp::UNIX_EPOCH, "bad");
    let after = status(&state);
    assert_eq!(before.metrics, after.metrics);
    assert_eq!((before.arms, before.harm), (after.arms, after.harm));
    assert!(kept(&state) < bytes, "the groups of users are not kept");
}

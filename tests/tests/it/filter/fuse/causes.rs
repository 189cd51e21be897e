//! What trips a fuse beside 5xx, and what requests look like that it sent home.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serin_filter_core::config::FuseConfig;
use serin_filter_core::stat;
use serin_tests::traffic::{Call, Plan};
use serin_tests::upstream::{Behaviour, Extent};

use std::time::Duration;

use crate::filter::{HOST, ROUTE, Rig, call};

use super::{FUSE, LIMIT, bad_then_live, broken, fused, status, watched};

const LIMIT_ROW: usize = LIMIT as usize;

#[tokio::test]
async fn requests_that_were_sent_home_are_counted_for_the_variant_that_was_meant() {
    let rig = Rig::start_fused(1, &fused(1, 10_000, FUSE)).await;
    rig.canary.set(broken());
    assert_eq!(bad_then_live(&rig.in_turn(0..105).await), LIMIT_ROW);

    rig.trips(1).await;
    rig.open_workers(1).await;
    let home = [
        (stat::COHORT, "fused"),
        (stat::CLASS, "2xx"),
        (stat::VERSION, "8"),
    ];
    rig.counts(stat::REQUESTS_TOTAL, "canary", &home, 100).await;
    let let_down = [(stat::COHORT, "split"), (stat::CLASS, "5xx")];
    rig.counts(stat::REQUESTS_TOTAL, "canary", &let_down, 5)
        .await;
    for (reason, expected) in [("fuse", 100), ("weight", 5)] {
        let reason = [(stat::REASON, reason)];
        rig.counts(stat::ASSIGNMENTS_TOTAL, "canary", &reason, expected)
            .await;
    }
    // Those who were sent home are no sample of how the variant does.
    rig.counts(stat::SPLIT_FUSED_TOTAL, "canary", &[], 100)
        .await;
    rig.counts(stat::SPLIT_TOTAL, "canary", &[], 5).await;
    rig.counts(stat::SPLIT_BAD_TOTAL, "canary", &[], 5).await;
    let metrics = rig.envoy.metrics().await.unwrap();
    let groups = metrics
        .iter()
        .filter(|sample| sample.is(stat::SPLIT_FUSED_TOTAL, &[]) && sample.value > 0.0)
        .filter_map(|sample| sample.labels.get(stat::GROUP));
    let groups: std::collections::BTreeSet<_> = groups.collect();
    // Of 100 users all 16 groups are hit but with a chance of 2.5 %, always the same users.
    assert!(groups.len() >= 14, "{groups:?}");

    // Their way is the default one, and that is where they are looked for.
    let (version, upstream) = rig.ask(HOST, b"user", &[(ROUTE, b"forged")]).await;
    assert_eq!(version, "7");
    assert!(upstream.get(ROUTE).is_none(), "{upstream}");
    rig.none_misrouted("canary").await;
}

#[tokio::test]
async fn an_answer_that_never_came_or_broke_off_trips() {
    for (generation, behaviour) in [
        Behaviour {
            reset: true,
            ..Behaviour::default()
        },
        Behaviour {
            extent: Extent::CutShort,
            ..Behaviour::default()
        },
    ]
    .into_iter()
    .enumerate()
    {
        let rig = Rig::start_fused(1, &fused(1 + generation as u64, 10_000, FUSE)).await;
        rig.canary.set(behaviour);
        assert_eq!(bad_then_live(&rig.in_turn(0..20).await), LIMIT_ROW);
        rig.trips(1).await;
    }
}

#[tokio::test]
async fn a_grpc_call_without_a_status_trips() {
    let rig = Rig::start_fused(1, &fused(1, 10_000, FUSE)).await;
    let plan = Plan::closed(rig.envoy.address(), 1);
    let grpc = |user| {
        let mut call: Call = call(user);
        let value = HeaderValue::from_static("application/grpc");
        call.headers.push((CONTENT_TYPE, value));
        call
    };
    // To HTTP all is well: the status is 200, and the answer is whole.
    let (traffic, visits) = watched(plan, (0..20).map(grpc));
    let tally = traffic.finish().await.unwrap();
    assert_eq!(tally.total().bad, 0);
    let on_canary = visits.try_iter().map(|it| it.version() == Some("8"));
    let on_canary: Vec<bool> = on_canary.collect();
    let expected: Vec<bool> = (0..20).map(|number| number < LIMIT).collect();
    assert_eq!(on_canary, expected);
    rig.trips(1).await;
}

#[tokio::test]
async fn answers_slower_than_the_bound_trip_and_count_as_good_all_the_same() {
    let fuse = FuseConfig {
        slow_ms: Some(20),
        ..FUSE
    };
    let rig = Rig::start_fused(1, &fused(1, 10_000, fuse)).await;
    rig.canary.set(Behaviour {
        delay: Duration::from_millis(60),
        ..Behaviour::default()
    });
    let visits = rig.in_turn(0..20).await;
    let on_canary = visits.iter().take_while(|it| it.version() == Some("8"));
    assert_eq!(on_canary.count(), LIMIT_ROW);
    assert_eq!(bad_then_live(&visits[LIMIT_ROW..]), 0);
    rig.counts(stat::SPLIT_BAD_TOTAL, "canary", &[], 0).await;
    rig.trips(1).await;
}

#[tokio::test]
async fn a_share_of_errors_trips_without_any_row() {
    let fuse = FuseConfig {
        // What counts is the number of requests: a slow machine must not end the window.
        window_ms: 600_000,
        ..FUSE
    };
    let rig = Rig::start_fused(1, &fused(1, 10_000, fuse)).await;
    let mut served = 0;
    for number in 0..40 {
        let even = number % 2 == 0;
        rig.canary.set(status(if even {
            StatusCode::OK
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        }));
        // One client: what it has sent is on the fuse's record before it asks again.
        let request = rig.request(HOST, super::super::PATH);
        let request = request.header(super::super::USER, "user");
        let answer = request.send().await.unwrap();
        served += u64::from(answer.headers()["x-serin-model-version"] == "8");
        answer.bytes().await.unwrap();
    }
    assert_eq!(served, u64::from(FUSE.min_requests));
    rig.trips(1).await;
}

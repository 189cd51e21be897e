//! What a variant that breaks under load costs.
#![allow(
    clippy::print_stdout,
    reason = "the numbers are what these tests are for"
)]

use std::time::Duration;

use serin_filter_core::config::FuseConfig;
use serin_tests::traffic::{Plan, Visit};
use serin_tests::upstream::Behaviour;
use serin_tests::wait;
use tokio::time::Instant;

use crate::filter::{Rig, call};

use super::{FUSE, LIMIT, broken, fused, watched};

/// Requests a second, of which every other one is meant for the canary.
const RATE: f64 = 1_000.0;
/// Errors that users of one worker may see.
const VISIBLE: u64 = 20;
/// How long traffic must be heard of at the latest.
const LONG: Duration = Duration::from_secs(60);

/// Half of the users on a canary that then breaks as told; returns when it broke and the requests that were sent after.
async fn outage(rig: &Rig, plan: Plan, behaviour: Behaviour) -> (Instant, Vec<Visit>) {
    let (traffic, visits) = watched(plan, (0..).map(|number| call(number % 2_000)));
    wait::until_true(LONG, "the canary to serve", async || {
        traffic.look(|tally| tally.version("8").requests >= 500)
    })
    .await
    .unwrap();
    let broke = Instant::now();
    rig.canary.set(behaviour);
    let slots = async || traffic.look(|tally| tally.total().requests + tally.late);
    let before = slots().await;
    wait::until_true(LONG, "three seconds of traffic", async || {
        slots().await >= before + 3 * RATE as u64
    })
    .await
    .unwrap();
    let tally = traffic.stop().await.unwrap();
    println!(
        "{} requests, {} slots late, p99 {:?}",
        tally.total().requests,
        tally.late,
        tally.latency.quantile(0.99)
    );
    // One that was under way when the canary broke can fail, too.
    let hit = |visit: &Visit| visit.sent >= broke || visit.ending.is_bad();
    (broke, visits.try_iter().filter(hit).collect())
}

/// The requests that went wrong, with the milliseconds after which the last of them was sent.
fn told<'a>(broke: Instant, visits: &'a [Visit], what: &str) -> Vec<&'a Visit> {
    let bad: Vec<_> = visits.iter().filter(|it| it.ending.is_bad()).collect();
    let last = bad.iter().map(|visit| visit.sent).max();
    println!(
        "{what}: {} errors, the last one sent {:?} after the canary broke",
        bad.len(),
        last.map(|sent| sent.saturating_duration_since(broke))
    );
    bad
}

async fn errors_of_an_outage(workers: u32) {
    let rig = Rig::start_fused(workers, &fused(1, 5_000, FUSE)).await;
    // A fuse cannot take back what is in flight when it trips: LIMIT - 1 errors do not trip it, and of the requests that
    // are under way beside the one that does, each can fail. That is the limit of 20 for 16 connections a worker.
    let connections = 16 * workers;
    let plan = Plan {
        connections: connections as usize,
        ..Plan::open(rig.envoy.address(), RATE)
    };
    let (broke, visits) = outage(&rig, plan, broken()).await;
    let bad = told(broke, &visits, &format!("503, {workers} workers"));
    let bad = bad.len() as u64;
    assert!(
        bad >= u64::from(LIMIT),
        "{bad} errors: the canary was not broken"
    );
    assert!(bad <= VISIBLE * u64::from(workers), "{bad} errors");

    // Each worker whose fuse tripped did so once; whoever is asked later is on the live version.
    let late = |visit: &&Visit| visit.sent > broke + Duration::from_secs(2);
    let on_live = visits.iter().filter(late);
    let on_live: Vec<_> = on_live.map(Visit::version).collect();
    assert!(on_live.len() > 100, "{} requests", on_live.len());
    assert!(on_live.iter().all(|version| *version == Some("7")));
    rig.open_workers(u64::from(workers)).await;
    rig.trips(u64::from(workers)).await;
}

#[tokio::test]
async fn a_canary_that_answers_503_costs_at_most_20_errors_on_one_worker() {
    errors_of_an_outage(1).await;
}

#[tokio::test]
async fn a_canary_that_answers_503_costs_at_most_20_errors_on_each_of_two_workers() {
    errors_of_an_outage(2).await;
}

async fn hung_requests_of_an_outage(workers: u32) {
    const PENDING: Duration = Duration::from_millis(500);
    let fuse = FuseConfig {
        pending_ms: Some(500),
        ..FUSE
    };
    let rig = Rig::start_fused(workers, &fused(1, 5_000, fuse)).await;
    // Room for what hangs, so that the rate is kept; the client gives a hung request up after two seconds.
    let plan = Plan {
        connections: 1_200,
        timeout: Duration::from_secs(2),
        ..Plan::open(rig.envoy.address(), RATE)
    };
    let hang = Behaviour {
        hang: true,
        ..Behaviour::default()
    };
    let (broke, visits) = outage(&rig, plan, hang).await;
    let hung = told(broke, &visits, &format!("hang, {workers} workers"));
    assert!(hung.len() >= LIMIT as usize, "the canary did not hang");
    let bound = PENDING + Duration::from_secs(1);
    let late: Vec<_> = hung.iter().filter(|it| it.sent > broke + bound).collect();
    assert!(late.is_empty(), "{} hung after {bound:?}", late.len());
    assert!(visits.iter().any(|it| it.sent > broke + bound));
    rig.open_workers(u64::from(workers)).await;
}

#[tokio::test]
async fn a_canary_that_hangs_loses_its_users_within_the_pending_bound_and_a_second() {
    hung_requests_of_an_outage(1).await;
}

#[tokio::test]
async fn a_canary_that_hangs_loses_its_users_on_each_of_two_workers() {
    hung_requests_of_an_outage(2).await;
}

#[tokio::test]
async fn at_a_trickle_the_configured_number_of_errors_in_a_row_trips() {
    let rig = Rig::start_fused(2, &fused(1, 10_000, FUSE)).await;
    rig.canary.set(broken());
    // Slower than the window of the ratio: what counts is the row alone.
    for (generation, limit) in [(2, 5), (3, 3), (4, 1)] {
        let fuse = FuseConfig {
            consecutive_errors: Some(limit),
            window_ms: 50,
            ..FUSE
        };
        // Other settings are another fuse, which is closed.
        rig.configure(&fused(generation, 10_000, fuse)).await;
        let plan = Plan {
            connections: 1,
            ..Plan::open(rig.envoy.address(), 8.0)
        };
        let (traffic, visits) = watched(plan, (0..8).map(call));
        traffic.finish().await.unwrap();
        let visits: Vec<_> = visits.try_iter().collect();
        assert_eq!(super::bad_then_live(&visits), limit as usize);
    }
}

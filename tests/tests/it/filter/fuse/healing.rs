//! How users get back to a variant that was cut off, or do not.

use std::time::Duration;

use serin_filter_core::config::FuseConfig;
use serin_filter_core::fuse::MAX_PROBES;
use serin_filter_core::stat;
use serin_tests::exposition;
use serin_tests::traffic::Plan;
use serin_tests::upstream::Behaviour;
use serin_tests::wait;
use tokio::time::Instant;

use crate::filter::{ROLLOUT, Rig, call};

use super::{FUSE, LIMIT, bad_then_live, broken, fused, watched};

const COOLDOWN: Duration = Duration::from_millis(300);
/// How long anything may take that has to happen.
const LONG: Duration = Duration::from_secs(60);

fn brief() -> FuseConfig {
    FuseConfig {
        cooldown_ms: 300,
        ..FUSE
    }
}

#[tokio::test]
async fn a_variant_that_stays_broken_costs_one_error_for_each_cooldown() {
    let rig = Rig::start_fused(1, &fused(1, 10_000, brief())).await;
    rig.canary.set(broken());
    let begin = Instant::now();
    let plan = Plan {
        connections: 1,
        ..Plan::open(rig.envoy.address(), 200.0)
    };
    let (traffic, _) = watched(plan, (0..).map(call));
    let trips = async || {
        let canary = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, "canary")];
        let metrics = rig.envoy.metrics().await.unwrap();
        exposition::sum(&metrics, stat::FUSE_TRIPS_TOTAL, &canary)
    };
    wait::until_true(LONG, "five trips", async || trips().await >= 5.0)
        .await
        .unwrap();
    let tally = traffic.stop().await.unwrap();
    let bad = tally.total().bad;
    // The first trip takes LIMIT errors, each further one the error of a single probe.
    rig.trips(bad + 1 - u64::from(LIMIT)).await;
    let cooldowns = begin.elapsed().as_secs_f64() / COOLDOWN.as_secs_f64();
    let probes = bad - u64::from(LIMIT);
    assert!(probes as f64 <= cooldowns, "{probes} probes in {cooldowns}");
    println!("{probes} probes in {cooldowns:.1} cooldowns, all bad");
    rig.open_workers(1).await;
}

#[tokio::test]
async fn a_variant_that_healed_gets_growing_probes_and_then_all_its_users() {
    let rig = Rig::start_fused(1, &fused(1, 10_000, brief())).await;
    rig.canary.set(broken());
    assert_eq!(bad_then_live(&rig.in_turn(0..10).await), LIMIT as usize);
    rig.open_workers(1).await;

    // Well again, and slow enough to see who is under way together.
    const THINKS: Duration = Duration::from_millis(200);
    rig.canary.set(Behaviour {
        delay: THINKS,
        ..Behaviour::default()
    });
    let plan = Plan {
        connections: 128,
        ..Plan::open(rig.envoy.address(), 300.0)
    };
    let (traffic, visits) = watched(plan, (0..).map(call));
    wait::until_true(LONG, "the canary to serve", async || {
        traffic.look(|tally| tally.version("8").requests >= 200)
    })
    .await
    .unwrap();
    let tally = traffic.stop().await.unwrap();
    assert_eq!(tally.total().bad, 0);
    let mut sent: Vec<_> = visits
        .try_iter()
        .filter(|visit| visit.version() == Some("8"))
        .map(|visit| visit.sent)
        .collect();
    sent.sort();
    // Stages of 1, 2, 4, 8 and 16 probes, each of which begins when all of the one before are back.
    let (mut begin, mut size) = (0, 1);
    while size <= MAX_PROBES as usize {
        let next = begin + size;
        let gap = sent[next] - sent[begin];
        println!("{size} probes, the next ones {gap:?} after the first of them");
        assert!(gap > THINKS / 2, "the stage of {size} has more: {gap:?}");
        (begin, size) = (next, 2 * size);
    }
    rig.open_workers(0).await;
    rig.trips(1).await;

    rig.canary.set(Behaviour::default());
    let all = rig.in_turn(0..50).await;
    assert!(all.iter().all(|visit| visit.version() == Some("8")));
}

#[tokio::test]
async fn a_change_of_weights_leaves_the_fuse_open_and_a_new_version_has_a_closed_one() {
    let rig = Rig::start_fused(1, &fused(1, 10_000, FUSE)).await;
    rig.canary.set(broken());
    assert_eq!(bad_then_live(&rig.in_turn(0..10).await), LIMIT as usize);
    let asked = rig.canary.requests();

    rig.configure(&fused(2, 5_000, FUSE)).await;
    assert_eq!(bad_then_live(&rig.in_turn(0..100).await), 0);
    assert_eq!(rig.canary.requests(), asked);
    rig.open_workers(1).await;

    let mut next = fused(3, 10_000, FUSE);
    "9".clone_into(&mut next.rollouts[0].variants[1].version);
    rig.configure(&next).await;
    // The fuse of the version that is gone is open nowhere.
    rig.open_workers(0).await;
    assert_eq!(bad_then_live(&rig.in_turn(0..10).await), LIMIT as usize);
    assert_eq!(rig.canary.requests(), asked + u64::from(LIMIT));
    let version = [(stat::VERSION, "9")];
    rig.counts(stat::FUSE_TRIPS_TOTAL, "canary", &version, 1)
        .await;
    rig.counts(stat::FUSE_OPEN_WORKERS, "canary", &version, 1)
        .await;
}

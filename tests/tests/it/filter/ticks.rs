//! The timer by which overlapping requests tell what they count: it does its work, and is gone with it.

use std::time::Duration;

use serin_filter_core::stat;
use serin_tests::traffic::{Plan, Traffic};
use serin_tests::upstream::Behaviour;
use serin_tests::wait;

use super::{HOST, PATH, Rig, call, config};

/// Configurations that follow each other, each while requests overlap.
const UPDATES: u64 = 50;
/// How long Envoy is watched while it has nothing to do.
const IDLE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn overlapping_requests_are_counted_in_time_and_no_update_leaves_a_timer_that_wakes_the_worker()
 {
    let text = |generation| serde_json::to_string(&config(generation, 10_000)).unwrap();
    let mut rig = Rig::start_workers(1, &text(1), |_| {}).await;
    rig.settle(1).await;
    let before = wakeups(&mut rig).await;

    // As long as this one hangs, no other is alone.
    rig.canary.set(Behaviour {
        hang: true,
        ..Behaviour::default()
    });
    let hanging = tokio::spawn(rig.request(HOST, PATH).send());
    wait::until_true(
        Duration::from_secs(20),
        "the request to arrive",
        async || rig.canary.requests() == 1,
    )
    .await
    .unwrap();
    rig.canary.set(Behaviour::default());
    // Nearly always there is a tick to come when a configuration does.
    let plan = Plan::open(rig.envoy.address(), 200.0);
    let traffic = Traffic::start(plan, (0..).map(call)).unwrap();
    for generation in 2..=UPDATES {
        rig.write(&text(generation));
        rig.reads(stat::CONFIG_GENERATION, &[], generation).await;
    }
    let others = traffic.stop().await.unwrap().total().requests;
    rig.counts(stat::ASSIGNMENTS_TOTAL, "canary", &[], others + 1)
        .await;
    rig.counts(stat::REQUESTS_TOTAL, "canary", &[], others)
        .await;
    hanging.abort();
    rig.flush().await;

    // Each timer that was left would add ten a second; the other threads of Envoy have 40 between them.
    let after = wakeups(&mut rig).await;
    assert!(
        after < before * 3 / 2,
        "{before} wake-ups in {IDLE:?} before the updates, {after} after"
    );
}

/// How often the threads of Envoy were woken up while nobody asked it for anything.
async fn wakeups(rig: &mut Rig) -> u64 {
    let begin = switches(rig);
    tokio::time::sleep(IDLE).await;
    switches(rig) - begin
}

fn switches(rig: &mut Rig) -> u64 {
    let pid = rig.envoy.process().id().unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::path::PathBuf| {
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    tasks.map(|task| of(task.unwrap().path())).sum()
}

//! Changes of the configuration under traffic. How long they take is what `make bench-updates` measures.
#![allow(
    clippy::print_stdout,
    reason = "the times are worth a look, but no test judges a busy machine by them"
)]

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use hyper::header::HeaderValue;
use serde_json::{Value, json};
use serin_filter_core::config::VERSION;
use serin_filter_core::stat;
use serin_tests::bench::updates::proxy::Proxy;
use serin_tests::traffic::{Call, Plan, Traffic, Visit};
use serin_tests::{tools, wait};
use tokio::time::Instant;

use super::{Rig, USER, rendered, rollout};

/// More than a worker compiles in one go.
const MANY: u32 = 10_000;
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_change_of_weights_reaches_every_worker_and_costs_no_request() {
    let mut proxy = Proxy::start(tools::filter().unwrap(), 2, 10).await.unwrap();
    for _ in 0..3 {
        // An error names a request that failed, or the version that somebody still does not meet.
        let seen = proxy.change(10).await.unwrap();
        println!("{seen:?}");
    }
}

#[tokio::test]
async fn the_old_configuration_decides_until_the_whole_of_a_long_one_is_ready() {
    let rig = short().await;
    let (traffic, visits) = visit_first_and_last(&rig, 1);
    traffic_flows(&traffic, "7").await;
    let text = rendered(2, &rollouts(MANY, 1));
    let begun = Instant::now();
    rig.write(&text);
    let changed = Instant::now();
    traffic_flows(&traffic, "8").await;
    assert_eq!(traffic.stop().await.unwrap().total().bad, 0);

    let visits: Vec<Visit> = visits.try_iter().collect();
    // One connection, hence one worker and one order. The users of the first and of the last rollout take turns in it.
    let new: Vec<bool> = visits.iter().map(|it| it.version() == Some("8")).collect();
    assert!(new.is_sorted(), "a part of the configuration was in use");
    let old = visits.iter().filter(|it| it.version() == Some("7"));
    let meanwhile = old.clone().filter(|it| it.sent >= changed).count();
    let worst = visits.iter().filter(|it| it.sent >= begun);
    println!(
        "{meanwhile} requests until the new configuration, which took {:?} after {:?} to write it; the slowest {:?}",
        old.map(|it| it.sent + it.took).max().map(|at| at - changed),
        changed - begun,
        worst.map(|it| it.took).max()
    );
    assert!(meanwhile > 0, "nobody was served meanwhile");
}

#[tokio::test]
async fn a_mistake_at_the_end_of_a_long_configuration_leaves_the_old_one_in_use() {
    let rig = short().await;
    let (traffic, _visits) = visit_first_and_last(&rig, 2);
    traffic_flows(&traffic, "7").await;
    let mut broken = rollouts(MANY, 1);
    broken[MANY as usize - 1]["table"] = json!([[9_999, 1]]);
    let config = json!({"version": VERSION, "generation": 2, "rollouts": broken});
    rig.write(&config.to_string());
    rig.reads(stat::CONFIG_INVALID, &[], 1).await;
    rig.flush().await;
    let tally = traffic.stop().await.unwrap();
    assert_eq!((tally.total().bad, tally.version("8").requests), (0, 0));
    rig.reads(stat::CONFIG_GENERATION, &[], 1).await;

    // Nothing of it is left behind.
    rig.write(&rendered(3, &rollouts(MANY, 1)));
    let (traffic, _visits) = visit_first_and_last(&rig, 2);
    traffic_flows(&traffic, "8").await;
    rig.reads(stat::CONFIG_INVALID, &[], 0).await;
}

#[tokio::test]
async fn a_long_configuration_that_is_overtaken_never_comes_back() {
    let rig = short().await;
    let mut generation = 1;
    for _ in 0..3 {
        let (long, short) = (generation + 1, generation + 2);
        rig.write(&rendered(long, &rollouts(MANY, 1)));
        // As soon as Envoy has accepted it, workers are at it.
        rig.reads(stat::CONFIG_GENERATION, &[], long).await;
        rig.write(&rendered(short, &rollouts(2, 0)));
        rig.settle(short).await;
        let (traffic, visits) = visit_first_and_last(&rig, 2);
        traffic_flows(&traffic, "7").await;
        assert_eq!(traffic.stop().await.unwrap().total().bad, 0);
        assert!(visits.try_iter().all(|it| it.version() == Some("7")));
        rig.reads(stat::CONFIG_GENERATION, &[], short).await;
        generation = short;
    }
}

/// An Envoy with one worker and two rollouts, all on stable: hosts and names of the first and the last of many.
async fn short() -> Rig {
    let rig = Rig::start_workers(1, &rendered(1, &rollouts(2, 0)), |_| {}).await;
    rig.settle(1).await;
    rig
}

fn host(number: u32) -> String {
    format!("m{number}.ml")
}

/// Rollouts whose users are all on one variant; the last one has the same host however many there are.
fn rollouts(number: u32, variant: usize) -> Vec<Value> {
    (0..number)
        .map(|index| match index + 1 == number {
            true => MANY - 1,
            false => index,
        })
        .map(|name| {
            let fields = json!({"key": [{"header": USER.as_str()}], "table": [[10_000, variant]]});
            rollout(&host(name), fields)
        })
        .collect()
}

/// Requests to the first and the last rollout in turn, without a pause.
fn visit_first_and_last(rig: &Rig, connections: usize) -> (Traffic, Receiver<Visit>) {
    let plan = Plan::closed(rig.envoy.address(), connections);
    let calls = (0_u64..).map(|user| Call {
        host: HeaderValue::from_str(&host(if user % 2 == 0 { 0 } else { MANY - 1 })).unwrap(),
        // Few users: the tally keeps each of them.
        ..super::call(user % 100)
    });
    let (tell, visits) = mpsc::channel();
    let traffic = Traffic::start_watched(plan, calls, move |visit| drop(tell.send(visit)));
    (traffic.unwrap(), visits)
}

/// Waits until a version has answered so many more requests that all users of both rollouts were among them.
async fn traffic_flows(traffic: &Traffic, version: &str) {
    let answered = || traffic.look(|tally| tally.version(version).requests);
    let before = answered();
    let what = format!("traffic on version {version}");
    wait::until_true(LONG, &what, async || answered() >= before + 200)
        .await
        .unwrap();
}

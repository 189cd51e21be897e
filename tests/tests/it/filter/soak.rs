//! Hundreds of changes of the configuration under load: no request fails, and Envoy does not grow. `make test` runs a
//! short version, `make soak` the long one.
#![allow(
    clippy::print_stdout,
    reason = "the memory is worth a look even where it is within its bound"
)]

use std::time::Duration;

use hyper::header::HeaderValue;
use serde_json::{Value, json};
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::wait;

use super::{PATH, Rig, Seen, USER, rendered, rollout};

/// How many updates there are, when `$SOAK_UPDATES` does not say otherwise.
const UPDATES: u64 = 60;
/// After how many of them Envoy must have all the memory that it needs, and what it may take on top until the end.
const WARM: u64 = 50;
const GROWTH: f64 = 1.05;
const ROLLOUTS: u64 = 50;
/// Requests a second.
const RATE: f64 = 300.0;
/// Connections that ask, after each update, whether it is in use.
const PROBES: usize = 8;

#[tokio::test]
async fn updates_under_load_fail_no_request_and_do_not_fill_the_memory() {
    let updates = std::env::var("SOAK_UPDATES").map_or(UPDATES, |text| text.parse().unwrap());
    // With fewer, a third of them warms up.
    let warm = WARM.min(updates / 3);
    // Connections are spread evenly, so that there are probes of every worker.
    let mut rig = Rig::start_altered(&configuration(1), |bootstrap| {
        bootstrap["static_resources"]["listeners"][0]["connection_balance_config"] =
            json!({"exact_balance": {}});
    })
    .await;
    rig.settle(1).await;
    // Each has one connection, which it keeps.
    let probes: Vec<_> = (0..PROBES).map(|_| reqwest::Client::new()).collect();
    in_use(&rig, &probes, 1).await;
    for worker in 0..2 {
        let port = rig.envoy.address().port();
        let name = format!("listener.127.0.0.1_{port}.worker_{worker}.downstream_cx_active");
        let here = rig.envoy.stat(&name).await.unwrap();
        assert!(here > 0, "worker {worker} has no probe");
    }

    let traffic = Traffic::start(Plan::open(rig.envoy.address(), RATE), calls()).unwrap();
    let mut before = 0;
    for update in 1..=updates {
        let generation = update + 1;
        rig.write(&configuration(generation));
        in_use(&rig, &probes, generation).await;
        if update == warm {
            before = resident(&mut rig).await;
        }
    }
    let after = resident(&mut rig).await;
    let tally = traffic.stop().await.unwrap();
    let growth = after as f64 / before as f64;
    println!(
        "{before} KiB after {warm} updates, {after} KiB after {updates}: x {growth:.4}; {} requests, p99 {:?}, {} slots late",
        tally.total().requests,
        tally.latency.quantile(0.99),
        tally.late
    );
    assert_eq!(tally.total().bad, 0, "{:?}", tally.broken);
    for version in ["7", "8"] {
        assert!(tally.version(version).requests > 0, "{version}");
    }
    assert!(growth < GROWTH, "{before} KiB became {after} KiB");
}

/// All users are on the canary in even generations, and on stable in odd ones.
fn configuration(generation: u64) -> String {
    let variant = usize::from(generation.is_multiple_of(2));
    let rollouts: Vec<Value> = (0..ROLLOUTS)
        .map(|number| {
            let fields = json!({
                "key": [{"header": USER.as_str()}, {"cookie": "user"}],
                "cookie": {"name": "serin-user"},
                "rules": [
                    {"variant": 0, "when": [{"header": "user-agent", "regex": "(bot|crawler)-[0-9]+"}]},
                    {"variant": 1, "when": [{"query": "model", "in": ["8", "next"]}]},
                ],
                "salt": format!("{generation}"),
                "table": [[10_000, variant]],
                "fuse": {"consecutiveErrors": 5, "errorRatio": 0.5, "pendingMs": 10_000},
            });
            rollout(&host(number), fields)
        })
        .collect();
    rendered(generation, &rollouts)
}

fn host(number: u64) -> String {
    format!("m{number}.ml")
}

/// Waits until every probe meets the configuration of this generation.
async fn in_use(rig: &Rig, probes: &[reqwest::Client], generation: u64) {
    let version = if generation.is_multiple_of(2) {
        "8"
    } else {
        "7"
    };
    let url = format!("http://{}{PATH}", rig.envoy.address());
    for probe in probes {
        let what = format!("generation {generation} to be in use");
        wait::until_true(Duration::from_secs(60), &what, async || {
            let request = probe
                .get(&url)
                .header("host", host(0))
                .header(USER, "probe");
            Seen::of(request).await.version == version
        })
        .await
        .unwrap();
    }
}

/// Requests of a thousand users to all rollouts in turn.
fn calls() -> impl Iterator<Item = Call> + Send {
    (0_u64..).map(|number| Call {
        host: HeaderValue::from_str(&host(number % ROLLOUTS)).unwrap(),
        ..super::call(number % 1_000)
    })
}

/// Memory of Envoy that is in RAM, in KiB, when it has done what the last update left to do.
async fn resident(rig: &mut Rig) -> u64 {
    rig.flush().await;
    let pid = rig.envoy.process().id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.unwrap().trim().trim_end_matches(" kB");
    value.parse().unwrap()
}

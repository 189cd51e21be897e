//! The fuse: how many users a broken variant costs, and how they get home and back.

mod causes;
mod healing;
mod outage;

use std::sync::mpsc;

use hyper::StatusCode;
use serin_filter_core::config::{FilterConfig, FuseConfig};
use serin_filter_core::stat;
use serin_tests::traffic::{Plan, Traffic, Visit};
use serin_tests::upstream::Behaviour;

use super::{Rig, call, config};

/// Bad requests in a row that trip the fuse.
const LIMIT: u32 = 5;

/// Trips as people would have it, and sends no probe as long as a test runs.
const FUSE: FuseConfig = FuseConfig {
    consecutive_errors: Some(LIMIT),
    error_ratio: Some(0.5),
    min_requests: 20,
    window_ms: 1_000,
    cooldown_ms: 600_000,
    pending_ms: None,
    slow_ms: None,
};

/// [`config`] with a fuse.
fn fused(generation: u64, canary: u16, fuse: FuseConfig) -> FilterConfig {
    let mut config = config(generation, canary);
    config.rollouts[0].fuse = Some(fuse);
    config
}

fn status(status: StatusCode) -> Behaviour {
    Behaviour {
        status,
        ..Behaviour::default()
    }
}

fn broken() -> Behaviour {
    status(StatusCode::SERVICE_UNAVAILABLE)
}

impl Rig {
    /// An Envoy with so many workers, of which each has its own fuse.
    async fn start_fused(workers: u32, config: &FilterConfig) -> Rig {
        let text = serde_json::to_string(config).unwrap();
        let rig = Rig::start_workers(workers, &text, |_| {}).await;
        rig.settle(config.generation).await;
        rig
    }

    /// Requests of as many users, one after the other over one connection, so that one worker serves them all.
    async fn in_turn(&self, users: std::ops::Range<u64>) -> Vec<Visit> {
        let plan = Plan::closed(self.envoy.address(), 1);
        let (traffic, visits) = watched(plan, users.map(call));
        traffic.finish().await.unwrap();
        visits.try_iter().collect()
    }

    /// Waits for the gauge of workers whose fuse is open.
    async fn open_workers(&self, expected: u64) {
        self.counts(stat::FUSE_OPEN_WORKERS, "canary", &[], expected)
            .await;
    }

    /// Waits for so many trips in all workers.
    async fn trips(&self, expected: u64) {
        self.counts(stat::FUSE_TRIPS_TOTAL, "canary", &[], expected)
            .await;
    }
}

/// Traffic, and its requests as they end.
fn watched(
    plan: Plan,
    calls: impl Iterator<Item = serin_tests::traffic::Call> + Send + 'static,
) -> (Traffic, mpsc::Receiver<Visit>) {
    let (told, hear) = mpsc::channel();
    let traffic = Traffic::start_watched(plan, calls, move |visit| {
        // Who does not listen any more does not want to know.
        told.send(visit).ok();
    });
    (traffic.unwrap(), hear)
}

/// How many of the first visits were bad, when all that follow are well and on the live version.
#[track_caller]
fn bad_then_live(visits: &[Visit]) -> usize {
    let bad = visits.iter().take_while(|visit| visit.ending.is_bad());
    let bad = bad.count();
    for visit in &visits[bad..] {
        assert_eq!(
            (visit.version(), visit.ending.is_bad()),
            (Some("7"), false),
            "after {bad} errors: {visits:#?}"
        );
    }
    bad
}

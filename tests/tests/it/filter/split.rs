//! The promise of stickiness: exact shares, the same user with the same variant, and nobody moved back.

use std::collections::BTreeSet;

use serin_filter_core::config::FilterConfig;
use serin_filter_core::route::{Request, decide};
use serin_filter_core::stat;
use serin_filter_core::table::RoutingTable;
use serin_tests::tally::Tally;
use serin_tests::traffic::{Plan, Traffic};

use super::{HOST, PATH, Rig, call, config, key};

const USERS: u64 = 10_000;

/// The quantile of the normal distribution that leaves 0.05 % on either side.
const Z_999: f64 = 3.2905;

#[tokio::test]
async fn the_split_is_within_its_binomial_interval_and_a_higher_weight_moves_nobody_back() {
    let rig = Rig::start(&config(1, 100)).await;
    let (mut before, mut served) = (BTreeSet::new(), 0);
    for (generation, share) in [(1, 100), (2, 1000), (3, 5000)] {
        let config = config(generation, share);
        if generation > 1 {
            rig.configure(&config).await;
        }
        let tally = rig.visit(0..USERS).await;
        assert_eq!((tally.total().requests, tally.total().bad), (USERS, 0));

        let canary = on_canary(&tally);
        let (n, p) = (USERS as f64, f64::from(share) / 10_000.0);
        let margin = Z_999 * (n * p * (1.0 - p)).sqrt();
        let off = canary.len() as f64 - n * p;
        println!(
            "{share}: {} users on the canary, {off:+} of +-{margin:.1}",
            canary.len()
        );
        assert!(
            off.abs() <= margin,
            "{share}: {} users on the canary",
            canary.len()
        );

        assert!(
            before.is_subset(&canary),
            "a weight of {share} moved users back to stable"
        );
        assert_eq!(
            canary,
            meant_for_canary(&config),
            "in-proxy and native decisions differ"
        );

        served += canary.len() as u64;
        let ok = [(stat::CLASS, "2xx"), (stat::COHORT, "split")];
        rig.counts(stat::REQUESTS_TOTAL, "canary", &ok, served)
            .await;
        rig.counts(
            stat::REQUESTS_TOTAL,
            "stable",
            &ok,
            generation * USERS - served,
        )
        .await;
        rig.counts(stat::REQUESTS_TOTAL, "canary", &[], served)
            .await;
        rig.counts(
            stat::ASSIGNMENTS_TOTAL,
            "canary",
            &[(stat::REASON, "weight")],
            served,
        )
        .await;
        rig.counts(stat::SPLIT_TOTAL, "canary", &[], served).await;
        before = canary;
    }
    rig.none_misrouted("canary").await;
    rig.none_misrouted("stable").await;
}

#[tokio::test]
async fn a_user_keeps_the_variant_across_requests_workers_and_restarts() {
    let config = config(1, 3000);
    let mut rig = Rig::start(&config).await;
    let meant = meant_for_canary(&config);
    for restart in [false, true] {
        if restart {
            rig.envoy = rig.envoy.restart().await.unwrap();
            rig.settle(1).await;
        }
        let plan = Plan::closed(rig.envoy.address(), 32);
        let rounds = (0..3).flat_map(|_| 0..USERS).map(call);
        let tally = Traffic::start(plan, rounds)
            .unwrap()
            .finish()
            .await
            .unwrap();
        assert_eq!((tally.total().requests, tally.total().bad), (3 * USERS, 0));
        // An assignment has one version for each user, or none at all.
        assert_eq!(on_canary(&tally), meant);
        for worker in 0..2 {
            let port = rig.envoy.address().port();
            let name = format!("listener.127.0.0.1_{port}.worker_{worker}.downstream_cx_total");
            assert!(
                rig.envoy.stat(&name).await.unwrap() > 0,
                "worker {worker} served nobody"
            );
        }
    }
}

/// Users whom version 8 answered, and nobody else did.
fn on_canary(tally: &Tally) -> BTreeSet<u64> {
    let assignment = tally.assignment().unwrap();
    assert_eq!(assignment.len() as u64, USERS);
    assignment
        .into_iter()
        .filter(|(_, version)| *version == "8")
        .map(|(user, _)| user)
        .collect()
}

/// The users that the filter's core, compiled natively, sends to the canary.
fn meant_for_canary(config: &FilterConfig) -> BTreeSet<u64> {
    struct Asks(String);
    impl Request for Asks {
        fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
            match name {
                ":authority" => Some(HOST.as_bytes()),
                ":path" => Some(PATH.as_bytes()),
                "x-user-id" => Some(self.0.as_bytes()),
                _ => None,
            }
        }
        fn cookies(&self) -> impl Iterator<Item = &[u8]> {
            std::iter::empty()
        }
        fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
            None
        }
        fn draw(&self) -> u64 {
            panic!("a user with a key needs no draw")
        }
    }
    let table = RoutingTable::new(config.clone()).unwrap();
    (0..USERS)
        .filter(|user| decide(&table, &Asks(key(*user))).unwrap().variant == 1)
        .collect()
}

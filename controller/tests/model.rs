//! A model checker (stateright) explores the operator: controllers, API server, watch, proxies and Prometheus, with lost,
//! late and repeated messages, kills, and leaders that do not know that they are deposed.
//!
//! **What is real.** Each controller is a real [`Fleet`](serin_controller::cluster::fleet::Fleet), which drives the real
//! `rollout::step`; after a kill the next one is built from what the API server has. What the proxies run is what
//! `render` made, read back from the plugin's object. **What is modelled.** The API server is a store with versions:
//! what was computed from another version is refused, and so is what was not there and is now. Prometheus is a function of what the proxies run; all requests of a bad version fail.
//! `perform` is that of `perform.rs`, line by line, because that one needs a client.
//!
//! **The order of things.** Time goes on in rounds of one cell: the leader looks, decides and writes; each proxy takes
//! its config; the watch tells what is new. Any deviation from that, anywhere, costs one of a few that a run may have:
//! a write that is lost, taken without an answer, or late by up to three rounds (it then arrives at any turn, or never);
//! a kill before any write; a round slept through; nobody elected; a leader deposed that goes on writing; a proxy that
//! does not take its config; a watch that is late with one thing, or tells an old one again. Everything that so many
//! deviations can lead to is visited; `make model` allows more of them (`MODEL_DEVIATIONS`).
//!
//! **What is not in it.** Lists that are behind, as those of a cache, except in the two tests that say so. One rollout, one
//! plugin object, no Istio between the object and the proxies.
//!
//! **That it can fail** is shown by breaking the world around the fleet, one test for each promise below.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests, which clippy sees as code"
)]

#[path = "model/controller.rs"]
mod controller;
#[path = "model/prometheus.rs"]
mod prometheus;
#[path = "model/promises.rs"]
mod promises;
#[path = "model/scale.rs"]
mod scale;
#[path = "model/server.rs"]
mod server;
#[path = "model/state.rs"]
mod state;
#[path = "model/system.rs"]
mod system;
#[path = "model/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Instant;

use promises::{NOTHING_STANDS_STILL, REVERTS_END_AT_LIVE, SAME_DECISION};
use serin_controller::rollout::{Outcome, Stage};
use state::State;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use system::{Deed, System};
use world::{PROMISES, Rules};

/// Rounds in which a good release ends, with some to spare for the deviations.
pub(crate) const GOOD: usize = 18;
/// The same for a bad one.
const BAD: usize = 10;

/// Deviations in one run; `make model` sets more.
fn deviations(usual: u8) -> u8 {
    let set = std::env::var("MODEL_DEVIATIONS").ok();
    set.map_or(usual, |text| {
        text.parse().expect("MODEL_DEVIATIONS is a number")
    })
}

/// Visits everything, and wants every promise kept and every end reached.
fn holds(system: System) {
    let (begun, deviations) = (Instant::now(), system.deviations);
    let checker = system.checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_dfs().join();
    eprintln!(
        "{} states, {} of them different, in {:.1} s, with {deviations} deviations",
        checker.state_count(),
        checker.unique_state_count(),
        begun.elapsed().as_secs_f64()
    );
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Always, Some(path)) => {
                panic!("not kept: {}\n{}", property.name, told(path.into_vec()));
            }
            (Expectation::Sometimes, None) => panic!("never seen: {}", property.name),
            _ => {}
        }
    }
}

/// Wants a promise broken.
fn breaks(system: System, promise: &'static str) {
    let wanted = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = system.checker().finish_when(wanted);
    let found = checker.spawn_bfs().join().discoveries();
    let broken: Vec<_> = found.keys().collect();
    assert!(found.contains_key(promise), "nobody saw it, but {broken:?}");
}

/// A path, step by step.
fn told(path: Vec<(State, Option<system::Action>)>) -> String {
    let steps = path.into_iter().map(|(state, action)| match action {
        Some(action) => format!("{state:?}\n  -> {action:?}\n"),
        None => format!("{state:?}\n"),
    });
    steps.collect()
}

#[test]
fn left_alone_a_good_release_succeeds_through_every_stage_and_a_bad_one_is_rolled_back() {
    let good = System::new(false, GOOD, 0, &[]).undisturbed();
    let stages = [
        Stage::Step(0),
        Stage::Step(1),
        Stage::Soak,
        Stage::MoveDefault,
        Stage::DropHeader,
    ];
    for stage in stages {
        let at = |state: &State| state.release().is_some_and(|it| it.stage == stage);
        assert!(good.iter().any(at), "{stage:?}");
    }
    let last = good.last().unwrap();
    assert_eq!(last.outcome(), Some(Outcome::Succeeded), "{last:?}");
    let bad = System::new(true, BAD, 0, &[]).undisturbed();
    let last = bad.last().unwrap();
    assert_eq!(last.outcome(), Some(Outcome::RolledBack), "{last:?}");
    assert!(last.is_at_live(), "{last:?}");
}

#[test]
fn a_good_release_keeps_every_promise() {
    holds(System::new(false, GOOD, deviations(1), &[]));
}

#[test]
fn a_bad_release_keeps_every_promise() {
    holds(System::new(true, BAD, deviations(2), &[]));
}

#[test]
fn an_abort_and_a_retry_keep_every_promise() {
    holds(System::new(
        false,
        BAD,
        deviations(1),
        &[Deed::Abort, Deed::Retry],
    ));
}

#[test]
fn a_deletion_at_any_time_keeps_every_promise() {
    holds(System::new(false, GOOD, deviations(1), &[Deed::Delete]));
}

#[test]
fn a_server_that_ignores_versions_is_seen() {
    let rules = Rules {
        blind_server: true,
        ..Rules::default()
    };
    let system = System::new(false, BAD, 1, &[Deed::Abort]);
    breaks(system.broken(rules), PROMISES[5]);
}

#[test]
fn a_plugin_before_its_status_is_seen() {
    let rules = Rules {
        plugin_first: true,
        ..Rules::default()
    };
    breaks(System::new(true, BAD, 1, &[]).broken(rules), PROMISES[1]);
}

#[test]
fn a_cell_that_is_counted_twice_after_a_kill_is_seen() {
    let rules = Rules {
        recount: true,
        ..Rules::default()
    };
    breaks(System::new(false, GOOD, 1, &[]).broken(rules), PROMISES[0]);
}

#[test]
fn an_old_status_taken_for_the_present_one_gives_nobody_a_share() {
    let rules = Rules {
        stale_status: true,
        ..Rules::default()
    };
    holds(System::new(true, BAD, 1, &[]).broken(rules));
}

#[test]
fn an_old_list_gives_nobody_a_share() {
    let rules = Rules {
        stale_lists: true,
        ..Rules::default()
    };
    holds(System::new(true, BAD, 2, &[]).broken(rules));
}

#[test]
fn proxies_that_are_believed_too_early_are_seen() {
    let rules = Rules {
        hasty_proxies: true,
        ..Rules::default()
    };
    breaks(System::new(false, GOOD, 2, &[]).broken(rules), PROMISES[3]);
}

#[test]
fn a_promotion_without_evidence_is_seen() {
    breaks(System::new(false, GOOD, 0, &[Deed::Promote]), PROMISES[2]);
}

#[test]
fn a_way_down_that_is_said_to_be_written_and_is_not_is_seen() {
    let rules = Rules {
        forgetful_server: true,
        ..Rules::default()
    };
    breaks(
        System::new(true, BAD, 0, &[]).broken(rules),
        REVERTS_END_AT_LIVE,
    );
}

#[test]
fn a_default_route_before_its_status_is_seen() {
    let rules = Rules {
        plugin_first: true,
        ..Rules::default()
    };
    breaks(System::new(false, GOOD, 0, &[]).broken(rules), PROMISES[6]);
}

#[test]
fn subsets_that_are_said_to_be_written_and_are_not_are_seen() {
    let rules = Rules {
        no_subsets: true,
        ..Rules::default()
    };
    breaks(System::new(false, GOOD, 0, &[]).broken(rules), PROMISES[7]);
}

#[test]
fn a_wrong_decision_is_seen() {
    let rules = Rules {
        unseen_failures: true,
        ..Rules::default()
    };
    breaks(System::new(true, GOOD, 0, &[]).broken(rules), SAME_DECISION);
}

#[test]
fn a_release_that_stands_still_is_seen() {
    let rules = Rules {
        deaf_proxy: true,
        ..Rules::default()
    };
    breaks(
        System::new(false, GOOD, 0, &[]).broken(rules),
        NOTHING_STANDS_STILL,
    );
}

#[test]
fn routes_that_are_said_to_be_written_and_are_not_are_seen() {
    let rules = Rules {
        no_routes: true,
        ..Rules::default()
    };
    breaks(System::new(false, GOOD, 0, &[]).broken(rules), PROMISES[8]);
}

use serin_filter_core::split::BucketTable;
use serin_filter_core::table::RoutingTable;

use super::*;
use crate::rollout::{Outcome, RolloutState, Stage};
use crate::validate::RolloutName;

fn started() -> RolloutState {
    crate::fixtures::started().1
}

fn at(stage: Stage) -> RolloutState {
    let mut state = started();
    let release = state.release.as_mut().unwrap();
    release.stage = stage;
    release.table = BucketTable::whole(1);
    state
}

#[test]
fn the_filter_understands_what_is_rendered() {
    let config = filter_config(vec![section(&started()).unwrap()], 7);
    let json = serde_json::to_string(&config).unwrap();
    let parsed = FilterConfig::parse(json.as_bytes()).unwrap();
    assert_eq!(parsed, config);
    let table = RoutingTable::new(parsed).unwrap();
    assert_eq!(table.generation(), 7);
    let rollout = table.rollout(0).unwrap();
    assert_eq!(rollout.table().share(1), 1000);
    assert!(rollout.progressing());
}

#[test]
fn the_header_is_dropped_only_after_the_default_route_has_moved() {
    let header_free = |state: &RolloutState| section(state).unwrap().variants[1].live;
    let soak = at(Stage::Soak);
    assert_eq!(
        (soak.default_route(), header_free(&soak)),
        ("fraud-v7", false)
    );
    let moved = at(Stage::MoveDefault);
    assert_eq!(
        (moved.default_route(), header_free(&moved)),
        ("fraud-v8", false)
    );
    let bare = at(Stage::DropHeader);
    assert_eq!(
        (bare.default_route(), header_free(&bare)),
        ("fraud-v8", true)
    );
}

#[test]
fn after_a_rollback_nobody_reaches_the_canary() {
    let mut state = at(Stage::DropHeader);
    let release = state.release.as_mut().unwrap();
    release.outcome = Some(Outcome::RolledBack);
    release.table = BucketTable::whole(0);
    let section = section(&state).unwrap();
    assert!(section.variants[0].live && !section.variants[1].live && !section.progressing);
    assert_eq!(state.default_route(), "fraud-v7");
}

#[test]
fn header_routes_come_before_the_default_route_and_long_prefixes_first() {
    let mut short = started();
    short.name = RolloutName {
        namespace: "ml".to_owned(),
        name: "all".to_owned(),
    };
    short.paths = Paths::all();
    short.release = None;
    let rds = rds([&short, &started()], &[]);
    let names: Vec<_> = rds
        .pointer("/resources/0/virtual_hosts/0/routes")
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|route| route["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "ml/fraud/7",
            "ml/fraud/8",
            "ml/fraud/default",
            "ml/all/default"
        ]
    );
    assert_eq!(
        default_route_in(&rds, "fraud.ml", &started().paths),
        Some("fraud-v7")
    );
    assert_eq!(
        default_route_in(&rds, "fraud.ml", &Paths::Prefix("/v2".to_owned())),
        None
    );
}

#[test]
fn the_plugin_config_is_found_again() {
    let ecds = ecds("{\"version\":1}", Path::new("/x/filter.wasm"));
    assert_eq!(plugin_config(&ecds), Some("{\"version\":1}"));
    assert_eq!(plugin_config(&json!({})), None);
}

#[test]
fn a_rollout_under_a_new_name_is_not_hidden_by_its_tombstone() {
    let mut tombstone = started();
    tombstone.release = None;
    let mut renamed = started();
    renamed.name.name = "zebra".to_owned();
    for order in [[&tombstone, &renamed], [&renamed, &tombstone]] {
        let rds = rds(order, &[]);
        let routes = rds
            .pointer("/resources/0/virtual_hosts/0/routes")
            .unwrap()
            .as_array()
            .unwrap();
        let names: Vec<_> = routes
            .iter()
            .map(|route| route["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["ml/zebra/7", "ml/zebra/8", "ml/zebra/default"]);
    }
}

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
        (soak.default_route().route.as_str(), header_free(&soak)),
        ("fraud-v7", false)
    );
    let moved = at(Stage::MoveDefault);
    assert_eq!(
        (moved.default_route().route.as_str(), header_free(&moved)),
        ("fraud-v8", false)
    );
    let bare = at(Stage::DropHeader);
    assert_eq!(
        (bare.default_route().route.as_str(), header_free(&bare)),
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
    assert_eq!(state.default_route().route, "fraud-v7");
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

/// A release of the fixture with these fields of the assignment and the spec, and the state it is in.
fn with(assignment: &str, spec: &str) -> RolloutState {
    let text = crate::fixtures::edited(
        "    salt: fraud-8\n",
        &format!("    salt: fraud-8\n{assignment}"),
    )
    .replace("  analysis:\n", &format!("{spec}  analysis:\n"));
    crate::fixtures::started_with(&text).1
}

const RULES: &str = "    cookie: {name: serin-id}
    rules: [{variant: canary, when: [{header: x-beta, exists: true}]}]
    override: {header: x-serin-variant, trusted: {principals: [a]}}
";

#[test]
fn everything_that_decides_survives_the_wire() {
    let rules = r#"    cookie: {name: serin-id, maxAge: 1d, sameSite: None}
    rules:
      - variant: canary
        when:
          - {jwtClaim: [realm, 'a.b'], in: ["é\"\\", ""]}
          - {any: [{query: q, range: {min: -0.1, max: 1.0e-7}}, {all: [{request: path, regex: '/v2/\d+'}, {grpcMetadata: t, suffix: z}]}]}
      - {variant: stable, when: [{source: principal, notIn: [spiffe://a/b]}, {unverifiedJwtClaim: sub, exists: false}]}
    override: {header: x-v, trusted: {principals: [spiffe://a/c], secret: {header: x-s, sha256: SHA}}}
"#;
    let state = with(
        &rules.replace("SHA", &"0a".repeat(32)),
        "  fuse: {consecutiveErrors: null, errorRatio: 33.3%, minRequests: 7, window: 2500ms, cooldown: 1m, pending: 20s, slow: 1500ms}\n  shadow: {cluster: fraud-v9, sample: 0.07%}\n",
    );
    let config = FilterConfig {
        stats: Encoding::Builtin,
        ..filter_config(vec![section(&state).unwrap()], u64::MAX)
    };
    let json = serde_json::to_string(&config).unwrap();
    let parsed = FilterConfig::parse(json.as_bytes()).unwrap();
    assert_eq!(parsed, config);
    RoutingTable::new(parsed).unwrap();
}

#[test]
fn rules_cookie_and_fuse_are_there_while_the_release_is_in_progress() {
    let state = with(RULES, "");
    let section = section(&state).unwrap();
    assert_eq!(section.rules.len(), 1);
    assert!(section.cookie.is_some() && section.fuse.is_some() && section.overriding.is_some());
    assert!(section.variants.iter().all(|variant| variant.enabled));
}

#[test]
fn after_a_release_neither_rule_nor_override_reaches_what_is_not_live() {
    for (outcome, live) in [(Outcome::RolledBack, 0), (Outcome::Succeeded, 1)] {
        let mut state = with(RULES, "");
        let release = state.release.as_mut().unwrap();
        release.outcome = Some(outcome);
        release.table = BucketTable::whole(live);
        let section = section(&state).unwrap();
        assert!(section.rules.is_empty() && section.fuse.is_none() && section.cookie.is_none());
        let there: Vec<_> = section
            .variants
            .iter()
            .map(|it| (it.live, it.enabled))
            .collect();
        let (live, other) = (usize::from(live), usize::from(1 - live));
        assert_eq!((there[live], there[other]), ((true, true), (false, false)));
        // The header and the secret go on being removed.
        assert!(section.overriding.is_some());
        RoutingTable::new(filter_config(vec![section], 1)).unwrap();
    }
}

#[test]
fn switches_leave_everybody_on_the_live_version() {
    let off = section(&with("", "  enabled: false\n")).unwrap();
    assert!(!off.enabled && off.variants[0].enabled);
    let mut state = with("", "");
    let release = state.release.as_mut().unwrap();
    release.choice.arms_enabled = vec![false];
    let off = section(&state).unwrap();
    assert!(off.enabled && off.variants[0].live && !off.variants[1].enabled);
    // The live one is never off, also when it is the new version.
    let release = state.release.as_mut().unwrap();
    release.outcome = Some(Outcome::Succeeded);
    assert!(section(&state).unwrap().variants[1].enabled);
}

#[test]
fn every_route_of_a_rollout_with_a_shadow_mirrors_what_the_filter_names() {
    let actions = |state: &RolloutState| -> Vec<Value> {
        let rds = rds([state], &[]);
        let routes = rds.pointer("/resources/0/virtual_hosts/0/routes").unwrap();
        let routes = routes.as_array().unwrap().iter();
        routes.map(|route| route["route"].clone()).collect()
    };
    let shadowed = with("", "  shadow: {cluster: fraud-v9, sample: 10%}\n");
    let found = actions(&shadowed);
    assert_eq!(found.len(), 3);
    for action in found {
        let policy = &action["request_mirror_policies"][0];
        assert_eq!(policy["cluster_header"], "x-serin-shadow");
        assert_eq!(
            policy["runtime_fraction"]["default_value"]["numerator"],
            100
        );
    }
    assert_eq!(section(&shadowed).unwrap().shadow.unwrap().sample, 1000);
    for action in actions(&started()) {
        assert_eq!(action.get("request_mirror_policies"), None);
    }
}

#[test]
fn routes_stand_in_the_order_of_the_filter() {
    let named = |name: &str, paths: Paths| {
        let mut state = started();
        state.name.name = name.to_owned();
        state.release = None;
        state.paths = paths;
        state
    };
    let states = [
        named("root", Paths::all()),
        named("template", Paths::Template("/v2/{name}/infer".to_owned())),
        named("prefix", Paths::Prefix("/v2/fraud".to_owned())),
        named("exact", Paths::Exact("/v2/fraud".to_owned())),
    ];
    let rds = rds(&states, &[]);
    let routes = rds.pointer("/resources/0/virtual_hosts/0/routes").unwrap();
    let routes: Vec<_> = routes.as_array().unwrap().iter().collect();
    let names: Vec<_> = routes
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "ml/exact/default",
            "ml/prefix/default",
            "ml/template/default",
            "ml/root/default"
        ]
    );
    assert_eq!(routes[0]["match"], json!({"path": "/v2/fraud"}));
    assert_eq!(
        routes[1]["match"],
        json!({"path_separated_prefix": "/v2/fraud"})
    );
    let expression = json!({"safe_regex": {"regex": "/v2/[^/]+/infer"}});
    assert_eq!(routes[2]["match"], expression);
    assert_eq!(routes[3]["match"], json!({"prefix": "/"}));
    let found = default_route_in(&rds, "fraud.ml", &Paths::Exact("/v2/fraud".to_owned()));
    assert_eq!(found, Some("fraud-v7"));
}

#[test]
fn a_host_with_a_star_is_a_domain_and_ports_are_no_part_of_it() {
    let mut state = started();
    state.hosts = vec!["*.ml".to_owned()];
    let rds = rds([&state], &[]);
    let config = rds.pointer("/resources/0").unwrap();
    assert_eq!(config["ignore_port_in_host_matching"], true);
    assert_eq!(config["virtual_hosts"][0]["domains"], json!(["*.ml"]));
}

#[test]
fn copies_for_the_version_of_a_release_end_with_it() {
    let strategy = "shadow: {sample: 10%, gate: {ratio: 1.5, absolute: 0.3pp}}";
    let text = crate::fixtures::with_strategy(strategy);
    let (_, mut state) = crate::fixtures::started_with(&text);
    assert_eq!(section(&state).unwrap().shadow.unwrap().cluster, "fraud-v8");
    state.release.as_mut().unwrap().outcome = Some(Outcome::Concluded);
    assert_eq!(section(&state).unwrap().shadow, None);
}

#[test]
fn nothing_leads_to_a_version_that_is_out_of_the_test() {
    let (_, mut state) = crate::fixtures::started();
    assert!(section(&state).unwrap().variants[1].enabled);
    state.release.as_mut().unwrap().stopped.push(1);
    assert!(!section(&state).unwrap().variants[1].enabled);
}

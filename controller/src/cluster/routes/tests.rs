use super::*;
use crate::fixtures::{in_mesh, started_with};
use crate::rollout::Stage;

const HOST: &str = "fraud.ml.svc.cluster.local";

fn state(text: &str) -> RolloutState {
    started_with(text).1
}

fn present(objects: &[Owned]) -> BTreeMap<ObjectId, Value> {
    let objects = objects.iter();
    objects
        .map(|owned| (owned.id.clone(), owned.object.clone()))
        .collect()
}

/// Everything that routes these rollouts, subsets first.
fn objects<'a>(
    states: impl Iterator<Item = &'a RolloutState>,
    there: &BTreeMap<ObjectId, Value>,
) -> Vec<Owned> {
    let states: Vec<_> = states.collect();
    let rules: BTreeSet<_> = states.iter().flat_map(|state| services(state)).collect();
    let rules = rules
        .into_iter()
        .filter_map(|service| destination_rule(service, states.iter().copied(), &[]));
    let named: BTreeSet<_> = states.iter().flat_map(|state| hosts(state)).collect();
    let routes = named.into_iter().filter_map(|host| {
        let of_host = |state: &&RolloutState| hosts(state).any(|it| it == host);
        let mut present = there.iter();
        let found = present
            .find(|(id, _)| id.kind == Kind::VirtualService && id.name == object::name(host));
        let found = found.map(|(id, it)| (id.namespace.as_str(), Present::of(id.kind, it)));
        let found = found.as_ref().map(|(namespace, it)| (*namespace, it));
        virtual_service(host, states.iter().copied().filter(of_host), found)
    });
    rules.chain(routes).collect()
}

fn of_kind(objects: &[Owned], kind: Kind) -> Vec<&Owned> {
    objects.iter().filter(|it| it.id.kind == kind).collect()
}

fn kept(owned: &Owned) -> Present {
    Present::of(owned.id.kind, &owned.object)
}

fn routes_of(states: &[&RolloutState], there: &BTreeMap<ObjectId, Value>) -> Value {
    let objects = objects(states.iter().copied(), there);
    let found = of_kind(&objects, Kind::VirtualService);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].object["spec"].clone()
}

fn names(spec: &Value) -> Vec<&str> {
    let http = spec["http"].as_array().unwrap();
    http.iter().map(|it| it["name"].as_str().unwrap()).collect()
}

fn subset_of<'a>(spec: &'a Value, name: &str) -> &'a str {
    let http = spec["http"].as_array().unwrap();
    let route = http.iter().find(|it| it["name"] == name).unwrap();
    route
        .pointer("/route/0/destination/subset")
        .unwrap()
        .as_str()
        .unwrap()
}

#[test]
fn versions_come_by_header_before_the_default_and_the_other_paths() {
    let spec = routes_of(&[&state(&in_mesh())], &BTreeMap::new());
    assert_eq!(spec["hosts"], json!([HOST]));
    assert_eq!(
        names(&spec),
        [
            "ml/fraud/7",
            "ml/fraud/8",
            "ml/fraud/default",
            "serin/other-paths"
        ]
    );
    assert_eq!(subset_of(&spec, "ml/fraud/8"), "v8");
    assert_eq!(subset_of(&spec, "ml/fraud/default"), "v7");
    for matched in spec["http"][1]["match"].as_array().unwrap() {
        assert_eq!(
            matched["headers"],
            json!({DEFAULT_ROUTE_HEADER: {"exact": "v8"}})
        );
    }
}

#[test]
fn the_default_route_moves_with_the_handover_alone() {
    let mut state = state(&in_mesh());
    for (stage, subset) in [
        (Stage::Soak, "v7"),
        (Stage::MoveDefault, "v8"),
        (Stage::DropHeader, "v8"),
    ] {
        state.release.as_mut().unwrap().stage = stage;
        let spec = routes_of(&[&state], &BTreeMap::new());
        assert_eq!(subset_of(&spec, "ml/fraud/default"), subset, "{stage:?}");
    }
}

#[test]
fn a_whole_host_has_no_other_paths() {
    let text = in_mesh().replace("pathPrefix: /v2/models/fraud", "pathPrefix: /");
    let spec = routes_of(&[&state(&text)], &BTreeMap::new());
    assert!(!names(&spec).contains(&"serin/other-paths"));
}

#[test]
fn rollouts_of_one_host_share_an_object_and_the_longer_path_comes_first() {
    let longer = in_mesh()
        .replace("name: fraud,", "name: longer,")
        .replace("/v2/models/fraud", "/v2/models/fraud/infer");
    let spec = routes_of(&[&state(&in_mesh()), &state(&longer)], &BTreeMap::new());
    let found = names(&spec);
    let place = |name: &str| found.iter().position(|it| *it == name).unwrap();
    assert!(place("ml/longer/default") < place("ml/fraud/8"));
}

#[test]
fn a_short_name_of_the_same_service_gets_no_object() {
    for alias in ["fraud", "fraud.ml", "fraud.ml.svc"] {
        let text = in_mesh().replace(&format!("[{HOST}]"), &format!("[{alias}, {HOST}]"));
        let spec = routes_of(&[&state(&text)], &BTreeMap::new());
        assert_eq!(spec["hosts"], json!([HOST]), "{alias}");
    }
}

#[test]
fn a_host_that_only_begins_alike_gets_its_own() {
    let text = in_mesh().replace(&format!("[{HOST}]"), &format!("[fraud.mlx, {HOST}]"));
    let objects = objects([&state(&text)].into_iter(), &BTreeMap::new());
    assert_eq!(of_kind(&objects, Kind::VirtualService).len(), 2);
}

#[test]
fn the_default_route_of_a_rollout_that_is_gone_stays() {
    let gone = in_mesh()
        .replace("name: fraud,", "name: gone,")
        .replace("/v2/models/fraud", "/v2/models/gone");
    let (first, gone) = (state(&in_mesh()), state(&gone));
    let there = present(&objects([&first, &gone].into_iter(), &BTreeMap::new()));
    let spec = routes_of(&[&first], &there);
    assert!(names(&spec).contains(&"ml/gone/default"));
    assert!(
        !names(&spec).contains(&"ml/gone/8"),
        "nobody sends that header any more"
    );
    // Until somebody else takes its paths.
    let heir = in_mesh()
        .replace("name: fraud,", "name: heir,")
        .replace("/v2/models/fraud", "/v2/models/gone");
    let spec = routes_of(&[&first, &state(&heir)], &there);
    assert!(!names(&spec).contains(&"ml/gone/default"));
    assert!(names(&spec).contains(&"ml/heir/default"));
}

#[test]
fn what_is_remembered_reads_back() {
    let objects = objects([&state(&in_mesh())].into_iter(), &BTreeMap::new());
    let remembered = default_routes(&kept(of_kind(&objects, Kind::VirtualService)[0]));
    assert_eq!(remembered["ml/fraud"].live.route, "v7");
    let nothing = Present::of(Kind::VirtualService, &json!({"metadata": {}}));
    assert_eq!(default_routes(&nothing), DefaultRoutes::new());
}

#[test]
fn an_object_stays_in_the_namespace_where_it_is() {
    let mut objects = objects([&state(&in_mesh())].into_iter(), &BTreeMap::new());
    let at = objects
        .iter()
        .position(|it| it.id.kind == Kind::VirtualService);
    objects[at.unwrap()].id.namespace = "odd".to_owned();
    let there = present(&objects);
    let again = tests::objects([&state(&in_mesh())].into_iter(), &there);
    assert_eq!(of_kind(&again, Kind::VirtualService)[0].id.namespace, "odd");
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let matches = path_matches(&Paths::Prefix("/v2/models/fraud".to_owned()));
    assert_eq!(
        matches,
        [
            json!({"uri": {"exact": "/v2/models/fraud"}}),
            json!({"uri": {"prefix": "/v2/models/fraud/"}})
        ]
    );
    let all = path_matches(&Paths::Prefix("/".to_owned()));
    assert_eq!(all, [json!({"uri": {"prefix": "/"}})]);
}

#[test]
fn a_user_who_keeps_the_routes_gets_none_of_ours() {
    let text = in_mesh().replace("  variants:", "  route: {manage: false}\n  variants:");
    assert!(objects([&state(&text)].into_iter(), &BTreeMap::new()).is_empty());
}

#[test]
fn subsets_are_labelled_by_version_unless_said() {
    let objects = objects([&state(&in_mesh())].into_iter(), &BTreeMap::new());
    let rules = of_kind(&objects, Kind::DestinationRule);
    assert_eq!(
        rules[0].object["spec"]["subsets"],
        json!([
            {"name": "v7", "labels": {"version": "v7"}},
            {"name": "v8", "labels": {"version": "v8"}}
        ])
    );
}

#[test]
fn a_subset_that_somebody_else_named_has_labels_that_are_a_map() {
    let mut state = state(&in_mesh());
    let destination = state.live.destination.as_mut().unwrap();
    destination.subset = Some("theirs".to_owned());
    destination.labels = LiteMap::new();
    let rule = destination_rule(HOST, [&state].into_iter(), &[]).unwrap();
    let subset = &rule.object["spec"]["subsets"][0];
    assert_eq!(*subset, json!({"name": "theirs", "labels": {}}));
}

#[test]
fn a_rule_that_loses_a_subset_keeps_it_first() {
    let two = objects([&state(&in_mesh())].into_iter(), &BTreeMap::new());
    let two = of_kind(&two, Kind::DestinationRule)[0].clone();
    let mut one = two.clone();
    one.object["spec"]["subsets"]
        .as_array_mut()
        .unwrap()
        .remove(1);
    let both = keeping_subsets(&one, &kept(&two)).unwrap();
    assert_eq!(both.object["spec"]["subsets"].as_array().unwrap().len(), 2);
    assert!(both.is(&kept(&two)), "that is what is there");
    assert_eq!(keeping_subsets(&two, &kept(&one)), None);
}

#[test]
fn subsets_of_rollouts_that_are_gone_stay_as_long_as_a_default_route_leads_there() {
    let state = state(&in_mesh());
    let mut gone = state.live.clone();
    gone.destination.as_mut().unwrap().subset = Some("v3".to_owned());
    let other = VariantRef {
        destination: Some(Destination {
            host: "other.ml".to_owned(),
            ..gone.destination.clone().unwrap()
        }),
        ..gone.clone()
    };
    let rule = destination_rule(HOST, [&state].into_iter(), &[gone, other]).unwrap();
    let subsets = rule.object["spec"]["subsets"].as_array().unwrap();
    let names: Vec<_> = subsets.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["v3", "v7", "v8"]);
}

#[test]
fn the_rule_of_a_service_is_in_the_namespace_where_istio_looks_for_it() {
    let text = in_mesh().replacen("namespace: ml", "namespace: shop", 1);
    let objects = objects([&state(&text)].into_iter(), &BTreeMap::new());
    let rules = of_kind(&objects, Kind::DestinationRule);
    assert_eq!(rules[0].id.namespace, "ml", "the service's");
    let routes = of_kind(&objects, Kind::VirtualService);
    assert_eq!(routes[0].id.namespace, "shop", "the rollout's");
}

//! Resources that go.

use super::*;

#[test]
fn a_deleted_rollout_leaves_the_live_version_serving() {
    let mut bench = Bench::started();
    bench.delete("fraud");
    bench.perform();
    assert!(bench.sections().is_empty());
    let http = bench.routes()["spec"]["http"].as_array().unwrap();
    let subsets: Vec<_> = http
        .iter()
        .filter_map(|it| it.pointer("/route/0/destination/subset"))
        .collect();
    assert_eq!(subsets, [&json!("v7")]);
}

#[test]
fn the_finalizer_goes_last() {
    let mut bench = Bench::started();
    bench.delete("fraud");
    bench.perform();
    assert_eq!(bench.place("finalizer"), bench.log.len() - 1);
    assert_eq!(bench.resources[&name_of("fraud")].metadata.finalizers, None);
}

#[test]
fn the_finalizer_stays_as_long_as_a_plugin_holds_the_rollout() {
    let mut bench = Bench::started();
    bench.refusing = Some(("WasmPlugin", Failure::Other));
    bench.delete("fraud");
    bench.perform();
    assert!(!bench.log.iter().any(|line| line.starts_with("finalizer")));
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    assert!(bench.log.iter().any(|line| line.starts_with("finalizer")));
}

#[test]
fn subsets_go_only_when_no_route_leads_to_them() {
    let mut bench = Bench::started();
    bench.refusing = Some(("VirtualService", Failure::Other));
    bench.delete("fraud");
    bench.perform();
    let subsets = |bench: &Bench| {
        let mut objects = bench.objects.iter();
        let found = objects.find(|(id, _)| id.kind == Kind::DestinationRule);
        found.unwrap().1["spec"]["subsets"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(subsets(&bench), 2);
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    assert!(bench.place("VirtualService") < bench.place("DestinationRule"));
    assert_eq!(subsets(&bench), 1);
}

#[test]
fn a_kill_in_the_middle_of_a_deletion_ends_at_live() {
    let mut bench = Bench::started();
    bench.delete("fraud");
    bench.restart();
    bench.perform();
    assert!(bench.sections().is_empty());
    assert_eq!(bench.resources[&name_of("fraud")].metadata.finalizers, None);
}

#[test]
fn a_resource_that_was_never_valid_goes_at_once() {
    let mut bench = Bench::new();
    bench.apply(&in_mesh());
    bench.edit("fraud", |resource| {
        resource.metadata.generation = Some(9);
        resource.metadata.uid = Some("another".to_owned());
        resource.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
        resource.spec = json!({"nonsense": true});
    });
    assert!(bench.problems("fraud").contains("nonsense"));
    bench.delete("fraud");
    assert!(
        bench
            .perform()
            .contains(&"finalizer ml/fraud false".to_owned())
    );
}

#[test]
fn a_rollout_that_is_gone_without_us_leaves_the_plugin() {
    let mut bench = Bench::started();
    bench.fleet.only(None, &BTreeSet::new());
    bench.perform();
    assert!(bench.sections().is_empty());
}

#[test]
fn a_service_keeps_the_subset_that_the_default_route_of_a_rollout_leads_to_that_is_gone() {
    let mut bench = Bench::started();
    let other = in_mesh()
        .replace("name: fraud,", "name: other,")
        .replace("/v2/models/fraud", "/v2/models/other")
        .replace("subset: v7", "subset: w1")
        .replace("subset: v8", "subset: w2");
    bench.apply(&other);
    bench.perform();
    bench.delete("fraud");
    bench.perform();
    bench.resources.remove(&name_of("fraud"));
    bench.fleet.resource_gone(&name_of("fraud"));
    bench.perform();
    let mut objects = bench.objects.iter();
    let rule = objects.find(|(id, _)| id.kind == Kind::DestinationRule);
    let subsets = rule.unwrap().1["spec"]["subsets"].as_array().unwrap();
    let names: Vec<_> = subsets.iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["v7", "w1", "w2"]);
}

#[test]
fn in_a_namespace_that_is_being_deleted_nothing_is_made_and_the_finalizer_goes() {
    let mut bench = Bench::started();
    bench.delete("fraud");
    let routes: Vec<_> = bench.objects.keys().cloned().collect();
    for id in routes.iter().filter(|id| id.namespace == "ml") {
        bench.objects.remove(id);
        bench.fleet.object(id.clone(), None);
    }
    bench.refusing = Some(("VirtualService", Failure::Other));
    bench.perform();
    assert!(
        !bench
            .log
            .iter()
            .any(|line| line.starts_with("VirtualService"))
    );
    assert_eq!(bench.resources[&name_of("fraud")].metadata.finalizers, None);
}

#[test]
fn a_plugin_object_that_the_mode_does_not_mean_goes_when_it_is_empty() {
    let scoped = in_mesh().replace("  variants:", "  scope: [shop]\n  variants:");
    let mut bench = Bench::with(settings(Mode::Namespaces));
    bench.apply(&scoped);
    bench.perform();
    let left = plugin::id(Kind::WasmPlugin, "shop");
    assert!(bench.objects.contains_key(&left));
    bench.fleet = Fleet::new(settings(Mode::Mesh));
    bench.restart();
    for _ in 0..2 {
        bench.perform();
        bench.now += Retry::FIRST;
    }
    assert!(!bench.objects.contains_key(&left), "{:?}", bench.log);
    assert!(bench.sections().contains("ml/fraud"));
}

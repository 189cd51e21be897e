//! In which order, and when again.

use super::*;

#[test]
fn going_up_writes_the_status_first_then_subsets_routes_and_the_plugin() {
    let mut bench = Bench::new();
    bench.apply(&in_mesh());
    bench.perform();
    let order = [
        "finalizer",
        "status",
        "DestinationRule",
        "VirtualService",
        "WasmPlugin",
    ];
    let places = order.map(|line| bench.place(line));
    assert!(places.is_sorted(), "{:?}", bench.log);
    assert_eq!(bench.weight(), 1_000);
}

#[test]
fn what_is_written_is_not_written_again() {
    let mut bench = Bench::started();
    assert_eq!(bench.perform(), [""; 0]);
}

#[test]
fn a_weight_whose_status_is_refused_reaches_no_proxy() {
    let mut bench = Bench::new();
    bench.refusing = Some(("status", Failure::Other));
    bench.apply(&in_mesh());
    bench.perform();
    assert!(!bench.log.iter().any(|line| line.starts_with("WasmPlugin")));
    assert_eq!(bench.config("istio-system"), None);
}

#[test]
fn going_down_writes_the_plugin_first() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Abort);
    bench.perform();
    assert!(bench.place("WasmPlugin") < bench.place("status"));
    assert_eq!(bench.weight(), 0);
}

#[test]
fn a_way_up_after_a_way_down_that_is_not_written_yet_waits_for_its_status() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status", Failure::Other));
    bench.ask("1", Do::Abort);
    bench.perform();
    bench.now += Retry::FIRST;
    bench.ask("2", Do::Retry);
    bench.perform();
    assert!(bench.state().in_progress().is_some());
    assert_eq!(bench.weight(), 0, "nobody would remember it");
    bench.refusing = None;
    bench.now += Retry::LONGEST;
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
}

#[test]
fn a_way_down_from_a_weight_that_was_never_written_is_none() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status", Failure::Other));
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 22,"));
    bench.perform();
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 20,"));
    bench.perform();
    assert_eq!(bench.weight(), 1_000, "20 % is more than was ever written");
}

#[test]
fn a_plugin_that_is_refused_on_the_way_down_is_tried_again() {
    let mut bench = Bench::started();
    bench.refusing = Some(("WasmPlugin", Failure::Other));
    bench.ask("1", Do::Abort);
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    assert_eq!(bench.weight(), 0);
}

#[test]
fn what_the_api_server_does_not_want_is_said_where_people_look() {
    let mut bench = Bench::new();
    let refusal = Failure::Refused("admission webhook denied it: no such gateway".to_owned());
    bench.refusing = Some(("VirtualService", refusal));
    bench.apply(&in_mesh());
    bench.perform();
    bench.tick(1);
    let waiting_for = |bench: &Bench| bench.managed().view.waiting_for.clone().unwrap();
    assert_eq!(
        waiting_for(&bench),
        "VirtualService ml/serin-fraud-ml-svc-cluster-local-d22dde45 cannot be written: admission webhook denied it: no such gateway"
    );
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    bench.tick(1);
    assert!(!waiting_for(&bench).contains("cannot be written"));
}

#[test]
fn a_conflict_waits_for_the_watch() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status", Failure::Conflict));
    bench.ask("1", Do::Pause);
    bench.perform();
    assert_eq!(bench.perform(), [""; 0], "there is nothing to hurry for");
    bench.refusing = None;
    bench.edit("fraud", |_| {});
    assert_eq!(bench.perform(), ["status ml/fraud"]);
}

#[test]
fn waits_between_tries_double_up_to_half_a_minute() {
    let mut retry = Retry::default();
    let now = Timestamp::UNIX_EPOCH;
    let waits = [
        200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000,
    ];
    for wait in waits.map(Duration::from_millis) {
        retry.failed(now);
        assert!(retry.is_due(now + wait) && !retry.is_due(now + wait - Duration::from_millis(1)));
    }
}

#[test]
fn one_rollout_that_cannot_be_written_does_not_block_another() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status ml/fraud", Failure::Other));
    bench.ask("1", Do::Pause);
    bench.apply(&spam());
    bench.perform();
    assert!(bench.sections().contains("ml/spam"));
}

#[test]
fn a_route_waits_for_its_subsets() {
    let mut bench = Bench::new();
    bench.refusing = Some(("DestinationRule", Failure::Other));
    bench.apply(&in_mesh());
    bench.perform();
    let routes = |line: &String| line.starts_with("VirtualService");
    assert!(!bench.log.iter().any(routes), "{:?}", bench.log);
    assert!(bench.sections().is_empty(), "a header would lead nowhere");
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    assert!(bench.place("DestinationRule") < bench.place("VirtualService"));
    assert!(bench.sections().contains("ml/fraud"));
}

#[test]
fn a_plugin_waits_for_its_routes() {
    let mut bench = Bench::new();
    bench.refusing = Some(("VirtualService", Failure::Other));
    bench.apply(&in_mesh());
    bench.perform();
    assert!(bench.sections().is_empty(), "no header without its route");
    bench.refusing = None;
    bench.now += Retry::FIRST;
    bench.perform();
    assert!(bench.sections().contains("ml/fraud"));
}

#[test]
fn a_way_down_does_not_wait_for_routes() {
    let mut bench = Bench::started();
    bench.refusing = Some(("VirtualService", Failure::Other));
    let id = bench
        .objects
        .keys()
        .find(|it| it.kind == Kind::VirtualService);
    let id = id.unwrap().clone();
    bench.objects.get_mut(&id).unwrap()["spec"]["http"] = json!([]);
    bench.objects.get_mut(&id).unwrap()["metadata"]["resourceVersion"] = json!("x");
    bench
        .fleet
        .object(id.clone(), Some(bench.objects[&id].clone()));
    bench.ask("1", Do::Abort);
    bench.perform();
    assert_eq!(bench.weight(), 0);
}

#[test]
fn an_edit_by_somebody_else_is_put_right_and_reported_once() {
    let mut bench = Bench::started();
    let id = bench.give_everybody_the_new_version();

    assert_eq!(bench.fleet.drifted(), [id]);
    assert!(bench.fleet.drifted().is_empty());
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
}

#[test]
fn what_somebody_else_gave_to_the_proxies_does_not_count_as_given_by_us() {
    let mut bench = Bench::started();
    let before = bench.managed().view.generation.unwrap();
    bench.give_everybody_the_new_version();

    bench.perform();
    // Proxies that report the old number may run either.
    let after = bench.config("istio-system").unwrap().generation;
    assert!(after > before);
    assert_eq!(bench.managed().view.generation, Some(after));
}

#[test]
fn a_generation_that_is_not_written_is_not_waited_for() {
    let mut bench = Bench::started();
    bench.refusing = Some(("WasmPlugin", Failure::Conflict));
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 20,"));
    bench.perform();
    // Another leader may have given out the same number for something else.
    bench.tick(99);
    let waiting_for = bench.managed().view.waiting_for.clone().unwrap();
    assert_eq!(waiting_for, "the config has not been written yet");
}

#[test]
fn an_action_is_consumed_once() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Pause);
    bench.perform();
    bench.ask("2", Do::Resume);
    bench.perform();
    assert!(bench.state().in_progress().unwrap().hold.is_none());
    // The watch is late with the first one.
    bench.ask("1", Do::Pause);
    assert!(bench.state().in_progress().unwrap().hold.is_none());
    assert_eq!(bench.state().consumed_actions, ["1", "2"]);
}

#[test]
fn an_answer_takes_the_place_of_what_was_waited_for() {
    let mut bench = Bench::started();
    bench.tick(0);
    let before = bench.managed().view.waiting_for.clone();
    bench.ask("1", Do::Pause);
    bench.perform();
    let status = bench.resources[&name_of("fraud")].status.as_ref().unwrap();
    assert!(before.is_some() && status.message != before);
    assert!(status.message.as_ref().unwrap().contains("by ann"));
}

#[test]
fn an_action_that_cannot_be_understood_is_nobodys_wish() {
    let mut bench = Bench::started();
    bench.edit("fraud", |resource| {
        let annotations = resource.metadata.annotations.get_or_insert_default();
        annotations.insert(names::ACTION.to_owned(), "{\"do\": \"dance\"}".to_owned());
    });
    bench.fleet.answer(bench.now);
    assert!(bench.state().consumed_actions.is_empty());
}

#[test]
fn every_namespace_of_the_scope_has_a_plugin_of_its_own() {
    let mut bench = Bench::with(settings(Mode::Namespaces));
    bench.apply(&in_mesh().replace("  variants:", "  scope: [shop, web]\n  variants:"));
    bench.perform();
    assert!(bench.config("shop").is_some() && bench.config("web").is_some());
    assert_eq!(bench.config("istio-system"), None);
    // A namespace that is named no more keeps an object, but nothing in it.
    bench.apply(&in_mesh().replace("  variants:", "  scope: [shop]\n  variants:"));
    bench.perform();
    assert!(bench.config("web").unwrap().rollouts.is_empty());
    assert_eq!(bench.config("shop").unwrap().rollouts.len(), 1);
}

#[test]
fn a_plugin_of_the_other_kind_is_deleted_before_ours_is_written() {
    let mut bench = Bench::started();
    let before = plugin::id(Kind::WasmPlugin, "istio-system");
    bench.fleet.settings.kind = Kind::TrafficExtension;
    bench.restart();
    bench.perform();
    assert!(bench.place("delete WasmPlugin") < bench.place("TrafficExtension"));
    assert!(!bench.objects.contains_key(&before));
}

#[test]
fn a_plugin_of_somebody_else_with_our_config_is_reported() {
    let mut bench = Bench::started();
    let mut object = bench.objects[&plugin::id(Kind::WasmPlugin, "istio-system")].clone();
    object["metadata"]["labels"] = json!({});
    bench
        .fleet
        .object(plugin::id(Kind::WasmPlugin, "shop"), Some(object));
    bench.tick(1);
    let conditions = &bench.managed().view.conditions;
    let found = conditions
        .iter()
        .find(|it| it.kind == conditions::SOLE_PLUGIN);
    assert_eq!(found.unwrap().status, Some(false));
    assert!(
        found
            .unwrap()
            .message
            .starts_with("WasmPlugin shop/serin runs the filter as well")
    );
}

#[test]
fn an_edit_that_leaves_the_proxies_what_they_had_needs_no_new_number() {
    let mut bench = Bench::started();
    let id = plugin::id(Kind::WasmPlugin, "istio-system");
    let before = bench.config("istio-system").unwrap().generation;
    let mut object = bench.objects[&id].clone();
    object["spec"]["priority"] = json!(7);
    object["metadata"]["resourceVersion"] = json!(bench.next_version());
    bench.objects.insert(id.clone(), object.clone());
    bench.fleet.object(id.clone(), Some(object));
    bench.perform();
    assert!(bench.log.contains(&id.to_string()), "it is put right");
    assert_eq!(bench.config("istio-system").unwrap().generation, before);
    assert!(bench.objects[&id]["spec"].get("priority").is_none());
}

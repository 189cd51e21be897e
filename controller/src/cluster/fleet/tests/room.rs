//! A plugin's object has a limit, and several objects have several numbers.

use super::*;

/// A rollout of this name on a host of its own, whose rule is about so many bytes.
fn large(name: &str, bytes: usize) -> String {
    let text = "x".repeat(bytes);
    let rules = format!(
        "    rules: [{{variant: canary, when: [{{header: x-beta, equals: {text}}}]}}]\n  strategy:"
    );
    in_mesh()
        .replace("name: fraud,", &format!("name: {name},"))
        .replace("[fraud.ml", &format!("[{name}.ml"))
        .replacen("  strategy:", &rules, 1)
}

/// Two that leave no room for a third of their size.
fn nearly_full() -> Bench {
    let mut bench = Bench::new();
    for name in ["first", "second", "third"] {
        bench.apply(&large(name, 400_000));
    }
    bench.apply(&in_mesh());
    bench.perform();
    bench
}

fn sections(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("ml/{name}")).collect()
}

#[test]
fn a_rollout_for_which_a_plugin_has_no_room_is_refused_and_the_others_go_on() {
    let bench = nearly_full();
    assert_eq!(bench.sections(), sections(&["first", "second", "fraud"]));
    let problem = bench.problems("third");
    assert!(
        problem.starts_with("spec: its part of the filter's config has 400"),
        "{problem}"
    );
    assert!(
        problem.contains("the plugin of namespace istio-system would have 120"),
        "{problem}"
    );
    assert!(problem.contains("--mode namespaces"), "{problem}");
    let id = plugin::id(Kind::WasmPlugin, "istio-system");
    assert!(bench.objects[&id].to_string().len() <= plugin::LIMIT);
}

#[test]
fn a_rollout_that_waits_for_room_goes_on_when_there_is_some() {
    let mut bench = nearly_full();
    bench.delete("first");
    bench.perform();
    bench.tick(1);
    bench.perform();
    assert_eq!(bench.problems("third"), "");
    assert_eq!(bench.sections(), sections(&["second", "third", "fraud"]));
}

#[test]
fn an_edit_for_which_there_is_no_room_leaves_the_release_in_progress_alone() {
    let mut bench = nearly_full();
    bench.apply(&large("fraud", 400_000).replace("weight: 10,", "weight: 20,"));
    bench.perform();
    assert!(
        bench
            .problems("fraud")
            .starts_with("spec: its part of the filter's config")
    );
    assert!(bench.state().in_progress().is_some());
    assert_eq!(bench.weight(), 1_000);
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 20,"));
    bench.perform();
    assert_eq!(
        (bench.problems("fraud").as_str(), bench.weight()),
        ("", 2_000)
    );
}

#[test]
fn what_is_in_a_full_plugin_may_be_edited_as_long_as_it_does_not_grow() {
    let mut bench = nearly_full();
    bench.apply(&large("first", 390_000));
    bench.apply(&large("second", 400_000).replace("weight: 10,", "weight: 20,"));
    bench.perform();
    assert_eq!(bench.problems("first") + &bench.problems("second"), "");
}

#[test]
fn a_restart_drops_nobody_for_want_of_room() {
    let mut bench = nearly_full();
    bench.restart();
    bench.perform();
    assert_eq!(bench.sections(), sections(&["first", "second", "fraud"]));
}

fn scoped(scope: &str) -> String {
    in_mesh().replace("  variants:", &format!("  scope: [{scope}]\n  variants:"))
}

#[test]
fn a_namespace_that_joins_the_scope_has_the_same_number_as_the_others() {
    let mut bench = Bench::with(settings(Mode::Namespaces));
    bench.apply(&scoped("shop"));
    bench.perform();
    bench.apply(&scoped("shop, web"));
    bench.perform();
    // Else the proxies of one of them would seem to be behind for ever.
    let generation = bench.managed().view.generation;
    for namespace in ["shop", "web"] {
        let config = bench.config(namespace).unwrap();
        assert_eq!(Some(config.generation), generation, "{namespace}");
    }
}

#[test]
fn after_a_restart_no_namespace_is_waited_for_that_another_rollout_has_renumbered() {
    let mut bench = Bench::with(settings(Mode::Namespaces));
    bench.apply(&scoped("shop, web"));
    bench.perform();
    bench.apply(&spam().replace("  variants:", "  scope: [web]\n  variants:"));
    bench.perform();
    let shop = bench.config("shop").unwrap().generation;
    assert!(shop < bench.config("web").unwrap().generation);
    bench.restart();
    bench.perform();
    assert_eq!(bench.managed().view.generation, Some(shop));
}

//! What one rollout is in another's way, and in the installation's.

use super::*;

#[test]
fn requests_belong_to_whoever_came_first() {
    let mut bench = Bench::started();
    bench.apply(&in_mesh().replace("name: fraud,", "name: second,"));
    bench.perform();
    let problem = bench.problems("second");
    assert!(
        problem.starts_with("spec.match: these requests belong to rollout 'ml/fraud'"),
        "{problem}"
    );
    assert_eq!(bench.sections().len(), 1);
    assert_eq!(bench.why_not("second"), "Claimed");
}

#[test]
fn a_newcomer_of_the_time_without_a_controller_takes_nothing_from_whoever_was_there() {
    let mut bench = Bench::started();
    // It is told first, for names are told in their order.
    let newcomer = in_mesh().replace("name: fraud,", "name: another,");
    let mut elsewhere = Bench::new();
    elsewhere.apply(&newcomer);
    let newcomer = elsewhere.resources[&name_of("another")].clone();
    bench.resources.insert(name_of("another"), newcomer);
    bench.restart();
    bench.perform();
    assert_eq!(bench.problems("fraud"), "");
    assert!(
        bench
            .problems("another")
            .starts_with("spec.match: these requests belong to rollout 'ml/fraud'"),
        "{}",
        bench.problems("another")
    );
    assert_eq!(bench.sections().len(), 1);
}

#[test]
fn requests_are_free_again_when_their_rollout_is_gone() {
    let mut bench = Bench::started();
    bench.apply(&in_mesh().replace("name: fraud,", "name: second,"));
    bench.delete("fraud");
    bench.perform();
    bench.resources.remove(&name_of("fraud"));
    bench.fleet.resource_gone(&name_of("fraud"));
    bench.tick(1);
    bench.perform();
    assert_eq!(bench.problems("second"), "");
    assert!(bench.sections().contains("ml/second"));
}

#[test]
fn no_more_releases_are_in_progress_than_allowed() {
    let mut bench = Bench::with(Settings {
        max_releases: Some(1),
        ..settings(Mode::Mesh)
    });
    bench.apply(&in_mesh());
    bench.apply(&spam());
    bench.perform();
    assert!(
        bench
            .problems("spam")
            .starts_with("waiting: 1 releases are in progress")
    );
    assert_eq!(bench.sections().len(), 1);
    assert_eq!(bench.why_not("spam"), "Waiting");
    bench.ask("1", Do::Abort);
    bench.tick(1);
    bench.perform();
    assert_eq!(bench.problems("spam"), "");
    assert!(bench.sections().contains("ml/spam"));
}

#[test]
fn an_edit_of_a_release_in_progress_is_no_further_one() {
    let mut bench = Bench::with(Settings {
        max_releases: Some(1),
        ..settings(Mode::Mesh)
    });
    bench.apply(&in_mesh());
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 20,"));
    bench.perform();
    assert_eq!(bench.problems("fraud"), "");
    assert_eq!(bench.weight(), 2_000);
}

#[test]
fn an_installation_by_namespaces_wants_a_scope() {
    let mut bench = Bench::with(settings(Mode::Namespaces));
    bench.apply(&in_mesh());
    assert!(
        bench
            .problems("fraud")
            .starts_with("spec.scope: must name the namespaces")
    );
}

#[test]
fn callers_in_namespaces_that_are_not_written_to_are_refused_by_name() {
    let scoped = |scope: &str| {
        let mut bench = Bench::with(Settings {
            watched: vec!["ml".to_owned(), "shop".to_owned()],
            ..settings(Mode::Namespaces)
        });
        bench.apply(&in_mesh().replace("  variants:", &format!("  scope: [{scope}]\n  variants:")));
        bench.problems("fraud")
    };
    assert_eq!(scoped("shop"), "");
    assert_eq!(
        scoped("shop, bank"),
        "spec.scope: this installation may not write to namespace 'bank': it is told of ml, shop alone (--watch-namespaces)"
    );
}

#[test]
fn routes_of_files_are_not_for_a_cluster() {
    let mut bench = Bench::new();
    bench.apply(&crate::fixtures::text());
    assert!(
        bench
            .problems("fraud")
            .contains("routes with 'cluster' are for standalone")
    );
}

#[test]
fn a_broken_edit_leaves_the_running_release_alone_and_is_said() {
    let mut bench = Bench::started();
    bench.edit("fraud", |resource| {
        resource.metadata.generation = Some(9);
        resource.spec["strategy"] = json!({"canary": {"steps": []}});
    });
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
    assert!(bench.state().in_progress().is_some());
    let status = bench.resources[&name_of("fraud")].status.as_ref().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|it| it.kind == conditions::READY);
    assert_eq!(ready.unwrap().status, crate::api::status::Truth::False);
}

/// Somebody else routes the host of a rollout, all of it to this subset.
fn routed_by_another(bench: &mut Bench, name: &str, subset: Option<&str>) -> ObjectId {
    let theirs = ObjectId {
        kind: Kind::VirtualService,
        namespace: "ml".to_owned(),
        name: "theirs".to_owned(),
    };
    let host = format!("{name}.ml.svc.cluster.local");
    let route = json!([{"destination": {"host": host, "subset": subset}}]);
    let object = json!({"spec": {"hosts": [host], "http": [{"route": route}]}});
    bench.fleet.object(theirs.clone(), Some(object.clone()));
    bench.objects.insert(theirs.clone(), object);
    theirs
}

#[test]
fn a_host_that_somebody_else_routes_is_left_alone_also_after_a_restart() {
    let mut bench = Bench::new();
    routed_by_another(&mut bench, "fraud", Some("v7"));
    bench.apply(&in_mesh());
    for _ in 0..2 {
        bench.perform();
        assert!(
            !bench
                .log
                .iter()
                .any(|line| line.starts_with("VirtualService")),
            "{:?}",
            bench.log
        );
        bench.restart();
    }
}

#[test]
fn a_host_that_somebody_else_routes_is_left_alone_also_when_the_spec_is_refused() {
    let mut bench = Bench::started();
    bench.tick(1);
    routed_by_another(&mut bench, "spam", None);
    bench.tick(1);
    bench.apply(&spam());
    let problems = bench.problems("spam");
    assert!(problems.contains("live is version 'unknown'"), "{problems}");
    bench.perform();
    let log = &bench.log;
    assert!(
        !log.iter().any(|line| line.starts_with("VirtualService")),
        "{log:?}"
    );
}

#[test]
fn after_a_release_too_it_is_seen_who_routes_the_host() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Abort);
    bench.perform();
    bench.tick(1);
    bench.perform();
    let contested = |bench: &Bench| {
        let resource = &bench.resources[&name_of("fraud")];
        let conditions = &resource.status.as_ref().unwrap().conditions;
        let found = conditions
            .iter()
            .find(|it| it.kind == conditions::ROUTES_FOLLOW_HEADER);
        found.unwrap().status == crate::api::status::Truth::False
    };
    assert!(!contested(&bench));
    let theirs = routed_by_another(&mut bench, "fraud", Some("v7"));
    bench.tick(1);
    bench.perform();
    assert!(contested(&bench));
    bench.objects.remove(&theirs);
    bench.fleet.object(theirs, None);
    bench.tick(1);
    bench.perform();
    assert!(!contested(&bench));
}

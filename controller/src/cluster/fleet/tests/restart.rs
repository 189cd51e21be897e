//! What another controller makes of what the server has.

use super::*;

#[test]
fn a_release_is_recognised_and_keeps_its_generation() {
    let mut bench = Bench::started();
    let before = bench.managed().view.generation;
    bench.restart();
    assert_eq!(bench.managed().view.generation, before);
    assert!(bench.managed().written_generation().is_some());
    bench.perform();
    assert!(!bench.log.iter().any(|line| line.starts_with("WasmPlugin")));
    assert_eq!(bench.fleet.generation(), before.unwrap());
}

#[test]
fn nothing_is_written_because_of_a_restart() {
    let mut bench = Bench::started();
    bench.apply(&spam());
    bench.perform();
    bench.tick(1);
    bench.perform();
    bench.restart();
    assert_eq!(bench.perform(), [""; 0]);
}

#[test]
fn it_does_not_matter_which_list_comes_first() {
    let mut bench = Bench::started();
    let before = bench.managed().view.generation;
    bench.fleet = Fleet::new(settings(Mode::Mesh));
    bench.tell(&name_of("fraud"));
    for (id, object) in bench.objects.clone() {
        bench.fleet.object(id, Some(object));
    }
    assert_eq!(bench.managed().view.generation, before);
}

#[test]
fn a_status_that_was_written_before_the_kill_goes_on_to_the_proxies() {
    let mut bench = Bench::new();
    bench.apply(&in_mesh());
    bench.refusing = Some(("WasmPlugin", Failure::Other));
    bench.perform();
    assert_eq!(bench.config("istio-system"), None);
    bench.refusing = None;
    bench.restart();
    bench.perform();
    assert_eq!(
        bench.sections(),
        [].into(),
        "nobody has looked at Prometheus yet"
    );
    bench.tick(1);
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
}

#[test]
fn a_way_down_whose_status_was_not_written_before_the_kill_is_not_undone() {
    let mut bench = Bench::started();
    die_on_the_way_down(&mut bench, "status");
    assert_eq!(bench.weight(), 0);
    bench.perform();
    assert_eq!(bench.weight(), 0, "the status says 10 %");
    // Prometheus is away: nobody knows why it went down.
    let world = World::of([], Some(Err("no route to host".to_owned())));
    bench.fleet.tick(&world, bench.now);
    bench.perform();
    assert_eq!(bench.weight(), 0);
    bench.tick(1);
    bench.perform();
    assert_eq!(
        bench.weight(),
        1_000,
        "there was no reason but a wish that is gone"
    );
}

/// Loses what somebody asked for.
fn forget_the_wish(bench: &mut Bench) {
    let resource = bench.resources.get_mut(&name_of("fraud")).unwrap();
    resource.metadata.annotations = None;
}

/// Somebody aborts, writes like this are refused, and all that is known is lost, the wish as well.
fn die_on_the_way_down(bench: &mut Bench, refused: &'static str) {
    bench.refusing = Some((refused, Failure::Other));
    bench.ask("down", Do::Abort);
    bench.perform();
    bench.refusing = None;
    forget_the_wish(bench);
    bench.restart();
}

/// A tick after this time, in which every proxy has what was given out last.
fn later(bench: &mut Bench, time: Duration) {
    bench.now += time;
    bench.tick(bench.fleet.generation());
    bench.perform();
}

/// All users have the new version, and the default route leads to it.
fn moved_on() -> Bench {
    let mut bench = Bench::started();
    bench.ask("1", Do::PromoteFull);
    bench.perform();
    // As if the soak were over.
    let resource = bench.resources.get_mut(&name_of("fraud")).unwrap();
    let status = resource.status.as_mut().unwrap();
    let checkpoint = status.checkpoint.as_deref().unwrap();
    let mut state: RolloutState = serde_json::from_str(checkpoint).unwrap();
    state.release.as_mut().unwrap().stage = Stage::MoveDefault;
    status.checkpoint = Some(serde_json::to_string(&state).unwrap());
    bench.restart();
    let old_default = bench.routes()["spec"].clone();
    later(&mut bench, Duration::ZERO);
    assert_ne!(old_default, bench.routes()["spec"]);
    bench
}

#[test]
fn a_default_route_that_was_moved_back_before_the_kill_is_not_moved_again() {
    let mut bench = moved_on();
    let new_default = bench.routes()["spec"].clone();
    die_on_the_way_down(&mut bench, "status");
    let home = bench.routes()["spec"].clone();
    assert_ne!(home, new_default);
    bench.perform();
    assert_eq!(
        bench.routes()["spec"],
        home,
        "nobody knows why it went home"
    );
    assert_eq!(bench.weight(), 0);
    later(&mut bench, Duration::from_secs(1));
    assert_eq!(
        bench.routes()["spec"],
        home,
        "the last cells cannot be read yet"
    );
}

#[test]
fn a_default_route_that_went_home_before_the_plugin_stays_there_too() {
    let mut bench = moved_on();
    let new_default = bench.routes()["spec"].clone();
    // Without the plugin the status is not written either.
    die_on_the_way_down(&mut bench, "WasmPlugin");
    let home = bench.routes()["spec"].clone();
    assert_ne!(home, new_default);
    bench.perform();
    assert_eq!(bench.routes()["spec"], home);
    later(&mut bench, Duration::from_secs(10));
    later(&mut bench, Duration::from_secs(10));
    assert_eq!(
        bench.routes()["spec"],
        home,
        "the last cells are not counted"
    );
}

#[test]
fn a_way_home_of_another_on_the_same_host_waits_for_nobodys_look() {
    let mut bench = Bench::started();
    bench.apply(
        &in_mesh()
            .replace("name: fraud,", "name: other,")
            .replace("/v2/models/fraud", "/v2/models/other"),
    );
    bench.perform();
    die_on_the_way_down(&mut bench, "status");
    bench.perform();
    let routed = |bench: &Bench| bench.routes()["spec"].to_string().contains("models/other");
    assert!(routed(&bench));
    assert_eq!(bench.weight(), 0, "of the first nobody knows");
    bench.delete("other");
    bench.perform();
    assert!(!bench.sections().contains("ml/other"));
    let log = &bench.log;
    assert!(
        log.iter().any(|line| line == "finalizer ml/other false"),
        "{log:?}"
    );
}

#[test]
fn a_new_release_of_a_rollout_that_was_at_rest_waits_for_no_look() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Abort);
    bench.perform();
    forget_the_wish(&mut bench);
    bench.restart();
    bench.apply(&in_mesh().replace("salt: fraud-8", "salt: fraud-9"));
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
}

#[test]
fn a_release_that_is_switched_off_is_so_at_once() {
    let mut bench = Bench::started();
    bench.refusing = Some(("WasmPlugin", Failure::Other));
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 20,"));
    bench.perform();
    bench.refusing = None;
    bench.restart();
    bench.perform();
    assert_eq!(bench.weight(), 1_000, "20 % were never shown");
    bench.apply(
        &in_mesh()
            .replace("weight: 10,", "weight: 20,")
            .replace("spec:", "spec:\n  enabled: false"),
    );
    bench.perform();
    let section = &bench.config("istio-system").unwrap().rollouts[0];
    assert!(!section.enabled);
}

#[test]
fn whoever_pauses_wants_no_more_of_it() {
    let mut bench = Bench::started();
    die_on_the_way_down(&mut bench, "status");
    bench.apply(&in_mesh().replace("weight: 25,", "weight: 26,"));
    bench.ask("2", Do::Pause);
    bench.perform();
    assert_eq!(bench.weight(), 0, "nobody knows why it went down");
}

#[test]
fn what_is_said_of_a_rollout_at_rest_is_said_again_after_a_restart() {
    let mut bench = Bench::started();
    bench.apply(&spam());
    bench.perform();
    bench.ask("1", Do::Abort);
    bench.tick(1);
    bench.perform();
    bench.tick(1);
    bench.perform();
    bench.restart();
    // The first round of writes comes before the first look.
    assert_eq!(bench.perform(), [""; 0]);
    bench.tick(1);
    assert_eq!(bench.perform(), [""; 0]);
}

#[test]
fn a_way_down_from_a_status_that_is_too_high_is_none() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status", Failure::Other));
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 5,"));
    bench.perform();
    assert_eq!(bench.weight(), 500);
    bench.restart();
    bench.refusing = None;
    bench.apply(&in_mesh().replace("weight: 10,", "weight: 8,"));
    bench.perform();
    assert_eq!(bench.weight(), 500, "the status said 10 %");
    later(&mut bench, Duration::ZERO);
    assert_eq!(bench.weight(), 800);
}

#[test]
fn an_action_that_was_answered_before_the_kill_is_not_answered_again() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Pause);
    bench.perform();
    bench.restart();
    bench.fleet.answer(bench.now);
    assert_eq!(bench.state().consumed_actions, ["1"]);
    assert!(bench.managed().pending == Writes::Nothing);
}

#[test]
fn an_action_that_was_not_written_before_the_kill_is_answered_by_the_next() {
    let mut bench = Bench::started();
    bench.refusing = Some(("status", Failure::Other));
    bench.ask("1", Do::Pause);
    bench.perform();
    bench.restart();
    bench.fleet.answer(bench.now);
    assert!(bench.state().in_progress().unwrap().hold.is_some());
}

/// A rollout whose checkpoint nobody understands.
fn corrupt() -> Bench {
    let mut bench = Bench::started();
    let resource = bench.resources.get_mut(&name_of("fraud")).unwrap();
    let status = resource.status.as_mut().unwrap();
    status.checkpoint = Some("{".to_owned());
    bench.restart();
    bench
}

#[test]
fn a_checkpoint_that_is_not_understood_leaves_its_section_alone_and_says_how_to_mend_it() {
    let mut bench = corrupt();
    bench.apply(&spam());
    bench.perform();
    assert_eq!(bench.weight(), 1_000);
    assert!(bench.sections().contains("ml/spam"));
    let problem = bench.problems("fraud");
    assert!(
        problem.starts_with("status.checkpoint: cannot be understood"),
        "{problem}"
    );
    assert!(problem.contains("restores it, or removes it"), "{problem}");
    let resource = &bench.resources[&name_of("fraud")];
    let status = resource.status.as_ref().unwrap();
    assert_eq!(status.checkpoint.as_deref(), Some("{"), "it is kept");
}

#[test]
fn a_checkpoint_that_somebody_has_mended_is_taken_up_without_a_restart() {
    let whole = Bench::started().resources[&name_of("fraud")].status.clone();
    let mut bench = corrupt();
    bench.perform();
    bench.edit("fraud", |resource| resource.status = whole);
    assert_eq!(bench.problems("fraud"), "");
    assert!(bench.state().in_progress().is_some());
}

#[test]
fn a_checkpoint_that_somebody_has_removed_begins_anew() {
    let mut bench = corrupt();
    bench.perform();
    bench.edit("fraud", |resource| resource.status = None);
    assert!(bench.state().in_progress().is_some());
}

#[test]
fn a_status_of_another_leader_is_the_truth() {
    let mut bench = Bench::started();
    let mut other = Bench::started();
    other.ask("1", Do::Abort);
    other.perform();
    let status = other.resources[&name_of("fraud")].status.clone();
    // It was under way when this one took over.
    bench.edit("fraud", |resource| resource.status = status);
    assert!(bench.state().in_progress().is_none());
    bench.perform();
    assert_eq!(bench.weight(), 0);
}

#[test]
fn an_echo_of_an_own_status_changes_nothing() {
    let mut bench = Bench::started();
    let early = bench.resources[&name_of("fraud")].clone();
    bench.ask("1", Do::Pause);
    bench.perform();
    bench.fleet.resource(&early, bench.now);
    assert!(bench.state().in_progress().unwrap().hold.is_some());
}

#[test]
fn without_a_status_live_is_what_the_remembered_default_route_serves() {
    let mut bench = Bench::started();
    // The new version went live, and then the status was lost.
    let id = bench
        .objects
        .keys()
        .find(|it| it.kind == Kind::VirtualService);
    let object = bench.objects.get_mut(&id.unwrap().clone()).unwrap();
    let annotation = &mut object["metadata"]["annotations"][routes::LIVE];
    let text = annotation
        .as_str()
        .unwrap()
        .replace("v7", "v8")
        .replace("\"7\"", "\"8\"");
    *annotation = json!(text);
    let resource = bench.resources.get_mut(&name_of("fraud")).unwrap();
    resource.status = None;
    bench.restart();
    assert!(
        bench.problems("fraud").contains("live is version '8'"),
        "{}",
        bench.problems("fraud")
    );
}

#[test]
fn a_resource_of_the_same_name_is_another_one() {
    let mut bench = Bench::started();
    bench.ask("1", Do::Abort);
    bench.perform();
    bench.edit("fraud", |resource| {
        resource.metadata.uid = Some("another".to_owned());
        resource.status = None;
    });
    assert!(
        bench.state().in_progress().is_some(),
        "nothing is held against it"
    );
}

#[test]
fn a_release_in_cells_of_another_length_holds_says_so_and_can_be_aborted() {
    let mut bench = Bench::started();
    bench.tick(1);
    bench.perform();
    let evidence = bench.state().in_progress().unwrap().evidence.clone();
    for cell in [1, 60].map(Duration::from_secs) {
        bench.fleet.settings.grid = Grid::new(cell, cell).unwrap();
        bench.restart();
        assert_eq!(bench.fleet.asks()[0].next_cell, i64::MAX, "none is read");
        let proxies = Some(Ok(Arc::new(Vec::new())));
        let cells = (0..2_000).map(|cell| (cell, RolloutCounts::default()));
        let world = World::of(cells, proxies);
        bench.fleet.tick(&world, bench.now);
        assert_eq!(bench.state().in_progress().unwrap().evidence, evidence);
        let waiting_for = bench.managed().view.waiting_for.clone().unwrap();
        assert!(
            waiting_for.starts_with("its evidence is counted in cells of 2s"),
            "{waiting_for}"
        );
    }
    bench.ask("1", Do::Abort);
    bench.perform();
    assert_eq!(bench.weight(), 0);
}

//! Files: the first, edits, new versions, removal, restarts.

use super::*;

#[test]
fn the_same_file_again_changes_nothing() {
    let mut bench = Bench::new(&text());
    bench.tick((200, 0), (1800, 1));
    let before = bench.state.clone();
    bench.accept().unwrap();
    assert_eq!(bench.state, before);
    assert_eq!(bench.writes, Writes::Nothing);
}

#[test]
fn a_new_version_in_mid_rollout_begins_at_the_first_step_with_stable_unchanged() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::Step(1)));
    bench.source = source(
        &text()
            .replace(r#"version: "8""#, r#"version: "9""#)
            .replace("fraud-v8}", "fraud-v9}"),
    );
    bench.accept().unwrap();
    assert_eq!(
        (bench.release().stage, bench.weight()),
        (Stage::Step(0), 10.0)
    );
    assert_eq!(
        bench.release().evidence.canary.requests.total,
        0,
        "another version has its own evidence"
    );
    assert_eq!(bench.state.live.version, "7");
    assert_eq!(bench.state.history[0].version, "8");
    assert_eq!(bench.state.history[0].outcome, None);
}

#[test]
fn a_release_from_a_version_that_is_not_live_is_refused() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
    bench.source = source(
        &text()
            .replace(r#"version: "8""#, r#"version: "9""#)
            .replace("fraud-v8}", "fraud-v9}"),
    );
    let before = bench.state.clone();
    let refusal = bench.accept().unwrap_err().to_string();
    assert!(
        refusal.starts_with(
            "spec.variants: stable is version '7' on route 'fraud-v7', but live is version '8'"
        ),
        "{refusal}"
    );
    assert_eq!(bench.state, before);
}

#[test]
fn edited_margins_count_the_evidence_anew_from_the_first_cell() {
    let mut bench = Bench::new(&text());
    bench.tick((200, 0), (1800, 1)).tick((200, 0), (1800, 1));
    bench.source = source(&edited("ratio: 2.0", "ratio: 3.0"));
    bench.accept().unwrap();
    assert_eq!(bench.release().evidence.next_cell, FIRST);
    assert_eq!(bench.release().stage, Stage::Step(0));
}

#[test]
fn an_edited_weight_moves_the_fewest_users() {
    let mut bench = Bench::new(&text());
    let before = bench.release().table.clone();
    bench.source = source(&edited("weight: 10,", "weight: 20,"));
    bench.accept().unwrap();
    assert_eq!(bench.weight(), 20.0);
    for bucket in 0..10_000 {
        assert!(
            before.owner(bucket) == 0 || bench.release().table.owner(bucket) == 1,
            "bucket {bucket} left the canary"
        );
    }
}

#[test]
fn a_removed_file_leaves_the_live_version_serving() {
    let mut bench = Bench::new(&text());
    bench.healthy_until(at(Stage::Step(1)));
    let (state, writes) = retire(&bench.state, bench.now);
    assert_eq!(writes, Writes::Down);
    assert_eq!(state.release, None);
    assert_eq!(state.default_route().route, "fraud-v7");
    assert_eq!(state.history[0].message, "the rollout was removed");
    assert_eq!(retire(&state, bench.now).1, Writes::Nothing);
}

#[test]
fn state_survives_being_written_and_read() {
    let mut bench = Bench::new(&text());
    bench
        .tick((200, 1), (1800, 1))
        .tick((200, 0), (1800, 2))
        .act(Do::Pause);
    let json = serde_json::to_string(&bench.state).unwrap();
    assert_eq!(
        serde_json::from_str::<RolloutState>(&json).unwrap(),
        bench.state,
        "bit for bit"
    );
}

#[test]
fn an_edit_in_the_soak_keeps_the_evidence_and_the_limit() {
    let mut bench = Bench::new(&edited("soak: 10s", "soak: 1h"));
    bench.healthy_until(at(Stage::Soak));
    let before = bench.release().evidence.clone();
    bench.source = source(
        &edited("soak: 10s", "soak: 2h").replace("falseRollback: 0.01", "falseRollback: 0.02"),
    );
    bench.accept().unwrap();
    assert_eq!(bench.release().evidence, before);
    assert_eq!(bench.release().stage, Stage::Soak);
}

#[test]
fn an_edit_that_judges_alike_keeps_the_evidence() {
    let mut bench = Bench::new(&text());
    bench.tick((200, 0), (1800, 1)).tick((200, 0), (1800, 1));
    let before = bench.release().evidence.clone();
    bench.source = source(&edited(
        "soak: 10s",
        "soak: 20s\n      deadline: {after: 1h}",
    ));
    bench.accept().unwrap();
    assert_eq!(bench.release().evidence, before);
    assert_eq!(bench.last(), "the rollout was edited");
}

#[test]
fn a_weight_that_is_lowered_is_written_before_the_state() {
    let mut bench = Bench::new(&text());
    bench.source = source(&edited("weight: 10,", "weight: 5,"));
    bench.accept().unwrap();
    assert_eq!((bench.weight(), bench.writes), (5.0, Writes::Down));
}

#[test]
fn a_rolled_back_release_does_not_begin_again_because_its_file_was_away() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Abort);
    bench.state = retire(&bench.state, bench.now).0;
    let refusal = bench.accept().unwrap_err().to_string();
    assert!(
        refusal.contains("was rolled back with this salt"),
        "{refusal}"
    );
    bench.source = source(&edited("salt: fraud-8", "salt: fraud-8-again"));
    bench.accept().unwrap();
    assert_eq!(bench.weight(), 10.0);
}

#[test]
fn an_interval_that_is_no_multiple_of_the_cell_is_refused() {
    let mut bench = Bench::new(&text());
    bench.source = source(&edited(
        "falseRollback: 0.01",
        "falseRollback: 0.01\n    interval: 5s",
    ));
    let refusal = bench.accept().unwrap_err().to_string();
    assert_eq!(
        refusal,
        "spec.analysis.interval: 5s is not a multiple of the installation's cell of 2s"
    );
}

#[test]
fn a_rolled_back_release_does_not_begin_again_under_another_name() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Abort);
    bench.source = source(&edited("{name: canary,", "{name: challenger,"));
    let refusal = bench.accept().unwrap_err().to_string();
    assert!(
        refusal.contains("was rolled back with this salt"),
        "{refusal}"
    );
}

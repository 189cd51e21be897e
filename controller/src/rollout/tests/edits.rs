//! Edits of what the filter is told, while a release runs.

use super::*;

fn with(assignment: &str, spec: &str) -> String {
    edited(
        "    salt: fraud-8\n",
        &format!("    salt: fraud-8\n{assignment}"),
    )
    .replace("  analysis:\n", &format!("{spec}  analysis:\n"))
}

const OFF: &str = "  enabled: false\n";
const CANARY_OFF: (&str, &str) = (
    "route: {cluster: fraud-v8}}",
    "route: {cluster: fraud-v8}, enabled: false}",
);

impl Bench {
    fn edit(&mut self, text: &str) -> &mut Self {
        self.source = source(text);
        self.accept().unwrap();
        self
    }
}

#[test]
fn rules_override_fuse_shadow_and_the_cookies_age_are_taken_over_with_the_evidence_kept() {
    let cookie = "    cookie: {name: a}\n";
    let mut bench = Bench::new(&with(cookie, ""));
    bench.healthy_until(at(Stage::Step(1)));
    let (evidence, table) = (
        bench.release().evidence.clone(),
        bench.release().table.clone(),
    );
    bench.edit(&with(
        "    cookie: {name: a, maxAge: 1d, secure: false}\n    rules: [{variant: canary, when: [{header: x, exists: true}]}]\n    override: {header: y, trusted: {principals: [a]}}\n",
        "  fuse: {consecutiveErrors: 9}\n  shadow: {cluster: fraud-v9, sample: 1%}\n",
    ));
    assert_eq!(bench.writes, Writes::Up);
    let release = bench.release();
    assert_eq!(
        (release.stage, &release.evidence, &release.table),
        (Stage::Step(1), &evidence, &table)
    );
    assert_eq!(release.choice, bench.source.plan.choice);
    assert_eq!(release.choice.rules.len(), 1);
    assert_eq!(bench.last(), "the rollout was edited");
}

#[test]
fn what_makes_a_user_begins_anew() {
    for changed in [
        with("    cookie: {name: b}\n", ""),
        with("", ""),
        with("    cookie: {name: a}\n", "").replace("header: x-user-id", "query: user"),
    ] {
        let mut bench = Bench::new(&with("    cookie: {name: a}\n", ""));
        bench.healthy_until(at(Stage::Step(1)));
        bench.edit(&changed);
        assert_eq!(bench.release().stage, Stage::Step(0));
        assert_eq!(bench.release().evidence.canary.requests.total, 0);
    }
}

#[test]
fn an_edit_after_the_end_still_reaches_the_filter() {
    let mut bench = Bench::new(&text());
    bench.act(Do::Abort);
    bench.edit(&with("", "  shadow: {cluster: fraud-v9, sample: 1%}\n"));
    assert_eq!(bench.phase(), Phase::RolledBack);
    assert!(bench.release().choice.shadow.is_some());
}

#[test]
fn a_canary_that_is_switched_off_stands_still_and_goes_on_where_it_was() {
    for off in [with("", OFF), edited(CANARY_OFF.0, CANARY_OFF.1)] {
        let mut bench = Bench::new(&text());
        bench.healthy_until(at(Stage::Step(1)));
        bench.edit(&off);
        assert_eq!(
            bench.writes,
            Writes::Down,
            "users leave before it is remembered"
        );
        assert!(bench.last().contains("switched off"), "{}", bench.last());
        bench.ticks(50, (0, 0), (2000, 1));
        assert_eq!(bench.release().stage, Stage::Step(1));
        assert!(
            bench
                .waiting_for
                .as_ref()
                .unwrap()
                .contains("enabled: false")
        );
        bench.act(Do::Promote);
        assert_eq!(
            bench.release().stage,
            Stage::Step(1),
            "nobody goes up meanwhile"
        );
        bench.edit(&text());
        assert_eq!(bench.writes, Writes::Up);
        bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
    }
}

#[test]
fn switched_off_during_the_handover_the_default_route_comes_back() {
    for stage in [Stage::Soak, Stage::MoveDefault, Stage::DropHeader] {
        let mut bench = Bench::new(&text());
        bench.healthy_until(at(stage));
        bench.edit(&with("", OFF));
        assert_eq!(bench.writes, Writes::Down);
        assert_eq!(bench.state.default_route().route, "fraud-v7");
        assert!(!bench.release().canary_is_live());
        bench.ticks(20, (0, 0), (2000, 1));
        assert_eq!(bench.release().stage, Stage::Soak);
        bench.edit(&text());
        bench.healthy_until(|bench| bench.phase() == Phase::Succeeded);
    }
}

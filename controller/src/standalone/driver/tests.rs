//! The driver on real files, with a Prometheus that does not answer: what it writes, when, and what it makes of files
//! that were lost.

use std::fs;
use std::time::Duration;

use super::*;
use crate::fixtures::{grid, text};
use crate::report::Status;
use crate::rollout::{Action, Do, Phase, Stage};
use crate::standalone::store::ActionFile;

struct Bench {
    dir: tempfile::TempDir,
    driver: Driver,
    board: Board,
    now: Timestamp,
}

fn start(dir: tempfile::TempDir) -> Result<Bench, LoadError> {
    start_with(dir, Encoding::Istio)
}

fn start_with(dir: tempfile::TempDir, encoding: Encoding) -> Result<Bench, LoadError> {
    let store = Store::open(dir.path()).unwrap();
    // Nobody listens on port 1.
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let settings = Settings {
        wasm: "/filter.wasm".into(),
        grid: grid(),
        selectors: Selectors::default(),
        encoding,
        address: "http://127.0.0.1:2".to_owned(),
        max_releases: None,
    };
    let board = Board::default();
    let driver = Driver::load(settings, store, client, board.clone())?;
    Ok(Bench {
        dir,
        driver,
        board,
        now: Timestamp::from_second(1_000).unwrap(),
    })
}

fn bench(files: &[(&str, &str)]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    start(dir).unwrap()
}

impl Bench {
    async fn tick(&mut self) -> &mut Self {
        self.now += Duration::from_secs(1);
        self.driver.tick(self.now).await;
        self
    }

    fn restart(self) -> Self {
        let now = self.now;
        drop(self.driver);
        Bench {
            now,
            ..start(self.dir).unwrap()
        }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    fn statuses(&self) -> Vec<Status> {
        self.board.read().unwrap().rollouts
    }

    fn status(&self) -> Status {
        self.statuses().remove(0)
    }

    /// The canary's share in the plugin config that Envoy reads, and its generation.
    fn shown(&self) -> (u16, u64) {
        let ecds = self
            .driver
            .store
            .read_envoy(&self.driver.store.ecds())
            .unwrap();
        let config = FilterConfig::parse(render::plugin_config(&ecds).unwrap().as_bytes()).unwrap();
        (
            config
                .rollouts
                .first()
                .map_or(0, |rollout| rollout.table.share(1)),
            config.generation,
        )
    }

    fn default_route(&self) -> Option<String> {
        let rds = self.driver.store.read_envoy(&self.driver.store.rds())?;
        render::default_route_in(
            &rds,
            "fraud.ml",
            &crate::paths::Paths::Prefix("/v2/models/fraud".to_owned()),
        )
        .map(str::to_owned)
    }

    fn ask(&self, id: &str, what: Do) {
        let rollout = RolloutName {
            namespace: "ml".to_owned(),
            name: "fraud".to_owned(),
        };
        let action = Action {
            id: id.to_owned(),
            what,
            by: "ann".to_owned(),
            why: String::new(),
            seen: None,
            weight: None,
        };
        self.driver
            .store
            .leave_action(&ActionFile { rollout, action })
            .unwrap();
    }

    /// A folder where the state file should be: it can be neither written nor replaced.
    fn block_state(&self) {
        let path = self.dir.path().join("state/ml.fraud.json");
        let _ = fs::remove_file(&path);
        fs::create_dir_all(path.join("x")).unwrap();
    }

    fn unblock_state(&self) {
        fs::remove_dir_all(self.dir.path().join("state/ml.fraud.json")).unwrap();
    }
}

#[tokio::test]
async fn a_rollout_begins_and_an_abort_does_not_wait_for_prometheus() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    assert_eq!(bench.shown(), (1000, 1));
    bench.ask("1", Do::Abort);
    bench.tick().await;
    assert_eq!(
        (bench.status().phase, bench.shown()),
        (Phase::RolledBack, (0, 2))
    );
    assert!(bench.driver.store.actions().unwrap().is_empty());
}

#[tokio::test]
async fn going_up_waits_until_the_state_is_on_disk() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    bench.block_state();
    bench.ask("1", Do::Promote);
    bench.tick().await.tick().await;
    assert_eq!(bench.shown().0, 1000, "a weight that nobody would remember");
    assert_eq!(
        bench.driver.store.actions().unwrap().len(),
        1,
        "the action waits with it"
    );
    bench.unblock_state();
    bench.tick().await;
    assert_eq!(bench.shown().0, 2500);
    assert!(bench.driver.store.actions().unwrap().is_empty());
    let states = bench.driver.store.states().unwrap();
    assert_eq!(
        states[0].state.release.as_ref().unwrap().stage,
        Stage::Step(1),
        "promoted once, not twice"
    );
}

#[tokio::test]
async fn going_down_does_not_wait_for_the_state() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    bench.block_state();
    bench.ask("1", Do::Abort);
    bench.tick().await;
    assert_eq!(bench.shown().0, 0);
}

#[tokio::test]
async fn a_restart_between_state_and_weight_writes_the_weight_and_trusts_no_older_generation() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    let ecds = fs::read(bench.driver.store.ecds()).unwrap();
    bench.ask("1", Do::Promote);
    bench.tick().await;
    assert_eq!(bench.shown(), (2500, 2));
    // As if the controller had been killed right after it wrote the state.
    fs::write(bench.driver.store.ecds(), ecds).unwrap();
    let mut bench = bench.restart();
    let name = bench.driver.rollouts.keys().next().unwrap().clone();
    assert_eq!(
        bench.driver.rollouts[&name].written_generation(),
        None,
        "generation 1 carries the weight before"
    );
    bench.tick().await;
    assert_eq!(bench.shown().0, 2500);
    assert!(bench.shown().1 > 2, "the generation does not go back");
    assert_eq!(
        bench.driver.rollouts[&name].written_generation(),
        Some(bench.shown().1)
    );
}

#[tokio::test]
async fn a_restart_changes_nothing_that_is_as_it_should_be() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    let (shown, started) = (bench.shown(), bench.status().release.unwrap().started);
    let mut bench = bench.restart();
    bench.tick().await;
    assert_eq!(
        (bench.shown(), bench.status().release.unwrap().started),
        (shown, started)
    );
}

#[tokio::test]
async fn outside_edits_of_envoys_files_are_undone() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    bench.write("envoy/ecds.json", "{}");
    bench.write("envoy/rds.json", "spoilt");
    bench.tick().await;
    assert_eq!(
        (bench.shown().0, bench.default_route().as_deref()),
        (1000, Some("fraud-v7"))
    );
}

#[tokio::test]
async fn live_is_read_from_the_route_when_the_state_is_lost() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    let rds = fs::read_to_string(bench.driver.store.rds()).unwrap();
    fs::remove_file(bench.dir.path().join("state/ml.fraud.json")).unwrap();
    bench.write(
        "envoy/rds.json",
        &rds.replace(r#""cluster": "fraud-v7""#, r#""cluster": "fraud-v8""#),
    );
    let mut bench = bench.restart();
    bench.tick().await;
    let status = bench.status();
    assert_eq!(
        (status.phase, status.live.version.as_str()),
        (Phase::Pending, "8")
    );
    assert!(
        status
            .message
            .contains("fraud.yaml:8: spec.variants: stable is version '7'"),
        "{}",
        status.message
    );
    assert_eq!(
        bench.default_route().as_deref(),
        Some("fraud-v8"),
        "whoever forgot it, it goes on serving"
    );
}

#[tokio::test]
async fn routes_that_nobody_remembers_stay() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    fs::remove_file(bench.dir.path().join("state/ml.fraud.json")).unwrap();
    bench.write("fraud.yaml", "broken: [");
    let mut bench = bench.restart();
    bench.tick().await;
    assert_eq!(bench.default_route().as_deref(), Some("fraud-v7"));
    assert!(bench.board.read().unwrap().problems[0].starts_with("fraud.yaml:1"));
}

#[tokio::test]
async fn two_releases_for_the_same_requests_never_meet_in_one_config() {
    let mut bench = bench(&[("a.yaml", &text())]);
    bench.tick().await;
    bench.write("a.yaml", "broken: [");
    bench.write("b.yaml", &text().replace("name: fraud,", "name: rival,"));
    bench.tick().await;
    let rival = bench
        .statuses()
        .into_iter()
        .find(|status| status.name.name == "rival")
        .unwrap();
    assert!(
        rival.message.contains("still belong to rollout 'ml/fraud'"),
        "{}",
        rival.message
    );
    assert_eq!(bench.shown().0, 1000, "the one whose file broke goes on");
}

#[tokio::test]
async fn a_file_that_is_away_for_a_moment_is_not_gone() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    fs::remove_file(bench.dir.path().join("fraud.yaml")).unwrap();
    bench.tick().await.tick().await;
    assert_eq!(bench.shown().0, 1000);
    bench.tick().await.tick().await;
    assert_eq!(
        (bench.shown().0, bench.default_route().as_deref()),
        (0, Some("fraud-v7"))
    );
    bench.write("fraud.yaml", &text());
    bench.tick().await;
    assert_eq!(bench.shown().0, 1000);
}

#[tokio::test]
async fn another_grid_is_refused_while_a_release_is_in_progress() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    let state = bench.dir.path().join("state/ml.fraud.json");
    let other = fs::read_to_string(&state)
        .unwrap()
        .replace(r#""cellMs": 2000"#, r#""cellMs": 3000"#);
    fs::write(&state, other).unwrap();
    let refused = start(bench.dir).err().unwrap().to_string();
    assert!(
        refused.contains("rollout 'ml/fraud' has a release in progress on cells of 3s"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_tombstone_gives_up_requests_that_have_found_another_rollout() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    // The file is renamed, and so is the rollout in it; the new one releases a version from another route.
    let renamed = text().replace("name: fraud,", "name: antifraud,");
    fs::remove_file(bench.dir.path().join("fraud.yaml")).unwrap();
    bench.write("antifraud.yaml", &renamed);
    for _ in 0..6 {
        bench.tick().await;
    }
    let of = |name: &str| {
        bench
            .driver
            .rollouts
            .values()
            .find(|managed| managed.state.name.name == name)
            .unwrap()
    };
    assert!(of("antifraud").state.in_progress().is_some());
    assert!(
        of("fraud").state.hosts.is_empty(),
        "what it remembers of these requests is out of date"
    );
}

#[tokio::test]
async fn a_host_that_a_file_drops_keeps_its_default_route() {
    let two = text().replace("[fraud.ml]", "[fraud.ml, scoring.ml]");
    let mut bench = bench(&[("fraud.yaml", &two)]);
    bench.tick().await;
    bench.write("fraud.yaml", &text());
    bench.tick().await;
    let route = |bench: &Bench| {
        let rds = bench
            .driver
            .store
            .read_envoy(&bench.driver.store.rds())
            .unwrap();
        render::default_route_in(
            &rds,
            "scoring.ml",
            &crate::paths::Paths::Prefix("/v2/models/fraud".to_owned()),
        )
        .map(str::to_owned)
    };
    assert_eq!(route(&bench).as_deref(), Some("fraud-v7"));
    let mut bench = bench.restart();
    bench.tick().await;
    assert_eq!(route(&bench).as_deref(), Some("fraud-v7"));
}

#[tokio::test]
async fn another_encoding_of_the_metrics_is_another_config() {
    let mut bench = bench(&[("fraud.yaml", &text())]);
    bench.tick().await;
    let stats = |bench: &Bench| {
        let ecds = bench.driver.store.read_envoy(&bench.driver.store.ecds());
        let config = render::plugin_config(&ecds.unwrap()).unwrap().to_owned();
        let config = FilterConfig::parse(config.as_bytes()).unwrap();
        (config.stats, config.generation)
    };
    let (encoding, generation) = stats(&bench);
    assert_eq!(encoding, Encoding::Istio);
    let now = bench.now;
    drop(bench.driver);
    let mut bench = Bench {
        now,
        ..start_with(bench.dir, Encoding::Builtin).unwrap()
    };
    bench.tick().await.tick().await;
    assert_eq!(stats(&bench), (Encoding::Builtin, generation + 1));
}

#[tokio::test]
async fn a_release_waits_for_its_turn_when_others_are_in_progress() {
    let mut bench = bench(&[]);
    bench.driver.settings.max_releases = Some(1);
    bench.write("a.yaml", &text());
    let second = text()
        .replace("name: fraud,", "name: spam,")
        .replace("fraud.ml", "spam.ml");
    bench.write("b.yaml", &second);
    bench.tick().await;
    let phases = |bench: &Bench| {
        bench
            .statuses()
            .iter()
            .map(|it| it.phase)
            .collect::<Vec<_>>()
    };
    assert_eq!(phases(&bench), [Phase::Progressing, Phase::Pending]);
    let waiting = bench.statuses()[1].message.clone();
    assert!(
        waiting.contains("waiting: 1 releases are in progress"),
        "{waiting}"
    );
    let ready = &bench.statuses()[1].conditions[0];
    assert_eq!(ready.reason.as_deref(), Some("Waiting"));
    bench.ask("1", Do::Abort);
    bench.tick().await;
    bench.tick().await;
    assert_eq!(phases(&bench), [Phase::RolledBack, Phase::Progressing]);
}

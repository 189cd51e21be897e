//! Reloading on real folders, with a fake model that fails where its file says so.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tempfile::TempDir;

use super::*;
use crate::{
    backend::{BackendError, fake},
    limits::Limits,
    memory::Memory,
    metrics::{Metrics, Style},
    protocol::triton,
    registry::Registry,
    repository,
    worker::Spin,
};

const YAML: &str = "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}, {name: n, datatype: INT64, shape: [1]}]
";

/// A file with this is no model.
const GARBAGE: &str = "garbage";

/// A repository of `fraud` version 1, and what serves of it.
struct Live {
    dir: TempDir,
    app: Arc<App>,
    reloader: Arc<Reloader>,
    /// Versions that were loaded or tried.
    tried: Arc<AtomicUsize>,
}

fn loads(tried: &Arc<AtomicUsize>) -> Loads {
    let tried = Arc::clone(tried);
    Arc::new(move |entry| {
        tried.fetch_add(1, Ordering::SeqCst);
        let text = fs::read_to_string(&entry.file).unwrap_or_default();
        let load: Load = if text == GARBAGE {
            Box::new(|| Err(BackendError::Load("no model".to_owned())))
        } else {
            fake::load().1
        };
        vec![load]
    })
}

impl Live {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("fraud")).unwrap();
        fs::write(dir.path().join("fraud/model.yaml"), YAML).unwrap();
        put(dir.path(), 1, "one");
        let tried = Arc::new(AtomicUsize::new(0));
        let entries = repository::read(dir.path()).unwrap();
        let loads = loads(&tried);
        let candidates = entries.iter().map(|entry| Candidate {
            entry: entry.clone(),
            loads: loads(entry),
        });
        let registry = Registry::load(
            candidates.collect(),
            8,
            &Limits::default(),
            None,
            Spin::default(),
        )
        .await
        .unwrap();
        tried.store(0, Ordering::SeqCst);
        let app = Arc::new(App {
            draining: AtomicBool::new(false),
            traces: None,
            registry,
            metrics: Metrics::new(Style::default()).unwrap(),
            max_body: 1 << 20,
            max_reading: 8,
            memory: Memory::new(None, || ()),
            clients: None,
        });
        let path = dir.path().to_owned();
        let reloader = Reloader::new(Arc::clone(&app), path.into(), 8, entries, loads);
        let reloader = Arc::new(reloader);
        Self {
            dir,
            app,
            reloader,
            tried,
        }
    }

    fn put(&self, version: u64, text: &str) {
        put(self.dir.path(), version, text);
    }

    fn remove(&self, version: u64) {
        let folder = self.dir.path().join("fraud").join(version.to_string());
        fs::remove_dir_all(folder).unwrap();
    }

    fn versions(&self) -> Vec<u64> {
        self.app.registry.current().versions("fraud").collect()
    }

    /// Version, state and reason of each line of the index.
    fn index(&self) -> Vec<(String, &'static str, String)> {
        let index = triton::index(&self.app.registry.current(), false);
        let lines = index.into_iter();
        lines.map(|it| (it.version, it.state, it.reason)).collect()
    }

    fn tried(&self) -> usize {
        self.tried.load(Ordering::SeqCst)
    }
}

fn put(dir: &Path, version: u64, text: &str) {
    let folder = dir.join("fraud").join(version.to_string());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.pt"), text).unwrap();
}

#[tokio::test]
async fn a_file_that_grows_is_not_loaded_until_two_readings_have_found_the_same() {
    let live = Live::start().await;
    let mut text = String::new();
    for _ in 0..5 {
        text.push_str("more");
        live.put(2, &text);
        live.reloader.poll().await;
    }
    assert_eq!((live.versions(), live.tried()), (vec![1], 0));
    live.reloader.poll().await;
    assert_eq!((live.versions(), live.tried()), (vec![1, 2], 1));
    live.reloader.poll().await;
    assert_eq!(live.tried(), 1, "what serves is not loaded again");
}

#[tokio::test]
async fn a_version_that_does_not_start_leaves_the_old_one_and_is_tried_once() {
    let live = Live::start().await;
    live.put(1, GARBAGE);
    live.put(2, GARBAGE);
    for _ in 0..4 {
        live.reloader.poll().await;
    }
    assert_eq!((live.versions(), live.tried()), (vec![1], 2));
    assert!(live.app.registry.is_ready());
    let reason = "failed to load: failed to read the model: no model";
    let newer = format!(
        "what the repository has now does not start, and what was loaded before goes on: {reason}"
    );
    let wanted = [
        ("1".to_owned(), "READY", newer),
        ("2".to_owned(), "UNAVAILABLE", reason.to_owned()),
    ];
    assert_eq!(live.index(), wanted);
    let current = live.app.registry.current();
    let metrics = live.app.metrics.render(current.iter().map(|it| &**it));
    let line = r#"serin_serve_model_load_failures_total{model="fraud"} 2"#;
    assert!(metrics.unwrap().contains(line));
    live.put(1, "good again");
    live.put(2, "good");
    live.reloader.push().await;
    let ready = |version: &str| (version.to_owned(), "READY", String::new());
    assert_eq!(live.index(), [ready("1"), ready("2")]);
}

#[tokio::test]
async fn a_version_that_goes_answers_those_that_have_found_it_and_is_dropped_after_them() {
    let live = Live::start().await;
    let found = live.app.registry.find("fraud", None).unwrap();
    live.put(2, "two");
    live.remove(1);
    live.reloader.push().await;
    assert_eq!(live.versions(), [2]);
    let dropped = Arc::downgrade(&found);
    let input = found.spec.inputs[0].sample(1).unwrap();
    let answer = found.worker.infer(vec![input], Default::default()).await;
    assert!(answer.unwrap().outputs.is_ok());
    drop(found);
    assert!(dropped.upgrade().is_none(), "nobody else keeps it");
}

#[tokio::test]
async fn a_repository_with_problems_changes_nothing() {
    let live = Live::start().await;
    live.put(2, "two");
    fs::create_dir(live.dir.path().join("fraud/new")).unwrap();
    for _ in 0..3 {
        live.reloader.poll().await;
    }
    live.reloader.push().await;
    assert_eq!((live.versions(), live.tried()), (vec![1], 0));
    let refused = live.reloader.load("fraud").await;
    assert_eq!(refused, Err(ReloadError::Problems(1)));
    fs::remove_dir_all(live.dir.path().join("fraud")).unwrap();
    live.reloader.push().await;
    assert_eq!(live.versions(), [1], "an empty folder is a problem, too");
}

#[tokio::test]
async fn an_unloaded_model_stays_away_until_it_is_loaded_again() {
    let live = Live::start().await;
    assert_eq!(live.reloader.unload("fraud").await, Ok(()));
    for _ in 0..3 {
        live.reloader.poll().await;
    }
    live.reloader.push().await;
    assert!(live.app.registry.find("fraud", None).is_err());
    assert!(live.app.registry.is_ready(), "nothing is missing");
    let line = ("1".to_owned(), "UNAVAILABLE", "unloaded".to_owned());
    assert_eq!(live.index(), [line]);
    assert_eq!(live.reloader.unload("fraud").await, Ok(()), "it still is");
    assert_eq!(live.reloader.load("fraud").await, Ok(()));
    assert_eq!(live.versions(), [1]);
    let absent = Err(ReloadError::Absent("x".to_owned()));
    assert_eq!(live.reloader.load("x").await, absent);
    assert_eq!(live.reloader.unload("x").await, absent);
}

#[tokio::test]
async fn who_leaves_before_their_turn_has_asked_for_nothing_and_after_it_stops_nothing() {
    let live = Live::start().await;
    live.put(2, "two");
    let turn = live.reloader.turn().await;
    let mut load = Box::pin(live.reloader.load("fraud"));
    assert!(futures::poll!(&mut load).is_pending());
    // Whatever it may have begun would wait for the turn, too.
    tokio::task::yield_now().await;
    drop((load, turn));
    // Whoever has begun holds the turn.
    drop(live.reloader.turn().await);
    assert_eq!((live.versions(), live.tried()), (vec![1], 0));
    let mut load = Box::pin(live.reloader.load("fraud"));
    assert!(futures::poll!(&mut load).is_pending());
    drop(load);
    drop(live.reloader.turn().await);
    assert_eq!((live.versions(), live.tried()), (vec![1, 2], 1));
    let state = live.reloader.state.lock().await;
    let mut unload = Box::pin(live.reloader.unload("fraud"));
    assert!(futures::poll!(&mut unload).is_pending());
    drop((unload, state));
    drop(live.reloader.state.lock().await);
    assert_eq!(live.versions(), [1, 2]);
}

#[tokio::test]
async fn who_loads_a_model_that_does_not_start_is_told_why() {
    let live = Live::start().await;
    live.put(2, GARBAGE);
    let refused = live.reloader.load("fraud").await.unwrap_err();
    let sentence = "failed to load model 'fraud': version 2: failed to load: failed to read the model: no model; what was \
                    loaded before goes on";
    assert_eq!(refused.to_string(), sentence);
    assert_eq!(live.versions(), [1]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_loaded_is_not_served_and_is_tried_again() {
    let mut live = Live::start().await;
    live.put(2, "two");
    let tried = Arc::clone(&live.tried);
    let reloader = Arc::get_mut(&mut live.reloader).unwrap();
    reloader.loads = Arc::new(move |entry| {
        if tried.fetch_add(1, Ordering::SeqCst) == 0 {
            fs::write(&entry.file, "two and more").unwrap();
        }
        vec![fake::load().1]
    });
    live.reloader.poll().await;
    live.reloader.poll().await;
    assert_eq!((live.versions(), live.tried()), (vec![1], 1));
    for _ in 0..2 {
        live.reloader.poll().await;
    }
    assert_eq!((live.versions(), live.tried()), (vec![1, 2], 2));
}

//! Lazy models on real folders, with a fake model that fails where its file says so.

mod refused;

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::{
    backend::{BackendError, Load, fake},
    limits::Limits,
    memory::Memory,
    metrics::{Metrics, Style},
    protocol::triton,
    registry::Registry,
    reload::Reloader,
    worker::Spin,
};

const YAML: &str = "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}, {name: n, datatype: INT64, shape: [1]}]
load: lazy
";

/// A file with this is no model.
const GARBAGE: &str = "garbage";

struct Live {
    dir: TempDir,
    app: Arc<App>,
    reloader: Arc<Reloader>,
    /// Versions that were loaded or tried.
    tried: Arc<AtomicUsize>,
    /// Whether loads wait.
    held: Arc<AtomicBool>,
}

impl Live {
    /// A repository of `fraud`, version 1, as a poll has found it.
    async fn start(more: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("fraud/1")).unwrap();
        fs::write(dir.path().join("fraud/model.yaml"), format!("{YAML}{more}")).unwrap();
        fs::write(dir.path().join("fraud/1/model.pt"), text).unwrap();
        let (tried, held) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (counted, holding) = (Arc::clone(&tried), Arc::clone(&held));
        let loads: Loads = Arc::new(move |entry| {
            counted.fetch_add(1, Ordering::SeqCst);
            let text = fs::read_to_string(&entry.file).unwrap_or_default();
            let (holding, (_, load)) = (Arc::clone(&holding), fake::load());
            let load: Load = Box::new(move || {
                while holding.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                if text == GARBAGE {
                    return Err(BackendError::Load("no model".to_owned()));
                }
                load()
            });
            vec![load]
        });
        let app = Arc::new(App {
            draining: AtomicBool::new(false),
            traces: None,
            registry: Registry::load(Vec::new(), 8, &Limits::default(), None, Spin::default())
                .await
                .unwrap(),
            metrics: Metrics::new(Style::default()).unwrap(),
            max_body: 1 << 20,
            max_reading: 8,
            memory: Memory::new(None, || ()),
            clients: None,
        });
        let source = dir.path().to_owned().into();
        let reloader = Reloader::new(Arc::clone(&app), source, 8, Vec::new(), loads);
        let reloader = Arc::new(reloader);
        reloader.push().await;
        Self {
            dir,
            app,
            reloader,
            tried,
            held,
        }
    }

    async fn find(&self) -> Result<Arc<ModelVersion>, ApiError> {
        Ok(find(&self.app, "fraud", None).await?)
    }

    async fn find_to_infer(&self) -> Result<Arc<ModelVersion>, Refused> {
        find_to_infer(&self.app, "fraud", None).await
    }

    /// What is counted of requests.
    fn counted(&self) -> Vec<String> {
        let metrics = self.app.metrics.render(std::iter::empty()).unwrap();
        let lines = metrics.lines();
        let lines = lines.filter(|it| {
            it.starts_with("serin_serve_requests_total")
                || it.starts_with("serin_serve_request_duration_seconds_count")
        });
        lines.map(str::to_owned).collect()
    }

    /// The same of requests that ended so, and so often.
    #[track_caller]
    fn assert_counted(&self, outcomes: &[(&str, u64)]) {
        let all: u64 = outcomes.iter().map(|(_, count)| count).sum();
        let name = "serin_serve_request_duration_seconds_count";
        let mut wanted = vec![format!(r#"{name}{{model="fraud",version="1"}} {all}"#)];
        wanted.extend(outcomes.iter().map(|(outcome, count)| {
            let labels = format!(r#"model="fraud",outcome="{outcome}",version="1""#);
            format!("serin_serve_requests_total{{{labels}}} {count}")
        }));
        assert_eq!(self.counted(), wanted);
    }

    fn is_loaded(&self) -> bool {
        self.app.registry.current().loaded("fraud", 1).is_some()
    }

    fn tried(&self) -> usize {
        self.tried.load(Ordering::SeqCst)
    }

    /// State and reason of the one line of the index.
    fn index(&self) -> (&'static str, String) {
        let index = triton::index(&self.app.registry.current(), false);
        assert_eq!(index.len(), 1);
        index
            .into_iter()
            .map(|it| (it.state, it.reason))
            .next()
            .unwrap()
    }

    /// Looks for idle versions until there is one.
    async fn until_asleep(&self) {
        while self.is_loaded() {
            tokio::task::yield_now().await;
            unload_idle(&self.app.registry);
        }
    }
}

#[tokio::test]
async fn a_lazy_model_is_known_and_ready_does_not_wait_for_it() {
    let live = Live::start("", "one").await;
    assert_eq!(live.tried(), 0);
    assert!(live.app.registry.is_ready());
    let wanted = "not loaded: its next request loads it";
    assert_eq!(live.index(), ("UNAVAILABLE", wanted.to_owned()));
    assert!(matches!(
        find(&live.app, "fraud", Some("2"))
            .await
            .map_err(ApiError::from),
        Err(ApiError::NotFound(_))
    ));
    assert!(matches!(
        find(&live.app, "other", None).await.map_err(ApiError::from),
        Err(ApiError::NotFound(_))
    ));
    live.find().await.unwrap();
    assert_eq!(live.index(), ("READY", String::new()));
}

#[tokio::test]
async fn first_requests_at_once_share_one_load() {
    let live = Live::start("", "one").await;
    let found = join_all((0..8).map(|_| live.find())).await;
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert!(found.iter().all(|it| Arc::ptr_eq(it, &found[0])));
    assert_eq!(live.tried(), 1);
}

#[tokio::test]
async fn a_load_that_fails_is_told_and_not_tried_again_at_once() {
    let live = Live::start("", GARBAGE).await;
    for _ in 0..2 {
        let error = live.find().await.err().unwrap();
        assert_eq!(error.status(), 503);
        let sentence = "model 'fraud' version 1 cannot be loaded: failed to load: failed to read the model: no model; it \
                        will be tried again";
        assert_eq!(error.to_string(), sentence);
    }
    assert_eq!(live.tried(), 1);
    let (state, reason) = live.index();
    assert_eq!(state, "UNAVAILABLE");
    assert!(
        reason.starts_with("its last load failed: failed to load: "),
        "{reason}"
    );
    // Another file is another thing to try.
    fs::write(live.dir.path().join("fraud/1/model.pt"), "good").unwrap();
    live.reloader.push().await;
    live.find().await.unwrap();
    assert_eq!(live.tried(), 2);
}

#[tokio::test]
async fn a_request_waits_no_longer_than_the_model_says_and_the_load_goes_on() {
    let live = Live::start("timeout: 20ms\n", "one").await;
    live.held.store(true, Ordering::SeqCst);
    let error = live.find().await.err().unwrap();
    assert_eq!(error.status(), 504, "{error}");
    live.held.store(false, Ordering::SeqCst);
    while !live.is_loaded() {
        tokio::task::yield_now().await;
    }
    live.find().await.unwrap();
    assert_eq!(live.tried(), 1);
}

#[tokio::test]
async fn an_idle_model_is_unloaded_and_whoever_holds_it_keeps_it() {
    let live = Live::start("unloadAfter: 20ms\n", "one").await;
    let held = live.find().await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    unload_idle(&live.app.registry);
    assert!(live.is_loaded(), "somebody is being answered");
    let weak = Arc::downgrade(&held);
    drop(held);
    live.until_asleep().await;
    assert!(weak.upgrade().is_none(), "nobody else keeps it");
    let again = live.find().await.unwrap();
    assert_eq!(live.tried(), 2);
    // Taken out under a request that has just found it, as when the two come at once.
    live.app.registry.change(|models| models.lull("fraud", 1));
    assert!(!live.is_loaded());
    let input = again.spec.inputs[0].sample(1).unwrap();
    let answer = again.worker.infer(vec![input], Default::default()).await;
    assert!(answer.unwrap().outputs.is_ok());
}

#[tokio::test]
async fn requests_and_unloading_at_once_fail_no_request() {
    let live = Live::start("unloadAfter: 1ms\n", "one").await;
    let done = AtomicBool::new(false);
    let ask = async || {
        for _ in 0..200 {
            let found = live.find().await.unwrap();
            let input = found.spec.inputs[0].sample(1).unwrap();
            let answer = found.worker.infer(vec![input], Default::default()).await;
            assert!(answer.unwrap().outputs.is_ok());
            drop(found);
            // As somebody who unloads without looking who is there.
            live.app.registry.change(|models| models.lull("fraud", 1));
        }
        done.store(true, Ordering::SeqCst);
    };
    let unload = async {
        while !done.load(Ordering::SeqCst) {
            unload_idle(&live.app.registry);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(ask(), ask(), unload);
    assert!(live.tried() > 10, "{}", live.tried());
}

#[tokio::test]
async fn a_lazy_model_that_changes_or_goes_does_so_awake_and_asleep() {
    let live = Live::start("", "one").await;
    let folder = live.dir.path().join("fraud/2");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("model.pt"), "two").unwrap();
    live.reloader.push().await;
    assert_eq!(live.tried(), 0, "asleep");
    assert_eq!(live.find().await.unwrap().version, 2);
    fs::write(folder.join("model.pt"), GARBAGE).unwrap();
    live.reloader.push().await;
    assert_eq!(
        live.tried(),
        2,
        "what is awake is tried before it is replaced"
    );
    assert_eq!(live.find().await.unwrap().version, 2, "and goes on");
    fs::remove_dir_all(folder).unwrap();
    live.reloader.push().await;
    assert_eq!(live.find().await.unwrap().version, 1);
    live.reloader.unload("fraud").await.unwrap();
    assert!(matches!(live.find().await, Err(ApiError::NotFound(_))));
    live.reloader.load("fraud").await.unwrap();
    assert_eq!(live.find().await.unwrap().version, 1);
}

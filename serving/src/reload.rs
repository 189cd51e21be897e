//! The repository lives: it is read again, and what has changed is loaded beside what serves and swapped in.
//!
//! A version that does not start changes nothing: what served before goes on, and the reason is in the log, in the index
//! of the repository and in a metric. One change is made at a time, and one version loaded at a time, so that no more
//! than one model is in memory twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    backend::Load,
    inference::App,
    lazy::Sleeper,
    registry::{Candidate, ModelVersion},
    repository::{
        Entry, Problems, Stamp,
        changes::{Change, Key, View, plan},
    },
    source::Source,
    tensor::shorten,
};

/// How the instances of a version are loaded.
pub type Loads = Arc<dyn Fn(&Entry) -> Vec<Load> + Send + Sync>;

/// Whoever changes what is loaded while the server runs.
pub struct Reloader {
    app: Arc<App>,
    source: Source,
    /// One reading at a time, and what it asks for before the next.
    turn: Arc<Mutex<()>>,
    /// Requests that may wait for each version.
    queue: usize,
    loads: Loads,
    state: Mutex<State>,
}

/// What is remembered from one reading to the next.
#[derive(Default)]
struct State {
    /// The last reading, if it had no problems.
    last: Option<Vec<Entry>>,
    /// What was tried and does not start, and why.
    failed: BTreeMap<Key, (Entry, String)>,
    /// Models that stay unloaded until somebody loads them again.
    unloaded: BTreeSet<String>,
    /// The problems of the last reading, and whether the log has them.
    problems: Option<(Problems, bool)>,
}

/// Why a model was not loaded or unloaded. Safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The repository could not be read.
    #[error(
        "the model repository is not in order, as the server's log tells ({0} problems): nothing was changed"
    )]
    Problems(usize),
    /// It is not there.
    #[error("model '{0}' is not in the model repository")]
    Absent(String),
    /// Some versions did not start.
    #[error("failed to load model '{model}': {}; what was loaded before goes on", .reasons.join(", "))]
    Failed {
        /// The model.
        model: String,
        /// Why, by version.
        reasons: Vec<String>,
    },
    /// The server ended meanwhile.
    #[error("the change was broken off: see the server's log")]
    BrokenOff,
}

/// Reads the repository whenever `poll` has passed, and at each of `pushes`. Never ends.
pub async fn follow(
    reloader: Arc<Reloader>,
    poll: Option<Duration>,
    pushes: impl Stream<Item = ()> + Send,
) {
    let mut pushes = pin!(pushes);
    let mut ticks = poll.map(|span| {
        let mut ticks = interval_at(Instant::now() + span, span);
        // A load may take longer than that.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    loop {
        let tick = async {
            match &mut ticks {
                Some(ticks) => drop(ticks.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(()) = pushes.next() => reloader.push().await,
            () = tick => reloader.poll().await,
        }
    }
}

impl Reloader {
    /// `entries` is what the repository was when the registry was loaded from it.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        source: Source,
        queue: usize,
        entries: Vec<Entry>,
        loads: Loads,
    ) -> Self {
        let state = State {
            last: Some(entries),
            ..State::default()
        };
        Self {
            app,
            source,
            turn: Arc::default(),
            queue,
            loads,
            state: Mutex::new(state),
        }
    }

    /// Reads the repository, and makes the changes that the reading before has found, too.
    pub async fn poll(&self) {
        // The log has what went wrong.
        drop(self.round(self.turn().await, false, None).await);
    }

    /// Reads the repository, and makes all changes at once: somebody says that it is complete.
    pub async fn push(&self) {
        tracing::info!("reading the model repository, as told");
        drop(self.round(self.turn().await, true, None).await);
    }

    /// Makes all changes of one model at once, and loads it again if it was unloaded. Who goes away before it is their
    /// turn has asked for nothing; a change that has begun is finished without them.
    ///
    /// # Errors
    /// [`ReloadError`]; what served before goes on.
    pub async fn load(self: &Arc<Self>, model: &str) -> Result<(), ReloadError> {
        let turn = self.turn().await;
        let (this, model) = (Arc::clone(self), model.to_owned());
        let change = async move { this.round(turn, true, Some(&model)).await };
        // It cannot panic, and nobody aborts it.
        let ended = tokio::spawn(change).await;
        ended.unwrap_or(Err(ReloadError::BrokenOff))
    }

    /// Takes a model out until it is loaded again. Requests that have found it are answered. Who goes away while something
    /// is being loaded, for which it waits, has asked for nothing.
    ///
    /// # Errors
    /// [`ReloadError::Absent`]
    pub async fn unload(&self, model: &str) -> Result<(), ReloadError> {
        let mut state = self.state.lock().await;
        let current = self.app.registry.current();
        let versions: Vec<u64> = current.versions(model).collect();
        drop(current);
        let known = state.last.iter().flatten();
        let mut known = known.chain(state.failed.values().map(|(entry, _)| entry));
        if versions.is_empty() && !known.any(|entry| entry.model == model) {
            return Err(ReloadError::Absent(shorten(model)));
        }
        state.unloaded.insert(model.to_owned());
        state.failed.retain(|key, _| key.0 != model);
        self.retire(model, &versions);
        self.remark(&state);
        Ok(())
    }

    async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Reads the repository and makes the changes that it asks for: all, or those of one model, which is loaded again if
    /// it was unloaded.
    async fn round(
        &self,
        _turn: OwnedMutexGuard<()>,
        told: bool,
        only: Option<&str>,
    ) -> Result<(), ReloadError> {
        // A bucket may take long, and nobody else should wait for it.
        let read = self.source.read().await;
        let mut state = self.state.lock().await;
        let now = Self::judge(&mut state, read, told)?;
        if let Some(model) = only {
            if !now.iter().any(|entry| entry.model == model) {
                return Err(ReloadError::Absent(shorten(model)));
            }
            state.unloaded.remove(model);
        }
        self.make(&mut state, now, told, only).await
    }

    /// Tells the problems of a reading once.
    fn judge(
        state: &mut State,
        read: Result<Vec<Entry>, Problems>,
        told: bool,
    ) -> Result<Vec<Entry>, ReloadError> {
        match read {
            Ok(now) => {
                if let Some((_, true)) = state.problems.take() {
                    tracing::info!("the model repository is in order again");
                }
                Ok(now)
            }
            Err(problems) => {
                // One that is gone at the next reading belonged to a copy that was under way.
                let again = state.problems.take_if(|(before, _)| *before == problems);
                let (stays, said) = again.map_or((false, false), |(_, said)| (true, said));
                if told || (stays && !said) {
                    tracing::warn!(%problems, "the model repository is not in order: what is loaded goes on");
                }
                let count = problems.0.len();
                state.problems = Some((problems, told || stays));
                state.last = None;
                Err(ReloadError::Problems(count))
            }
        }
    }

    /// Makes the changes that a reading asks for, of all models or of one.
    async fn make(
        &self,
        state: &mut State,
        now: Vec<Entry>,
        told: bool,
        only: Option<&str>,
    ) -> Result<(), ReloadError> {
        let served: Vec<Entry> = self.served();
        let mut changes = plan(&View {
            now: &now,
            before: state.last.as_deref(),
            told,
            served: &served,
            failed: &state.failed,
            unloaded: &state.unloaded,
        });
        changes.retain(|model, _| only.is_none_or(|only| only == model));
        let mut result = Ok(());
        for (model, change) in changes {
            let reasons = self.change(state, &model, change).await;
            if !reasons.is_empty() {
                result = Err(ReloadError::Failed { model, reasons });
            }
        }
        let served = self.served();
        let missing = |key: &Key| {
            let entry = now.iter().find(|it| it.key() == *key);
            entry.is_some_and(|entry| !served.contains(entry))
        };
        state.failed.retain(|key, _| missing(key));
        state.last = Some(now);
        self.remark(state);
        result
    }

    fn served(&self) -> Vec<Entry> {
        let current = self.app.registry.current();
        let loaded = current.iter().map(|loaded| loaded.entry());
        let asleep = current.asleep().map(|it| it.entry.clone());
        loaded.chain(asleep).collect()
    }

    /// Makes the change of one model, and returns why versions of it do not start.
    async fn change(&self, state: &mut State, model: &str, change: Change) -> Vec<String> {
        let mut reasons = Vec::new();
        for entry in change.load {
            let version = entry.version;
            let registry = &self.app.registry;
            let sleeper = entry
                .spec
                .serving
                .lazy
                .then(|| Sleeper::new(entry.clone(), Arc::clone(&self.loads), self.queue));
            if let Some(sleeper) = &sleeper
                && registry.current().loaded(model, version).is_none()
            {
                registry.change(|models| models.insert_lazy(Arc::clone(sleeper)));
                tracing::info!(
                    model,
                    version,
                    "model version is loaded by its first request"
                );
                continue;
            }
            match self.start(entry.clone()).await {
                Ok(loaded) => {
                    registry.change(|models| {
                        models.insert(Arc::clone(&loaded));
                        if let Some(sleeper) = &sleeper {
                            models.insert_lazy(Arc::clone(sleeper));
                        }
                    });
                    state.failed.remove(&entry.key());
                    tracing::info!(model, version, "model version serves from now on");
                }
                Err(Refused::Changed) => {
                    let reason = "its file changed while it was being loaded";
                    tracing::warn!(model, version, "{reason}: it is not served as it was");
                    reasons.push(format!("version {version}: {reason}"));
                }
                Err(Refused::Failed(reason)) => {
                    self.app.metrics.load_failed(model);
                    reasons.push(format!("version {version}: {reason}"));
                    state.failed.insert(entry.key(), (entry, reason));
                }
            }
        }
        if reasons.is_empty() && !change.incomplete {
            self.retire(model, &change.retire);
        }
        reasons
    }

    async fn start(&self, entry: Entry) -> Result<Arc<ModelVersion>, Refused> {
        let (file, stamp) = (entry.file.clone(), entry.stamp);
        let loads = (self.loads)(&entry);
        let candidate = Candidate { entry, loads };
        let started = self.app.registry.start(candidate, self.queue).await;
        // What was read may be a bit of the one and a bit of the other.
        if Stamp::of(&file).ok() != Some(stamp) {
            return Err(Refused::Changed);
        }
        started.map_err(|failure| {
            tracing::error!(%failure, "a model version does not start: what is loaded goes on");
            Refused::Failed(failure.reason())
        })
    }

    fn retire(&self, model: &str, versions: &[u64]) {
        self.app.registry.change(|models| {
            for version in versions {
                models.remove(model, *version);
            }
        });
        for version in versions {
            tracing::info!(model, version, "model version takes no more requests");
        }
    }

    /// Says in the index what is not as the repository has it.
    fn remark(&self, state: &State) {
        let current = self.app.registry.current();
        let mut remarks = BTreeMap::new();
        for (key, (_, reason)) in &state.failed {
            let loaded = current.versions(&key.0).any(|version| version == key.1);
            let remark = if loaded {
                format!(
                    "what the repository has now does not start, and what was loaded before goes on: {reason}"
                )
            } else {
                reason.clone()
            };
            remarks.insert(key.clone(), remark);
        }
        for entry in state.last.iter().flatten() {
            if state.unloaded.contains(&entry.model) {
                remarks.insert(entry.key(), "unloaded".to_owned());
            }
        }
        let registry = &self.app.registry;
        registry.change(|models| models.set_remarks(remarks.clone()));
    }
}

/// Why a version does not serve.
enum Refused {
    /// It was being written.
    Changed,
    /// It does not load or warm up.
    Failed(String),
}

#[cfg(test)]
mod tests;

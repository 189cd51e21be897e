//! The loaded models, found by the name and version of a URL.
//!
//! What serves is one value that is swapped as a whole ([`Models`]), so a request sees the versions before a change or
//! those after it. It keeps the version that it found: a version that goes away takes no more requests, finishes those
//! that have found it, and is dropped with the last of them.

mod failure;
pub(crate) mod unsteady;

pub use failure::{Failure, Failures, LoadError};

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures::future::join_all;

use crate::{
    backend::Load,
    cache::{Cache, Shared},
    lazy::Sleeper,
    limits::Limits,
    metrics::Series,
    repository::{Entry, Stamp, manifest, parse_version},
    spec::ModelSpec,
    tensor::shorten,
    watchdog::Watchdog,
    worker::{Spin, Worker},
};

/// A model version about to be loaded.
pub struct Candidate {
    /// Where it was found.
    pub entry: Entry,
    /// How each of its instances is loaded.
    pub loads: Vec<Load>,
}

/// A model version that can serve.
pub struct ModelVersion {
    /// Name of the model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// What it takes and returns.
    pub spec: Arc<ModelSpec>,
    /// What is written of it and not heeded.
    pub notes: Arc<[String]>,
    /// The file that it was loaded from.
    pub file: PathBuf,
    /// What the file looked like then.
    pub stamp: Stamp,
    /// The same of its sums, if it had any.
    pub manifest: Option<Stamp>,
    /// The thread that owns it.
    pub worker: Worker,
    /// The answers that it gives again.
    pub cache: Option<Cache>,
    /// What is counted of it, from its first request.
    pub(crate) series: OnceLock<Series>,
    /// When it was last asked for, if that matters.
    used: Mutex<Instant>,
}

/// The loaded model versions, which may change while the server runs.
pub struct Registry {
    current: ArcSwap<Models>,
    watchdog: Arc<Watchdog>,
    shared_cache: Option<Arc<Shared>>,
    spin: Arc<Spin>,
}

/// The model versions that serve at one moment.
#[derive(Clone, Default)]
pub struct Models {
    versions: BTreeMap<String, BTreeMap<u64, Arc<ModelVersion>>>,
    /// Versions that are loaded by a request, whether they are at the moment or not.
    lazy: BTreeMap<String, BTreeMap<u64, Arc<Sleeper>>>,
    /// What the operator should know of a version, one that is not loaded included. Safe to show.
    remarks: BTreeMap<(String, u64), String>,
}

/// What a URL means.
pub enum Found {
    /// A version that serves.
    Loaded(Arc<ModelVersion>),
    /// One that has to be loaded first.
    Asleep(Arc<Sleeper>),
}

/// A model or version that is not here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No such model.
    #[error("model '{0}' is not found")]
    Model(String),
    /// No such version of a model that is here.
    #[error("version '{version}' of model '{model}' is not found")]
    Version {
        /// The model.
        model: String,
        /// The version as the URL has it, shortened.
        version: String,
    },
}

impl ModelVersion {
    /// Loads and warms a candidate; up to `queue` requests will wait for it unless its model.yaml says otherwise.
    ///
    /// # Errors
    /// [`Failure`]; its threads have ended then.
    pub async fn start(
        candidate: Candidate,
        queue: usize,
        shared: Option<Arc<Shared>>,
        spin: Arc<Spin>,
    ) -> Result<Arc<Self>, Failure> {
        let Candidate { entry, loads } = candidate;
        let cache = Cache::of(&entry, shared).await.map_err(|error| Failure {
            file: entry.file.clone(),
            error: LoadError::Read(error),
        })?;
        let Entry {
            model,
            version,
            spec,
            notes,
            file,
            stamp,
            manifest,
        } = entry;
        for note in &*notes {
            tracing::warn!(model, version, "{note}");
        }
        // At every load: a disk may change what it holds.
        let folder = file.parent().unwrap_or(&file);
        if let Err(error) = manifest::verify(folder).await {
            let error = LoadError::Manifest(error);
            return Err(Failure { file, error });
        }
        let queue = spec.serving.queue_size.unwrap_or(queue);
        let name = format!("{model}/{version}");
        match Worker::start(name, Arc::clone(&spec), queue, loads, spin).await {
            Ok(worker) => {
                for note in unsteady::notes(&worker, cache.as_ref()) {
                    tracing::warn!(model, version, "{note}");
                }
                tracing::info!(model, version, "model is loaded and warm");
                Ok(Arc::new(Self {
                    model,
                    version,
                    spec,
                    notes,
                    file,
                    stamp,
                    manifest,
                    worker,
                    cache,
                    series: OnceLock::new(),
                    used: Mutex::new(Instant::now()),
                }))
            }
            Err(error) => {
                let error = LoadError::Start(error);
                Err(Failure { file, error })
            }
        }
    }

    /// Notes that it was asked for.
    pub fn touch(&self) {
        if self.spec.serving.unload_after.is_some() {
            *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn is_idle(&self) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let after = self.spec.serving.unload_after;
        after.is_some_and(|after| used.elapsed() >= after)
    }

    /// What it was loaded from.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry {
            model: self.model.clone(),
            version: self.version,
            spec: Arc::clone(&self.spec),
            notes: Arc::clone(&self.notes),
            file: self.file.clone(),
            stamp: self.stamp,
            manifest: self.manifest,
        }
    }
}

impl Registry {
    /// Loads and warms all candidates at the same time; up to `queue` requests will wait for each.
    ///
    /// # Errors
    /// [`Failures`] with every candidate that did not start; the others are unloaded again.
    pub async fn load(
        candidates: Vec<Candidate>,
        queue: usize,
        limits: &Limits,
        shared_cache: Option<Arc<Shared>>,
        spin: Spin,
    ) -> Result<Self, Failures> {
        let mut registry = Self {
            current: ArcSwap::default(),
            watchdog: Arc::new(Watchdog::new(limits.forward_timeout)),
            shared_cache,
            spin: Arc::new(spin),
        };
        let start = |candidate| registry.start(candidate, queue);
        let mut models = Models::default();
        let mut failures = Vec::new();
        for result in join_all(candidates.into_iter().map(start)).await {
            match result {
                Ok(loaded) => models.insert(loaded),
                Err(failure) => failures.push(failure),
            }
        }
        registry.current = ArcSwap::from_pointee(models);
        if failures.is_empty() {
            return Ok(registry);
        }
        registry.stop().await;
        Err(Failures(failures))
    }

    /// Loads and warms a candidate, which is looked after from then on, but not served yet.
    ///
    /// # Errors
    /// [`Failure`]; its threads have ended then.
    pub async fn start(
        &self,
        candidate: Candidate,
        queue: usize,
    ) -> Result<Arc<ModelVersion>, Failure> {
        let (shared, spin) = (self.shared_cache.clone(), Arc::clone(&self.spin));
        let loaded = ModelVersion::start(candidate, queue, shared, spin).await?;
        let (serving, pulse) = (&loaded.spec.serving, loaded.worker.pulse());
        self.watchdog
            .watch(&loaded.model, loaded.version, serving, pulse);
        Ok(loaded)
    }

    /// Who looks after all that was started here.
    #[must_use]
    pub fn watchdog(&self) -> Arc<Watchdog> {
        Arc::clone(&self.watchdog)
    }

    /// The Redis of all caches.
    #[must_use]
    pub fn shared_cache(&self) -> Option<Arc<Shared>> {
        self.shared_cache.clone()
    }

    /// What serves now.
    #[must_use]
    pub fn current(&self) -> Arc<Models> {
        self.current.load_full()
    }

    /// Swaps what serves for a changed copy of it. Of what is taken out, requests that have found it still make use.
    ///
    /// `change` runs again if somebody else changed it meanwhile.
    pub fn change(&self, mut change: impl FnMut(&mut Models)) {
        self.current.rcu(|current| {
            let mut next = Models::clone(current);
            change(&mut next);
            next
        });
    }

    /// The model version that a URL means; the highest one if it names none.
    ///
    /// # Errors
    /// [`NotFound`]
    pub fn find(&self, model: &str, version: Option<&str>) -> Result<Arc<ModelVersion>, NotFound> {
        self.current.load().find(model, version).cloned()
    }

    /// The model version that a URL means, loaded or not.
    ///
    /// # Errors
    /// [`NotFound`]
    pub fn seek(&self, model: &str, version: Option<&str>) -> Result<Found, NotFound> {
        self.current.load().seek(model, version)
    }

    /// Versions that nobody has asked for as long as they say, and nobody holds.
    pub(crate) fn idle(&self) -> Vec<(String, u64)> {
        let current = self.current.load();
        let idle = current.iter().filter(|loaded| loaded.is_idle());
        let unused = idle.filter(|loaded| {
            // Whoever is being answered holds one more.
            let unused = Arc::strong_count(loaded) == 1;
            if !unused {
                loaded.touch();
            }
            unused
        });
        let name = |loaded: &Arc<ModelVersion>| (loaded.model.clone(), loaded.version);
        unused.map(name).collect()
    }

    /// How long loaded versions stay without a request, those that do not stay for good.
    pub(crate) fn idle_spans(&self) -> impl Iterator<Item = Duration> {
        let current = self.current();
        let spans = current.lazy.values().flat_map(BTreeMap::values);
        let spans = spans.filter_map(|it| it.entry.spec.serving.unload_after);
        spans.collect::<Vec<_>>().into_iter()
    }

    /// Whether every model version can serve, and the process goes on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let current = self.current.load();
        self.watchdog.doom().is_none() && current.iter().all(|loaded| loaded.worker.is_alive())
    }

    /// Whether a model version has died: it comes back only with a new process, or when it is loaded anew.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let current = self.current.load();
        current.iter().any(|loaded| loaded.worker.has_died())
    }

    /// Lets every worker finish what is queued, and joins them.
    pub async fn stop(&self) {
        let current = self.current();
        join_all(current.iter().map(|loaded| loaded.worker.stop())).await;
    }
}

impl Models {
    /// The model version that a URL means; the highest one if it names none.
    ///
    /// # Errors
    /// [`NotFound`]
    pub fn find(&self, model: &str, version: Option<&str>) -> Result<&Arc<ModelVersion>, NotFound> {
        let versions = self
            .versions
            .get(model)
            .ok_or_else(|| NotFound::Model(shorten(model)))?;
        let found = match version {
            None => versions.last_key_value().map(|(_, highest)| highest),
            Some(version) => parse_version(version).and_then(|version| versions.get(&version)),
        };
        found.ok_or_else(|| NotFound::Version {
            model: model.to_owned(),
            version: shorten(version.unwrap_or_default()),
        })
    }

    /// The model version that a URL means, loaded or not; the highest one if it names none.
    ///
    /// # Errors
    /// [`NotFound`]
    pub fn seek(&self, model: &str, version: Option<&str>) -> Result<Found, NotFound> {
        let lazy = self.lazy.get(model);
        let wanted = match version {
            Some(version) => parse_version(version),
            None => {
                let loaded = self
                    .versions
                    .get(model)
                    .and_then(|it| it.keys().next_back());
                let lazy = lazy.and_then(|it| it.keys().next_back());
                loaded.max(lazy).copied()
            }
        };
        let found = wanted.and_then(|version| {
            let loaded = self.loaded(model, version).cloned().map(Found::Loaded);
            let asleep = || lazy?.get(&version).cloned().map(Found::Asleep);
            loaded.or_else(asleep)
        });
        match found {
            Some(found) => Ok(found),
            // Which of the two it is that is not here.
            None if lazy.is_none() => self.find(model, version).cloned().map(Found::Loaded),
            None => Err(NotFound::Version {
                model: model.to_owned(),
                version: shorten(version.unwrap_or_default()),
            }),
        }
    }

    /// A version that is loaded.
    #[must_use]
    pub fn loaded(&self, model: &str, version: u64) -> Option<&Arc<ModelVersion>> {
        self.versions.get(model)?.get(&version)
    }

    /// Whether this is how the version is loaded that it is of.
    #[must_use]
    pub fn knows(&self, sleeper: &Arc<Sleeper>) -> bool {
        let versions = self.lazy.get(&sleeper.entry.model);
        let known = versions.and_then(|it| it.get(&sleeper.entry.version));
        known.is_some_and(|it| Arc::ptr_eq(it, sleeper))
    }

    /// Those that are to be loaded by a request, and are not.
    pub fn asleep(&self) -> impl Iterator<Item = &Arc<Sleeper>> {
        let lazy = self.lazy.values().flat_map(BTreeMap::values);
        lazy.filter(|it| self.loaded(&it.entry.model, it.entry.version).is_none())
    }

    /// Adds a version that is loaded by a request, or puts it in the place of what it was; one that is loaded stays so.
    pub fn insert_lazy(&mut self, sleeper: Arc<Sleeper>) {
        let versions = self.lazy.entry(sleeper.entry.model.clone()).or_default();
        versions.insert(sleeper.entry.version, sleeper);
    }

    /// Adds a version that was asleep.
    pub fn wake(&mut self, loaded: Arc<ModelVersion>) {
        let versions = self.versions.entry(loaded.model.clone()).or_default();
        versions.insert(loaded.version, loaded);
    }

    /// Takes out a version that its next request loads again.
    pub fn lull(&mut self, model: &str, version: u64) {
        if self
            .lazy
            .get(model)
            .is_some_and(|it| it.contains_key(&version))
        {
            take(&mut self.versions, model, version);
        }
    }

    /// All model versions, by model and version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ModelVersion>> {
        self.versions.values().flat_map(BTreeMap::values)
    }

    /// The versions of a model that can be asked, lowest first.
    pub fn versions(&self, model: &str) -> impl Iterator<Item = u64> + use<> {
        let loaded = self.versions.get(model).into_iter();
        let lazy = self.lazy.get(model).into_iter();
        let loaded = loaded.flat_map(|versions| versions.keys().copied());
        let all: BTreeSet<u64> = loaded
            .chain(lazy.flat_map(|versions| versions.keys().copied()))
            .collect();
        all.into_iter()
    }

    /// The models that can be asked, by name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self
            .versions
            .keys()
            .chain(self.lazy.keys())
            .map(|it| &**it)
            .collect();
        names.into_iter()
    }

    /// What the operator should know of versions, loaded or not.
    pub fn remarks(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        let remarks = self.remarks.iter();
        remarks.map(|((model, version), remark)| (model.as_str(), *version, remark.as_str()))
    }

    /// Adds a version, or puts it in the place of what it was.
    pub fn insert(&mut self, loaded: Arc<ModelVersion>) {
        take(&mut self.lazy, &loaded.model, loaded.version);
        self.wake(loaded);
    }

    /// Takes a version out; a model without versions is none.
    pub fn remove(&mut self, model: &str, version: u64) {
        take(&mut self.versions, model, version);
        take(&mut self.lazy, model, version);
    }

    /// Says anew what the operator should know.
    pub fn set_remarks(&mut self, remarks: BTreeMap<(String, u64), String>) {
        self.remarks = remarks;
    }
}

fn take<T>(all: &mut BTreeMap<String, BTreeMap<u64, T>>, model: &str, version: u64) {
    if let Some(versions) = all.get_mut(model) {
        versions.remove(&version);
        if versions.is_empty() {
            all.remove(model);
        }
    }
}

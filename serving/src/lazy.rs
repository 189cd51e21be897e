//! Models that are loaded by their first request, and unloaded when nobody asks any more.
//!
//! A request that has found a loaded version keeps it, so unloading takes it from nobody: whoever comes a moment later
//! finds it asleep, and wakes it again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use crate::{
    error::ApiError,
    inference::App,
    registry::{Candidate, Found, ModelVersion, Registry},
    reload::Loads,
    repository::{Entry, Stamp},
    worker::WorkerError,
};

/// After a load that fails the next is tried so much later, and after each further one twice as much.
const PAUSE: Duration = Duration::from_secs(1);
/// But not later than this.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked for versions that nobody has asked, at the most and at the least.
const LOOKS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(10)];
/// A version may be replaced while a request waits for it; so often it begins anew.
const TRIES: usize = 4;

/// A version that is known, and loaded when it is asked.
pub struct Sleeper {
    /// Where it was found.
    pub entry: Entry,
    loads: Loads,
    /// Requests that may wait for the version once it is loaded.
    queue: usize,
    /// Requests that may wait for it to be loaded.
    places: Arc<Semaphore>,
    /// Held while it is being loaded.
    loading: tokio::sync::Mutex<()>,
    failed: Mutex<Option<Failed>>,
}

/// Why a request has not got to a version.
pub struct Refused {
    /// What its client is told.
    pub error: ApiError,
    /// The version that it meant, if that is known.
    pub sleeper: Option<Arc<Sleeper>>,
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// A load that failed.
#[derive(Clone)]
struct Failed {
    reason: String,
    pause: Duration,
    until: Instant,
}

impl Sleeper {
    /// A version that nobody has asked yet.
    #[must_use]
    pub fn new(entry: Entry, loads: Loads, queue: usize) -> Arc<Self> {
        let serving = &entry.spec.serving;
        let places = serving.places(serving.queue_size.unwrap_or(queue));
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            entry,
            loads,
            queue,
            loading: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// What the operator should know while it is not loaded. Safe to show.
    #[must_use]
    pub fn remark(&self) -> String {
        match self.failure() {
            Some(failed) => format!("its last load failed: {}", failed.reason),
            None => "not loaded: its next request loads it".to_owned(),
        }
    }

    fn failure(&self) -> Option<Failed> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unavailable(&self, reason: String) -> ApiError {
        ApiError::NotLoaded {
            model: self.entry.model.clone(),
            version: self.entry.version,
            reason,
        }
    }

    /// The version, loaded; nothing if something else has taken its place meanwhile.
    async fn wake(self: &Arc<Self>, app: &Arc<App>) -> Result<Option<Arc<ModelVersion>>, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| ApiError::Worker {
            model: self.entry.model.clone(),
            version: self.entry.version,
            reason: WorkerError::Full,
        })?;
        let (sleeper, theirs) = (Arc::clone(self), Arc::clone(app));
        // Whoever asked may leave: the load is for all.
        let load = tokio::spawn(async move {
            let _place = place;
            sleeper.load(&theirs).await
        });
        let loaded = match self.entry.spec.serving.timeout {
            Some(timeout) => tokio::time::timeout(timeout, load)
                .await
                .map_err(|_| ApiError::Expired(timeout))?,
            None => load.await,
        };
        // Nobody aborts it.
        let loaded = loaded.unwrap_or_else(|_| Err("the load was broken off".to_owned()));
        loaded.map_err(|reason| self.unavailable(reason))
    }

    async fn load(self: &Arc<Self>, app: &App) -> Result<Option<Arc<ModelVersion>>, String> {
        let _loading = self.loading.lock().await;
        let Entry { model, version, .. } = &self.entry;
        let current = app.registry.current();
        if !current.knows(self) {
            return Ok(None);
        }
        if let Some(loaded) = current.loaded(model, *version) {
            return Ok(Some(Arc::clone(loaded)));
        }
        drop(current);
        let before = self.failure();
        if let Some(failed) = &before
            && Instant::now() < failed.until
        {
            return Err(failed.reason.clone());
        }
        tracing::info!(
            model,
            version,
            "loading a model version, as it is asked for"
        );
        let candidate = Candidate {
            entry: self.entry.clone(),
            loads: (self.loads)(&self.entry),
        };
        let started = app.registry.start(candidate, self.queue).await;
        let started = started.map_err(|failure| {
            tracing::error!(%failure, "a model version does not start");
            failure.reason()
        });
        // What was read may be a bit of the one and a bit of the other.
        let same = Stamp::of(&self.entry.file).is_ok_and(|it| it == self.entry.stamp);
        let started = started.and_then(|loaded| {
            if same {
                return Ok(loaded);
            }
            let changed = "its file is another one by now";
            tracing::error!(model, version, "a model version does not start: {changed}");
            Err(changed.to_owned())
        });
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match started {
            Ok(loaded) => {
                *failed = None;
                drop(failed);
                let mut known = false;
                app.registry.change(|models| {
                    known = models.knows(self);
                    if known {
                        models.wake(Arc::clone(&loaded));
                    }
                });
                Ok(known.then_some(loaded))
            }
            Err(reason) => {
                app.metrics.load_failed(model);
                let pause = before.map_or(PAUSE, |it| (it.pause * 2).min(MAX_PAUSE));
                let until = Instant::now() + pause;
                *failed = Some(Failed {
                    reason: reason.clone(),
                    pause,
                    until,
                });
                Err(reason)
            }
        }
    }
}

/// The model version that a request means, loaded.
///
/// # Errors
/// [`Refused`]: it is not here, or does not load, or not in the model's time.
pub async fn find(
    app: &Arc<App>,
    model: &str,
    version: Option<&str>,
) -> Result<Arc<ModelVersion>, Refused> {
    search(app, model, version, false).await
}

/// The same for an inference, which is counted here if it is refused, and the version is known.
///
/// # Errors
/// As of [`find`].
pub async fn find_to_infer(
    app: &Arc<App>,
    model: &str,
    version: Option<&str>,
) -> Result<Arc<ModelVersion>, Refused> {
    search(app, model, version, true).await
}

async fn search(
    app: &Arc<App>,
    model: &str,
    version: Option<&str>,
    counts: bool,
) -> Result<Arc<ModelVersion>, Refused> {
    let mut tries = TRIES;
    loop {
        let sleeper = match app.registry.seek(model, version) {
            Ok(Found::Loaded(loaded)) => {
                loaded.touch();
                return Ok(loaded);
            }
            Ok(Found::Asleep(sleeper)) => sleeper,
            Err(missing) => {
                return Err(Refused {
                    error: ApiError::NotFound(missing),
                    sleeper: None,
                });
            }
        };
        tries -= 1;
        let woken = {
            let request = counts.then(|| app.metrics.begin_unloaded(&sleeper.entry));
            let woken = match sleeper.wake(app).await {
                Ok(None) if tries == 0 => {
                    let changing = "it is being replaced again and again".to_owned();
                    Err(sleeper.unavailable(changing))
                }
                woken => woken,
            };
            if let Some(request) = request {
                request.ended(woken.as_ref().err());
            }
            woken
        };
        match woken {
            Ok(Some(loaded)) => {
                loaded.touch();
                return Ok(loaded);
            }
            Ok(None) => {}
            Err(error) => {
                return Err(Refused {
                    error,
                    sleeper: Some(sleeper),
                });
            }
        }
    }
}

/// Unloads versions that nobody has asked for as long as they say. Never ends.
pub async fn put_to_sleep(app: Arc<App>) {
    loop {
        let [least, most] = LOOKS;
        let spans = app.registry.idle_spans();
        let pause = spans.min().map_or(most, |it| (it / 4).clamp(least, most));
        tokio::time::sleep(pause).await;
        unload_idle(&app.registry);
    }
}

/// Unloads what is idle now.
pub(crate) fn unload_idle(registry: &Registry) {
    for (model, version) in registry.idle() {
        registry.change(|models| models.lull(&model, version));
        tracing::info!(
            model,
            version,
            "unloaded: nobody has asked for it, and its next request loads it"
        );
    }
}

#[cfg(test)]
mod tests;

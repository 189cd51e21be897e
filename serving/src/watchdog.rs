//! What makes the process end by itself: a model version that can never answer again.
//!
//! libtorch cannot be interrupted, so a forward that does not end keeps its thread and its memory for good; and after some
//! errors of CUDA every further call fails, until the process has ended. Readiness goes
//! first, whoever waits for the version is told, and the others are served for a moment; Kubernetes starts a new process.

use std::{
    sync::{Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    spec::Serving,
    worker::{Fault, Pulse},
};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// Why the process has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model '{model}' version {version}: {fault}")]
pub struct Doom {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: u64,
    /// What it is about it.
    pub fault: Fault,
}

/// Looks after the instances of all model versions, those included that are not served any more.
pub struct Watchdog {
    /// How long a forward may take where the model does not say.
    patience: Option<Duration>,
    watched: Mutex<Vec<Watched>>,
    doom: OnceLock<Doom>,
}

struct Watched {
    model: String,
    version: u64,
    patience: Option<Duration>,
    pulse: Weak<Pulse>,
}

impl Doom {
    /// The exit code of the process: neither that of an end as told, nor of a failure to start, nor of a wrong flag.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self.fault {
            Fault::Hung(_) => 3,
            Fault::Lost(_) | Fault::Exhausted(_) => 4,
        }
    }
}

impl Watchdog {
    /// A forward may take `patience` where its model does not say; `None`: for ever.
    #[must_use]
    pub fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            watched: Mutex::default(),
            doom: OnceLock::new(),
        }
    }

    /// Looks after a version from now on, until its threads have ended. What its model says of forwards goes before what
    /// the server says, which is no less than the time that the model's requests have.
    pub fn watch(&self, model: &str, version: u64, serving: &Serving, pulse: Weak<Pulse>) {
        let timeout = serving.timeout.unwrap_or_default();
        let servers = || self.patience.map(|it| it.max(timeout));
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.push(Watched {
            model: model.to_owned(),
            version,
            patience: serving.forward_timeout.or_else(servers),
            pulse,
        });
    }

    /// Looks once.
    pub fn look(&self, now: Instant) -> Option<&Doom> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|it| it.pulse.strong_count() > 0);
        for it in &*watched {
            let pulse = it.pulse.upgrade();
            if let Some(fault) = pulse.and_then(|pulse| pulse.fault(it.patience, now)) {
                // The first one is told: another may follow from it.
                return Some(self.doom.get_or_init(|| Doom {
                    model: it.model.clone(),
                    version: it.version,
                    fault,
                }));
            }
        }
        None
    }

    /// Looks until there is something.
    pub async fn wait(&self) -> &Doom {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(doom) = self.look(Instant::now()) {
                return doom;
            }
        }
    }

    /// What was found.
    #[must_use]
    pub fn doom(&self) -> Option<&Doom> {
        self.doom.get()
    }
}

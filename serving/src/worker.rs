//! The instances of a model version: OS threads, each of which owns the model from load to drop.
//!
//! `tch` keeps grad mode, tracer state and errors per thread, and a forward blocks: neither goes with an async task. The
//! instances take batches from one queue ([`crate::batch`]), so that whoever is idle computes what waits: a request that
//! finds one idle is computed at once, and those that arrive meanwhile make the next batch.

mod fault;
mod instance;
mod rows;
mod running;
mod shared;
mod spin;
mod strikes;

pub use self::{fault::Fault, shared::Pulse, spin::Spin};

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures::future::join_all;
use prometheus::Histogram;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use self::shared::{Client, Job};
use crate::{
    backend::{BackendError, Load},
    batch::Ticket,
    spec::{ModelSpec, RowsError},
    tensor::{Tensor, bytes_of},
};

/// Stack of a model's thread, in bytes; only what is used becomes memory.
///
/// libtorch recurses along the graph when it compiles: in the 2 MiB that Rust gives, a chain of 5 000 operations
/// overflowed, which ends the process. Twice the 8 MiB that a main thread has, where such models are written.
const STACK: usize = 16 << 20;

/// The handle of a model version's instances.
pub struct Worker {
    spec: Arc<ModelSpec>,
    shared: Arc<Pulse>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    steady: bool,
}

/// What the instances can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// They have not warmed up yet, or have ended as they were told to.
    Absent,
    /// They serve.
    Serving,
    /// One of them is lost: the model is gone for good.
    Died,
}

/// A place at a worker: whoever holds one may read a body and queue it. It is free again when dropped.
pub struct Place<'a>(#[allow(dead_code, reason = "held to be dropped")] SemaphorePermit<'a>);

/// How soon an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Urgency {
    /// The lower, the sooner.
    pub priority: u64,
    /// No answer is wanted after this.
    pub deadline: Option<Instant>,
}

/// What an instance made of one request.
pub struct Answer {
    /// The outputs in the order of model.yaml.
    pub outputs: Result<Vec<Tensor>, BackendError>,
    /// When the forward began.
    pub started: Instant,
    /// How long the request waited.
    pub queue: Duration,
    /// Wall time of the forward, which it may have shared.
    pub compute: Duration,
    /// Requests in that forward.
    pub together: usize,
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refused a thread.
    #[error("failed to start its thread")]
    Thread(#[source] io::Error),
    /// The model could not be loaded.
    #[error("failed to load")]
    Load(#[source] BackendError),
    /// The model failed its first forwards.
    #[error("failed to warm up")]
    WarmUp(#[source] BackendError),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Too many requests wait already.
    #[error("the queue is full")]
    Full,
    /// The threads have ended.
    #[error(
        "its worker thread has ended, by a panic (see the server's log) or because the server is shutting down"
    )]
    Dead,
    /// Its forward does not end.
    #[error(
        "its forward was still running after {}, and the server is started anew because of that",
        humantime::format_duration(*.0)
    )]
    Hung(Duration),
    /// The process is about to end because of another request.
    #[error(
        "the server is about to be started anew, as a forward of the model does not end or its device has failed (see the server's log)"
    )]
    Ending,
    /// Its time is over.
    #[error("there was no answer in the time that the request gives")]
    Late,
    /// The inputs do not fit together, or into a batch.
    #[error(transparent)]
    Rows(#[from] RowsError),
}

impl WorkerError {
    /// What the model does, in words.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Full | Self::Dead | Self::Ending => "is unavailable",
            Self::Late | Self::Hung(_) => "is late",
            Self::Rows(_) => "refuses the request",
        }
    }
}

impl Worker {
    /// Starts a thread called `name` for each of `loads`, loads and warms the model on it, and returns once all can serve.
    /// At most `queue` requests wait for them; between requests they `spin`.
    ///
    /// # Errors
    /// The first [`StartError`]; all threads have ended then.
    pub async fn start(
        name: String,
        spec: Arc<ModelSpec>,
        queue: usize,
        loads: Vec<Load>,
        spin: Arc<Spin>,
    ) -> Result<Self, StartError> {
        let queue = queue.clamp(1, Semaphore::MAX_PERMITS / 2);
        let places = spec.serving.places(queue).min(Semaphore::MAX_PERMITS);
        let mut worker = Self {
            shared: Arc::new(Pulse::new(
                spec.serving.batching(),
                (queue, places),
                loads.len(),
                spin,
            )),
            threads: Mutex::default(),
            steady: true,
            spec,
        };
        let instances = loads.into_iter().enumerate();
        let instances = instances.map(|(index, load)| worker.instance(&name, index, load));
        let started = join_all(instances.collect::<Vec<_>>()).await;
        let steady: Result<Vec<bool>, _> = started.into_iter().collect();
        match steady {
            Ok(steady) => worker.steady = steady.into_iter().all(|it| it),
            Err(error) => {
                worker.stop().await;
                return Err(error);
            }
        }
        worker.shared.state.send_if_modified(|state| {
            // One may have panicked since.
            let absent = *state == State::Absent;
            if absent {
                *state = State::Serving;
            }
            absent
        });
        Ok(worker)
    }

    fn instance(
        &self,
        name: &str,
        index: usize,
        load: Load,
    ) -> impl Future<Output = Result<bool, StartError>> + use<> {
        let (loaded, result) = oneshot::channel();
        let (shared, spec) = (Arc::clone(&self.shared), Arc::clone(&self.spec));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK)
            .spawn(move || {
                if let Some(backend) = instance::prepare(&spec, load, loaded) {
                    instance::serve(backend, &spec, &shared, index);
                }
            });
        let started = thread.map(|thread| {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.push(thread);
        });
        async {
            started.map_err(StartError::Thread)?;
            let result = result.await;
            result.unwrap_or(Err(StartError::Load(BackendError::Panicked)))
        }
    }

    /// Whether the instances are there to serve.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        *self.shared.state.borrow() == State::Serving
    }

    /// Whether one of them is lost, so that nothing but a new process brings the model back.
    #[must_use]
    pub fn has_died(&self) -> bool {
        *self.shared.state.borrow() == State::Died
    }

    /// Whether the model gave the same for the same values when it was warmed up.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.steady
    }

    /// How many requests wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shared.depth()
    }

    /// Times that the model ran.
    #[must_use]
    pub fn forwards(&self) -> u64 {
        self.shared.forwards()
    }

    /// Rows that were answered; of a model without batches a request is one.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.shared.rows()
    }

    /// Makes each forward that answers an observation of the requests that it answered. The first call counts.
    pub fn count_batches(&self, batches: Histogram) {
        self.shared.count_batches(batches);
    }

    /// How long the oldest of the forwards has been running at `now`.
    #[must_use]
    pub fn running_for(&self, now: Instant) -> Option<Duration> {
        self.shared.longest(now)
    }

    /// What the watchdog looks at. It is there for as long as any of the threads.
    #[must_use]
    pub fn pulse(&self) -> Weak<Pulse> {
        Arc::downgrade(&self.shared)
    }

    /// A place for a request whose body is still to be read: as many as may wait, and those that are computed.
    ///
    /// Without it the queue would bound the tensors, but not the bodies that are about to become tensors.
    ///
    /// # Errors
    /// [`WorkerError::Full`] if all places are taken.
    pub fn admit(&self) -> Result<Place<'_>, WorkerError> {
        let places = &self.shared.places;
        places
            .try_acquire()
            .map(Place)
            .map_err(|_| WorkerError::Full)
    }

    /// Runs one forward, together with others where the model takes batches. A caller that goes away (drops the future)
    /// is skipped if its turn has not come.
    ///
    /// # Errors
    /// [`WorkerError`]: the inputs are no part of a batch, the queue is full, time is over, or the threads have ended.
    pub async fn infer(
        &self,
        inputs: Vec<Tensor>,
        urgency: Urgency,
    ) -> Result<Answer, WorkerError> {
        let Urgency { priority, deadline } = urgency;
        let ticket = Ticket {
            rows: self.spec.rows(&inputs)?,
            bytes: bytes_of(&inputs),
            bucket: self.spec.bucket(&inputs),
            priority,
            deadline,
        };
        let (reply, answer) = oneshot::channel();
        let job = Job {
            inputs,
            client: Client {
                arrived: Instant::now(),
                reply,
            },
        };
        self.shared.push(ticket, job)?;
        let Some(deadline) = deadline else {
            return answer.await.unwrap_or(Err(WorkerError::Dead));
        };
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            // An instance that finds it too late just drops it.
            Ok(Err(_)) if Instant::now() < deadline => Err(WorkerError::Dead),
            _ => Err(WorkerError::Late),
        }
    }

    /// Lets the threads finish what is queued, and joins them.
    pub async fn stop(&self) {
        self.shared.end();
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        // A thread of its own: the runtime would not end before a forward that does not.
        let (joined, all) = oneshot::channel();
        let join = thread::Builder::new().spawn(move || {
            // A panic was reported when it happened.
            threads.into_iter().for_each(|it| drop(it.join()));
            let _ = joined.send(());
        });
        if join.is_ok() {
            let _ = all.await;
        }
        self.shared.state.send_if_modified(|state| {
            let served = *state == State::Serving;
            if served {
                *state = State::Absent;
            }
            served
        });
    }
}

impl Drop for Worker {
    /// Nobody can ask any more: whoever asked before held it. The threads find nothing to do, drop the model, and end.
    fn drop(&mut self) {
        self.shared.end();
    }
}

#[cfg(test)]
mod tests;

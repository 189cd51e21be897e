//! One OS thread per model version, which owns the model from load to drop.
//!
//! `tch` keeps grad mode, tracer state and errors per thread, and a forward blocks: neither goes with an async
//! task. Batching comes between [`Worker::infer`] and the thread later, without touching either side.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};

use crate::{
    backend::{Backend, BackendError, Load, infer_checked, warm_up},
    spec::ModelSpec,
    tensor::Tensor,
};

/// Stack of a model's thread, in bytes; only what is used becomes memory.
///
/// libtorch recurses along the graph when it compiles: in the 2 MiB that Rust gives, a chain of 5 000 operations
/// overflowed, which ends the process. Twice the 8 MiB that a main thread has, where such models are written.
const STACK: usize = 16 << 20;

/// The handle of a model's thread.
pub struct Worker {
    commands: mpsc::Sender<Command>,
    /// The sender is dropped when the thread ends.
    state: watch::Receiver<State>,
    places: Semaphore,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread of a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has not warmed up yet, or has ended as it was told to.
    Absent,
    /// It serves.
    Serving,
    /// It panicked and is gone for good.
    Died,
}

/// A place at a worker: whoever holds one may read a body and queue it. It is free again when dropped.
pub struct Place<'a>(#[allow(dead_code, reason = "held to be dropped")] SemaphorePermit<'a>);

/// What the thread made of one request.
pub struct Answer {
    /// The outputs in the order of model.yaml.
    pub outputs: Result<Vec<Tensor>, BackendError>,
    /// Wall time of the forward.
    pub compute: Duration,
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
    /// The model failed on zeros.
    #[error("failed to warm up on zeros")]
    WarmUp(#[source] BackendError),
}

/// Why the thread gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// Too many requests wait already.
    #[error("the queue is full")]
    Full,
    /// The thread has ended.
    #[error(
        "its worker thread has ended, by a panic (see the server's log) or because the server is shutting down"
    )]
    Dead,
}

enum Command {
    Infer(Job),
    Stop,
}

struct Job {
    inputs: Vec<Tensor>,
    reply: oneshot::Sender<Answer>,
}

impl Worker {
    /// Starts a thread called `name`, loads and warms the model on it, and returns once it can serve.
    /// At most `queue` requests wait for it.
    ///
    /// # Errors
    /// [`StartError`]; the thread has ended then.
    pub async fn start(
        name: String,
        spec: Arc<ModelSpec>,
        queue: usize,
        load: Load,
    ) -> Result<Self, StartError> {
        let queue = queue.clamp(1, Semaphore::MAX_PERMITS - 1);
        let (commands, receiver) = mpsc::channel(queue);
        let (loaded, result) = oneshot::channel();
        let (state_sender, state) = watch::channel(State::Absent);
        let thread = thread::Builder::new()
            .name(name)
            .stack_size(STACK)
            .spawn(move || {
                if let Some(backend) = prepare(&spec, load, loaded, &state_sender) {
                    serve(backend, &spec, receiver, &state_sender);
                }
            })
            .map_err(StartError::Thread)?;
        result
            .await
            .unwrap_or(Err(StartError::Load(BackendError::Panicked)))?;
        Ok(Self {
            commands,
            state,
            // One more than wait is computed.
            places: Semaphore::new(queue + 1),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether the thread is there to serve.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        *self.state.borrow() == State::Serving
    }

    /// Whether the thread panicked, so that nothing but a new process brings the model back.
    #[must_use]
    pub fn has_died(&self) -> bool {
        *self.state.borrow() == State::Died
    }

    /// A place for a request whose body is still to be read: as many as may wait, and the one that is computed.
    ///
    /// Without it the queue would bound the tensors, but not the bodies that are about to become tensors.
    ///
    /// # Errors
    /// [`WorkerError::Full`] if all places are taken.
    pub fn admit(&self) -> Result<Place<'_>, WorkerError> {
        self.places
            .try_acquire()
            .map(Place)
            .map_err(|_| WorkerError::Full)
    }

    /// Runs one forward. A caller that goes away (drops the future) is skipped if its turn has not come.
    ///
    /// # Errors
    /// [`WorkerError`] if the queue is full or the thread has died.
    pub async fn infer(&self, inputs: Vec<Tensor>) -> Result<Answer, WorkerError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .try_send(Command::Infer(Job { inputs, reply }))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => WorkerError::Full,
                mpsc::error::TrySendError::Closed(_) => WorkerError::Dead,
            })?;
        answer.await.map_err(|_| WorkerError::Dead)
    }

    /// Lets the thread finish what is queued, and joins it.
    pub async fn stop(&self) {
        // An error means that the thread has ended already.
        let _ = self.commands.send(Command::Stop).await;
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic was reported when it happened.
        let _ = thread.map(JoinHandle::join);
    }
}

fn prepare(
    spec: &ModelSpec,
    load: Load,
    loaded: oneshot::Sender<Result<(), StartError>>,
    state: &watch::Sender<State>,
) -> Option<Box<dyn Backend>> {
    let backend = load().map_err(StartError::Load).and_then(|mut backend| {
        warm_up(&mut *backend, spec).map_err(StartError::WarmUp)?;
        Ok(backend)
    });
    let (backend, result) = match backend {
        Ok(backend) => (Some(backend), Ok(())),
        Err(error) => (None, Err(error)),
    };
    if backend.is_some() {
        state.send_replace(State::Serving);
    }
    let _ = loaded.send(result);
    backend
}

fn serve(
    mut backend: Box<dyn Backend>,
    spec: &ModelSpec,
    mut commands: mpsc::Receiver<Command>,
    state: &watch::Sender<State>,
) {
    while let Some(Command::Infer(job)) = commands.blocking_recv() {
        if job.reply.is_closed() {
            continue;
        }
        let start = Instant::now();
        let outputs = catch_unwind(AssertUnwindSafe(|| {
            infer_checked(&mut *backend, spec, &job.inputs)
        }));
        let compute = start.elapsed();
        match outputs {
            // The client may have gone meanwhile.
            Ok(outputs) => drop(job.reply.send(Answer { outputs, compute })),
            Err(_) => {
                // Nobody knows in what state the model and its thread are: readiness goes first, then the clients
                // that wait (their channel closes).
                state.send_replace(State::Died);
                tracing::error!(
                    "the worker thread panicked: its model is not served until the server is restarted"
                );
                return;
            }
        }
    }
    state.send_replace(State::Absent);
}

#[cfg(test)]
mod tests;

//! The queue between the requests, which are async, and the instances, which are threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Answer, WorkerError};
use crate::{
    batch::{Next, Queue, Rules, Ticket},
    tensor::Tensor,
};

/// Sizes of all inputs beyond the first dimension: the same number of them for every request of a model.
pub(super) type Shapes = Vec<i64>;

/// A request that waits.
pub(super) struct Job {
    pub(super) inputs: Vec<Tensor>,
    pub(super) arrived: Instant,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// What all instances of a model version take their work from.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Something has arrived, or nothing more will.
    news: Condvar,
    forwards: AtomicU64,
    rows: AtomicU64,
}

struct Inner {
    queue: Queue<Shapes, Job>,
    limit: usize,
    end: Option<End>,
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// What waits is still computed.
    Soon,
    /// An instance is lost, and nobody knows what else.
    Now,
}

impl Shared {
    pub(super) fn new(rules: Rules, limit: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                queue: Queue::new(rules),
                limit,
                end: None,
            }),
            news: Condvar::new(),
            forwards: AtomicU64::new(0),
            rows: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of a backend is caught before it could hold the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, ticket: Ticket<Shapes>, job: Job) -> Result<(), WorkerError> {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return Err(WorkerError::Dead);
        }
        let now = job.arrived;
        if inner.queue.len() >= inner.limit {
            // Those whose clients have left take nobody's place.
            inner.queue.purge(now, |job| job.reply.is_closed());
        }
        if inner.queue.len() >= inner.limit {
            return Err(WorkerError::Full);
        }
        inner.queue.push(ticket, job, now);
        drop(inner);
        self.news.notify_one();
        Ok(())
    }

    /// The next batch; blocks until there is one. None: there will be no more.
    pub(super) fn take(&self) -> Option<Vec<Job>> {
        let mut inner = self.lock();
        loop {
            if inner.end == Some(End::Now) {
                return None;
            }
            let now = Instant::now();
            inner = match inner.queue.next(now, |job| job.reply.is_closed()) {
                // All of them have left meanwhile.
                Next::Run(batch) if batch.is_empty() => inner,
                Next::Run(batch) => {
                    let left = !inner.queue.is_empty();
                    drop(inner);
                    if left {
                        // There is work for another instance, whose turn may have come with these.
                        self.news.notify_one();
                    }
                    return Some(batch);
                }
                Next::Wait(_) if inner.end.is_some() && inner.queue.is_empty() => return None,
                Next::Wait(None) => self
                    .news
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
                Next::Wait(Some(at)) => {
                    let time = at
                        .saturating_duration_since(now)
                        .max(Duration::from_micros(1));
                    let waited = self.news.wait_timeout(inner, time);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A forward, and the rows that it answered.
    pub(super) fn ran(&self, rows: usize) {
        self.forwards.fetch_add(1, Ordering::Relaxed);
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Forwards so far.
    pub(super) fn forwards(&self) -> u64 {
        self.forwards.load(Ordering::Relaxed)
    }

    /// Rows answered so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.lock().queue.len()
    }

    /// Nothing more is taken in; what waits is computed.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.end.get_or_insert(End::Soon);
        // There is nothing to wait for any more.
        inner.queue.hurry();
        drop(inner);
        self.news.notify_all();
    }

    /// Nothing more is computed: whoever waits is told so.
    pub(super) fn break_off(&self) {
        let mut inner = self.lock();
        inner.end = Some(End::Now);
        let waiting = inner.queue.take();
        drop(inner);
        drop(waiting);
        self.news.notify_all();
    }
}

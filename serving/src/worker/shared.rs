//! The queue between the requests, which are async, and the instances, which are threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::Histogram;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    Answer, Fault, State, WorkerError,
    running::Running,
    spin::{Lull, Spin},
};
use crate::{
    batch::{Next, Queue, Rules, Ticket},
    tensor::Tensor,
};

/// Sizes of all inputs beyond the first dimension: the same number of them for every request of a model.
pub(super) type Shapes = Vec<i64>;

/// After so long no more requests of a batch are waited for: somebody else has the core.
const GATHER: Duration = Duration::from_millis(1);
/// How often in a row nothing came of it before it is left at that: Linux does not always let others go first when it is
/// asked once (seen with 6.18: one batch in fifteen was of a single request for that).
const TRIES: u32 = 2;

/// A request that waits.
pub(super) struct Job {
    pub(super) inputs: Vec<Tensor>,
    pub(super) client: Client,
}

/// Who wants to know.
pub(super) struct Client {
    pub(super) arrived: Instant,
    pub(super) reply: oneshot::Sender<Result<Answer, WorkerError>>,
}

/// What all instances of a model version take their work from, and what others see of them.
pub struct Pulse {
    inner: Mutex<Inner>,
    spin: Arc<Spin>,
    /// Something has arrived, or nothing more will.
    news: Condvar,
    /// How often that was so, for those who look without the lock.
    told: AtomicU64,
    forwards: AtomicU64,
    rows: AtomicU64,
    /// Where requests that ran together are counted, once somebody wants to know.
    batches: OnceLock<Histogram>,
    /// Of requests that are read, wait, are computed, or are just being answered.
    pub(super) places: Semaphore,
    all_places: usize,
    pub(super) state: watch::Sender<State>,
    /// One for each instance.
    running: Box<[Running]>,
    fault: OnceLock<Fault>,
    /// Where the worker was started, which is where requests wait for it.
    runtime: Option<Handle>,
}

struct Inner {
    queue: Queue<Shapes, Job>,
    limit: usize,
    end: Option<End>,
    /// Instances that have to be woken. To wake nobody is a call of the system as well.
    asleep: usize,
    /// Instances that look by themselves.
    awake: usize,
}

/// How it ends.
#[derive(Clone, PartialEq, Eq)]
enum End {
    /// What waits is still computed.
    Soon,
    /// An instance is lost, and nobody knows what else. This is what clients are told.
    Now(WorkerError),
}

impl Inner {
    /// Whether an instance that has nothing to do should ask again.
    fn has_news(&self) -> bool {
        self.end.is_some() || !self.queue.is_empty()
    }
}

impl Client {
    fn tell(self, result: Result<Answer, WorkerError>) {
        // It may have gone meanwhile.
        drop(self.reply.send(result));
    }
}

impl Pulse {
    pub(super) fn new(
        rules: Rules,
        (limit, places): (usize, usize),
        instances: usize,
        spin: Arc<Spin>,
    ) -> Self {
        Self {
            spin,
            inner: Mutex::new(Inner {
                queue: Queue::new(rules),
                limit,
                end: None,
                asleep: 0,
                awake: 0,
            }),
            news: Condvar::new(),
            told: AtomicU64::new(0),
            forwards: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            batches: OnceLock::new(),
            places: Semaphore::new(places),
            all_places: places,
            state: watch::Sender::new(State::Absent),
            running: std::iter::repeat_with(Running::default)
                .take(instances)
                .collect(),
            fault: OnceLock::new(),
            runtime: Handle::try_current().ok(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of a backend is caught before it could hold the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, ticket: Ticket<Shapes>, job: Job) -> Result<(), WorkerError> {
        let mut inner = self.lock();
        match &inner.end {
            None => {}
            Some(End::Soon) => return Err(WorkerError::Dead),
            Some(End::Now(reason)) => return Err(reason.clone()),
        }
        let now = job.client.arrived;
        if inner.queue.len() >= inner.limit {
            // Those whose clients have left take nobody's place.
            inner.queue.purge(now, |job| job.client.reply.is_closed());
        }
        if inner.queue.len() >= inner.limit {
            return Err(WorkerError::Full);
        }
        inner.queue.push(ticket, job, now);
        self.told.fetch_add(1, Ordering::Release);
        self.wake_another(inner);
        Ok(())
    }

    /// Wakes an instance, if there is work for one that sleeps.
    fn wake_another(&self, inner: MutexGuard<'_, Inner>) {
        let sleeps = inner.asleep > 0 && inner.queue.len() > inner.awake;
        drop(inner);
        if sleeps {
            self.news.notify_one();
        }
    }

    /// The next batch; blocks until there is one. None: there will be no more.
    pub(super) fn take(&self, lull: &mut Lull) -> Option<Vec<Job>> {
        let mut inner = self.lock();
        let mut idle: Option<Instant> = None;
        // How long until there was something, which may still wait for more.
        let mut lasted: Option<Duration> = None;
        loop {
            if matches!(inner.end, Some(End::Now(_))) {
                return None;
            }
            inner = self.gather(inner, lull);
            let now = Instant::now();
            let since = |idle: Option<Instant>| {
                idle.map_or(Duration::ZERO, |it| now.saturating_duration_since(it))
            };
            inner = match inner.queue.next(now, |job| job.client.reply.is_closed()) {
                // All of them have left meanwhile.
                Next::Run(batch) if batch.is_empty() => inner,
                Next::Run(batch) => {
                    // There may be work for another instance, whose turn may have come with these.
                    self.wake_another(inner);
                    self.spin.learn(lull, lasted.unwrap_or_else(|| since(idle)));
                    return Some(batch);
                }
                Next::Wait(_) if inner.end.is_some() && inner.queue.is_empty() => return None,
                Next::Wait(None) => {
                    let idle = *idle.get_or_insert(now);
                    let inner = self.look(inner, lull, idle);
                    if inner.has_news() {
                        inner
                    } else {
                        self.sleep(inner, None)
                    }
                }
                Next::Wait(Some(at)) => {
                    lasted.get_or_insert_with(|| since(idle));
                    let time = at.saturating_duration_since(now);
                    self.sleep(inner, Some(time.max(Duration::from_micros(1))))
                }
            };
        }
    }

    /// Looks for a request until one is there, for a while, if that pays.
    fn look<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        lull: &Lull,
        idle: Instant,
    ) -> MutexGuard<'a, Inner> {
        // The one that was just answered may still have its place; where there are more, threads that read want the core.
        if self.in_flight() > 1 {
            return inner;
        }
        let Some(_turn) = self.spin.turn(lull) else {
            return inner;
        };
        inner.awake += 1;
        let told = self.told.load(Ordering::Acquire);
        drop(inner);
        // Without the lock: whoever pushes must not wait for a thread that has lost its core.
        while self.told.load(Ordering::Acquire) == told && !self.spin.is_over(idle.elapsed()) {
            // Whoever wants this core may have it.
            thread::yield_now();
        }
        inner = self.lock();
        inner.awake -= 1;
        inner
    }

    /// Waits for something to arrive, or for so long.
    fn sleep<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Inner> {
        inner.asleep += 1;
        let mut inner = match time {
            None => self
                .news
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.news.wait_timeout(inner, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        inner.asleep -= 1;
        inner
    }

    /// Instances that sleep.
    #[cfg(test)]
    pub(super) fn asleep(&self) -> usize {
        self.lock().asleep
    }

    /// Requests that have a place.
    fn in_flight(&self) -> usize {
        self.all_places - self.places.available_permits()
    }

    /// Lets threads that read or answer requests of this model go first, if they want this core: what they have begun with
    /// computes in the next batch then, not after it. So do clients that were answered together just now, and may ask again.
    /// Where there is no other request, or the core has nothing else to do, no time passes.
    fn gather<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        lull: &Lull,
    ) -> MutexGuard<'a, Inner> {
        let mut start = None;
        let mut in_vain = 0;
        while !inner.queue.is_empty() && inner.queue.wants_more() && in_vain < TRIES {
            let now = Instant::now();
            let lasts = now.saturating_duration_since(*start.get_or_insert(now));
            let are_there = lull.may_return(now) || self.in_flight() > inner.queue.len();
            if !are_there || lasts >= GATHER {
                break;
            }
            let before = inner.queue.len();
            drop(inner);
            thread::yield_now();
            inner = self.lock();
            in_vain = if inner.queue.len() > before {
                0
            } else {
                in_vain + 1
            };
        }
        inner
    }

    /// Gives those who ran together their answers. Several go to the runtime as one: each by itself would wake it, and
    /// where it shares a core with this thread, the core would go to and fro for each of them.
    pub(super) fn answer(&self, answers: impl ExactSizeIterator<Item = (Client, Answer)>) {
        let tell = |(client, answer): (Client, Answer)| client.tell(Ok(answer));
        match &self.runtime {
            Some(runtime) if answers.len() > 1 => {
                let answers: Vec<_> = answers.collect();
                runtime.spawn(async move { answers.into_iter().for_each(tell) });
            }
            _ => answers.for_each(tell),
        }
    }

    /// A forward, and the requests and rows that it answered: none if it failed.
    pub(super) fn ran(&self, requests: usize, rows: usize) {
        self.forwards.fetch_add(1, Ordering::Relaxed);
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if let Some(batches) = self.batches.get().filter(|_| requests > 0) {
            #[allow(clippy::cast_precision_loss, reason = "at most thousands")]
            batches.observe(requests as f64);
        }
    }

    /// From now on each forward that answers is an observation of its requests.
    pub(super) fn count_batches(&self, batches: Histogram) {
        // Whoever asks again means the same one.
        let _ = self.batches.set(batches);
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
        self.told.fetch_add(1, Ordering::Release);
        drop(inner);
        self.news.notify_all();
    }

    /// Nothing more is computed: readiness goes first, then whoever waits is told `reason`.
    pub(super) fn break_off(&self, reason: &WorkerError) {
        self.state.send_replace(State::Died);
        let mut inner = self.lock();
        inner.end = Some(End::Now(reason.clone()));
        let waiting = inner.queue.take();
        self.told.fetch_add(1, Ordering::Release);
        drop(inner);
        for job in waiting {
            job.client.tell(Err(reason.clone()));
        }
        self.news.notify_all();
    }

    /// The process has to end because of it.
    pub(super) fn fail(&self, fault: Fault) {
        self.break_off(&WorkerError::Ending);
        // The first one is told.
        let _ = self.fault.set(fault);
    }

    /// What an instance computes.
    pub(super) fn running(&self, instance: usize) -> Option<&Running> {
        self.running.get(instance)
    }

    /// How long the oldest of the forwards has been running.
    pub(super) fn longest(&self, now: Instant) -> Option<Duration> {
        self.running.iter().filter_map(|it| it.time(now)).max()
    }

    /// What only a new process mends, if there is such a thing: also a forward that has been running for `patience`, whose
    /// clients are told then.
    pub(crate) fn fault(&self, patience: Option<Duration>, now: Instant) -> Option<Fault> {
        if let Some(patience) = patience {
            for running in &self.running {
                let Some((time, clients)) = running.give_up(patience, now) else {
                    continue;
                };
                self.fail(Fault::Hung(time));
                for client in clients {
                    client.tell(Err(WorkerError::Hung(time)));
                }
            }
        }
        self.fault.get().cloned()
    }
}

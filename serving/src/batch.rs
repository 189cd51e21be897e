//! Which requests run together, and when. Pure: the clock is an argument, and a request is whatever the caller puts in.
//!
//! The queue is work-conserving: whoever asks for a batch gets what is there, at once, and what arrives while it computes
//! makes the next one. Only where [`Rules::max_delay`] says so does a batch that is not full wait, for that long at the
//! most. Requests run together only if their tensors differ in nothing but the first dimension; each such bucket has an
//! order of its own, so that one shape does not hold up another.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Rows of a batch at the most. A request of more has been refused before.
    pub max_rows: usize,
    /// Bytes of its inputs at the most, unless one request alone has more.
    pub max_bytes: usize,
    /// How long a batch that is not full may wait for more. Zero: not at all.
    pub max_delay: Duration,
}

/// What the queue has to know of a request.
#[derive(Debug, Clone)]
pub struct Ticket<K> {
    /// What may run together.
    pub bucket: K,
    /// Rows, at least one.
    pub rows: usize,
    /// Bytes of its inputs.
    pub bytes: usize,
    /// The lower, the sooner.
    pub priority: u64,
    /// Nobody wants an answer after this.
    pub deadline: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<J> {
    /// These run together; none, if all of them have left meanwhile.
    Run(Vec<J>),
    /// Nothing is due: ask again at this time, or when something has arrived.
    Wait(Option<Instant>),
}

/// Requests that wait.
#[derive(Debug)]
pub struct Queue<K, J> {
    rules: Rules,
    buckets: HashMap<K, Bucket<J>>,
    /// Number of the next request.
    next: u64,
    len: usize,
}

/// By priority, and then by arrival.
type Bucket<J> = BTreeMap<(u64, u64), Waiting<J>>;

#[derive(Debug)]
struct Waiting<J> {
    job: J,
    rows: usize,
    bytes: usize,
    arrived: Instant,
    deadline: Option<Instant>,
}

impl<J> Waiting<J> {
    fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

impl<K: Clone + Eq + Hash, J> Queue<K, J> {
    /// An empty queue.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            buckets: HashMap::new(),
            next: 0,
            len: 0,
        }
    }

    /// Leaves it empty.
    pub fn take(&mut self) -> impl Iterator<Item = J> + use<K, J> {
        let all = std::mem::replace(self, Self::new(self.rules));
        let waiting = all.buckets.into_values().flat_map(BTreeMap::into_values);
        waiting.map(|it| it.job)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a batch may have more requests than wait now, if each is a row and all of them run together.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.len < self.rules.max_rows
    }

    /// Adds a request.
    pub fn push(&mut self, ticket: Ticket<K>, job: J, now: Instant) {
        let key = (ticket.priority, self.next);
        self.next += 1;
        self.len += 1;
        let waiting = Waiting {
            job,
            rows: ticket.rows,
            bytes: ticket.bytes,
            arrived: now,
            deadline: ticket.deadline,
        };
        let bucket = self.buckets.entry(ticket.bucket).or_default();
        bucket.insert(key, waiting);
    }

    /// Drops those that are too late, or `gone`.
    pub fn purge(&mut self, now: Instant, gone: impl Fn(&J) -> bool) {
        for bucket in self.buckets.values_mut() {
            bucket.retain(|_, it| !it.is_over(now) && !gone(&it.job));
        }
        self.buckets.retain(|_, bucket| !bucket.is_empty());
        self.len = self.buckets.values().map(BTreeMap::len).sum();
    }

    /// No batch waits for more from now on.
    pub fn hurry(&mut self) {
        self.rules.max_delay = Duration::ZERO;
    }

    /// The next batch for somebody who has nothing else to do. Requests that are too late, or `gone` because their client
    /// is, are dropped on the way.
    pub fn next(&mut self, now: Instant, gone: impl Fn(&J) -> bool) -> Next<J> {
        let over = |waiting: &Waiting<J>| waiting.is_over(now) || gone(&waiting.job);
        let mut again: Option<Instant> = None;
        let mut due: Option<((u64, u64), &K)> = None;
        for (key, bucket) in &mut self.buckets {
            while bucket.first_key_value().is_some_and(|(_, it)| over(it)) {
                bucket.pop_first();
                self.len -= 1;
            }
            let Some((&first, _)) = bucket.first_key_value() else {
                continue;
            };
            match self.rules.wait(bucket).filter(|at| *at > now) {
                Some(at) => again = Some(again.map_or(at, |it| it.min(at))),
                None if due.is_none_or(|(other, _)| first < other) => due = Some((first, key)),
                None => (),
            }
        }
        let Some(key) = due.map(|(_, key)| key.clone()) else {
            self.buckets.retain(|_, bucket| !bucket.is_empty());
            return Next::Wait(again);
        };
        let mut batch = Vec::new();
        if let Some(bucket) = self.buckets.get_mut(&key) {
            let before = bucket.len();
            let (mut rows, mut bytes) = (0_usize, 0_usize);
            // In their order, so that a large one is not passed over for ever.
            while let Some(first) = bucket.first_entry() {
                let more = rows.saturating_add(first.get().rows);
                let larger = bytes.saturating_add(first.get().bytes);
                let fits = more <= self.rules.max_rows && larger <= self.rules.max_bytes;
                if over(first.get()) {
                    first.remove();
                } else if batch.is_empty() || fits {
                    (rows, bytes) = (more, larger);
                    batch.push(first.remove().job);
                } else {
                    break;
                }
            }
            self.len -= before - bucket.len();
        }
        self.buckets.retain(|_, bucket| !bucket.is_empty());
        Next::Run(batch)
    }
}

impl Rules {
    /// Until when a bucket may wait for more; `None`: it is full.
    fn wait<J>(&self, bucket: &Bucket<J>) -> Option<Instant> {
        if self.max_delay.is_zero() {
            return None;
        }
        let (mut rows, mut bytes) = (0_usize, 0_usize);
        let mut until: Option<Instant> = None;
        for waiting in bucket.values() {
            rows = rows.saturating_add(waiting.rows);
            bytes = bytes.saturating_add(waiting.bytes);
            if rows >= self.max_rows || bytes >= self.max_bytes {
                return None;
            }
            // The other half of its time is for the forward.
            let time = |deadline: Instant| deadline.saturating_duration_since(waiting.arrived) / 2;
            let patience = waiting
                .deadline
                .map_or(self.max_delay, |it| time(it).min(self.max_delay));
            let own = waiting.arrived + patience;
            until = Some(until.map_or(own, |it| it.min(own)));
        }
        until
    }
}

#[cfg(test)]
mod tests;

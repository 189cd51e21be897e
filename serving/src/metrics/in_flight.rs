//! A request while it is served, and what is counted of it.

use std::time::{Duration, Instant, SystemTime};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Outcome, Series};
use crate::{
    cache::Origin,
    error::ApiError,
    traces::{End, Trace},
    worker::Answer,
};

/// A request being served; it counts itself when dropped, as [`Outcome::Dropped`] unless told otherwise.
pub struct InFlight<'a> {
    pub(super) series: &'a Series,
    pub(super) start: Instant,
    /// Its spans, if requests are traced.
    pub(super) trace: Option<Box<Trace>>,
    pub(super) outcome: Outcome,
}

impl InFlight<'_> {
    /// When the request began.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Notes how the request ended.
    pub fn ended(&mut self, error: Option<&ApiError>) {
        self.outcome = error.map_or(Outcome::Ok, ApiError::outcome);
        if let Some(trace) = self.trace.take() {
            trace.end(self.start, &error.map_or(End::Answered, End::Refused));
        }
    }

    /// Notes what a forward took.
    pub fn computed(&self, answer: &Answer) {
        if let Some(trace) = &self.trace {
            trace.computed(answer);
        }
        self.series.compute.observe(answer.compute.as_secs_f64());
        self.series.queue.observe(answer.queue.as_secs_f64());
    }

    /// Notes where an answer came from, of a model with a cache, and how long it was looked for there.
    pub fn found(&self, origin: Origin, took: Duration) {
        let cached = self.series.cached.as_ref();
        if let Some(cached) = cached.and_then(|it| it.get(origin as usize)) {
            cached.requests.inc();
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            cached.nanos.inc_by(nanos);
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(trace) = self.trace.take() {
            trace.end(self.start, &End::Dropped);
        }
        let Self {
            series, outcome, ..
        } = self;
        series.in_flight.dec();
        let nanos = match outcome {
            Outcome::Ok => &series.answered_nanos,
            _ => &series.failed_nanos,
        };
        if let Some(requests) = series.requests.get(*outcome as usize) {
            let Series { duration, last, .. } = series;
            count(self.start, requests, duration, nanos, last);
        }
    }
}

/// Counts a request that has ended, where those of its model and outcome are counted.
pub(super) fn count(
    start: Instant,
    requests: &IntCounter,
    duration: &Histogram,
    nanos: &IntCounter,
    last: &IntGauge,
) {
    let elapsed = start.elapsed();
    requests.inc();
    duration.observe(elapsed.as_secs_f64());
    nanos.inc_by(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    let epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    last.set(i64::try_from(epoch.as_millis()).unwrap_or(i64::MAX));
}

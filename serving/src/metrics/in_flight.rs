//! A request while it is served, and what is counted of it.

use std::time::{Duration, Instant, SystemTime};

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
        #[allow(clippy::cast_precision_loss, reason = "at most thousands")]
        self.series.batch.observe(answer.together as f64);
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
        let elapsed = self.start.elapsed();
        series.in_flight.dec();
        series.duration.observe(elapsed.as_secs_f64());
        let nanos = match outcome {
            Outcome::Ok => &series.answered_nanos,
            _ => &series.failed_nanos,
        };
        nanos.inc_by(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        let epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let epoch = i64::try_from(epoch.as_millis()).unwrap_or(i64::MAX);
        series.last.set(epoch);
        if let Some(requests) = series.requests.get(*outcome as usize) {
            requests.inc();
        }
    }
}

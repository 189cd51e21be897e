//! What was counted of a model version, for those who ask for statistics and not for metrics.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::registry::ModelVersion;

/// Numbers of requests and their time altogether, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Answered with an inference.
    pub success: (u64, Duration),
    /// Ended in any other way.
    pub fail: (u64, Duration),
    /// Computed, and how long they had waited for that.
    pub queue: (u64, Duration),
    /// Computed, and the time of their forwards, shared ones included.
    pub compute: (u64, Duration),
    /// Answered from a cache, and the time of looking there.
    pub hit: (u64, Duration),
    /// Looked for in a cache and not found, and the time of that.
    pub miss: (u64, Duration),
    /// Forwards.
    pub forwards: u64,
    /// Rows that were answered.
    pub rows: u64,
    /// Milliseconds since the epoch of the last request; 0 if there was none.
    pub last: u64,
}

impl Metrics {
    /// What was counted of a model version.
    #[must_use]
    pub fn counted(&self, loaded: &ModelVersion) -> Counted {
        let series = self.series(loaded);
        let observed = |histogram: &Histogram| {
            let sum = Duration::try_from_secs_f64(histogram.get_sample_sum());
            (histogram.get_sample_count(), sum.unwrap_or_default())
        };
        let [ok, failures @ ..] = &series.requests;
        let [memory, redis, miss] = match &series.cached {
            None => [(0, 0); 3],
            Some(cached) => cached
                .each_ref()
                .map(|it| (it.requests.get(), it.nanos.get())),
        };
        let looked = |(count, nanos)| (count, Duration::from_nanos(nanos));
        Counted {
            success: (ok.get(), Duration::from_nanos(series.answered_nanos.get())),
            fail: (
                failures.iter().map(IntCounter::get).sum(),
                Duration::from_nanos(series.failed_nanos.get()),
            ),
            queue: observed(&series.queue),
            compute: observed(&series.compute),
            hit: looked((memory.0 + redis.0, memory.1 + redis.1)),
            miss: looked(miss),
            forwards: loaded.worker.forwards(),
            rows: loaded.worker.rows(),
            last: u64::try_from(series.last.get()).unwrap_or_default(),
        }
    }
}

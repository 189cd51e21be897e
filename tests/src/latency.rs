//! A small histogram of durations with a known relative error, for percentiles of millions of requests.

use std::time::Duration;

/// The ratio of neighbouring bucket limits: a percentile is exact within 2 %.
const RATIO: f64 = 1.02;

/// Counts of durations, from 1 us up, in buckets whose limits grow by 2 %.
#[derive(Debug, Clone, Default)]
pub struct Latency {
    counts: Vec<u64>,
    total: u64,
}

impl Latency {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let micros = (duration.as_secs_f64() * 1e6).max(1.0);
        // At most 1 400 buckets for the longest duration there is.
        let bucket = (micros.ln() / RATIO.ln()) as usize;
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The duration that a share of `quantile` (0 to 1) does not exceed; zero when nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile.clamp(0.0, 1.0) * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_secs_f64(RATIO.powf(bucket as f64 + 1.0) / 1e6);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut latency = Latency::default();
        for micros in 1..=10_000 {
            latency.record(Duration::from_micros(micros));
        }
        for quantile in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let found = latency.quantile(quantile).as_secs_f64() * 1e6;
            let ratio = found / (quantile * 10_000.0);
            assert!((0.98..=1.0201).contains(&ratio), "{quantile}: {found}");
        }
    }

    #[test]
    fn nothing_counted_has_no_latency() {
        assert_eq!(Latency::default().quantile(0.5), Duration::ZERO);
    }
}

//! Times of one thing that was done again and again.

use std::time::Duration;

/// What the times come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Timing {
    /// What was done.
    pub(super) name: String,
    rows: usize,
    sorted: Vec<Duration>,
    took: Duration,
}

impl Timing {
    /// Of things of so many rows that were done in `took` altogether.
    pub(super) fn of(name: String, rows: usize, mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        Self {
            name,
            rows,
            sorted: times,
            took,
        }
    }

    /// Rows a second.
    pub(super) fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let rows = (self.rows * self.sorted.len()) as f64;
        rows / self.took.as_secs_f64()
    }

    /// The median.
    pub(super) fn p50(&self) -> Duration {
        self.at(50)
    }

    /// The 99th percentile, by the nearest rank.
    pub(super) fn p99(&self) -> Duration {
        self.at(99)
    }

    fn at(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent)
            .div_ceil(100)
            .saturating_sub(1);
        self.sorted.get(rank).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_the_nearest_rank_and_rates_by_rows() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let timing = Timing::of(String::new(), 4, times, Duration::from_secs(2));
        assert_eq!(timing.p50(), Duration::from_millis(100));
        assert_eq!(timing.p99(), Duration::from_millis(198));
        assert!((timing.rate() - 400.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_done_takes_no_time() {
        let timing = Timing::of(String::new(), 1, Vec::new(), Duration::from_secs(1));
        assert_eq!(
            (timing.p50(), timing.p99()),
            (Duration::ZERO, Duration::ZERO)
        );
    }
}

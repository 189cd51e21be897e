//! How far our own clock is from Prometheus'.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// What an answer's date leaves out.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// The difference as last seen; nothing where the clocks agree as far as one can see.
#[derive(Debug, Default)]
pub(super) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// An answer with this date, in whole seconds, came to a question that was sent and answered at these times of ours.
    pub(super) fn learn(&self, sent: Timestamp, date: Timestamp, answered: Timestamp) {
        let latest = date.saturating_add(SECOND).unwrap_or(date);
        let ahead = if sent > latest {
            sent.duration_since(latest)
        } else if answered < date {
            answered.duration_since(date)
        } else {
            SignedDuration::ZERO
        };
        let ms = i64::try_from(ahead.as_millis()).unwrap_or(0);
        if (self.ahead_ms.swap(ms, Ordering::Relaxed) == 0) != (ms == 0) {
            tracing::warn!(
                ahead_ms = ms,
                "our clock and Prometheus' differ; its own is what counts"
            );
        }
    }

    /// Prometheus' time at our time `now`.
    pub(super) fn time(&self, now: Timestamp) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        now.saturating_sub(ahead).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn clocks_that_agree_within_what_a_date_says_are_the_same() {
        let clock = Clock::default();
        for (sent, answered) in [(10_000, 10_010), (10_990, 11_200), (9_000, 10_001)] {
            clock.learn(at(sent), at(10_000), at(answered));
            assert_eq!(clock.time(at(sent)), at(sent));
        }
    }

    #[test]
    fn by_whatever_our_clock_jumps_prometheus_time_goes_on() {
        let clock = Clock::default();
        clock.learn(at(3_610_500), at(10_000), at(3_610_600));
        assert_eq!(clock.time(at(3_610_600)), at(11_100));
        clock.learn(at(1_000), at(10_000), at(1_100));
        assert_eq!(clock.time(at(1_200)), at(10_100));
        clock.learn(at(10_500), at(10_000), at(10_600));
        assert_eq!(clock.time(at(10_700)), at(10_700));
    }
}

//! Time that never goes back, from a clock that may.

use std::time::Duration;

/// Adds up the steps forward of another clock. Steps back count for nothing, and cost no more than themselves: after
/// one, time goes on at once instead of when the old reading is reached again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    last: Option<u64>,
    elapsed: u64,
}

impl Clock {
    /// The fuse's own time in nanoseconds when the other clock shows `now`. It wraps after 584 years: only its
    /// differences mean something ([`age`]).
    pub(super) fn advance(&mut self, now: Duration) -> u64 {
        let now = nanos(now);
        let step = self.last.map_or(0, |last| now.saturating_sub(last));
        self.last = Some(now);
        self.elapsed = self.elapsed.wrapping_add(step);
        self.elapsed
    }
}

/// Nanoseconds from an earlier reading of a [`Clock`] to a later one.
pub(super) fn age(now: u64, since: u64) -> u64 {
    now.wrapping_sub(since)
}

/// A duration in nanoseconds, at most 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

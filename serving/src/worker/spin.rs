//! Busy waiting: an instance that has nothing to do looks for its next request itself for a while, before it sleeps.
//!
//! To wake a thread takes longer than the forward of a small model: on a virtual machine of two cores one request at a
//! time takes 95 us (p50), and 59 where the instance is awake. It costs the time of a core that nobody else wants, so it
//! is only done where it pays: where requests come one at a time, and the last one came soon enough.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Within so long clients that ask again and again have done so: a core that the instance shares with the thread that
/// reads and writes needs 1 ms for the answers of a batch of 32 with 3 KiB each.
const RETURN: Duration = Duration::from_millis(10);

/// What all instances of the process share.
#[derive(Debug, Default)]
pub struct Spin {
    time: Duration,
    most: usize,
    spinning: AtomicUsize,
}

/// The turn of an instance, which ends when dropped.
pub(super) struct Turn<'a>(&'a AtomicUsize);

/// What an instance knows of the time between two of its batches.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// When it has answered several requests together.
    pub(super) answered: Option<Instant>,
    /// Whether the last request came while it would have looked for it.
    pays: bool,
}

impl Lull {
    /// Whether those who were answered together may be about to ask again.
    pub(super) fn may_return(&self, now: Instant) -> bool {
        let since = |answered| now.saturating_duration_since(answered);
        self.answered.is_some_and(|it| since(it) < RETURN)
    }
}

impl Spin {
    /// For `time` at a time, and on half of the cores at the most: the others read and answer.
    #[must_use]
    pub fn new(time: Duration, cores: usize) -> Self {
        Self {
            time,
            most: cores / 2,
            spinning: AtomicUsize::new(0),
        }
    }

    /// How many do so now.
    #[cfg(test)]
    pub(super) fn spinning(&self) -> usize {
        self.spinning.load(Ordering::Relaxed)
    }

    /// A turn for an instance, if it pays and others have left one. It is over after [`Self::is_over`].
    pub(super) fn turn(&self, lull: &Lull) -> Option<Turn<'_>> {
        if !lull.pays || lull.answered.is_some() {
            return None;
        }
        let turn = Turn(&self.spinning);
        (self.spinning.fetch_add(1, Ordering::Relaxed) < self.most).then_some(turn)
    }

    /// Whether it has looked for long enough.
    pub(super) fn is_over(&self, idle: Duration) -> bool {
        idle >= self.time
    }

    /// The lull is over, after so long.
    pub(super) fn learn(&self, lull: &mut Lull, idle: Duration) {
        lull.pays = !self.is_over(idle);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_micros(200);

    fn after(spin: &Spin, idle: Duration) -> Lull {
        let mut lull = Lull::default();
        spin.learn(&mut lull, idle);
        lull
    }

    #[test]
    fn it_is_done_where_the_request_before_came_soon_and_alone() {
        let spin = Spin::new(TIME, 2);
        assert!(spin.turn(&Lull::default()).is_none(), "nobody knows yet");
        assert!(spin.turn(&after(&spin, TIME / 2)).is_some());
        assert!(spin.turn(&after(&spin, TIME)).is_none());
        let mut several = after(&spin, TIME / 2);
        several.answered = Some(Instant::now());
        assert!(spin.turn(&several).is_none());
    }

    #[test]
    fn clients_that_were_answered_together_are_expected_for_a_while() {
        let now = Instant::now();
        let mut lull = Lull::default();
        assert!(!lull.may_return(now));
        lull.answered = Some(now);
        assert!(lull.may_return(now + RETURN / 2));
        assert!(!lull.may_return(now + RETURN));
    }

    #[test]
    fn others_keep_half_of_the_cores() {
        for (cores, most) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
            let spin = Spin::new(TIME, cores);
            let pays = after(&spin, Duration::ZERO);
            let mut turns: Vec<_> = (0..4).map_while(|_| spin.turn(&pays)).collect();
            assert_eq!((turns.len(), spin.spinning()), (most, most), "{cores}");
            if turns.pop().is_some() {
                assert!(spin.turn(&pays).is_some(), "it is free again");
            }
        }
    }

    #[test]
    fn without_time_it_is_never_done() {
        let spin = Spin::new(Duration::ZERO, 8);
        assert!(spin.turn(&after(&spin, Duration::ZERO)).is_none());
    }
}

//! The batch that an instance computes at the moment, as others may see it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::shared::Client;

/// Empty while the instance is idle.
#[derive(Default)]
pub(super) struct Running(Mutex<Option<Batch>>);

struct Batch {
    /// When its last forward began.
    since: Instant,
    clients: Vec<Client>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Option<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch is about to be computed for `clients`.
    pub(super) fn begin(&self, since: Instant, clients: Vec<Client>) {
        *self.lock() = Some(Batch { since, clients });
    }

    /// A forward of the batch begins: there are several where it fails.
    pub(super) fn again(&self, now: Instant) {
        if let Some(batch) = &mut *self.lock() {
            batch.since = now;
        }
    }

    /// It has been computed: who wants to know. None if nobody does any more, because [`Self::give_up`] was there before.
    pub(super) fn end(&self) -> Option<Vec<Client>> {
        self.lock().take().map(|batch| batch.clients)
    }

    /// How long its forward has been running.
    pub(super) fn time(&self, now: Instant) -> Option<Duration> {
        let since = self.lock().as_ref()?.since;
        Some(now.saturating_duration_since(since))
    }

    /// Takes its clients away, if its forward has been running for `patience`; and says for how long.
    pub(super) fn give_up(
        &self,
        patience: Duration,
        now: Instant,
    ) -> Option<(Duration, Vec<Client>)> {
        let mut running = self.lock();
        let batch = running.take_if(|it| now.saturating_duration_since(it.since) >= patience)?;
        let time = now.saturating_duration_since(batch.since);
        Some((time, batch.clients))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forward_of_a_batch_has_its_own_time() {
        let begun = Instant::now();
        let [second, third, seventh] = [2, 3, 7].map(|it| begun + Duration::from_secs(it));
        let running = Running::default();
        let patience = Duration::from_secs(4);
        assert!(running.give_up(patience, seventh).is_none(), "it is idle");
        running.begin(begun, Vec::new());
        running.again(second);
        assert_eq!(running.time(third), Some(Duration::from_secs(1)));
        let fifth = begun + Duration::from_secs(5);
        assert!(running.give_up(patience, fifth).is_none());
        let (time, _) = running.give_up(patience, seventh).unwrap();
        assert_eq!(time, Duration::from_secs(5));
        assert!(running.end().is_none() && running.time(seventh).is_none());
    }
}

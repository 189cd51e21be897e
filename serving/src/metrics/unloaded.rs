//! Requests for a version that is not loaded: those that never get there are counted all the same.

use std::time::Instant;

use super::{Metrics, Outcome, in_flight};
use crate::{error::ApiError, repository::Entry};

/// A request that waits for its version; it counts itself when dropped, as [`Outcome::Dropped`] unless told otherwise.
pub struct Unloaded<'a> {
    metrics: &'a Metrics,
    entry: &'a Entry,
    start: Instant,
    /// None once the version is there: from then on the request is one like all others.
    outcome: Option<Outcome>,
}

impl Metrics {
    /// Begins a request for a version that is not loaded.
    #[must_use]
    pub fn begin_unloaded<'a>(&'a self, entry: &'a Entry) -> Unloaded<'a> {
        Unloaded {
            metrics: self,
            entry,
            start: Instant::now(),
            outcome: Some(Outcome::Dropped),
        }
    }
}

impl Unloaded<'_> {
    /// Notes that the version is there, or why it is not.
    pub fn ended(mut self, error: Option<&ApiError>) {
        self.outcome = error.map(ApiError::outcome);
    }
}

impl Drop for Unloaded<'_> {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome else {
            return;
        };
        let Self { metrics, entry, .. } = self;
        // By their labels: there are no series of what is not loaded.
        let version = entry.version.to_string();
        let labels = [entry.model.as_str(), &version];
        let and = |last| [entry.model.as_str(), &version, last];
        in_flight::count(
            self.start,
            &metrics.requests.with_label_values(&and(outcome.label())),
            &metrics.duration.with_label_values(&labels),
            &metrics.nanos.with_label_values(&and("false")),
            &metrics.last.with_label_values(&labels),
        );
    }
}

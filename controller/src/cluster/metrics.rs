//! Metrics of the controller.

mod rollouts;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::report::Sources;

/// Everything that is counted, registered once.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    leader: IntGauge,
    ticks: Histogram,
    queries: IntCounter,
    query_errors: IntCounter,
    writes: IntCounterVec,
    errors: IntCounterVec,
    drift: IntCounterVec,
    rollouts: IntGauge,
    queue: IntGauge,
    generation: Gauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two of the same name, which the tests would have found.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let metrics = Self {
            leader: IntGauge::new("serin_controller_leader", "1 while this controller writes")?,
            ticks: Histogram::with_opts(
                HistogramOpts::new(
                    "serin_controller_tick_seconds",
                    "Time of a tick without the wait for Prometheus",
                )
                .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            )?,
            queries: IntCounter::new(
                "serin_controller_prometheus_looks_total",
                "Ticks in which Prometheus was asked",
            )?,
            query_errors: IntCounter::new(
                "serin_controller_prometheus_errors_total",
                "Ticks in which Prometheus did not answer",
            )?,
            writes: counters(
                "serin_controller_api_writes_total",
                "Writes to the API server",
                &["resource"],
            )?,
            errors: counters(
                "serin_controller_api_errors_total",
                "Writes that the API server refused or did not answer",
                &["resource", "reason"],
            )?,
            drift: counters(
                "serin_controller_drift_total",
                "Objects of ours that somebody else changed, and that were put right",
                &["kind"],
            )?,
            rollouts: IntGauge::new("serin_controller_rollouts", "Rollouts known")?,
            queue: IntGauge::new(
                "serin_controller_queue",
                "Rollouts with something still to be written",
            )?,
            generation: Gauge::new(
                "serin_controller_generation",
                "Highest generation of a plugin config so far",
            )?,
            registry,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> prometheus::Result<()> {
        let all: [Box<dyn prometheus::core::Collector>; 10] = [
            Box::new(self.leader.clone()),
            Box::new(self.ticks.clone()),
            Box::new(self.queries.clone()),
            Box::new(self.query_errors.clone()),
            Box::new(self.writes.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.drift.clone()),
            Box::new(self.rollouts.clone()),
            Box::new(self.queue.clone()),
            Box::new(self.generation.clone()),
        ];
        all.into_iter()
            .try_for_each(|it| self.registry.register(it))
    }

    /// Whether this controller writes.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A tick and how long it took.
    pub fn tick(&self, took: Duration) {
        self.ticks.observe(took.as_secs_f64());
    }

    /// Prometheus was asked.
    pub fn looked(&self, answered: bool) {
        self.queries.inc();
        if !answered {
            self.query_errors.inc();
        }
    }

    /// A write that happened.
    pub fn api_write(&self, resource: &str) {
        self.writes.with_label_values(&[resource]).inc();
    }

    /// A write that did not happen.
    pub fn api_error(&self, resource: &str, reason: &str) {
        self.errors.with_label_values(&[resource, reason]).inc();
    }

    /// Somebody changed an object of ours.
    pub fn drifted(&self, kind: &str) {
        self.drift.with_label_values(&[kind]).inc();
    }

    /// Sizes after a tick.
    #[allow(
        clippy::cast_precision_loss,
        reason = "generations stay far below 2^53"
    )]
    pub fn sizes(&self, (rollouts, queue): (usize, usize), generation: u64) {
        self.rollouts
            .set(i64::try_from(rollouts).unwrap_or(i64::MAX));
        self.queue.set(i64::try_from(queue).unwrap_or(i64::MAX));
        self.generation.set(generation as f64);
    }

    /// All of it in Prometheus' text format, with every rollout as it stands.
    ///
    /// # Errors
    /// Two families of the same name, which the tests would have found.
    pub fn text(&self, rollouts: &[Arc<Sources>]) -> prometheus::Result<String> {
        let mut text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        rollouts::write(rollouts, &mut text)?;
        Ok(text)
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_metrics_register_and_show() {
        let metrics = Metrics::new().unwrap();
        metrics.leads(true);
        metrics.api_error("status", "conflict");
        let text = metrics.text(&[]).unwrap();
        assert!(text.contains("serin_controller_leader 1"), "{text}");
        assert!(text.contains(r#"reason="conflict""#), "{text}");
    }
}

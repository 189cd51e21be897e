//! Metrics of one configuration, defined when they are first needed: a table may hold thousands of rollouts of which
//! this proxy calls two.

use std::cell::{Cell, OnceCell, RefCell};
use std::time::Duration;

use fxhash::FxHashMap;
use proxy_wasm::types::MetricType;
use serin_filter_core::config::VariantConfig;
use serin_filter_core::outcome::{CLASSES, Outcome, class, class_index, is_bad};
use serin_filter_core::route::{Decision, Reason};
use serin_filter_core::split::GROUPS;
use serin_filter_core::stat;
use serin_filter_core::table::{Rollout, RoutingTable};

use crate::host;

/// One request in so many is checked for where it really went.
const SAMPLE_EVERY: u32 = 64;
/// The groups, and one more place for requests without a key.
const GROUP_SLOTS: usize = GROUPS as usize + 1;

thread_local! {
    /// Ids by stat name, for all configurations of this VM: ids belong to the VM, and to define a name again would
    /// make the proxy's table grow with every update.
    static IDS: RefCell<FxHashMap<String, u32>> = RefCell::default();
}

fn define(kind: MetricType, name: String) -> Option<u32> {
    IDS.with(|ids| {
        let mut ids = ids.try_borrow_mut().ok()?;
        if let Some(&id) = ids.get(&name) {
            return Some(id);
        }
        let id = host::define(kind, &name)?;
        ids.insert(name, id);
        Some(id)
    })
}

/// Sets a gauge of the filter itself.
pub(crate) fn set_gauge(name: &str, value: u64) {
    if let Some(id) = define(MetricType::Gauge, name.to_owned()) {
        host::record(id, value);
    }
}

/// The metrics of all variants of a configuration.
#[derive(Default)]
pub(crate) struct Metrics(Vec<Vec<OnceCell<Box<VariantMetrics>>>>);

impl Metrics {
    /// Room for the metrics of a table.
    pub(crate) fn new(table: &RoutingTable) -> Self {
        let slots =
            |rollout: &Rollout| rollout.variants().iter().map(|_| OnceCell::new()).collect();
        Self(table.rollouts().iter().map(slots).collect())
    }

    /// The metrics of the variant that was chosen.
    pub(crate) fn of(&self, table: &RoutingTable, decision: &Decision) -> Option<&VariantMetrics> {
        let rollout = table.rollout(decision.rollout)?;
        let variant = rollout.variant(decision.variant)?;
        let slot = self.0.get(decision.rollout)?.get(decision.variant)?;
        Some(slot.get_or_init(|| Box::new(VariantMetrics::new(rollout, variant))))
    }
}

/// A metric with the id that the proxy gave it.
#[derive(Default)]
struct Metric(OnceCell<Option<u32>>);

impl Metric {
    fn id(&self, kind: MetricType, name: impl FnOnce() -> String) -> Option<u32> {
        *self.0.get_or_init(|| define(kind, name()))
    }
}

/// The metrics of one variant.
pub(crate) struct VariantMetrics {
    /// The labels that all share, encoded.
    labels: String,
    progressing: bool,
    assignments: [Metric; Reason::ALL.len()],
    requests: [Metric; CLASSES.len()],
    duration: Metric,
    split: [Metric; GROUP_SLOTS],
    split_bad: [Metric; GROUP_SLOTS],
    sampled: Metric,
    misrouted: Metric,
    /// Requests since the configuration changed, as far as sampling goes.
    seen: Cell<u32>,
}

impl VariantMetrics {
    fn new(rollout: &Rollout, variant: &VariantConfig) -> Self {
        let labels = [
            (stat::ROLLOUT, rollout.name()),
            (stat::VARIANT, variant.name.as_str()),
            (stat::VERSION, variant.version.as_str()),
        ];
        Self {
            labels: stat::encode(&labels, ""),
            progressing: rollout.progressing(),
            assignments: Default::default(),
            requests: Default::default(),
            duration: Metric::default(),
            split: Default::default(),
            split_bad: Default::default(),
            sampled: Metric::default(),
            misrouted: Metric::default(),
            seen: Cell::new(0),
        }
    }

    fn name(&self, labels: &[(&str, &str)], name: &str) -> String {
        format!("{}{}", self.labels, stat::encode(labels, name))
    }

    fn count(&self, metric: Option<&Metric>, labels: &[(&str, &str)], name: &str) {
        if let Some(id) =
            metric.and_then(|metric| metric.id(MetricType::Counter, || self.name(labels, name)))
        {
            host::increment(id);
        }
    }

    /// Makes a counter appear with the value it has, so that one that never counts is 0 and not missing.
    fn announce(&self, metric: Option<&Metric>, labels: &[(&str, &str)], name: &str) {
        let _ =
            metric.and_then(|metric| metric.id(MetricType::Counter, || self.name(labels, name)));
    }

    /// Counts a choice, when it is made: assignments minus requests are in flight.
    pub(crate) fn assigned(&self, reason: Reason) {
        let labels = [(stat::REASON, reason.as_str())];
        self.count(
            self.assignments.get(reason as usize),
            &labels,
            stat::ASSIGNMENTS_TOTAL,
        );
    }

    /// Counts a finished request.
    pub(crate) fn finished(&self, decision: &Decision, outcome: &Outcome, took: Duration) {
        let labels = [
            (stat::COHORT, stat::COHORT_SPLIT),
            (stat::CLASS, class(outcome)),
        ];
        self.count(
            self.requests.get(class_index(outcome)),
            &labels,
            stat::REQUESTS_TOTAL,
        );
        if let Some(id) = self.duration.id(MetricType::Histogram, || {
            self.name(&[], stat::REQUEST_DURATION_MS)
        }) {
            host::record(id, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        if self.progressing {
            self.finished_in_group(decision.group, is_bad(outcome));
        }
    }

    fn finished_in_group(&self, group: Option<u8>, bad: bool) {
        let slot = usize::from(group.unwrap_or(GROUPS));
        let number = group.map(|group| group.to_string());
        let labels = [(stat::GROUP, number.as_deref().unwrap_or(stat::GROUP_NONE))];
        self.count(self.split.get(slot), &labels, stat::SPLIT_TOTAL);
        let split_bad = self.split_bad.get(slot);
        if bad {
            self.count(split_bad, &labels, stat::SPLIT_BAD_TOTAL);
        } else {
            self.announce(split_bad, &labels, stat::SPLIT_BAD_TOTAL);
        }
    }

    /// Compares the cluster that served one request in [`SAMPLE_EVERY`] with the one meant, in `on_log`. The first
    /// request of a variant after a change of the configuration is always among them. Each variant counts for itself:
    /// with one count for all, traffic in a regular pattern would always sample the same one.
    pub(crate) fn sample(&self, meant: &str) {
        let seen = self.seen.get();
        if seen.checked_rem(SAMPLE_EVERY) == Some(0) {
            // A request that ended before any route was tried says nothing: the next one is asked instead.
            let Some(misrouted) = misrouted(meant) else {
                return;
            };
            self.count(Some(&self.sampled), &[], stat::SAMPLED_TOTAL);
            if misrouted {
                self.count(Some(&self.misrouted), &[], stat::MISROUTED_TOTAL);
            } else {
                self.announce(Some(&self.misrouted), &[], stat::MISROUTED_TOTAL);
            }
        }
        self.seen.set(seen.wrapping_add(1));
    }
}

/// Whether another cluster served this request than the one meant; none: neither did.
///
/// A filter behind this one that answers by itself (authorisation, fault injection) leaves the cluster of the route
/// that was matched before our header was set, so the name alone proves nothing.
fn misrouted(meant: &str) -> Option<bool> {
    match host::code_details()?.as_slice() {
        b"via_upstream" => Some(host::cluster()? != meant.as_bytes()),
        b"route_not_found" | b"direct_response" => Some(true),
        _ => None,
    }
}

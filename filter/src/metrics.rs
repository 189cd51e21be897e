//! Metrics of one configuration, defined when they are first needed: a table may hold thousands of rollouts of which
//! this proxy calls two.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fxhash::FxHashMap;
use proxy_wasm::types::MetricType;
use serin_filter_core::cluster::is_meant;
use serin_filter_core::config::VariantConfig;
use serin_filter_core::outcome::{CLASSES, Outcome, class, class_index, is_bad};
use serin_filter_core::route::{Cohort, Decision, Reason};
use serin_filter_core::split::GROUPS;
use serin_filter_core::stat::{self, Encoding};
use serin_filter_core::table::{Rollout, RoutingTable};

use crate::counters::Counter;
use crate::fuses::{self, VariantFuse};
use crate::host;

/// One request in so many is checked for where it really went. Each worker samples for itself, so that 200 requests of a
/// canary, which are few, must suffice for a dozen workers.
const SAMPLE_EVERY: u32 = 16;
/// The same of the live variant, which has most of the requests.
const SAMPLE_LIVE_EVERY: u32 = 64;
/// The groups, and one more place for requests without a key.
const GROUP_SLOTS: usize = GROUPS as usize + 1;
const GROUP_NAMES: [&str; GROUP_SLOTS] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "10",
    "11",
    "12",
    "13",
    "14",
    "15",
    stat::GROUP_NONE,
];

thread_local! {
    /// Ids by stat name, for all configurations of this VM: ids belong to the VM, and to define a name again would
    /// make the proxy's table grow with every update.
    static IDS: RefCell<FxHashMap<String, usize>> = RefCell::default();
}

/// The id of a metric, defined if this VM has not done so before.
pub(crate) fn define(kind: MetricType, name: String) -> Option<u32> {
    IDS.with(|ids| {
        let mut ids = ids.try_borrow_mut().ok()?;
        if let Some(&id) = ids.get(&name) {
            return u32::try_from(id).ok();
        }
        let id = host::define(kind, &name)?;
        ids.insert(name, usize::try_from(id).ok()?);
        Some(id)
    })
}

/// A counter, defined if this VM has not done so before.
pub(crate) fn counter(name: String) -> Option<Rc<Counter>> {
    define(MetricType::Counter, name).map(Counter::new)
}

/// Sets a gauge of the filter itself.
pub(crate) fn set_gauge(name: &str, value: u64) {
    if let Some(id) = define(MetricType::Gauge, name.to_owned()) {
        host::record(id, value);
    }
}

/// The metrics of all variants of a configuration, rollout by rollout.
#[derive(Default)]
pub(crate) struct Metrics {
    plugin: String,
    rollouts: Vec<OnceCell<Vec<Slot>>>,
}

type Slot = OnceCell<Rc<VariantMetrics>>;

impl Metrics {
    /// Room for the metrics of a table.
    pub(crate) fn new(plugin: &str, table: &RoutingTable) -> Self {
        let rollouts = table.rollouts().iter();
        Self {
            plugin: plugin.to_owned(),
            rollouts: rollouts.map(|_| OnceCell::new()).collect(),
        }
    }

    /// The metrics of the variant that was chosen.
    pub(crate) fn of(
        &self,
        encoding: Encoding,
        rollout: &Rollout,
        decision: &Decision,
    ) -> Option<&Rc<VariantMetrics>> {
        let variant = rollout.variant(decision.variant)?;
        let variants = rollout.variants().iter();
        let slots = || variants.map(|_| OnceCell::new()).collect();
        let slots = self.rollouts.get(decision.rollout)?.get_or_init(slots);
        let slot = slots.get(decision.variant)?;
        let metrics = || {
            Rc::new(VariantMetrics::new(
                &self.plugin,
                encoding,
                rollout,
                variant,
            ))
        };
        Some(slot.get_or_init(metrics))
    }
}

/// A metric, from when it is first needed; none inside: the proxy refused it.
type Metric<T> = OnceCell<Option<T>>;
type CounterCell = Metric<Rc<Counter>>;

/// Labels that several metrics share.
pub(crate) struct Encoded {
    encoding: Encoding,
    labels: Vec<(&'static str, String)>,
}

impl Encoded {
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The name of a metric with these labels and more.
    pub(crate) fn name(&self, more: &[(&str, &str)], name: &str) -> String {
        let shared = self.labels.iter();
        let shared = shared.map(|(label, value)| (*label, value.as_str()));
        let labels: Vec<_> = shared.chain(more.iter().copied()).collect();
        self.encoding.encode(&labels, name)
    }
}

/// The metrics and the fuse of one variant.
pub(crate) struct VariantMetrics {
    labels: Encoded,
    /// Those of the rollout alone.
    rollout: Encoded,
    fuse: Option<Rc<VariantFuse>>,
    assignments: [CounterCell; Reason::ALL.len()],
    requests: [[CounterCell; CLASSES.len()]; Cohort::ALL.len()],
    durations: [[Metric<u32>; CLASSES.len()]; Cohort::ALL.len()],
    split: [CounterCell; GROUP_SLOTS],
    split_bad: [CounterCell; GROUP_SLOTS],
    split_fused: [CounterCell; GROUP_SLOTS],
    /// By latency limit and group.
    split_slow: Vec<[CounterCell; GROUP_SLOTS]>,
    shadowed: CounterCell,
    sampled: CounterCell,
    misrouted: CounterCell,
    sample_every: u32,
    /// Requests since the configuration changed, as far as sampling goes.
    seen: Cell<u32>,
}

impl VariantMetrics {
    fn new(plugin: &str, encoding: Encoding, rollout: &Rollout, variant: &VariantConfig) -> Self {
        let of_rollout = (stat::ROLLOUT, rollout.name().to_owned());
        let labels = Encoded {
            encoding,
            labels: vec![
                of_rollout.clone(),
                (stat::VARIANT, variant.name.clone()),
                (stat::VERSION, variant.version.clone()),
            ],
        };
        Self {
            fuse: fuses::of(plugin, rollout, variant, &labels),
            labels,
            rollout: Encoded {
                encoding,
                labels: vec![of_rollout],
            },
            assignments: Default::default(),
            requests: Default::default(),
            durations: Default::default(),
            split: Default::default(),
            split_bad: Default::default(),
            split_fused: Default::default(),
            split_slow: rollout.slow().iter().map(|_| Default::default()).collect(),
            shadowed: CounterCell::default(),
            sampled: CounterCell::default(),
            misrouted: CounterCell::default(),
            sample_every: if variant.live {
                SAMPLE_LIVE_EVERY
            } else {
                SAMPLE_EVERY
            },
            seen: Cell::new(0),
        }
    }

    /// The fuse, where the variant has one.
    pub(crate) fn fuse(&self) -> Option<&VariantFuse> {
        self.fuse.as_deref()
    }

    fn count(&self, cell: Option<&CounterCell>, labels: &[(&str, &str)], name: &str) {
        self.count_if(true, cell, labels, name);
    }

    /// Adds one or nothing: a counter that never counts is to be 0 and not missing.
    fn count_if(&self, it: bool, cell: Option<&CounterCell>, labels: &[(&str, &str)], name: &str) {
        let defined = cell.and_then(|cell| {
            let define = || counter(self.labels.name(labels, name));
            cell.get_or_init(define).as_ref()
        });
        if let Some(counter) = defined.filter(|_| it) {
            counter.increment();
        }
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

    /// Counts a copy that was asked for.
    pub(crate) fn shadowed(&self) {
        let define = || counter(self.rollout.name(&[], stat::SHADOWED_TOTAL));
        if let Some(counter) = self.shadowed.get_or_init(define) {
            counter.increment();
        }
    }

    /// Counts a finished request.
    pub(crate) fn finished(
        &self,
        rollout: &Rollout,
        decision: &Decision,
        fused: bool,
        outcome: &Outcome,
        took: Duration,
    ) {
        let meant = decision.reason.cohort();
        let cohort = if fused { Cohort::Fused } else { meant };
        let labels = [
            (stat::COHORT, cohort.as_str()),
            (stat::CLASS, class(outcome)),
        ];
        let class = class_index(outcome);
        let requests = self.requests.get(cohort as usize);
        self.count(
            requests.and_then(|it| it.get(class)),
            &labels,
            stat::REQUESTS_TOTAL,
        );
        // What the live variant took says nothing of the one that was meant.
        let durations = self.durations.get(cohort as usize).filter(|_| !fused);
        let duration = durations.and_then(|it| it.get(class)).and_then(|cell| {
            let name = || self.labels.name(&labels, stat::REQUEST_DURATION_MS);
            *cell.get_or_init(|| define(MetricType::Histogram, name()))
        });
        if let Some(id) = duration {
            host::record(id, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        }
        if rollout.progressing() && meant == Cohort::Split {
            self.finished_in_group(rollout, decision.group, fused, outcome, took);
        }
    }

    fn finished_in_group(
        &self,
        rollout: &Rollout,
        group: Option<u8>,
        fused: bool,
        outcome: &Outcome,
        took: Duration,
    ) {
        let slot = usize::from(group.unwrap_or(GROUPS));
        let number = GROUP_NAMES.get(slot).copied().unwrap_or(stat::GROUP_NONE);
        let labels = [(stat::GROUP, number)];
        if fused {
            return self.count(self.split_fused.get(slot), &labels, stat::SPLIT_FUSED_TOTAL);
        }
        self.count(self.split.get(slot), &labels, stat::SPLIT_TOTAL);
        self.count_if(
            is_bad(outcome),
            self.split_bad.get(slot),
            &labels,
            stat::SPLIT_BAD_TOTAL,
        );
        for (limit, metrics) in rollout.slow().iter().zip(&self.split_slow) {
            let labels = [(stat::GROUP, number), (stat::METRIC, limit.name.as_str())];
            self.count_if(
                took > Duration::from_micros(limit.above_micros),
                metrics.get(slot),
                &labels,
                stat::SPLIT_SLOW_TOTAL,
            );
        }
    }

    /// Compares the cluster that served one request in so many with the one meant, in `on_log`. The first
    /// request of a variant after a change of the configuration is always among them. Each variant counts for itself:
    /// with one count for all, traffic in a regular pattern would always sample the same one.
    pub(crate) fn sample(&self, meant: &str) {
        let seen = self.seen.get();
        if seen.checked_rem(self.sample_every) == Some(0) {
            // A request that ended before any route was tried says nothing: the next one is asked instead.
            let Some(misrouted) = misrouted(meant) else {
                return;
            };
            self.count(Some(&self.sampled), &[], stat::SAMPLED_TOTAL);
            self.count_if(misrouted, Some(&self.misrouted), &[], stat::MISROUTED_TOTAL);
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
        b"via_upstream" => Some(!is_meant(meant, &host::cluster()?)),
        b"route_not_found" | b"direct_response" => Some(true),
        _ => None,
    }
}

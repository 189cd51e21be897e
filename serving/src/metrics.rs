//! What Prometheus sees of the server.

mod counted;
mod in_flight;
mod triton;
mod unloaded;
mod values;

pub use self::{counted::Counted, in_flight::InFlight, unloaded::Unloaded};

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use self::values::Values;
use crate::{
    backend::torch::gpu_memory,
    cache::Origin,
    device::Device,
    registry::ModelVersion,
    traces::{SpanCounters, Trace},
    watchdog::Doom,
};

/// Seconds. The smallest models answer in 0.1 ms; ten seconds is beyond any client's patience.
const DURATION_BUCKETS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Seconds. A forward of a tiny model takes 5 us.
const COMPUTE_BUCKETS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Requests.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How an inference request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An inference was answered.
    Ok,
    /// The request was wrong (4xx).
    Refused,
    /// The model failed (500).
    Failed,
    /// No place in the queue, or no memory (503).
    Overloaded,
    /// Its client has too many in flight (429).
    Limited,
    /// The worker has ended, or the model is not loaded and does not load (503).
    Unavailable,
    /// Not answered within the request's own timeout (504).
    Expired,
    /// The client went away first.
    Dropped,
}

/// What is shown beside what is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Style {
    /// A label of every series: what this deployment is called where several serve the same models. The server's own word,
    /// so no request can change it.
    pub variant: Option<String>,
    /// Whether Triton's names are there as well.
    pub triton: bool,
}

/// The metric families and the registry they are in (not the global one, so that tests can have many).
pub struct Metrics {
    registry: Registry,
    /// Of what is counted and not scraped by its name here.
    hidden: Registry,
    triton: bool,
    requests: IntCounterVec,
    duration: HistogramVec,
    compute: HistogramVec,
    queue: HistogramVec,
    batch: HistogramVec,
    forwards: IntCounterVec,
    rows: IntCounterVec,
    waiting: IntGaugeVec,
    in_flight: IntGaugeVec,
    loaded: IntGaugeVec,
    load_failures: IntCounterVec,
    forward_age: GaugeVec,
    fatal: GaugeVec,
    memory: IntGaugeVec,
    gpu_memory: IntGaugeVec,
    cached: IntCounterVec,
    values: IntCounterVec,
    reference: GaugeVec,
    /// Held while the state of what is loaded is written and gathered: two scrapes at once would mix theirs.
    rendering: Mutex<()>,
    /// Nanoseconds of the requests, by whether they were answered. Hidden: Prometheus has the histogram.
    nanos: IntCounterVec,
    /// Nanoseconds of looking for answers in caches. Not scraped either.
    lookups: IntCounterVec,
    /// Milliseconds since the epoch of the last request. Not scraped either.
    last: IntGaugeVec,
}

/// Requests whose answer came from one place, and nanoseconds of looking for it.
struct Cached {
    requests: IntCounter,
    nanos: IntCounter,
}

/// The series of one model version: a request has no time to look for them by their labels.
pub struct Series {
    requests: [IntCounter; Outcome::ALL.len()],
    duration: Histogram,
    compute: Histogram,
    queue: Histogram,
    in_flight: IntGauge,
    /// Of models with a cache.
    cached: Option<[Cached; Origin::ALL.len()]>,
    values: Values,
    /// Forwards and rows of this worker that were scraped already.
    forwards_told: AtomicU64,
    rows_told: AtomicU64,
    /// See [`Metrics`].
    answered_nanos: IntCounter,
    failed_nanos: IntCounter,
    last: IntGauge,
}

impl Outcome {
    /// Each at the index of its number.
    const ALL: [Self; 8] = [
        Self::Ok,
        Self::Refused,
        Self::Failed,
        Self::Overloaded,
        Self::Limited,
        Self::Unavailable,
        Self::Expired,
        Self::Dropped,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Overloaded => "overloaded",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

fn registered<T: Collector + Clone + 'static>(
    registry: &Registry,
    family: prometheus::Result<T>,
) -> prometheus::Result<T> {
    let family = family?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

impl Metrics {
    /// Registers the families.
    ///
    /// # Errors
    /// [`prometheus::Error`] if a name or bucket list is not valid.
    pub fn new(style: Style) -> prometheus::Result<Self> {
        let Style { variant, triton } = style;
        let labels = variant.map(|it| HashMap::from([("variant".to_owned(), it)]));
        let model = &["model", "version"];
        let registry = Registry::new_custom(None, labels.clone())?;
        let hidden = Registry::new_custom(None, labels)?;
        let counter = |name, help, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name, help, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels))
        };
        let real_gauge = |name, help, labels: &[&str]| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let histogram = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, model))
        };
        Ok(Self {
            requests: counter(
                "serin_serve_requests_total",
                "Inference requests by how they ended.",
                &["model", "version", "outcome"],
            )?,
            duration: histogram(
                "serin_serve_request_duration_seconds",
                "Time from the request's headers to its answer, in seconds.",
                &DURATION_BUCKETS,
            )?,
            compute: histogram(
                "serin_serve_compute_duration_seconds",
                "Time of the forward, in seconds.",
                &COMPUTE_BUCKETS,
            )?,
            queue: histogram(
                "serin_serve_queue_duration_seconds",
                "Time that a request waited for an instance, in seconds.",
                &COMPUTE_BUCKETS,
            )?,
            batch: histogram(
                "serin_serve_batch_requests",
                "Requests that a forward answered together, of each forward that answered.",
                &BATCH_BUCKETS,
            )?,
            forwards: counter(
                "serin_serve_forwards_total",
                "Times that the model ran, for one request or for several together.",
                model,
            )?,
            rows: counter(
                "serin_serve_rows_total",
                "Rows that were answered; of a model without batches a request is one.",
                model,
            )?,
            waiting: gauge(
                "serin_serve_requests_waiting",
                "Inference requests that wait for an instance.",
                model,
            )?,
            in_flight: gauge(
                "serin_serve_requests_in_flight",
                "Inference requests being served or waiting.",
                model,
            )?,
            loaded: gauge(
                "serin_serve_model_loaded",
                "1 while the model version can serve, 0 when its worker has died.",
                model,
            )?,
            load_failures: counter(
                "serin_serve_model_load_failures_total",
                "Times that a model version in the repository failed to load or to warm up while the server ran.",
                &["model"],
            )?,
            forward_age: real_gauge(
                "serin_serve_forward_age_seconds",
                "How long the oldest forward has been running, in seconds; 0 if there is none.",
                model,
            )?,
            fatal: real_gauge(
                "serin_serve_fatal",
                "1 for what makes the process end by itself: it is seen shortly before.",
                &["model", "version", "reason"],
            )?,
            memory: gauge(
                "serin_serve_memory_bytes",
                "Memory of the process, and the ceiling above which it refuses requests, in bytes.",
                &["what"],
            )?,
            gpu_memory: gauge(
                "serin_serve_gpu_memory_bytes",
                "Memory of a GPU that models are on: what is used, by whomever, and all of it, in bytes.",
                &["device", "what"],
            )?,
            cached: counter(
                "serin_serve_cache_requests_total",
                "Inference requests of models with a cache, by whether it had their answer.",
                &["model", "version", "result"],
            )?,
            values: counter(
                "serin_serve_values_total",
                "Values of requests that the model or its cache answered, of tensors that have a reference, by the upper bound of their bin.",
                &values::LABELS,
            )?,
            reference: real_gauge(
                "serin_serve_reference_share",
                "Part of the reference's values in a bin.",
                &values::LABELS,
            )?,
            rendering: Mutex::default(),
            nanos: registered(
                &hidden,
                IntCounterVec::new(
                    Opts::new(triton::NANOS, "Time of the requests, in nanoseconds."),
                    &["model", "version", "answered"],
                ),
            )?,
            lookups: registered(
                &hidden,
                IntCounterVec::new(
                    Opts::new(
                        triton::LOOKUPS,
                        "Time of looking into caches, in nanoseconds.",
                    ),
                    &["model", "version", "result"],
                ),
            )?,
            last: IntGaugeVec::new(Opts::new("last", "Time of the last request."), model)?,
            registry,
            hidden,
            triton,
        })
    }

    /// What is counted of spans, from now on part of a scrape.
    ///
    /// # Errors
    /// [`prometheus::Error`] if that is asked for twice.
    pub fn spans(&self) -> prometheus::Result<SpanCounters> {
        let counter = |name, help| registered(&self.registry, IntCounter::new(name, help));
        Ok(SpanCounters {
            made: counter("serin_serve_spans_made_total", "Spans made of requests.")?,
            sent: counter(
                "serin_serve_spans_sent_total",
                "Spans that the collector has taken; those that are made, and not sent a minute later, are lost.",
            )?,
        })
    }

    /// Begins a request.
    #[must_use]
    pub fn begin<'a>(
        &self,
        loaded: &'a ModelVersion,
        start: Instant,
        trace: Option<Box<Trace>>,
    ) -> InFlight<'a> {
        let series = self.series(loaded);
        series.in_flight.inc();
        InFlight {
            series,
            start,
            trace,
            outcome: Outcome::Dropped,
        }
    }

    fn series<'a>(&self, loaded: &'a ModelVersion) -> &'a Series {
        loaded.series.get_or_init(|| {
            let version = loaded.version.to_string();
            let labels = [loaded.model.as_str(), &version];
            let and = |last| [loaded.model.as_str(), &version, last];
            let ended = |outcome: Outcome| self.requests.with_label_values(&and(outcome.label()));
            let nanos = |answered| self.nanos.with_label_values(&and(answered));
            // It has not been asked yet: a request has its series before it gets there.
            let batches = self.batch.with_label_values(&labels);
            loaded.worker.count_batches(batches);
            Series {
                requests: Outcome::ALL.map(ended),
                duration: self.duration.with_label_values(&labels),
                compute: self.compute.with_label_values(&labels),
                queue: self.queue.with_label_values(&labels),
                in_flight: self.in_flight.with_label_values(&labels),
                cached: loaded.cache.as_ref().map(|_| {
                    Origin::ALL.map(|it| Cached {
                        requests: self.cached.with_label_values(&and(it.label())),
                        nanos: self.lookups.with_label_values(&and(it.label())),
                    })
                }),
                values: Values::new(loaded, &self.values),
                forwards_told: AtomicU64::new(0),
                rows_told: AtomicU64::new(0),
                answered_nanos: nanos("true"),
                failed_nanos: nanos("false"),
                last: self.last.with_label_values(&labels),
            }
        })
    }

    /// Counts a model version that failed to load while the server runs.
    pub fn load_failed(&self, model: &str) {
        self.load_failures.with_label_values(&[model]).inc();
    }

    /// Tells what somebody else counts.
    ///
    /// # Errors
    /// [`prometheus::Error`] if there is such a thing already.
    pub fn adopt(&self, theirs: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(theirs)
    }

    /// Tells why the process ends.
    pub fn doomed(&self, doom: &Doom) {
        let labels = [&doom.model, &*doom.version.to_string(), doom.fault.label()];
        self.fatal.with_label_values(&labels).set(1.0);
    }

    /// Tells what the process takes, and may.
    pub fn memory(&self, resident: u64, ceiling: u64) {
        for (what, bytes) in [("resident", resident), ("ceiling", ceiling)] {
            let gauge = self.memory.with_label_values(&[what]);
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// The text format of Prometheus, with the state of the workers as it is now.
    ///
    /// # Errors
    /// [`prometheus::Error`] if a family cannot be encoded.
    pub fn render<'a>(
        &self,
        models: impl Iterator<Item = &'a ModelVersion>,
    ) -> prometheus::Result<String> {
        let _rendering = self
            .rendering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // What is unloaded has no state any more. Its counters stay, as Prometheus wants it.
        self.loaded.reset();
        self.waiting.reset();
        self.forward_age.reset();
        self.reference.reset();
        let now = Instant::now();
        let mut gpus = BTreeSet::new();
        for loaded in models {
            gpus.extend(loaded.spec.serving.gpus());
            let version = loaded.version.to_string();
            self.loaded
                .with_label_values(&[&loaded.model, &version])
                .set(i64::from(loaded.worker.is_alive()));
            let waiting = i64::try_from(loaded.worker.depth()).unwrap_or(i64::MAX);
            let labels = [&loaded.model, &version];
            self.waiting.with_label_values(&labels).set(waiting);
            let age = loaded.worker.running_for(now).unwrap_or_default();
            let gauge = self.forward_age.with_label_values(&labels);
            gauge.set(age.as_secs_f64());
            let Series {
                forwards_told,
                rows_told,
                ..
            } = self.series(loaded);
            // A version that is loaded anew counts from zero.
            let tell = |family: &IntCounterVec, count, told: &AtomicU64| {
                let told = told.swap(count, Ordering::Relaxed);
                let counter = family.with_label_values(&labels);
                counter.inc_by(count.saturating_sub(told));
            };
            tell(&self.forwards, loaded.worker.forwards(), forwards_told);
            tell(&self.rows, loaded.worker.rows(), rows_told);
            values::tell_shares(loaded, &self.reference);
        }
        self.gpu_memory.reset();
        for (index, (used, all)) in gpus
            .into_iter()
            .filter_map(|it| Some((it, gpu_memory(it)?)))
        {
            let device = Device::Cuda(index).to_string();
            for (what, bytes) in [("used", used), ("all", all)] {
                let gauge = self.gpu_memory.with_label_values(&[&*device, what]);
                gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
        let mut families = self.registry.gather();
        if self.triton {
            let more = triton::families(families.iter().chain(&self.hidden.gather()));
            families.extend(more);
        }
        TextEncoder::new().encode_to_string(&families)
    }
}

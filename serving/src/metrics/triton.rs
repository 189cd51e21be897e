//! Triton's names for what is counted, made of our own when somebody asks.

use std::collections::BTreeMap;

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Nanoseconds of the requests, by whether they were answered.
pub(super) const NANOS: &str = "nanos";

/// Nanoseconds of looking for answers in caches, by what came of it.
pub(super) const LOOKUPS: &str = "lookup_nanos";

/// What a series is called.
type Labels = BTreeMap<String, String>;

/// A family of Triton's and the one of ours that it is made of.
struct Source {
    name: &'static str,
    help: &'static str,
    of: &'static str,
    kind: MetricType,
    /// What one of our series is called there; those that are called the same are summed up.
    label: fn(Labels) -> Option<Labels>,
    value: fn(&Metric) -> f64,
}

const SOURCES: [Source; 12] = [
    Source {
        name: "nv_inference_request_success",
        help: "Requests that were answered.",
        of: "serin_serve_requests_total",
        kind: MetricType::COUNTER,
        label: |labels| of(labels, "outcome", "ok"),
        value: count,
    },
    Source {
        name: "nv_inference_request_failure",
        help: "Requests that were not answered.",
        of: "serin_serve_requests_total",
        kind: MetricType::COUNTER,
        label: with_reason,
        value: count,
    },
    Source {
        name: "nv_inference_count",
        help: "Rows that were answered.",
        of: "serin_serve_rows_total",
        kind: MetricType::COUNTER,
        label: Some,
        value: count,
    },
    Source {
        name: "nv_inference_exec_count",
        help: "Forwards.",
        of: "serin_serve_forwards_total",
        kind: MetricType::COUNTER,
        label: Some,
        value: count,
    },
    Source {
        name: "nv_inference_pending_request_count",
        help: "Requests that wait for an instance.",
        of: "serin_serve_requests_waiting",
        kind: MetricType::GAUGE,
        label: Some,
        value: |metric| metric.get_gauge().get_value(),
    },
    Source {
        name: "nv_inference_request_duration_us",
        help: "Time of the requests that were answered, in microseconds.",
        of: NANOS,
        kind: MetricType::COUNTER,
        label: |labels| of(labels, "answered", "true"),
        value: nanos_as_micros,
    },
    Source {
        name: "nv_inference_queue_duration_us",
        help: "Time that requests waited for an instance, in microseconds.",
        of: "serin_serve_queue_duration_seconds",
        kind: MetricType::COUNTER,
        label: Some,
        value: micros,
    },
    Source {
        name: "nv_inference_compute_infer_duration_us",
        help: "Time of the forwards for each request that was in them, in microseconds.",
        of: "serin_serve_compute_duration_seconds",
        kind: MetricType::COUNTER,
        label: Some,
        value: micros,
    },
    Source {
        name: "nv_cache_num_hits_per_model",
        help: "Requests whose answer was in the cache.",
        of: "serin_serve_cache_requests_total",
        kind: MetricType::COUNTER,
        label: with_hit,
        value: count,
    },
    Source {
        name: "nv_cache_num_misses_per_model",
        help: "Requests whose answer was not in the cache.",
        of: "serin_serve_cache_requests_total",
        kind: MetricType::COUNTER,
        label: |labels| of(labels, "result", "miss"),
        value: count,
    },
    Source {
        name: "nv_cache_hit_duration_per_model",
        help: "Time of finding answers in the cache, in microseconds.",
        of: LOOKUPS,
        kind: MetricType::COUNTER,
        label: with_hit,
        value: nanos_as_micros,
    },
    Source {
        name: "nv_cache_miss_duration_per_model",
        help: "Time of looking for answers that were not in the cache, in microseconds.",
        of: LOOKUPS,
        kind: MetricType::COUNTER,
        label: |labels| of(labels, "result", "miss"),
        value: nanos_as_micros,
    },
];

/// Triton's families, of ours.
pub(super) fn families<'a>(ours: impl Iterator<Item = &'a MetricFamily>) -> Vec<MetricFamily> {
    let ours: Vec<&MetricFamily> = ours.collect();
    let family = |source: &Source| {
        let of = ours.iter().find(|it| it.name() == source.of)?;
        Some(source.family(of.get_metric()))
    };
    SOURCES.iter().filter_map(family).collect()
}

impl Source {
    fn family(&self, ours: &[Metric]) -> MetricFamily {
        let mut values: BTreeMap<Labels, f64> = BTreeMap::new();
        for metric in ours {
            let pairs = metric.get_label().iter();
            let labels = pairs.map(|it| (it.name().to_owned(), it.value().to_owned()));
            if let Some(labels) = (self.label)(labels.collect()) {
                *values.entry(labels).or_default() += (self.value)(metric);
            }
        }
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut metric = Metric::from_label(labels.into_iter().map(pair).collect());
            if self.kind == MetricType::GAUGE {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            } else {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            metric
        });
        let mut family = MetricFamily::default();
        family.set_metric(metrics.collect());
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family
    }
}

fn pair((name, value): (String, String)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name);
    pair.set_value(value);
    pair
}

fn count(metric: &Metric) -> f64 {
    metric.get_counter().get_value()
}

fn nanos_as_micros(metric: &Metric) -> f64 {
    (count(metric) / 1e3).trunc()
}

/// Whole ones, as Triton counts.
fn micros(metric: &Metric) -> f64 {
    (metric.get_histogram().get_sample_sum() * 1e6).trunc()
}

/// The other labels of a series, if this one has this value.
fn of(mut labels: Labels, label: &str, wanted: &str) -> Option<Labels> {
    (labels.remove(label)? == wanted).then_some(labels)
}

/// Wherever the cache is.
fn with_hit(mut labels: Labels) -> Option<Labels> {
    (labels.remove("result")? != "miss").then_some(labels)
}

/// Triton's reasons: the queue, the client, the model, and what is left.
fn with_reason(mut labels: Labels) -> Option<Labels> {
    let reason = match labels.remove("outcome")?.as_str() {
        "ok" => return None,
        "overloaded" | "expired" | "limited" => "REJECTED",
        "dropped" => "CANCELED",
        "failed" => "BACKEND",
        _ => "OTHER",
    };
    labels.insert("reason".to_owned(), reason.to_owned());
    Some(labels)
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, TextEncoder, core::Collector};

    use super::*;

    #[test]
    fn what_is_called_the_same_is_summed_up_and_other_labels_stay() {
        let name = "serin_serve_requests_total";
        let labels = ["model", "outcome", "variant"];
        let ours = IntCounterVec::new(Opts::new(name, "."), &labels).unwrap();
        for (outcome, times) in [("ok", 5), ("overloaded", 2), ("expired", 1), ("refused", 4)] {
            let series = ours.with_label_values(&["fraud", outcome, "canary"]);
            series.inc_by(times);
        }
        let theirs = families(ours.collect().iter());
        let text = TextEncoder::new().encode_to_string(&theirs).unwrap();
        let series: Vec<&str> = text.lines().filter(|it| !it.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                r#"nv_inference_request_success{model="fraud",variant="canary"} 5"#,
                r#"nv_inference_request_failure{model="fraud",reason="OTHER",variant="canary"} 4"#,
                r#"nv_inference_request_failure{model="fraud",reason="REJECTED",variant="canary"} 3"#,
            ]
        );
    }
}

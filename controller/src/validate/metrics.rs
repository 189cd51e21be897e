//! From what is to be judged to planned metrics, and the checks of both.

use std::collections::BTreeSet;

use promql_parser::parser::{self, Expr};

use super::checker::Checker;
use super::course::Way;
use super::line;
use super::plan::{HALF, PlannedMetric, Source};
use crate::api::{Analysis, Metric, PrometheusCounters};
use crate::stats::user_mix::MarginLevel;

const BASE: &str = "spec.analysis.metrics";

/// Checks the metrics and says what they come to.
pub(super) fn metrics(
    check: &mut Checker,
    analysis: &Analysis,
    way: &Way,
    arms: usize,
) -> Vec<PlannedMetric> {
    if analysis.metrics.is_empty() {
        check.add(BASE, "must name at least one metric, or be left out");
    }
    let mut names = BTreeSet::new();
    for (i, metric) in analysis.metrics.iter().enumerate() {
        check.label(&format!("{BASE}[{i}].name"), &metric.name);
        if !names.insert(&metric.name) {
            check.add(
                format!("{BASE}[{i}].name"),
                format!("'{}' is there twice", metric.name),
            );
        }
    }
    let shares = shares(check, &analysis.metrics);
    analysis
        .metrics
        .iter()
        .enumerate()
        .zip(shares)
        .filter_map(|((i, metric), share)| planned(check, analysis, way, arms, i, metric, share))
        .collect()
}

/// Each metric's part of `falseRollback`.
fn shares(check: &mut Checker, metrics: &[Metric]) -> Vec<f64> {
    let written = metrics
        .iter()
        .filter(|metric| metric.weight.is_some())
        .count();
    for (i, metric) in metrics.iter().enumerate() {
        match metric.weight {
            None if written > 0 => check.add(
                format!("{BASE}[{i}].weight"),
                "is missing, but other metrics have one: all or none",
            ),
            Some(weight) if !(weight > 0.0 && weight <= 1e6) => check.add(
                format!("{BASE}[{i}].weight"),
                format!("must be more than 0, but is {weight}"),
            ),
            _ => {}
        }
    }
    let weights = || metrics.iter().map(|metric| metric.weight.unwrap_or(1.0));
    let sum: f64 = weights().sum();
    weights().map(|weight| weight / sum).collect()
}

fn planned(
    check: &mut Checker,
    analysis: &Analysis,
    way: &Way,
    arms: usize,
    i: usize,
    metric: &Metric,
    share: f64,
) -> Option<PlannedMetric> {
    let path = format!("{BASE}[{i}]");
    let source = source(check, &path, metric);
    let tolerance = metric.tolerated();
    check.margin(&format!("{path}.tolerance"), tolerance);
    if !(1.0..=1000.0).contains(&metric.dispersion) {
        check.add(
            format!("{path}.dispersion"),
            format!(
                "must be 1 to 1000 events at once, but is {}",
                metric.dispersion
            ),
        );
    }
    let gated = way.gates.iter().flatten().count();
    if !metric.gates.is_empty() && metric.gates.len() != gated {
        check.add(
            format!("{path}.gates"),
            format!(
                "are {}, but the strategy has {gated} steps with a gate: name one for each, or none",
                metric.gates.len()
            ),
        );
    }
    for (j, gate) in metric.gates.iter().enumerate() {
        check.margin(&format!("{path}.gates[{j}]"), *gate);
    }
    let mut own = metric.gates.iter();
    let gates = way.gates.iter().map(|gate| {
        let gate = gate.as_ref()?;
        Some(line(*own.next().unwrap_or(gate)))
    });
    #[allow(clippy::cast_precision_loss, reason = "at most 15 arms")]
    let arms = arms.max(1) as f64;
    let harm = analysis.false_rollback * HALF * share / arms;
    // In a test any of so many may be named the best wrongly.
    let gate = analysis.false_promotion * HALF / arms;
    Some(PlannedMetric {
        name: metric.name.clone(),
        source: source?,
        tolerance: line(tolerance),
        share,
        gates: gates.collect(),
        limit: way.limit.map(line),
        dispersion: metric.dispersion,
        harm_margin: MarginLevel::new(harm)?,
        gate_margin: MarginLevel::new(gate)?,
    })
}

fn source(check: &mut Checker, path: &str, metric: &Metric) -> Option<Source> {
    let given = [
        metric.error_rate.is_some(),
        metric.latency.is_some(),
        metric.prometheus.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        check.add(
            path,
            "must have exactly one of errorRate, latency and prometheus",
        );
        return None;
    }
    if let Some(latency) = &metric.latency {
        check.span(&format!("{path}.latency.above"), latency.above);
        if latency.above.0.is_zero() {
            check.add(format!("{path}.latency.above"), "must be longer than 0s");
        }
        return Some(Source::Latency {
            above: latency.above.0,
        });
    }
    let Some(counters) = &metric.prometheus else {
        return Some(Source::Errors);
    };
    selectors(check, path, counters);
    Some(Source::Custom(counters.clone()))
}

/// The selectors end up inside a query for differences, so that nothing but selectors of counters is let in.
fn selectors(check: &mut Checker, path: &str, counters: &PrometheusCounters) {
    for (field, text) in [("bad", &counters.bad), ("total", &counters.total)] {
        let path = format!("{path}.prometheus.{field}");
        match parser::parse(text) {
            Ok(Expr::VectorSelector(it)) if it.offset.is_none() && it.at.is_none() => {}
            Ok(_) => check.add(
                path,
                format!("'{text}' must be a selector of counters such as orders_total{{app=\"shop\"}}, without functions, operators, ranges or offsets: Serin takes the differences itself"),
            ),
            Err(error) => check.add(path, format!("'{text}' is no selector: {error}")),
        }
    }
    let label = &counters.version_label;
    let first = label
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !first || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        check.add(
            format!("{path}.prometheus.versionLabel"),
            format!("'{label}' is not the name of a label"),
        );
    }
}

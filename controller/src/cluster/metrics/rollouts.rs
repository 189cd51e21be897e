//! Metrics of the rollouts. Made when somebody reads them: to keep thousands up to date with every change costs more. One
//! family at a time, for a family of thousands is many times the size of its text.

use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::report::{MetricStatus, Sources, Verdict};
use crate::rollout::{Phase, Release, RolloutState};
use crate::validate::RolloutName;

/// Labels of evidence, and of what is needed of it.
const OF_EVIDENCE: [&str; 5] = [
    "rollout_namespace",
    "rollout",
    "variant",
    "metric",
    "direction",
];

/// Writes every rollout as it stands; of one whose release has ended, what is served.
pub(super) fn write(rollouts: &[Arc<Sources>], text: &mut String) -> prometheus::Result<()> {
    let states = || rollouts.iter().map(|it| &*it.state);
    let mut add = |family: MetricFamily| {
        if family.get_metric().is_empty() {
            return Ok(());
        }
        TextEncoder::new().encode_utf8(&[family], text)
    };
    add(family(
        "serin_rollout_info",
        "1 for the present phase of a rollout",
        states().map(info),
    ))?;
    let in_force = rollouts.iter().filter(|it| it.accepted.is_any());
    add(family(
        "serin_rollout_weight_percent",
        "Weight of a version as configured",
        in_force.flat_map(|it| weights(&it.state)),
    ))?;
    // Of thousands that have ended nobody looks at the evidence again and again.
    let going = rollouts
        .iter()
        .filter(|it| it.state.in_progress().is_some());
    let found: Vec<_> = going
        .filter_map(|it| Some((&it.state.name, it.status().release?.metrics)))
        .collect();
    let judged = || {
        found
            .iter()
            .flat_map(|(name, all)| all.iter().map(move |it| (*name, it)))
    };
    let levels = || judged().flat_map(|(name, metric)| levels(name, metric));
    add(family(
        "serin_rollout_evidence",
        "e-value of a metric, against the version (harm) or for it (gate)",
        levels().map(|(labels, [e, _])| metric(&OF_EVIDENCE, &labels, e)),
    ))?;
    add(family(
        "serin_rollout_evidence_needed",
        "e-value that decides",
        levels().map(|(labels, [_, needed])| metric(&OF_EVIDENCE, &labels, needed)),
    ))?;
    add(family(
        "serin_rollout_verdict",
        "1 for the present verdict of a metric",
        judged().map(|(name, metric)| verdict(name, metric)),
    ))
}

fn info(state: &RolloutState) -> Metric {
    let RolloutName { namespace, name } = &state.name;
    let release = state.release.as_ref();
    let phase = format!("{:?}", release.map_or(Phase::Pending, Release::phase));
    metric(
        &["rollout_namespace", "rollout", "phase", "live"],
        &[namespace, name, &phase, &state.live.version],
        1.0,
    )
}

fn weights(state: &RolloutState) -> impl Iterator<Item = Metric> {
    let RolloutName { namespace, name } = &state.name;
    let release = state.release.iter();
    let versions = release.flat_map(|it| it.variants().zip(it.weights()));
    versions.map(move |(variant, weight)| {
        metric(
            &["rollout_namespace", "rollout", "variant", "version"],
            &[namespace, name, &variant.name, &variant.version],
            f64::from(weight) / 100.0,
        )
    })
}

/// By direction the labels of a metric, its evidence, and what is needed.
fn levels<'a>(
    name: &'a RolloutName,
    metric: &'a MetricStatus,
) -> impl Iterator<Item = ([&'a str; 5], [f64; 2])> {
    let directions = [("harm", Some(metric.harm)), ("gate", metric.gate)];
    directions
        .into_iter()
        .filter_map(move |(direction, level)| {
            let level = level?;
            let RolloutName { namespace, name } = name;
            let labels = [namespace, name, &*metric.variant, &metric.name, direction];
            Some((labels, [level.e, level.needed]))
        })
}

fn verdict(name: &RolloutName, judged: &MetricStatus) -> Metric {
    let RolloutName { namespace, name } = name;
    let verdict = match judged.verdict {
        Verdict::Pass => "Pass",
        Verdict::Fail => "Fail",
        Verdict::Undecided => "Undecided",
        Verdict::NoData => "NoData",
        Verdict::Error => "Error",
    };
    metric(
        &[
            "rollout_namespace",
            "rollout",
            "variant",
            "metric",
            "verdict",
        ],
        &[namespace, name, &judged.variant, &judged.name, verdict],
        1.0,
    )
}

fn metric(names: &[&str], values: &[&str], value: f64) -> Metric {
    let labels = names.iter().zip(values).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_label(labels.collect());
    metric.set_gauge(gauge);
    metric
}

fn family(name: &str, help: &str, metrics: impl Iterator<Item = Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(metrics.collect());
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::started;
    use crate::report::View;
    use crate::rollout::{Accepted, Outcome};

    fn text(state: RolloutState) -> String {
        let sources = Sources {
            accepted: Accepted::restore(&state),
            state: Arc::new(state),
            view: View::default(),
        };
        let mut text = String::new();
        write(&[Arc::new(sources)], &mut text).unwrap();
        text
    }

    #[test]
    fn a_release_in_progress_shows_weights_and_evidence() {
        let text = text(started().1);
        for line in [
            "# TYPE serin_rollout_info gauge",
            r#"phase="Progressing""#,
            "serin_rollout_weight_percent{",
            r#"direction="harm"} 1"#,
            r#"direction="gate"} 1"#,
            "serin_rollout_evidence_needed{",
            r#"verdict="NoData"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn of_one_that_has_ended_nobody_needs_the_evidence() {
        let mut state = started().1;
        let release = state.release.as_mut().unwrap();
        release.end(Outcome::RolledBack, release.started, "bad");
        let text = text(state);
        assert!(text.contains(r#"phase="RolledBack""#), "{text}");
        assert!(text.contains("serin_rollout_weight_percent{"), "{text}");
        assert!(!text.contains("evidence"), "{text}");
    }
}

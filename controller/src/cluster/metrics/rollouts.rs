//! Metrics of the rollouts. Made when somebody reads them: to keep thousands up to date with every change costs more.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::report::{ReleaseStatus, Status, Verdict};
use crate::rollout::Phase;
use crate::validate::RolloutName;

/// Labels of evidence, and of what is needed of it.
const OF_EVIDENCE: [&str; 5] = [
    "rollout_namespace",
    "rollout",
    "variant",
    "metric",
    "direction",
];

struct Families {
    info: GaugeVec,
    weight: GaugeVec,
    evidence: GaugeVec,
    needed: GaugeVec,
    verdict: GaugeVec,
}

/// Every rollout as it stands; of one whose release has ended, what is served.
pub(super) fn families(rollouts: &[Status]) -> prometheus::Result<Vec<MetricFamily>> {
    let families = Families::new()?;
    for status in rollouts {
        families.add(status);
    }
    let Families {
        info,
        weight,
        evidence,
        needed,
        verdict,
    } = families;
    let all = [info, weight, evidence, needed, verdict];
    let all = all.iter().flat_map(Collector::collect);
    Ok(all.filter(|it| !it.get_metric().is_empty()).collect())
}

impl Families {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            info: gauges(
                "serin_rollout_info",
                "1 for the present phase of a rollout",
                &["rollout_namespace", "rollout", "phase", "live"],
            )?,
            weight: gauges(
                "serin_rollout_weight_percent",
                "Weight of a version as configured",
                &["rollout_namespace", "rollout", "variant", "version"],
            )?,
            evidence: gauges(
                "serin_rollout_evidence",
                "e-value of a metric, against the version (harm) or for it (gate)",
                &OF_EVIDENCE,
            )?,
            needed: gauges(
                "serin_rollout_evidence_needed",
                "e-value that decides",
                &OF_EVIDENCE,
            )?,
            verdict: gauges(
                "serin_rollout_verdict",
                "1 for the present verdict of a metric",
                &[
                    "rollout_namespace",
                    "rollout",
                    "variant",
                    "metric",
                    "verdict",
                ],
            )?,
        })
    }

    fn add(&self, status: &Status) {
        let RolloutName { namespace, name } = &status.name;
        let phase = format!("{:?}", status.phase);
        let labels = [namespace, name, &phase, &status.live.version];
        self.info.with_label_values(&labels).set(1.0);
        let Some(release) = &status.release else {
            return;
        };
        for arm in std::iter::once(&release.stable).chain(&release.arms) {
            let labels = [namespace, name, &arm.variant.name, &arm.variant.version];
            self.weight.with_label_values(&labels).set(arm.weight);
        }
        if !matches!(status.phase, Phase::Succeeded | Phase::RolledBack) {
            self.add_evidence(&status.name, release);
        }
    }

    fn add_evidence(&self, name: &RolloutName, release: &ReleaseStatus) {
        let RolloutName { namespace, name } = name;
        for metric in &release.metrics {
            let directions = [("harm", Some(metric.harm)), ("gate", metric.gate)];
            for (direction, level) in directions {
                let Some(level) = level else { continue };
                let labels = [namespace, name, &*metric.variant, &metric.name, direction];
                self.evidence.with_label_values(&labels).set(level.e);
                self.needed.with_label_values(&labels).set(level.needed);
            }
            let verdict = verdict(metric.verdict);
            let labels = [namespace, name, &*metric.variant, &metric.name, verdict];
            self.verdict.with_label_values(&labels).set(1.0);
        }
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Pass",
        Verdict::Fail => "Fail",
        Verdict::Undecided => "Undecided",
        Verdict::NoData => "NoData",
        Verdict::Error => "Error",
    }
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    GaugeVec::new(Opts::new(name, help), labels)
}

//! The verdicts: per version and metric, counts, estimate, evidence and one sentence.

use super::{Level, MetricStatus, Verdict, View};
use crate::evidence::{ArmEvidence, Comparison};
use crate::rollout::{Release, Stage};
use crate::stats::reaches;
use crate::validate::{Course, Plan, PlannedMetric, Source, VariantRef};

/// Cells without a request of a version after which its verdict is "no data".
pub(super) const IDLE: u64 = 5;

/// The verdicts of all versions, metric by metric in the order of the plan.
pub(super) fn metrics(plan: &Plan, release: &Release, view: &View) -> Vec<MetricStatus> {
    let arms = release.evidence.arms().zip(plan.arms());
    arms.flat_map(|(arm, variant)| {
        let subject = Subject {
            plan,
            release,
            view,
            arm,
            variant,
        };
        let metrics = arm.metrics.iter().zip(&plan.metrics).enumerate();
        metrics.map(move |(at, (comparison, metric))| subject.status(at, comparison, metric))
    })
    .collect()
}

/// Whose metrics are looked at.
#[derive(Clone, Copy)]
struct Subject<'a> {
    plan: &'a Plan,
    release: &'a Release,
    view: &'a View,
    arm: &'a ArmEvidence,
    variant: &'a VariantRef,
}

impl Subject<'_> {
    fn status(&self, at: usize, comparison: &Comparison, metric: &PlannedMetric) -> MetricStatus {
        let plan = self.plan;
        let (verdict, sentence) = self.verdict(at, comparison, metric);
        let gate = self.step().and_then(|step| comparison.gate(step));
        MetricStatus {
            variant: self.variant.name.clone(),
            name: metric.name.clone(),
            verdict,
            sentence,
            canary: comparison.canary,
            stable: comparison.stable,
            ratio: comparison.ratio(plan.false_rollback),
            harm: Level::new((comparison.harm(), -(plan.harm_level() * metric.share).ln())),
            p: (-comparison.harm_max()).exp().min(1.0),
            gate: gate.map(|log_e| Level::new((log_e, -plan.gate_level().ln()))),
            caveat: metric.caveat().map(str::to_owned),
        }
    }

    /// The step whose gate is asked.
    fn step(&self) -> Option<usize> {
        match self.release.stage {
            Stage::Step(index) if self.release.outcome.is_none() => Some(index),
            _ => None,
        }
    }

    fn verdict(
        &self,
        at: usize,
        comparison: &Comparison,
        metric: &PlannedMetric,
    ) -> (Verdict, String) {
        let Self {
            plan,
            release,
            view,
            arm,
            variant,
        } = *self;
        let ended = release.outcome.is_some();
        let compared = arm.compared(plan, variant, at);
        let custom = matches!(metric.source, Source::Custom(_));
        let refused = view.refusal.as_ref().filter(|_| custom);
        let unreadable = view.proxies.as_ref().and_then(|it| it.as_ref().err());
        if arm.failed(plan) && arm.blamed(plan).contains(&at) {
            return (Verdict::Fail, arm.failure_sentence(plan, variant));
        }
        if let (Some(reason), false) = (unreadable, ended) {
            let sentence = format!("Prometheus does not answer: {reason}; the weight holds");
            return (Verdict::Error, sentence);
        }
        if let (Some(reason), false) = (refused, ended) {
            return (Verdict::Error, format!("{reason}; the weight holds"));
        }
        if comparison.canary.total == 0 {
            let what = if custom { "event" } else { "request" };
            let sentence = format!(
                "the {} has had no {what} in the cells read so far; the weight holds",
                variant.name
            );
            return (Verdict::NoData, sentence);
        }
        if arm.idle_cells >= IDLE && !ended {
            let sentence = format!(
                "the {} has had no request for {} cells; the weight holds",
                variant.name, arm.idle_cells
            );
            return (Verdict::NoData, sentence);
        }
        if let Course::Contest(contest) = &plan.course {
            let sentence = release
                .evidence
                .conclusion_sentence(plan, contest, &release.stopped);
            return (Verdict::Undecided, sentence);
        }
        match self
            .step()
            .and_then(|step| Some((step, comparison.gate(step)?)))
        {
            Some((step, log_e)) if reaches(log_e, plan.gate_level()) => {
                let sentence = if plan.metrics.len() == 1 {
                    release.evidence.passed_sentence(plan, step)
                } else {
                    format!("{compared}: shown to be below the gate")
                };
                (Verdict::Pass, sentence)
            }
            Some((step, _)) if plan.metrics.len() == 1 => (
                Verdict::Undecided,
                release.evidence.undecided_sentence(plan, step),
            ),
            Some((_, log_e)) => {
                let share = (log_e / -plan.gate_level().ln()).clamp(0.0, 1.0) * 100.0;
                let sentence =
                    format!("{compared}: {share:.0} % of the evidence that the gate wants");
                (Verdict::Undecided, sentence)
            }
            None => match release.evidence.soak_objection() {
                Some(objection) if !ended => (Verdict::Undecided, objection),
                _ => (Verdict::Pass, format!("{compared}: no sign of harm")),
            },
        }
    }
}

//! The verdicts: per version and metric, counts, estimate, evidence and one sentence.

use super::{Level, MetricStatus, Verdict, View};
use crate::evidence::{ArmEvidence, Comparison, Conclusion};
use crate::rollout::{Outcome, Release, Stage};
use crate::stats::reaches;
use crate::validate::{Contest, Course, Plan, PlannedMetric, Source, VariantRef};

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
            Stage::Step(index) => Some(index),
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
        let holds = if ended { "" } else { "; the weight holds" };
        let compared = arm.compared(plan, variant, at);
        let custom = matches!(metric.source, Source::Custom(_));
        let refused = view.refusal.as_ref().filter(|_| custom);
        let unreadable = view.proxies.as_ref().and_then(|it| it.as_ref().err());
        if arm.failed(plan) && arm.blamed(plan).contains(&at) {
            return (Verdict::Fail, arm.failure_sentence(plan, variant));
        }
        if self.is_stopped() {
            return (Verdict::Fail, format!("{compared}: out of the test"));
        }
        if let (Some(reason), false) = (unreadable, ended) {
            let sentence = format!("Prometheus does not answer: {reason}; the weight holds");
            return (Verdict::Error, sentence);
        }
        if let (Some(reason), false) = (refused, ended) {
            return (Verdict::Error, format!("{reason}; the weight holds"));
        }
        if comparison.canary.total == 0 {
            let slow = matches!(metric.source, Source::Latency { .. });
            let sentence = if slow && arm.requests.total > 0 {
                format!("not every proxy counted slow requests in the cells read so far{holds}")
            } else {
                let what = if custom { "event" } else { "request" };
                let name = &variant.name;
                format!("the {name} has had no {what} in the cells read so far{holds}")
            };
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
            return self.of_test(at, contest, &compared);
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
            Some((step, _)) => {
                let share = comparison.gate_share(plan, step);
                (Verdict::Undecided, format!("{compared}: {share}"))
            }
            None => self.without_gate(comparison, &compared),
        }
    }
    fn is_stopped(&self) -> bool {
        let position = self.plan.arms().position(|arm| arm == self.variant);
        let number = position.and_then(|position| u8::try_from(position + 1).ok());
        number.is_some_and(|number| self.release.is_stopped(number))
    }

    /// A test is decided by its first metric; the others can only take a version out.
    fn of_test(&self, at: usize, contest: &Contest, compared: &str) -> (Verdict, String) {
        if at > 0 {
            return (Verdict::Undecided, format!("{compared}: no sign of harm"));
        }
        let (evidence, stopped) = (&self.release.evidence, &self.release.stopped);
        let verdict = match evidence.conclusion(self.plan, stopped) {
            Conclusion::Open => Verdict::Undecided,
            Conclusion::Winner(_) | Conclusion::NoDifference => Verdict::Pass,
        };
        let sentence = evidence.conclusion_sentence(self.plan, contest, stopped);
        (verdict, sentence)
    }

    /// From the soak on, and where people or the clock decide.
    fn without_gate(&self, comparison: &Comparison, compared: &str) -> (Verdict, String) {
        let outcome = self.release.outcome;
        if let Some(objection) = self.release.evidence.soak_objection()
            && outcome.is_none()
        {
            return (Verdict::Undecided, objection);
        }
        if outcome == Some(Outcome::RolledBack) {
            let sentence = format!("{compared}: nothing was proven when the release ended");
            return (Verdict::Undecided, sentence);
        }
        if self.arm.frozen && comparison.limit.is_none() {
            let sentence = format!("{compared}: nothing to compare with, only guards watch");
            return (Verdict::Undecided, sentence);
        }
        match self.release.stage {
            Stage::Step(_) => (
                Verdict::Undecided,
                format!("{compared}: no sign of harm, and no gate to pass"),
            ),
            _ => (Verdict::Pass, format!("{compared}: no sign of harm")),
        }
    }
}

//! Evidence in sentences that an on-call engineer understands.

use super::{ArmEvidence, Comparison, Conclusion, Evidence};
use crate::observation::Tally;
use crate::validate::{Contest, Plan, PlannedMetric, Source, VariantRef};

impl Evidence {
    /// Why the release ended.
    #[must_use]
    pub fn failure_sentence(&self, plan: &Plan) -> String {
        self.canary.failure_sentence(plan, &plan.canary)
    }

    /// Why a step was left.
    #[must_use]
    pub fn passed_sentence(&self, plan: &Plan, step: usize) -> String {
        let arm = &self.canary;
        let Some((at, _)) = arm.weakest_gate(step) else {
            return self.comparison(plan);
        };
        let gate = plan.metrics.get(at).and_then(|it| *it.gates.get(step)?);
        let line = gate.map_or_else(String::new, |gate| {
            format!(
                "shown to be below {}",
                words_of_line(gate.theta, gate.delta)
            )
        });
        let others = match arm.metrics.len() {
            1 => String::new(),
            2 => ", and so is the other metric".to_owned(),
            more => format!(", and so are the {} other metrics", more - 1),
        };
        format!(
            "{}{}: {line}{others} after {} {} requests",
            arm.compared(plan, &plan.canary, at),
            arm.sent_home(),
            thousands(arm.requests.total),
            plan.canary.name
        )
    }

    /// Why a step is not left yet.
    #[must_use]
    pub fn undecided_sentence(&self, plan: &Plan, step: usize) -> String {
        let arm = &self.canary;
        let name = &plan.canary.name;
        if arm.metrics.iter().all(|it| it.canary.total == 0) {
            return format!("the {name} has had no request in the cells read so far");
        }
        let Some((at, _)) = arm.weakest_gate(step) else {
            return format!("{}: the step has no gate", self.comparison(plan));
        };
        let comparison = arm.compared(plan, &plan.canary, at);
        if arm.judged_cells == 0 {
            return format!("{comparison}: the first cell is counted, not judged");
        }
        let gate = arm.metrics.get(at).map(|it| it.gate_share(plan, step));
        format!(
            "{comparison}{}: {}",
            arm.sent_home(),
            gate.unwrap_or_default()
        )
    }

    /// Why the soak may not end yet: with what the fuse sent home a metric was worse than its limit. Nobody was harmed
    /// by that, so it is no failure; but the default route has no fuse.
    #[must_use]
    pub fn soak_objection(&self) -> Option<String> {
        let arm = &self.canary;
        let exceeds = |it: &Comparison| Some((it.soak, it.soak_exceeds()?));
        let (soak, limit) = arm.metrics.iter().find_map(exceeds)?;
        (arm.fused_in_soak > 0).then(|| {
            format!(
                "the soak goes on: {} of its requests were bad or sent home by the fuse ({}), more than the limit of {} %",
                percent(soak),
                thousands(arm.fused_in_soak),
                number(limit * 100.0)
            )
        })
    }

    /// `canary errors 2.1 % vs 1.0 %`, or against the frozen limit, of the metric with the most evidence of harm.
    #[must_use]
    pub fn comparison(&self, plan: &Plan) -> String {
        self.canary.comparison(plan, &plan.canary)
    }

    /// What a test has come to, with every version's rate.
    #[must_use]
    pub fn conclusion_sentence(&self, plan: &Plan, contest: &Contest, stopped: &[u8]) -> String {
        let names: Vec<_> = std::iter::once(&plan.stable).chain(plan.arms()).collect();
        let metric = plan.metrics.first().map_or("", |metric| &metric.name);
        let rates = names.iter().enumerate().map(|(at, variant)| {
            let tally = self.ranking.as_ref().map(|it| it.tally(at));
            let out = if stopped.iter().any(|it| usize::from(*it) == at) {
                ", out of the test"
            } else {
                ""
            };
            let rate = percent(tally.unwrap_or_default());
            format!("{} {rate}{out}", variant.name)
        });
        let rates = rates.collect::<Vec<_>>().join("; ");
        let verdict = match self.conclusion(plan, stopped) {
            Conclusion::Winner(at) => {
                let best = names.get(at);
                let (name, version) =
                    best.map_or(("", ""), |it| (it.name.as_str(), it.version.as_str()));
                format!("{name} (version {version}) is shown to be the best by {metric}")
            }
            Conclusion::NoDifference => format!(
                "no difference larger than {} pp by {metric}",
                number(contest.difference * 100.0)
            ),
            Conclusion::Open => {
                format!("no version is shown to be the best by {metric}")
            }
        };
        format!("{verdict} ({rates})")
    }
}

impl Comparison {
    /// How much of the evidence for a step's gate is there now; less than all of it, for else it has passed.
    #[must_use]
    pub fn gate_share(&self, plan: &Plan, step: usize) -> String {
        let log_e = self.gate_now(step).unwrap_or_default();
        let share = (log_e / -plan.gate_level().ln()).clamp(0.0, 0.99);
        format!("{:.0} % of the evidence that the gate wants", share * 100.0)
    }
}

impl ArmEvidence {
    /// Why the version is taken back.
    #[must_use]
    pub fn failure_sentence(&self, plan: &Plan, variant: &VariantRef) -> String {
        let one_in = (1.0 / plan.false_rollback).round();
        let blamed = self.blamed(plan).into_iter();
        let comparisons: Vec<_> = blamed.map(|at| self.compared(plan, variant, at)).collect();
        format!(
            "{}; at most 1 in {one_in} healthy releases would look like this; after {} {} requests",
            comparisons.join(" and "),
            thousands(self.requests.total),
            variant.name
        )
    }

    /// As [`Evidence::comparison`].
    #[must_use]
    pub fn comparison(&self, plan: &Plan, variant: &VariantRef) -> String {
        let most = self.blamed(plan).first().copied().unwrap_or(0);
        self.compared(plan, variant, most)
    }

    /// One metric against the stable version, or against the frozen limit.
    #[must_use]
    pub fn compared(&self, plan: &Plan, variant: &VariantRef, metric: usize) -> String {
        let (Some(comparison), Some(planned)) =
            (self.metrics.get(metric), plan.metrics.get(metric))
        else {
            return String::new();
        };
        let who = format!("{} {}", variant.name, planned.name);
        let canary = percent(comparison.canary);
        // What its users met since it has everybody: the time before would hide it.
        let soak = self.soak_of(comparison, planned);
        match comparison.limit.filter(|_| soak.total > 0) {
            Some(limit) => format!(
                "{who} {} at 100 % (limit {} %)",
                percent(soak),
                number(limit * 100.0)
            ),
            None if comparison.stable.total == 0 => format!("{who} {canary}"),
            None if planned.tolerance.theta == 0.0 => format!(
                "{who} {canary} (limit {} %)",
                number(planned.tolerance.delta * 100.0)
            ),
            None => format!("{who} {canary} vs {}", percent(comparison.stable)),
        }
    }

    /// Events since the comparison ended, without what a fuse sent home: nobody was harmed by that.
    fn soak_of(&self, comparison: &Comparison, metric: &PlannedMetric) -> Tally {
        let home = match metric.source {
            Source::Custom(_) => 0,
            Source::Errors | Source::Latency { .. } => self.fused_in_soak,
        };
        Tally {
            total: comparison.soak.total.saturating_sub(home),
            bad: comparison.soak.bad.saturating_sub(home),
        }
    }

    /// What the gate counts beyond the comparison.
    fn sent_home(&self) -> String {
        match self.fused {
            0 => String::new(),
            fused => format!(
                " ({} requests that the fuse sent home count as bad here)",
                thousands(fused)
            ),
        }
    }
}

impl PlannedMetric {
    /// What the promise does not cover; none where it covers the metric.
    #[must_use]
    pub fn caveat(&self) -> Option<&'static str> {
        matches!(self.source, Source::Custom(_)).then_some(
            "counted without groups of users: where users differ and stay put, its error rate is not the stated one",
        )
    }
}

fn words_of_line(theta: f64, delta: f64) -> String {
    let absolute = number(delta * 100.0);
    if theta == 0.0 {
        format!("{absolute} %")
    } else if delta == 0.0 {
        format!("{theta} x stable")
    } else {
        format!("{theta} x stable + {absolute} pp")
    }
}

/// A rate in per cent, with as many digits as its size deserves.
fn percent(tally: Tally) -> String {
    if tally.total == 0 {
        "no requests".to_owned()
    } else {
        format!("{} %", number(tally.rate() * 100.0))
    }
}

fn number(value: f64) -> String {
    let digits = if value == 0.0 || value >= 10.0 {
        0
    } else if value >= 1.0 {
        1
    } else if value >= 0.1 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// 12345 as `12 345`.
#[must_use]
pub fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_the_digits_that_matter() {
        let shown: Vec<_> = [0.0, 0.0512, 0.333, 2.13, 9.96, 42.4].map(number).into();
        assert_eq!(shown, ["0", "0.051", "0.33", "2.1", "10", "42"]);
        assert_eq!(
            [999, 1_240, 1_234_567].map(thousands).to_vec(),
            ["999", "1 240", "1 234 567"]
        );
    }
}

//! Evidence in sentences that an on-call engineer understands.

use super::Evidence;
use crate::observation::Tally;
use crate::validate::Plan;

impl Evidence {
    /// Why the release ended.
    #[must_use]
    pub fn failure_sentence(&self, plan: &Plan) -> String {
        let one_in = (1.0 / plan.false_rollback).round();
        format!(
            "{}; at most 1 in {one_in} healthy releases would look like this; after {} canary requests",
            self.comparison(plan),
            thousands(self.canary.total)
        )
    }

    /// Why a step was left.
    #[must_use]
    pub fn passed_sentence(&self, plan: &Plan, step: usize) -> String {
        let Some(planned) = plan.steps.get(step) else {
            return self.comparison(plan);
        };
        format!(
            "{}{}: shown to be below {} x stable + {} pp after {} canary requests",
            self.comparison(plan),
            self.sent_home(),
            planned.gate.theta,
            number(planned.gate.delta * 100.0),
            thousands(self.canary.total)
        )
    }

    /// Why a step is not left yet.
    #[must_use]
    pub fn undecided_sentence(&self, plan: &Plan, step: usize) -> String {
        if self.canary.total == 0 {
            return "the canary has had no request in the cells read so far".to_owned();
        }
        if self.judged_cells == 0 {
            return format!(
                "{}: the first cell is counted, not judged",
                self.comparison(plan)
            );
        }
        let share = self
            .gate(plan, step)
            .map_or(0.0, |(log_e, needed)| (log_e / needed).clamp(0.0, 1.0));
        format!(
            "{}{}: {:.0} % of the evidence that the gate wants",
            self.comparison(plan),
            self.sent_home(),
            share * 100.0
        )
    }

    /// Why the soak goes on.
    pub(super) fn soak_sentence(&self, limit: f64) -> String {
        format!(
            "the soak goes on: {} of its requests were bad or sent home by the fuse ({}), more than the limit of {} %",
            percent(self.soak.meant),
            thousands(self.soak.fused),
            number(limit * 100.0)
        )
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

    /// `canary errors 2.1 % vs 1.0 %`, or against the frozen limit.
    #[must_use]
    pub fn comparison(&self, plan: &Plan) -> String {
        let canary = percent(self.canary);
        match self.limit {
            Some(limit) => format!(
                "canary {} {canary} (limit {} % at 100 %)",
                plan.metric,
                number(limit * 100.0)
            ),
            None => format!(
                "canary {} {canary} vs {}",
                plan.metric,
                percent(self.stable)
            ),
        }
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

//! How many requests a decision takes (1.11).

use super::poisson::{Line, lambda_star};

/// What is expected of the traffic to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expectation {
    /// Bad-event probability of stable.
    pub p_s: f64,
    /// Bad-event probability of the canary in units of stable's.
    pub true_ratio: f64,
    /// The tolerance line to decide against.
    pub line: Line,
    /// Canary requests per request of stable (`rho`), more than 0.
    pub canary_per_stable: f64,
}

/// What an expectation comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The growth-optimal stake.
    pub lambda: f64,
    /// Expected growth of the log evidence per canary request.
    pub growth_per_canary_request: f64,
}

impl Expectation {
    /// The best stake and the growth it brings: `g = p_c log(1+l) + (p_s/rho) log(1-l theta rho) - delta l`.
    ///
    /// None where an input is not finite or out of range, so that there is nothing to plan.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        let Self {
            p_s,
            true_ratio,
            line,
            canary_per_stable: rho,
        } = *self;
        let p_c = p_s * true_ratio;
        let sane = [p_s, true_ratio, line.theta]
            .iter()
            .all(|value| value.is_finite() && *value >= 0.0);
        if !(sane && line.delta.is_finite() && rho.is_finite() && rho > 0.0) {
            return None;
        }
        let kappa = line.theta * rho;
        let lambda = lambda_star(p_c, p_s, line, kappa);
        let growth =
            p_c * lambda.ln_1p() + (p_s / rho) * (-lambda * kappa).ln_1p() - line.delta * lambda;
        growth.is_finite().then_some(Plan {
            lambda,
            growth_per_canary_request: growth,
        })
    }
}

impl Plan {
    /// Expected canary requests until the log evidence has grown by `log_e_needed`; none where it does not grow.
    ///
    /// From the start `log_e_needed` is [`log_e_to_reach`]; later it is the rest. About 30 % pessimistic, because
    /// neighbouring effect sizes of the grid help (1.11).
    #[must_use]
    pub fn canary_requests(&self, log_e_needed: f64) -> Option<f64> {
        // A growth that is only rounding would promise a decision after 1e15 requests.
        if self.growth_per_canary_request <= 1e-15 || !log_e_needed.is_finite() {
            return None;
        }
        Some(log_e_needed.max(0.0) / self.growth_per_canary_request)
    }
}

/// `log(1/alpha) + log(1/w)`: the log evidence that one effect size of prior weight `w` has to earn.
#[must_use]
pub fn log_e_to_reach(alpha: f64, grid_weight: f64) -> f64 {
    -alpha.ln() - grid_weight.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expectation(true_ratio: f64) -> Expectation {
        Expectation {
            p_s: 0.01,
            true_ratio,
            line: Line {
                theta: 1.0,
                delta: 0.0,
            },
            canary_per_stable: 1.0 / 9.0,
        }
    }

    #[test]
    fn a_truth_on_the_line_is_never_decided() {
        let plan = expectation(1.0).plan().expect("sane");
        assert_eq!(plan.lambda, 0.0);
        assert_eq!(plan.canary_requests(log_e_to_reach(0.05, 0.1)), None);
    }

    #[test]
    fn evidence_already_earned_shortens_the_way() {
        let plan = expectation(2.0).plan().expect("sane");
        let whole = plan
            .canary_requests(log_e_to_reach(0.05, 0.1))
            .expect("grows");
        let rest = plan
            .canary_requests(log_e_to_reach(0.05, 0.1) - 2.0)
            .expect("grows");
        assert!(rest < whole && rest > 0.0, "{rest} of {whole}");
        assert_eq!(plan.canary_requests(-1.0), Some(0.0));
        assert_eq!(plan.canary_requests(f64::NAN), None);
    }

    #[test]
    fn nothing_is_planned_from_what_is_no_traffic() {
        for rho in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(
                Expectation {
                    canary_per_stable: rho,
                    ..expectation(2.0)
                }
                .plan(),
                None,
                "{rho}"
            );
        }
        assert_eq!(
            Expectation {
                p_s: f64::NAN,
                ..expectation(2.0)
            }
            .plan(),
            None
        );
        assert_eq!(expectation(-1.0).plan(), None);
        let line = Line {
            theta: 1.0,
            delta: f64::INFINITY,
        };
        assert_eq!(
            Expectation {
                line,
                ..expectation(2.0)
            }
            .plan(),
            None
        );
    }
}

//! The two-stream Poisson e-process on bad-event counters (note on statistics, section 1).
//!
//! The hypothesis is a *tolerance line* `p_c = theta * p_s + delta`. Harm tests `p_c <= line` with positive stakes,
//! success tests `p_c >= line` with negative ones. Valid at any traffic, split and number of looks, for requests that
//! are independent given the arm; where users stay put, the line is to be widened first ([`super::user_mix`]).

mod process;

pub use super::count::{CountError, Counts};
pub use process::{Consumed, EProcess, PoissonError, Prior};

use serde::{Deserialize, Serialize};

/// The tolerance line `p_c = theta * p_s + delta` (1.1).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Factor on stable's bad-event probability; 0 compares with the absolute limit `delta` alone (1.8).
    pub theta: f64,
    /// Probability added; negative only after a margin has narrowed the line.
    pub delta: f64,
}

impl Line {
    /// The line moved by `margin` to the side that makes `direction` harder to prove (7.9): up for harm, down for
    /// success.
    #[must_use]
    pub fn with_margin(self, direction: Direction, margin: f64) -> Self {
        let delta = match direction {
            Direction::Harm => self.delta + margin,
            Direction::Success => self.delta - margin,
        };
        Self { delta, ..self }
    }

    /// The canary's bad-event probability on the line where stable's is `p_s`.
    #[must_use]
    pub fn at(self, p_s: f64) -> f64 {
        self.theta * p_s + self.delta
    }

    /// `kappa = theta * nc / ns` (1.1), 0 where stable does not matter.
    #[must_use]
    pub fn kappa(self, counts: Counts) -> f64 {
        if self.theta == 0.0 {
            0.0
        } else {
            self.theta * counts.total_canary / counts.total_stable
        }
    }
}

/// Which side of the tolerance line is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// The canary is worse than the line.
    Harm,
    /// The canary is better than the line.
    Success,
}

impl Direction {
    /// The prior over effect sizes (1.3); the weights sum to 1.
    #[must_use]
    pub fn grid(self) -> &'static [Alternative] {
        match self {
            Self::Harm => &HARM,
            Self::Success => &SUCCESS,
        }
    }

    /// The default share of the wealth that returns to the prior after each interval, so that a regression that starts
    /// late is found (1.5): 1/240 for harm, 0 for success.
    #[must_use]
    pub fn default_share(self) -> f64 {
        match self {
            Self::Harm => 1.0 / 240.0,
            Self::Success => 0.0,
        }
    }
}

/// One effect size of the prior: `p_c = ratio * (theta * p_s + delta)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alternative {
    /// Canary's probability in units of the tolerance line (`r`); 1 is cash, which never bets.
    pub ratio: f64,
    /// Share of the starting wealth (`w`).
    pub weight: f64,
}

const fn alternative(ratio: f64, weight: f64) -> Alternative {
    Alternative { ratio, weight }
}

/// The grid of harmful effect sizes (1.3).
pub const HARM: [Alternative; 12] = [
    alternative(1.0, 0.10),
    alternative(1.15, 0.13),
    alternative(1.3, 0.13),
    alternative(1.5, 0.13),
    alternative(1.75, 0.11),
    alternative(2.0, 0.10),
    alternative(2.5, 0.09),
    alternative(3.5, 0.07),
    alternative(5.0, 0.06),
    alternative(10.0, 0.04),
    alternative(30.0, 0.02),
    alternative(100.0, 0.02),
];

/// The grid of effect sizes better than the line (1.3).
pub const SUCCESS: [Alternative; 11] = [
    alternative(1.0, 0.05),
    alternative(0.95, 0.08),
    alternative(0.90, 0.10),
    alternative(0.85, 0.12),
    alternative(0.80, 0.15),
    alternative(0.70, 0.15),
    alternative(0.60, 0.10),
    alternative(0.50, 0.09),
    alternative(0.35, 0.07),
    alternative(0.20, 0.05),
    alternative(0.05, 0.04),
];

/// The growth-optimal stake against `line` for the anticipated truth `(p_c, p_s)`: formula (2) of 1.2 with its clips.
///
/// Returns 0, the stake that never bets, where no root exists: all probabilities are 0, or an input is not a number.
#[must_use]
pub fn lambda_star(p_c: f64, p_s: f64, line: Line, kappa: f64) -> f64 {
    let Line { theta, delta } = line;
    let c = p_c - line.at(p_s);
    let b = p_c * kappa + theta * p_s + delta * (1.0 - kappa);
    // The discriminant is never negative while `line.at(p_s) > 0`: the score falls from +inf to -inf between -1 and
    // 1/kappa, also for a negative delta, so a real root exists. Rounding alone can take it below 0.
    let root = (b * b - 4.0 * delta * kappa * c).max(0.0).sqrt();
    let lambda = 2.0 * c / (b + root);
    if !lambda.is_finite() {
        return 0.0;
    }
    let upper = if kappa > 0.0 {
        0.999 / kappa
    } else {
        f64::INFINITY
    };
    lambda.min(upper).max(-0.999)
}

/// The log of the e-variable of one interval: formula (1) of 1.1.
///
/// The stake is in (-1, 1/kappa); outside of it the result is not finite. Stable is left out where `theta` is 0.
#[must_use]
pub fn log_e_increment(lambda: f64, counts: Counts, line: Line) -> f64 {
    counts.bad_canary * ln_1p(lambda) + counts.bad_stable * ln_1p(-lambda * line.kappa(counts))
        - line.delta * lambda * counts.total_canary
}

/// `log(1 + x)` to 1e-14 of itself, in half the time of [`f64::ln_1p`]: it is most of what a cell costs.
fn ln_1p(x: f64) -> f64 {
    if x.abs() > 0.0625 {
        // Rounding 1 + x costs 1e-16 here, and the logarithm is not below 0.06.
        return (1.0 + x).ln();
    }
    // log((1 + s) / (1 - s)) = 2 atanh(s); the next term of the series is below 1e-20.
    let s = x / (2.0 + x);
    let square = s * s;
    let series = 1.0 / 9.0 + square * (1.0 / 11.0 + square / 13.0);
    let series = 1.0 / 5.0 + square * (1.0 / 7.0 + square * series);
    2.0 * s * (1.0 + square * (1.0 / 3.0 + square * series))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grids_are_priors() {
        for grid in [&HARM[..], &SUCCESS[..]] {
            let total: f64 = grid.iter().map(|alternative| alternative.weight).sum();
            assert!((total - 1.0).abs() < 1e-12, "{total}");
            assert_eq!(grid[0].ratio, 1.0, "the first is cash");
        }
        assert!(HARM.iter().all(|alternative| alternative.ratio >= 1.0));
        assert!(SUCCESS.iter().all(|alternative| alternative.ratio <= 1.0));
    }

    /// What the score of 1.2 leaves at the stake: 0 at the optimum.
    fn score(lambda: f64, p_c: f64, p_s: f64, line: Line, kappa: f64) -> f64 {
        p_c / (1.0 + lambda) - line.theta * p_s / (1.0 - lambda * kappa) - line.delta
    }

    #[test]
    fn the_stake_solves_the_score_for_any_sign_of_delta() {
        for (theta, delta) in [
            (1.1, 0.0005),
            (1.1, -0.002),
            (1.25, -0.012),
            (2.0, 0.0),
            (0.9, 0.3),
        ] {
            for kappa in [1e-4, 0.05, 1.0, 7.0, 900.0] {
                for ratio in [0.05, 0.5, 0.95, 1.15, 2.0] {
                    let line = Line { theta, delta };
                    let p_c = ratio * line.at(0.01);
                    assert!(p_c > 0.0);
                    let lambda = lambda_star(p_c, 0.01, line, kappa);
                    let clipped = lambda == -0.999 || lambda == 0.999 / kappa;
                    let left = score(lambda, p_c, 0.01, line, kappa);
                    assert!(
                        clipped || left.abs() < 1e-9,
                        "{theta} {delta} {kappa} {ratio}: {lambda} leaves {left}"
                    );
                    assert!(lambda > -1.0 && lambda * kappa < 1.0);
                    assert_eq!(
                        lambda > 0.0,
                        ratio > 1.0,
                        "the stake points to the anticipated side"
                    );
                }
            }
        }
    }

    #[test]
    fn the_stake_is_clipped_on_both_sides() {
        let line = Line {
            theta: 1.0,
            delta: 0.01,
        };
        // Stable never fails, so the score has no root below 1/kappa = 0.5.
        assert_eq!(lambda_star(1.0, 0.0, line, 2.0), 0.4995);
        assert_eq!(lambda_star(0.0, 0.01, line, 0.0), -0.999);
    }

    #[test]
    fn there_is_no_stake_without_a_root() {
        assert_eq!(
            lambda_star(
                0.0,
                0.0,
                Line {
                    theta: 1.0,
                    delta: 0.0
                },
                0.1
            ),
            0.0
        );
        assert_eq!(
            lambda_star(
                f64::NAN,
                0.01,
                Line {
                    theta: 1.0,
                    delta: 0.0
                },
                0.1
            ),
            0.0
        );
    }

    #[test]
    fn a_margin_makes_both_directions_harder() {
        let line = Line {
            theta: 1.1,
            delta: 0.25,
        };
        assert_eq!(line.with_margin(Direction::Harm, 0.5).delta, 0.75);
        assert_eq!(line.with_margin(Direction::Success, 0.5).delta, -0.25);
    }

    #[test]
    fn the_faster_logarithm_is_the_logarithm() {
        let near_0 = (-40..0).map(|power| 2f64.powi(power));
        let sizes = near_0.chain((1..2000).map(|step| f64::from(step) * 5e-4));
        for size in sizes.chain([1.0, 99.0, 1e9]) {
            for x in [size, -size].into_iter().filter(|x| *x > -1.0) {
                let exact = x.ln_1p();
                assert!((ln_1p(x) - exact).abs() <= 1e-14 * exact.abs(), "{x}");
            }
        }
        assert_eq!(ln_1p(0.0), 0.0);
        assert_eq!(ln_1p(-1.0), f64::NEG_INFINITY);
        assert!(ln_1p(-1.5).is_nan() && ln_1p(f64::NAN).is_nan());
    }

    #[test]
    fn an_absolute_limit_does_not_look_at_stable() {
        let counts = Counts {
            bad_canary: 3.0,
            total_canary: 100.0,
            ..Counts::default()
        };
        let log_e = log_e_increment(
            1.0,
            counts,
            Line {
                theta: 0.0,
                delta: 0.01,
            },
        );
        assert!((log_e - (3.0 * 2f64.ln() - 1.0)).abs() < 1e-12, "{log_e}");
    }
}

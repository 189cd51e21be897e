//! The Bernoulli form of the two-stream test, for events that are common (section 1.7, formulas 3 and 4).
//!
//! Above about 10 % the Poisson form of [`super::poisson`] gives away power, because it takes the variance of an event
//! for `p` and not `p (1-p)`. Here the evidence is a likelihood ratio between an anticipated truth and its projection
//! onto the tolerance line. Hypotheses, directions, priors of stable and units are those of the Poisson form.

mod process;

/// Why an interval, or a checkpoint, cannot be used: the same reasons as in the Poisson form.
pub use super::poisson::PoissonError as BernoulliError;
pub use super::poisson::{Alternative, Consumed, Counts, Direction, Line, Prior};
pub use process::EProcess;

/// The grid of harmful effect sizes as ratios of *odds*: `odds(p_c) = r * odds(theta * p_s + delta)` (1.7). For success
/// the ratios are their inverses. The first is cash; the weights sum to 1.
pub const ODDS: [Alternative; 10] = [
    alternative(1.0, 0.08),
    alternative(1.05, 0.12),
    alternative(1.1, 0.14),
    alternative(1.2, 0.15),
    alternative(1.35, 0.14),
    alternative(1.6, 0.12),
    alternative(2.0, 0.10),
    alternative(3.0, 0.08),
    alternative(6.0, 0.05),
    alternative(20.0, 0.02),
];

const fn alternative(ratio: f64, weight: f64) -> Alternative {
    Alternative { ratio, weight }
}

/// The point of the tolerance line that is nearest to an anticipated truth, in the sense of information.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projection {
    /// Canary's probability on the line, `m = theta * m' + delta`.
    pub m: f64,
    /// Stable's probability, `m'`.
    pub m_prime: f64,
}

/// The projection of `(p_c, p_s)` onto `line` for so many requests of the canary and of stable: the root of
/// `nc theta (m - p_c)/(m (1-m)) + ns (m' - p_s)/(m' (1-m')) = 0` (formula 3); in closed form for theta 1 and delta 0.
///
/// None where the root is not inside (0, 1) for both: a probability is not inside (0, 1), the line is not inside (0, 1)
/// at `p_s`, or there are no requests that matter (stable's do not where `theta` is 0).
#[must_use]
pub fn project(
    p_c: f64,
    p_s: f64,
    line: Line,
    total_canary: f64,
    total_stable: f64,
) -> Option<Projection> {
    let within = |p: f64| p > 0.0 && p < 1.0;
    let Line { theta, delta } = line;
    if theta == 0.0 {
        let found = within(p_c) && within(p_s) && within(delta);
        return found.then_some(Projection {
            m: delta,
            m_prime: p_s,
        });
    }
    let usable = within(p_c) && within(p_s) && within(line.at(p_s)) && theta > 0.0;
    let both = total_canary > 0.0 && total_stable > 0.0;
    if !(usable && both && (total_canary + total_stable).is_finite()) {
        return None;
    }
    // By shares, for the product of a count and a slope can overflow.
    let canary = total_canary / (total_canary + total_stable);
    let stable = total_stable / (total_canary + total_stable);
    let m_prime = if theta == 1.0 && delta == 0.0 {
        canary * p_c + stable * p_s
    } else {
        // The root lies between stable's probability and the one at which the line reaches the canary's.
        let far = ((p_c - delta) / theta).clamp(0.0, 1.0);
        let score = |m_prime: f64| {
            let m = line.at(m_prime);
            canary * theta * (m - p_c) / (m * (1.0 - m))
                + stable * (m_prime - p_s) / (m_prime * (1.0 - m_prime))
        };
        super::bisect(p_s.min(far), p_s.max(far), |m_prime| score(m_prime) < 0.0)
    };
    let m = line.at(m_prime);
    (within(m) && within(m_prime)).then_some(Projection { m, m_prime })
}

/// The log of the e-variable of one interval for an anticipated truth `(p_c, p_s)` and its projection: formula (4) of
/// 1.7. Valid for the side of the line on which the anticipated truth lies. Stable is left out where `theta` is 0.
///
/// Finite if the counts are, for a projection from [`project`].
#[must_use]
pub fn log_e_increment(
    p_c: f64,
    p_s: f64,
    projection: Projection,
    counts: Counts,
    line: Line,
) -> f64 {
    let arm = |bad: f64, total: f64, p: f64, m: f64| {
        bad * (p / m).ln() + (total - bad) * ((1.0 - p) / (1.0 - m)).ln()
    };
    let canary = arm(counts.bad_canary, counts.total_canary, p_c, projection.m);
    if line.theta == 0.0 {
        return canary;
    }
    canary
        + arm(
            counts.bad_stable,
            counts.total_stable,
            p_s,
            projection.m_prime,
        )
}

#[cfg(test)]
#[path = "bernoulli_tests.rs"]
mod tests;

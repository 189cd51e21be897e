//! Intervals of a rate, of a difference and of a ratio of rates (section 6).
//!
//! All take a [`Pair`] that passes [`Pair::check`], and the normal quantile z of the level.

use super::Pair;
use crate::stats::user_mix::GroupCount;

/// An interval of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end, at least 0.
    pub lower: f64,
    /// Upper end; none where there is no bound, because the reference may well select nobody.
    pub upper: Option<f64>,
}

/// Wilson's interval of a rate: centre `(p + z^2/2n)/(1+z^2/n)`, half width
/// `z sqrt(p(1-p)/n + z^2/4n^2)/(1+z^2/n)`.
#[must_use]
pub fn wilson(group: GroupCount, z: f64) -> (f64, f64) {
    let (n, p) = (group.total, group.bad / group.total);
    let norm = 1.0 + z * z / n;
    let centre = (p + z * z / (2.0 * n)) / norm;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).max(0.0).sqrt() / norm;
    // At no and at every hit the end is the rate itself, which rounding would miss.
    let lower = if group.bad == 0.0 {
        0.0
    } else {
        (centre - half).max(0.0).min(p)
    };
    let upper = if group.bad == n {
        1.0
    } else {
        (centre + half).max(p).min(1.0)
    };
    (lower, upper)
}

/// Newcombe's interval of the difference `p_a - p_b` (1998, method 10): the Wilson intervals, combined by squares.
#[must_use]
pub fn difference_newcombe(pair: &Pair, z: f64) -> (f64, f64) {
    let (a, b) = pair.rates();
    let ((l_a, u_a), (l_b, u_b)) = (wilson(pair.a, z), wilson(pair.b, z));
    let d = a - b;
    (d - (a - l_a).hypot(u_b - b), d + (u_a - a).hypot(b - l_b))
}

/// The MOVER-R interval of the ratio `p_a / p_b` from the Wilson intervals (Donner and Zou 2012).
#[must_use]
pub fn ratio_mover(pair: &Pair, z: f64) -> Interval {
    let (a, b) = pair.rates();
    let ((l_a, u_a), (l_b, u_b)) = (wilson(pair.a, z), wilson(pair.b, z));
    let ab = a * b;
    let root = |end_a: f64, end_b: f64| {
        (ab * ab - end_a * end_b * (2.0 * a - end_a) * (2.0 * b - end_b))
            .max(0.0)
            .sqrt()
    };
    // The printed lower end, [ab - root]/[u_b (2b - u_b)], is 0/0 where u_b = 2b; multiplied out it is not.
    let denominator = ab + root(l_a, u_b);
    let lower = l_a * (2.0 * a - l_a) / denominator;
    let upper = (ab + root(u_a, l_b)) / (l_b * (2.0 * b - l_b));
    Interval {
        lower: if denominator > 0.0 {
            lower.max(0.0)
        } else {
            0.0
        },
        upper: upper.is_finite().then_some(upper),
    }
}

/// Walter's interval of the ratio on the log scale, with half a case added everywhere:
/// `ln((x_a+.5)/(n_a+.5)) - ln((x_b+.5)/(n_b+.5)) +- z sqrt(1/(x_a+.5) - 1/(n_a+.5) + 1/(x_b+.5) - 1/(n_b+.5))`. Its
/// centre is [`walter_point`].
#[must_use]
pub fn ratio_walter(pair: &Pair, z: f64) -> Interval {
    let inverse = |group: GroupCount| 1.0 / (group.bad + 0.5) - 1.0 / (group.total + 0.5);
    let half = z * (inverse(pair.a) + inverse(pair.b)).max(0.0).sqrt();
    let centre = walter_point(pair).ln();
    Interval {
        lower: (centre - half).exp(),
        upper: Some((centre + half).exp()),
    }
}

/// The ratio with half a case added everywhere.
#[must_use]
pub fn walter_point(pair: &Pair) -> f64 {
    let rate = |group: GroupCount| (group.bad + 0.5) / (group.total + 0.5);
    rate(pair.a) / rate(pair.b)
}

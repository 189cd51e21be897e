//! The two-sided Mann-Whitney test of Kayenta: the interval of the shift between two samples.

use std::cmp::Ordering;

use statrs::distribution::{ContinuousCDF, Normal};

/// Confidence of the interval of the shift.
pub const CONFIDENCE: f64 = 0.98;
/// The fraction of the estimated shift that an end of the interval must exceed.
pub const TOLERANCE: f64 = 0.25;

/// The shift from control to experiment with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftInterval {
    /// Lower end of the 98 % interval, at least the smallest pairwise difference.
    pub lower: f64,
    /// The Hodges-Lehmann estimate: the median of the pairwise differences.
    pub estimate: f64,
    /// Upper end, at most the largest pairwise difference.
    pub upper: f64,
}

/// The statistic at a shift: `z(mu) = (dz - 0.5 sign(dz)) / sigma` with `dz` = sum of the ranks of `experiment - mu`
/// less `m(m+1)/2 + mn/2`, ties having average ranks, and
/// `sigma^2 = mn/12 [(m+n+1) - sum(t^3 - t)/((m+n)(m+n-1))]` (statistics 8.1).
///
/// None where a side is empty or a number is not finite, and where all points tie, so that sigma is 0.
#[must_use]
pub fn z_at_shift(control: &[f64], experiment: &[f64], mu: f64) -> Option<f64> {
    let shifted: Vec<f64> = experiment.iter().map(|point| point - mu).collect();
    let mut all: Vec<f64> = shifted.iter().chain(control).copied().collect();
    if control.is_empty() || experiment.is_empty() || !all.iter().all(|point| point.is_finite()) {
        return None;
    }
    all.sort_by(f64::total_cmp);
    let above: f64 = shifted.iter().map(|point| wins(*point, control)).sum();
    let (m, n) = (experiment.len() as f64, control.len() as f64);
    let sigma = sigma(m, n, ties(&all));
    (sigma > 0.0).then(|| corrected(above - m * n / 2.0) / sigma)
}

/// The interval and the estimate of the shift, from samples that are sorted and finite.
///
/// Between two neighbouring pairwise differences `z` is constant, so its roots are order statistics of them: the lower
/// end is the largest difference at which no more than `mn/2 + 1/2 + z sigma` of them are left above, and so on.
///
/// None where all points tie at the smallest shift (a single point against a constant), for then Kayenta's test fails
/// with an error.
pub fn shift_interval(control: &[f64], experiment: &[f64]) -> Option<ShiftInterval> {
    let [x, y] = [experiment, control].map(|side| (side.first(), side.last(), side.len()));
    let ((Some(x_min), Some(x_max), m), (Some(y_min), Some(y_max), n)) = (x, y) else {
        return None;
    };
    if x_min == x_max && y_min == y_max {
        // Kayenta adds noise in proportion to the value here, so that only zeros and single points still tie.
        let lone =
            |count: usize, other: f64, others: usize| count == 1 && (others == 1 || other == 0.0);
        let shift = x_min - y_min;
        let computable = !lone(m, *y_min, n) && !lone(n, *x_min, m) && shift.is_finite();
        return computable.then_some(ShiftInterval {
            lower: shift,
            estimate: shift,
            upper: shift,
        });
    }
    let mut differences: Vec<f64> = experiment
        .iter()
        .flat_map(|x| control.iter().map(move |y| x - y))
        .collect();
    if !differences.iter().all(|difference| difference.is_finite()) {
        return None;
    }
    let pairs = differences.len();
    let sigma = sigma(m as f64, n as f64, ties(experiment) + ties(control));
    let reach = Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0) * sigma;
    // At most so many differences may lie above the lower end, and below the upper one.
    let outside = ((pairs as f64 / 2.0 + 0.5 + reach).ceil() - 1.0) as usize;
    let rank = outside.min(pairs - 1);
    let mut nth = |index: usize| *differences.select_nth_unstable_by(index, f64::total_cmp).1;
    Some(ShiftInterval {
        lower: nth(pairs - 1 - rank),
        estimate: 0.5 * nth((pairs - 1) / 2) + 0.5 * nth(pairs / 2),
        upper: nth(rank),
    })
}

/// The probability that a point of the experiment is above one of the control, ties counting half.
pub(super) fn common_language(control: &[f64], experiment: &[f64]) -> f64 {
    let above: f64 = experiment.iter().map(|point| wins(*point, control)).sum();
    above / (experiment.len() as f64 * control.len() as f64)
}

/// How many of the others lie below the point, ties counting half.
fn wins(point: f64, others: &[f64]) -> f64 {
    let won = |other: &f64| match point.partial_cmp(other) {
        Some(Ordering::Greater) => 1.0,
        Some(Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    others.iter().map(won).sum()
}

/// The continuity correction.
fn corrected(dz: f64) -> f64 {
    if dz == 0.0 {
        0.0
    } else {
        dz - 0.5 * dz.signum()
    }
}

/// `sum(t^3 - t)` over the groups of equal points.
fn ties(sorted: &[f64]) -> f64 {
    let groups = sorted.chunk_by(|a, b| a == b);
    groups
        .map(|group| {
            let t = group.len() as f64;
            t * t * t - t
        })
        .sum()
}

fn sigma(m: f64, n: f64, ties: f64) -> f64 {
    let all = m + n;
    let spread = all + 1.0 - ties / (all * (all - 1.0));
    (m * n / 12.0 * spread.max(0.0)).sqrt()
}

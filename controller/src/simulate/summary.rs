//! Many courses in a few numbers, with the error that comes of trying only so many.

use serde::Serialize;

use super::engine::{By, Ending};
use super::world::Course;

/// The normal quantile of a 95 % interval.
const Z95: f64 = 1.959_963_985;

/// A share of the runs with the interval that holds the true probability in 95 of 100 cases (Wilson).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Runs.
    pub count: u64,
    /// Share of the runs.
    pub share: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Share {
    /// `count` of `runs`, which must be at least 1.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "runs stay far below 2^53")]
    pub fn of(count: u64, runs: u64) -> Self {
        let n = runs.max(1) as f64;
        let p = count as f64 / n;
        let z2 = Z95 * Z95;
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt() / (1.0 + z2 / n);
        // At 0 and 1 the interval ends there; the formula leaves a hair.
        let low = if count == 0 {
            0.0
        } else {
            (centre - half).max(0.0)
        };
        let high = if count == runs {
            1.0
        } else {
            (centre + half).min(1.0)
        };
        Self {
            count,
            share: p,
            low,
            high,
        }
    }
}

/// Median and 90 % quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Half of the runs are at or below.
    pub median: f64,
    /// Nine of ten runs are at or below.
    pub p90: f64,
}

impl Spread {
    /// Of values in any order; `None` without any.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |tenths: usize| {
            let rank = (values.len() * tenths).div_ceil(10).max(1) - 1;
            values.get(rank).copied()
        };
        Some(Self {
            median: at(5)?,
            p90: at(9)?,
        })
    }
}

/// The runs that ended in one way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// How many.
    #[serde(flatten)]
    pub share: Share,
    /// Seconds until then.
    pub seconds: Option<Spread>,
    /// Requests to the canary until then, those at 100 % left out.
    pub canary_requests: Option<Spread>,
    /// Users of the canary who met a bad answer; bad answers where no users are counted.
    pub exposed: Option<Spread>,
}

impl Way {
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn of(courses: &[Course], cell_seconds: f64, went: impl Fn(&Course) -> bool) -> Self {
        let those = || courses.iter().filter(|course| went(course));
        Self {
            share: Share::of(those().count() as u64, courses.len() as u64),
            seconds: Spread::of(those().map(|course| course.cells as f64 * cell_seconds)),
            canary_requests: Spread::of(those().map(|course| course.compared as f64)),
            exposed: Spread::of(those().map(|course| course.exposed)),
        }
    }
}

/// How the runs of one truth went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Went live.
    pub promoted: Way,
    /// Rolled back (or held, as `onFail: hold` says) by the comparison, a guard or the deadline.
    pub rolled_back: Way,
    /// Of those, by the comparison, for which the error probability is stated.
    pub by_judge: Share,
    /// Of those, by a guard.
    pub by_guard: Share,
    /// Of those, by the deadline.
    pub by_deadline: Share,
    /// Held by the deadline.
    pub held: Share,
    /// Still going on when the time was over.
    pub undecided: Share,
}

impl Summary {
    /// Sums up the courses of one truth.
    #[must_use]
    pub fn of(courses: &[Course], cell_seconds: f64) -> Self {
        let way = |went: &dyn Fn(Option<Ending>) -> bool| {
            Way::of(courses, cell_seconds, |course| went(course.ending))
        };
        let ended = |ending: Option<Ending>| {
            let those = courses.iter().filter(|course| course.ending == ending);
            Share::of(those.count() as u64, courses.len() as u64)
        };
        Self {
            promoted: way(&|ending| ending == Some(Ending::Promoted)),
            rolled_back: way(&|ending| matches!(ending, Some(Ending::Stopped(_)))),
            by_judge: ended(Some(Ending::Stopped(By::Judge))),
            by_guard: ended(Some(Ending::Stopped(By::Guard))),
            by_deadline: ended(Some(Ending::Stopped(By::Deadline))),
            held: ended(Some(Ending::Held)),
            undecided: ended(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_the_published_ones() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (count, runs, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let share = Share::of(count, runs);
            assert!((share.low - low).abs() < 5e-5, "{share:?}");
            assert!((share.high - high).abs() < 5e-5, "{share:?}");
        }
        assert_eq!(Share::of(20, 20).high, 1.0);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let spread = Spread::of((1..=10).rev().map(f64::from));
        assert_eq!(
            spread,
            Some(Spread {
                median: 5.0,
                p90: 9.0
            })
        );
        assert_eq!(
            Spread::of([7.0].into_iter()),
            Some(Spread {
                median: 7.0,
                p90: 7.0
            })
        );
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}

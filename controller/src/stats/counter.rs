//! Differences of a counter between two instants (7.1, the client-side form).

/// What one series gained between two instants, or nothing where it cannot be known.
///
/// `previous` and `current` are its samples at the two instants, `born_inside` says whether the series (or its pod) is
/// younger than the interval. A counter that was born inside counts whole, for an error series appears with its first
/// error; one that restarted counts from 0. Unknown is: a series first seen though it is older, and one that is gone,
/// whose previous sample the caller keeps. A sample that is negative or not finite is no sample.
#[must_use]
pub fn counter_delta(
    previous: Option<f64>,
    current: Option<f64>,
    born_inside: bool,
) -> Option<f64> {
    let sample = |value: &f64| value.is_finite() && *value >= 0.0;
    let current = current.filter(sample)?;
    match previous.filter(sample) {
        None => born_inside.then_some(current),
        Some(previous) if current >= previous => Some(current - previous),
        Some(_) => Some(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(previous: Option<f64>, current: Option<f64>, born_inside: bool, delta: Option<f64>) {
        assert_eq!(counter_delta(previous, current, born_inside), delta);
    }

    #[test]
    fn a_growing_counter_gains_the_difference() {
        check(Some(100.0), Some(130.0), false, Some(30.0));
        check(Some(100.0), Some(100.0), false, Some(0.0));
    }

    #[test]
    fn a_counter_that_restarted_gains_what_it_shows() {
        check(Some(100.0), Some(12.0), false, Some(12.0));
    }

    #[test]
    fn a_first_sample_counts_only_if_the_series_is_young() {
        check(None, Some(3.0), true, Some(3.0));
        check(None, Some(300.0), false, None);
    }

    #[test]
    fn a_series_that_is_gone_is_unknown() {
        check(Some(100.0), None, false, None);
        check(None, None, true, None);
    }

    #[test]
    fn what_is_no_count_is_no_sample() {
        check(Some(1.0), Some(f64::NAN), false, None);
        check(Some(1.0), Some(-3.0), false, None);
        check(Some(f64::NAN), Some(5.0), false, None);
        check(Some(f64::INFINITY), Some(5.0), true, Some(5.0));
    }
}

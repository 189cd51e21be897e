use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const LE: [f64; 6] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

fn histogram(cumulative: [f64; 6], total: f64) -> Histogram {
    Histogram::new(&LE, &cumulative, total).expect("sane")
}

fn sample() -> Histogram {
    histogram([120.0, 410.0, 820.0, 960.0, 990.0, 998.0], 1000.0)
}

#[test]
fn an_exceedance_is_taken_at_the_limit_or_the_next_boundary_above() {
    let at = sample().exceedance(0.5).expect("inside");
    assert_eq!(
        (at.boundary, at.exact, at.above, at.total),
        (0.5, true, 40.0, 1000.0)
    );
    let above = sample().exceedance(0.3).expect("inside");
    assert_eq!(
        (above.boundary, above.exact, above.above),
        (0.5, false, 40.0)
    );
    assert!(
        sample().exceedance(0.1 + 0.2 - 0.2).expect("inside").exact,
        "rounding is no difference"
    );
    assert_eq!(
        sample().exceedance(3.0),
        Err(HistogramError::AboveAll {
            limit: 3.0,
            highest: 2.5
        })
    );
    assert!(sample().exceedance(f64::NAN).is_err());
}

#[test]
fn a_bucket_out_of_order_by_one_percent_is_raised_and_beyond_that_refused() {
    let raised = histogram([120.0, 110.0, 820.0, 960.0, 990.0, 1010.0], 1000.0);
    assert_eq!(
        raised.cumulative(),
        [120.0, 120.0, 820.0, 960.0, 990.0, 1000.0]
    );
    let refused = |cumulative: [f64; 6]| Histogram::new(&LE, &cumulative, 1000.0);
    assert_eq!(
        refused([120.0, 109.0, 820.0, 960.0, 990.0, 998.0]),
        Err(HistogramError::OutOfOrder {
            boundary: 0.1,
            by: 11.0,
            total: 1000.0
        })
    );
    assert!(refused([120.0, 410.0, 820.0, 960.0, 990.0, 1011.0]).is_err());
}

#[test]
fn what_is_no_histogram_is_refused() {
    assert_eq!(
        Histogram::new(&[], &[], 1.0),
        Err(HistogramError::Boundaries)
    );
    assert_eq!(
        Histogram::new(&[1.0, 1.0], &[1.0, 1.0], 1.0),
        Err(HistogramError::Boundaries)
    );
    assert_eq!(
        Histogram::new(&[1.0, f64::INFINITY], &[1.0, 1.0], 1.0),
        Err(HistogramError::Boundaries)
    );
    assert!(Histogram::new(&[1.0], &[1.0, 1.0], 1.0).is_err());
    assert_eq!(
        Histogram::new(&[1.0], &[-1.0], 1.0),
        Err(HistogramError::NotACount(-1.0))
    );
    assert!(Histogram::new(&[1.0], &[0.0], f64::NAN).is_err());
}

#[test]
fn gains_follow_the_birth_and_reset_rules() {
    let later = histogram([130.0, 430.0, 850.0, 1000.0, 1040.0, 1055.0], 1060.0);
    let gained = Histogram::gained(Some(&sample()), &later, false).expect("usable");
    assert_eq!(
        gained,
        Some(histogram([10.0, 20.0, 30.0, 40.0, 50.0, 57.0], 60.0))
    );
    let restarted = Histogram::gained(Some(&later), &sample(), false).expect("usable");
    assert_eq!(
        restarted,
        Some(sample()),
        "a count that fell is a restart: all counts"
    );
    assert_eq!(Histogram::gained(None, &sample(), true), Ok(Some(sample())));
    assert_eq!(Histogram::gained(None, &sample(), false), Ok(None));
    let other = Histogram::new(&[0.5], &[0.0], 2000.0).expect("sane");
    assert_eq!(
        Histogram::gained(Some(&sample()), &other, false),
        Err(HistogramError::Layouts)
    );
    // A bucket that fell though the count rose: within the slack it gains nothing, else nothing can be said.
    let torn = histogram([119.5, 430.0, 850.0, 1000.0, 1040.0, 1055.0], 1060.0);
    let gained = Histogram::gained(Some(&sample()), &torn, false).expect("usable");
    assert_eq!(gained.map(|gained| gained.cumulative()[0]), Some(0.0));
    let broken = histogram([100.0, 430.0, 850.0, 1000.0, 1040.0, 1055.0], 1060.0);
    assert!(Histogram::gained(Some(&sample()), &broken, false).is_err());
}

#[test]
fn series_of_one_arm_add_up() {
    let sum = sample().plus(&sample()).expect("alike");
    assert_eq!((sum.total(), sum.cumulative()[3]), (2000.0, 1920.0));
    let other = Histogram::new(&[0.5], &[0.0], 1.0).expect("sane");
    assert_eq!(sample().plus(&other), Err(HistogramError::Layouts));
}

#[test]
fn quantiles_are_interpolated_like_prometheus_does() {
    assert_eq!(quantile(&sample(), 0.99), Some(1.0));
    assert_eq!(
        quantile(&sample(), 0.999),
        Some(2.5),
        "above all: the last boundary"
    );
    assert_eq!(
        quantile(&sample(), 0.06),
        Some(0.025),
        "the first bucket starts at 0"
    );
    assert_eq!(quantile(&sample(), 0.0), Some(0.0));
    assert_eq!(quantile(&sample(), 1.1), None);
    assert_eq!(quantile(&histogram([0.0; 6], 0.0), 0.5), None);
    let negative = Histogram::new(&[-1.0, 1.0], &[5.0, 10.0], 10.0).expect("sane");
    assert_eq!(quantile(&negative, 0.1), Some(-1.0));
    let empty_first = histogram([0.0, 10.0, 10.0, 10.0, 10.0, 10.0], 10.0);
    assert_eq!(quantile(&empty_first, 0.0), Some(0.0));
}

#[test]
fn an_interval_of_a_quantile_without_requests_is_open() {
    let found = quantile_interval(&histogram([0.0; 6], 0.0), 0.99, 0.05).expect("sane");
    assert_eq!((found.above, found.at_most), (None, None));
    assert!(quantile_interval(&sample(), 1.0, 0.05).is_err());
    assert!(quantile_interval(&sample(), 0.5, 0.0).is_err());
}

fn native(schema: i8, zero: f64, buckets: &[(i32, f64)]) -> NativeHistogram {
    NativeHistogram::new(schema, zero, buckets.iter().copied().collect()).expect("sane")
}

#[test]
fn merging_halves_the_resolution_and_keeps_the_ends() {
    // Schema 1 has boundaries sqrt(2)^k, schema 0 has 2^k: buckets -1 and 0 end at 1, 1 and 2 at 2.
    let fine = native(
        1,
        3.0,
        &[
            (-2, 1.0),
            (-1, 2.0),
            (0, 4.0),
            (1, 8.0),
            (2, 16.0),
            (3, 32.0),
        ],
    );
    assert_eq!(
        fine.merged(0),
        Ok(native(0, 3.0, &[(-1, 1.0), (0, 6.0), (1, 24.0), (2, 32.0)]))
    );
    assert_eq!(
        fine.merged(-1),
        fine.merged(0).and_then(|once| once.merged(-1))
    );
    assert!(fine.merged(2).is_err());
    assert!(fine.merged(-5).is_err());
    assert!(NativeHistogram::new(9, 0.0, BTreeMap::new()).is_err());
    assert!(NativeHistogram::new(0, f64::NAN, BTreeMap::new()).is_err());
}

#[test]
fn arms_of_different_schemas_meet_at_the_coarser() {
    let (a, b) = NativeHistogram::align(
        &native(1, 2.0, &[(1, 8.0), (2, 16.0), (3, 32.0)]),
        &native(0, 0.0, &[(2, 5.0), (3, 7.0)]),
    )
    .expect("alike");
    assert_eq!(a.boundaries(), [1.0, 2.0, 4.0, 8.0]);
    assert_eq!(a.boundaries(), b.boundaries());
    assert_eq!(
        (a.cumulative(), a.total()),
        (&[2.0, 26.0, 58.0, 58.0][..], 58.0)
    );
    assert_eq!(
        (b.cumulative(), b.total()),
        (&[0.0, 0.0, 5.0, 12.0][..], 12.0)
    );
    assert_eq!(
        b.exceedance(3.0).map(|found| (found.boundary, found.above)),
        Ok((4.0, 7.0))
    );
    let none = native(0, 1.0, &[]);
    assert_eq!(
        NativeHistogram::align(&none, &none),
        Err(HistogramError::Boundaries)
    );
}

proptest! {
    #[test]
    fn a_coarser_schema_counts_the_same_at_its_boundaries(
        buckets in proptest::collection::btree_map(-40i32..40, 0u32..100, 1..30), steps in 1i8..5,
    ) {
        let buckets: Vec<(i32, f64)> = buckets.into_iter().map(|(k, n)| (k, f64::from(n))).collect();
        let fine = native(2, 1.0, &buckets);
        let coarse = fine.merged(2 - steps).expect("coarser");
        let (plain, _) = NativeHistogram::align(&fine, &fine).expect("alike");
        let (merged, _) = NativeHistogram::align(&coarse, &coarse).expect("alike");
        for (boundary, below) in merged.boundaries().iter().zip(merged.cumulative()) {
            let at_most = plain.boundaries().iter().zip(plain.cumulative());
            let expected = at_most.filter(|(b, _)| **b <= boundary * (1.0 + 1e-9)).map(|(_, n)| *n).fold(1.0, f64::max);
            prop_assert_eq!(*below, expected);
        }
    }
}

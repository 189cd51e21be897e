use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::simulate::population::draw;

fn traffic() -> Traffic {
    Traffic {
        requests_per_minute: 6000.0,
        error_rate: 0.01,
        users: None,
        burst: 1.0,
    }
}

fn users() -> Users {
    Users {
        count: 1000,
        failing: 0.01,
        failing_rate: 0.5,
        zipf: 0.0,
    }
}

#[track_caller]
fn check(traffic: Traffic, words: &str) {
    let said = traffic.check().map_err(|error| error.to_string());
    assert!(
        said.as_ref().is_err_and(|said| said.contains(words)),
        "{said:?}"
    );
}

#[test]
fn traffic_that_cannot_be_is_refused_with_the_flag_and_what_to_do() {
    assert_eq!(traffic().check(), Ok(()));
    for requests in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let traffic = Traffic {
            requests_per_minute: requests,
            ..traffic()
        };
        check(traffic, "--requests-per-minute");
    }
    let rate = |error_rate| Traffic {
        error_rate,
        ..traffic()
    };
    check(rate(0.0), "where stable never fails");
    check(rate(f64::NAN), "--error-rate");
    check(
        Traffic {
            burst: 0.5,
            ..traffic()
        },
        "--bursts",
    );
    let with = |users| Traffic {
        users: Some(users),
        ..traffic()
    };
    check(
        with(Users {
            count: 0,
            ..users()
        }),
        "--users",
    );
    check(
        with(Users {
            failing: 2.0,
            ..users()
        }),
        "--failing",
    );
    check(
        with(Users {
            failing: 0.1,
            ..users()
        }),
        "10% of the users who fail 50% of the time make 5% errors alone",
    );
    check(
        with(Users {
            zipf: -1.0,
            ..users()
        }),
        "--zipf",
    );
}

#[test]
fn all_users_together_fail_at_the_error_rate() {
    let traffic = Traffic {
        users: Some(users()),
        ..traffic()
    };
    let [others, failing] = traffic.rates();
    assert_eq!(failing, 0.5);
    assert!((0.99 * others + 0.01 * failing - 0.01).abs() < 1e-12);
}

#[test]
fn bursts_keep_the_mean_and_have_the_spread_of_geometric_ones() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    let draws: Vec<f64> = (0..40_000)
        .map(|_| bursts(6.0, 3.0, &mut rng) as f64)
        .collect();
    let mean = draws.iter().sum::<f64>() / 40_000.0;
    let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 39_999.0;
    // Geometric bursts of mean 3 have phi = E[K^2]/E[K] = 5, so the variance is 30.
    assert!(
        (mean - 6.0).abs() < 5.0 * (30.0 / 40_000f64).sqrt(),
        "{mean}"
    );
    assert!((variance / 30.0 - 1.0).abs() < 0.06, "{variance}");
}

#[test]
fn a_cell_has_the_split_and_the_error_rates_that_were_meant() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
    let cohorts = draw(None, &[0.1], &mut rng);
    let expected = Expected::new(&cohorts, 0.1, 1e6, [0.02; KINDS], [0.01; KINDS]);
    let interval = expected.draw(1.0, true, &mut rng);
    let (canary, stable) = (interval.canary.tally(), interval.stable.tally());
    let near = |count: u64, mean: f64| (count as f64 - mean).abs() < 5.0 * mean.sqrt();
    assert!(
        near(canary.total, 1e5) && near(canary.bad, 2e3),
        "{canary:?}"
    );
    assert!(
        near(stable.total, 9e5) && near(stable.bad, 9e3),
        "{stable:?}"
    );
    let one_by_one = expected.draw(1.0, false, &mut rng);
    assert_eq!(one_by_one.canary.groups, Arm::default().groups);
    assert!(near(one_by_one.canary.tally().total, 1e5));
}

#[test]
fn at_all_users_stable_has_none_left() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let cohorts = draw(Some(users()), &[0.1, 0.5], &mut rng);
    let expected = Expected::new(&cohorts, 1.0, 1e4, [0.02; KINDS], [0.01; KINDS]);
    assert_eq!(expected.draw(1.0, true, &mut rng).stable.tally().total, 0);
}

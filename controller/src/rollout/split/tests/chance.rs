//! What chance does, with fixed seeds: users who stay where they are, and send as unequally as users do.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, LogNormal, Poisson};

use super::*;

/// Activity of users by hash group: on the canary once its share is what comes first, else on stable.
struct Users(Vec<(f64, usize, f64)>);

impl Users {
    /// So many, their activity lognormal with this sigma, all together 1.
    fn draw(count: usize, sigma: f64, rng: &mut impl Rng) -> Self {
        let activity = LogNormal::new(0.0, sigma).unwrap();
        let mut users: Vec<_> = (0..count)
            .map(|_| {
                let bucket = rng.random::<f64>();
                (
                    bucket,
                    rng.random_range(0..GROUP_COUNT),
                    activity.sample(rng),
                )
            })
            .collect();
        let all: f64 = users.iter().map(|(.., activity)| activity).sum();
        users.iter_mut().for_each(|(.., activity)| *activity /= all);
        Self(users)
    }

    /// Activity by version and group, where the canary has this share of the users.
    fn split(&self, share: f64) -> [[f64; GROUP_COUNT]; 2] {
        let mut split = [[0.0; GROUP_COUNT]; 2];
        for (bucket, group, activity) in &self.0 {
            split[usize::from(*bucket < share)][*group] += activity;
        }
        split
    }
}

fn poisson(mean: f64, rng: &mut impl Rng) -> u64 {
    Poisson::new(mean).map_or(0, |law| law.sample(rng) as u64)
}

/// A cell of so many requests on average, one in five without a key.
fn draw(split: &[[f64; GROUP_COUNT]; 2], share: f64, requests: f64, rng: &mut impl Rng) -> Cell {
    let mut cell = keyless(&[
        poisson(0.2 * requests * (1.0 - share), rng),
        poisson(0.2 * requests * share, rng),
    ]);
    let arms = [&mut cell.stable, &mut cell.arms[0]];
    for (arm, activity) in arms.into_iter().zip(split) {
        for (tally, activity) in arm.requests.groups.iter_mut().zip(activity) {
            tally.total = poisson(0.8 * requests * activity, rng);
        }
    }
    cell
}

/// A release up the usual steps of releases, a phase of 30 cells each. Whether there was an alarm, and whether the last
/// phase could be told from luck.
fn release(users: usize, sigma: f64, requests: f64, rng: &mut impl Rng) -> (bool, bool) {
    let users = Users::draw(users, sigma, rng);
    let mut watch = SplitWatch::default();
    let (mut alarmed, mut begin) = (false, since());
    for weight in [100_u16, 500, 2500, 5000] {
        begin += Duration::from_secs(60);
        let share = f64::from(weight) / 1e4;
        let split = users.split(share);
        for _ in 0..30 {
            let cell = draw(&split, share, requests, rng);
            watch.consume(begin, &[10_000 - weight, weight], &cell);
            alarmed |= watch.is_alarmed();
        }
    }
    let told = watch.verdict(&VERSIONS, Some(begin)).0.is_some();
    (alarmed, told)
}

#[test]
fn users_who_stay_and_send_unequally_raise_no_false_alarm() {
    let mut rng = StdRng::seed_from_u64(6);
    let (mut alarms, mut told) = (0, 0);
    for (users, sigma, requests) in [
        (300, 0.5, 50.0),
        (300, 1.5, 2_000.0),
        (2_000, 1.0, 100.0),
        (2_000, 2.0, 5_000.0),
    ] {
        for _ in 0..500 {
            let (alarmed, enough) = release(users, sigma, requests, &mut rng);
            alarms += u32::from(alarmed);
            told += u32::from(enough);
        }
    }
    // Twice the level, for both kinds of units, is 4 of 2 000.
    assert!(alarms <= 4, "{alarms} false alarms in 2 000 releases");
    assert!(told >= 1_900, "{told} of 2 000 could be told at all");
}

#[test]
fn half_of_the_users_of_a_weight_are_found_with_some_thousands_of_users() {
    let mut rng = StdRng::seed_from_u64(6);
    let found = |users: usize, sigma: f64, rng: &mut StdRng| {
        let users = Users::draw(users, sigma, rng);
        let split = users.split(0.05);
        let mut watch = SplitWatch::default();
        for _ in 0..60 {
            let mut cell = draw(&split, 0.05, 2_000.0, rng);
            for arm in [&mut cell.stable, &mut cell.arms[0]] {
                arm.requests.ungrouped = Tally::default();
            }
            watch.consume(since(), &[9000, 1000], &cell);
        }
        watch.is_alarmed()
    };
    let mut power = |users, sigma| (0..50).filter(|_| found(users, sigma, &mut rng)).count();
    let (equal, unequal) = (power(4_000, 0.0), power(10_000, 1.0));
    assert!(equal >= 45 && unequal >= 45, "{equal} and {unequal} of 50");
}

#[test]
fn few_users_of_whom_the_canary_has_none_are_no_wrong_split() {
    let mut rng = StdRng::seed_from_u64(6);
    let mut none = 0;
    for _ in 0..100 {
        let users = Users::draw(40, 1.0, &mut rng);
        let split = users.split(0.01);
        let mut watch = SplitWatch::default();
        for _ in 0..100 {
            let mut cell = draw(&split, 0.01, 500.0, &mut rng);
            for arm in [&mut cell.stable, &mut cell.arms[0]] {
                arm.requests.ungrouped = Tally::default();
            }
            watch.consume(since(), &[9900, 100], &cell);
        }
        let (status, said) = watch.verdict(&VERSIONS, Some(since()));
        assert_eq!(status, None, "{said}");
        none += u32::from(said.starts_with("version 8 got 0.00 %"));
    }
    assert!(none > 50, "{none} of 100 had nobody on the canary");
}

//! What holds for any weights, keys and neighbours.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::{RolloutConfig, ShadowConfig};
use crate::random::SplitMix64;
use crate::route::decide;
use crate::split::{BUCKETS, BucketTable, rebalance};
use crate::testing::{Fake, below, rollout, rollout_accepted, table};

const BINOMIAL_SIGMAS: f64 = 6.0;

/// Shares of 2 to 16 arms that sum to the whole, after a few changes of them: so that the table has many runs.
fn weights() -> impl Strategy<Value = (BucketTable, Vec<u16>)> {
    (2_usize..=16, vec(any::<u64>(), 1..4)).prop_map(|(arms, seeds)| {
        let draw = |seed| {
            let mut random = SplitMix64::new(seed);
            let mut cuts: Vec<u16> = (1..arms).map(|_| (random.draw() % 10_001) as u16).collect();
            cuts.sort_unstable();
            cuts.push(BUCKETS);
            let mut from = 0;
            let shares = cuts
                .iter()
                .map(|&cut| cut - std::mem::replace(&mut from, cut));
            shares.collect::<Vec<u16>>()
        };
        let history: Vec<_> = seeds.into_iter().map(draw).collect();
        let table = history
            .iter()
            .fold(BucketTable::whole(0), |table, weights| {
                rebalance(&table, weights).unwrap()
            });
        (table, history.last().unwrap().clone())
    })
}

/// How far a count may be from its expectation: so many standard deviations of a binomial count, and two for its
/// rounding. Beyond 6 sigma lies 2 in 10^9; the counts of a few thousand arms never come near by chance.
fn bound(users: u32, share: f64) -> f64 {
    let deviation = (f64::from(users) * share * (1.0 - share)).sqrt();
    BINOMIAL_SIGMAS * deviation + 2.0
}

fn arms(weights: &[u16], table: BucketTable) -> RolloutConfig {
    let mut it = rollout("ml/fraud", "fraud");
    let names = (0..weights.len()).map(|arm| format!("arm-{arm}"));
    it.variants = names
        .map(|name| crate::testing::variant(&name, name == "arm-0"))
        .collect();
    it.table = table;
    it
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn users_are_split_by_the_weights((runs, weights) in weights(), salt in "[a-z]{1,8}") {
        const USERS: u32 = 10_000;
        let mut it = arms(&weights, runs);
        it.salt = salt;
        let table = table(vec![it]);
        let mut counts = vec![0_u32; weights.len()];
        for user in 0..USERS {
            let request = Fake::to("fraud").with("x-user-id", format!("user-{user}"));
            counts[decide(&table, &request).unwrap().variant] += 1;
        }
        for (&count, &weight) in counts.iter().zip(&weights) {
            let share = f64::from(weight) / f64::from(BUCKETS);
            let off = (f64::from(count) - f64::from(USERS) * share).abs();
            prop_assert!(off <= bound(USERS, share), "{} of {} at {}: {:?}", count, USERS, share, weights);
        }
    }

    #[test]
    fn requests_without_a_key_are_split_by_the_weights((runs, weights) in weights(), seed: u64) {
        const REQUESTS: u32 = 10_000;
        let table = table(vec![arms(&weights, runs)]);
        let mut random = SplitMix64::new(seed);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..REQUESTS {
            let request = Fake::to("fraud").drawing(&[random.draw()]);
            counts[decide(&table, &request).unwrap().variant] += 1;
        }
        for (&count, &weight) in counts.iter().zip(&weights) {
            let share = f64::from(weight) / f64::from(BUCKETS);
            let off = (f64::from(count) - f64::from(REQUESTS) * share).abs();
            prop_assert!(off <= bound(REQUESTS, share), "{} of {} at {}", count, REQUESTS, share);
        }
    }

    #[test]
    fn the_share_of_copies_is_the_sample(sample in 0..=BUCKETS, seed: u64) {
        const REQUESTS: u32 = 10_000;
        let table = rollout_accepted(|it| {
            it.shadow = Some(ShadowConfig { cluster: "shadow".to_owned(), sample });
        });
        let mut random = SplitMix64::new(seed);
        let copied = (0..REQUESTS).filter(|_| {
            let request = Fake::to("fraud").with("x-user-id", "42").drawing(&[random.draw()]);
            decide(&table, &request).unwrap().shadow
        });
        let (count, share) = (copied.count() as f64, f64::from(sample) / f64::from(BUCKETS));
        let off = (count - f64::from(REQUESTS) * share).abs();
        prop_assert!(off <= bound(REQUESTS, share), "{} of {} at {}", count, REQUESTS, share);
    }

    #[test]
    fn a_user_keeps_the_bucket_whatever_else_is_in_the_table(
        others in prop::collection::btree_set("[a-z]{1,3}", 0..24),
        at: prop::sample::Index,
        key in vec(any::<u8>(), 1..64),
        generation in 1_u64..,
    ) {
        let mine = rollout("ml/fraud", "fraud");
        let request = || Fake::to("fraud").with("x-user-id", &key);
        let alone = decide(&table(vec![mine.clone()]), &request()).unwrap();
        let mut rollouts: Vec<_> = others
            .iter()
            .map(|name| below(&format!("ml/other-{name}"), "fraud", &format!("/{name}")))
            .collect();
        let position = at.index(rollouts.len() + 1);
        rollouts.insert(position, mine);
        let config = crate::config::FilterConfig {
            generation,
            ..crate::testing::config(rollouts)
        };
        let among = crate::table::RoutingTable::new(config).unwrap();
        let found = decide(&among, &request()).unwrap();
        prop_assert_eq!(found, crate::route::Decision { rollout: position, ..alone });
    }

    #[test]
    fn raising_one_weight_moves_users_to_that_arm_only((runs, weights) in weights(), by in 1_u16.., users: u64) {
        let grow = by.min(weights[0]);
        let mut next = weights.clone();
        next[0] -= grow;
        next[1] += grow;
        let after = rebalance(&runs, &next).unwrap();
        let (before, after) = (table(vec![arms(&weights, runs)]), table(vec![arms(&weights, after)]));
        let mut random = SplitMix64::new(users);
        for _ in 0..500 {
            let user = random.draw().to_string();
            let request = Fake::to("fraud").with("x-user-id", user);
            let (old, new) = (decide(&before, &request).unwrap(), decide(&after, &request).unwrap());
            prop_assert_eq!(old.bucket, new.bucket);
            let moved = (old.variant, new.variant);
            prop_assert!(moved.0 == moved.1 || moved == (0, 1), "{:?}", moved);
        }
    }
}

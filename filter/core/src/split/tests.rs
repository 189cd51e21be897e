use proptest::prelude::*;

use super::{BUCKETS, BucketTable, GROUPS, SplitError, bucket, group, rebalance};

fn table(runs: &[(u16, u8)]) -> BucketTable {
    BucketTable::new(runs.to_vec()).unwrap()
}

fn moved(before: &BucketTable, after: &BucketTable) -> usize {
    (0..BUCKETS)
        .filter(|&bucket| before.owner(bucket) != after.owner(bucket))
        .count()
}

fn shares(table: &BucketTable, arms: usize) -> Vec<u16> {
    (0..=u8::MAX)
        .take(arms)
        .map(|variant| table.share(variant))
        .collect()
}

/// Chi-square statistic of counts against equal expectations.
fn chi_square(counts: &[u32]) -> f64 {
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / counts.len() as f64;
    counts
        .iter()
        .map(|&count| (f64::from(count) - expected).powi(2) / expected)
        .sum()
}

/// Weights of `arms` arms that sum to the whole, some of them 0.
fn weights(arms: usize) -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(prop_oneof![1 => Just(0), 4 => 0..=BUCKETS], arms - 1).prop_map(
        |mut cuts| {
            cuts.sort_unstable();
            cuts.push(BUCKETS);
            let mut start = 0;
            cuts.into_iter()
                .map(|cut| cut - std::mem::replace(&mut start, cut))
                .collect()
        },
    )
}

/// A table as history leaves it, and the weights that come next.
fn history() -> impl Strategy<Value = (BucketTable, Vec<u16>)> {
    (2_usize..=5).prop_flat_map(|arms| {
        (prop::collection::vec(weights(arms), 0..6), weights(arms)).prop_map(|(past, next)| {
            let start = BucketTable::whole(0);
            (
                past.iter()
                    .fold(start, |table, weights| rebalance(&table, weights).unwrap()),
                next,
            )
        })
    })
}

#[test]
fn published_vectors_hold() {
    // Computed with Python's xxhash 4.1.0, as the README says how; the table there shows the same.
    let documentation = include_str!("../../README.md");
    let long = "0123456789abcdef".repeat(20);
    for (salt, key, shown, expected) in [
        ("fraud-8", "1".as_bytes(), "`1`", (745, 1)),
        ("fraud-8", b"42", "`42`", (3057, 1)),
        (
            "fraud-8",
            b"alice@example.com",
            "`alice@example.com`",
            (5369, 2),
        ),
        ("fraud-9", b"42", "`42`", (2421, 9)),
        ("café", "zoë".as_bytes(), "`zoë`", (2373, 6)),
        ("fraud-8", b"\xff\xfe", "the bytes `ff fe`", (2074, 11)),
        (
            "fraud-8",
            long.as_bytes(),
            "`0123456789abcdef` 20 times",
            (4787, 13),
        ),
    ] {
        assert_eq!(
            (bucket(salt, key), group(salt, key)),
            expected,
            "{salt} {shown}"
        );
        let (bucket, group) = expected;
        let row = format!("| `{salt}` | {shown} | {bucket} | {group} |");
        assert!(documentation.contains(&row), "the README lacks {row}");
    }
}

#[test]
fn buckets_are_uniform() {
    // 200 000 numbered users; 99.99 % of uniform hashes stay below 10 536 at 9 999 degrees of freedom.
    let mut counts = vec![0; usize::from(BUCKETS)];
    for user in 0..200_000 {
        counts[usize::from(bucket("fraud-8", format!("user-{user}").as_bytes()))] += 1;
    }
    let statistic = chi_square(&counts);
    assert!(
        (9_480.0..10_536.0).contains(&statistic),
        "chi-square {statistic} at 9999 degrees of freedom"
    );
}

#[test]
fn group_says_nothing_about_the_bucket() {
    // 20 slices of buckets by 16 groups; the 0.01 % and 99.99 % quantiles at 319 degrees of freedom are 231 and 421.
    let groups = usize::from(GROUPS);
    let mut counts = vec![0; 20 * groups];
    for user in 0..200_000 {
        let key = format!("user-{user}");
        let slice = usize::from(bucket("fraud-8", key.as_bytes()) / 500);
        counts[slice * groups + usize::from(group("fraud-8", key.as_bytes()))] += 1;
    }
    let statistic = chi_square(&counts);
    assert!(
        (231.0..421.0).contains(&statistic),
        "chi-square {statistic} at 319 degrees of freedom"
    );
}

#[test]
fn another_salt_draws_other_users() {
    let users = (0..100_000).map(|user| format!("user-{user}"));
    let in_both = users.filter(|key| {
        bucket("fraud-8", key.as_bytes()) < 1_000 && bucket("fraud-9", key.as_bytes()) < 1_000
    });
    // Independent draws at 10 % each: 1 000 expected, standard deviation 31.
    let count = in_both.count();
    assert!(
        (876..1_124).contains(&count),
        "{count} users fell into the first tenth of both"
    );
}

#[test]
fn owner_is_the_first_run_that_ends_beyond_the_bucket() {
    let table = table(&[(9_500, 0), (BUCKETS, 1)]);
    assert_eq!(table.owner(0), 0);
    assert_eq!(table.owner(9_499), 0);
    assert_eq!(table.owner(9_500), 1);
    assert_eq!(table.owner(9_999), 1);
    assert_eq!(shares(&table, 3), [9_500, 500, 0]);
}

#[test]
fn runs_must_rise_and_end_at_the_last_bucket() {
    assert_eq!(BucketTable::new(vec![]), Err(SplitError::WrongEnd(0)));
    assert_eq!(
        BucketTable::new(vec![(9_999, 0)]),
        Err(SplitError::WrongEnd(9_999))
    );
    assert_eq!(
        BucketTable::new(vec![(BUCKETS, 0), (10_001, 1)]),
        Err(SplitError::WrongEnd(10_001))
    );
    let flat = BucketTable::new(vec![(500, 0), (500, 1), (BUCKETS, 0)]);
    assert_eq!(
        flat,
        Err(SplitError::NotRising {
            run: 1,
            upto: 500,
            reached: 500
        })
    );
    assert_eq!(
        BucketTable::new(vec![(0, 0)]),
        Err(SplitError::NotRising {
            run: 0,
            upto: 0,
            reached: 0
        })
    );
}

#[test]
fn neighbouring_runs_of_one_variant_are_joined() {
    assert_eq!(
        table(&[(10, 0), (20, 0), (BUCKETS, 1)]),
        table(&[(20, 0), (BUCKETS, 1)])
    );
}

#[test]
fn json_is_a_list_of_pairs() {
    let table = table(&[(9_900, 0), (BUCKETS, 1)]);
    let json = serde_json::to_string(&table).unwrap();
    assert_eq!(json, "[[9900,0],[10000,1]]");
    assert_eq!(serde_json::from_str::<BucketTable>(&json).unwrap(), table);
    let refused = serde_json::from_str::<BucketTable>("[[9900,0]]")
        .unwrap_err()
        .to_string();
    assert!(refused.contains("must end at 10000"), "{refused}");
}

#[test]
fn canary_grows_and_shrinks_at_the_top_of_the_range() {
    let mut table = BucketTable::whole(0);
    for canary in [100, 500, 2_500, 500, 5_000, BUCKETS, 9_999, 0, 1] {
        table = rebalance(&table, &[BUCKETS - canary, canary]).unwrap();
        let runs: Vec<_> = [(BUCKETS - canary, 0), (BUCKETS, 1)]
            .into_iter()
            .filter(
                |&(upto, variant)| {
                    if variant == 0 { upto > 0 } else { canary > 0 }
                },
            )
            .collect();
        assert_eq!(table.runs(), runs);
    }
}

#[test]
fn weights_must_be_shares_of_the_whole() {
    let whole = BucketTable::whole(0);
    assert_eq!(
        rebalance(&whole, &[9_000, 999]),
        Err(SplitError::WrongSum(9_999))
    );
    assert_eq!(rebalance(&whole, &[]), Err(SplitError::WrongSum(0)));
    assert_eq!(
        rebalance(&whole, &[u16::MAX; 256]),
        Err(SplitError::WrongSum(16_776_960))
    );
    assert_eq!(
        rebalance(&whole, &[0; 257]),
        Err(SplitError::TooManyWeights(257))
    );
}

#[test]
fn arm_that_owns_buckets_needs_a_weight() {
    let refused = rebalance(&BucketTable::whole(2), &[5_000, 5_000]);
    assert_eq!(
        refused,
        Err(SplitError::NoSuchVariant {
            variant: 2,
            variants: 2
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn shares_become_the_weights_and_no_bucket_moves_in_vain((before, weights) in history()) {
        let after = rebalance(&before, &weights).unwrap();
        prop_assert_eq!(&shares(&after, weights.len()), &weights);
        let least: u16 = shares(&before, weights.len())
            .iter()
            .zip(&weights)
            .map(|(&share, &weight)| weight.saturating_sub(share))
            .sum();
        prop_assert_eq!(moved(&before, &after), usize::from(least));
    }

    #[test]
    fn arm_that_does_not_grow_receives_nobody_and_one_that_does_not_shrink_keeps_its_own(
        (before, weights) in history()
    ) {
        let after = rebalance(&before, &weights).unwrap();
        for bucket in 0..BUCKETS {
            let (old, new) = (before.owner(bucket), after.owner(bucket));
            if old != new {
                prop_assert!(before.share(new) < weights[usize::from(new)], "arm {} received without growing", new);
                prop_assert!(before.share(old) > weights[usize::from(old)], "arm {} gave without shrinking", old);
            }
        }
    }

    #[test]
    fn growth_of_one_arm_against_stable_moves_nobody_else((before, _) in history(), by in 0..=BUCKETS) {
        let mut weights = shares(&before, 5);
        let grow = by.min(weights[0]);
        weights[0] -= grow;
        weights[1] += grow;
        let after = rebalance(&before, &weights).unwrap();
        for bucket in 0..BUCKETS {
            let change = (before.owner(bucket), after.owner(bucket));
            prop_assert!(change.0 == change.1 || change == (0, 1), "bucket {} moved {:?}", bucket, change);
        }
    }

    #[test]
    fn same_weights_change_nothing((before, weights) in history()) {
        let after = rebalance(&before, &weights).unwrap();
        prop_assert_eq!(&rebalance(&before, &weights).unwrap(), &after);
        prop_assert_eq!(&rebalance(&after, &weights).unwrap(), &after);
    }

    #[test]
    fn two_arms_stay_in_two_runs(start in 0_u8..2, canaries in prop::collection::vec(0..=BUCKETS, 1..12)) {
        let mut table = BucketTable::whole(start);
        for canary in canaries {
            table = rebalance(&table, &[BUCKETS - canary, canary]).unwrap();
            prop_assert!(table.runs().len() <= 2, "{:?}", table);
            prop_assert!(table.owner(0) == 0 || canary == BUCKETS, "stable left the bottom: {:?}", table);
        }
    }

    #[test]
    fn any_table_survives_json((table, _) in history()) {
        let json = serde_json::to_string(&table).unwrap();
        prop_assert_eq!(serde_json::from_str::<BucketTable>(&json).unwrap(), table);
    }
}

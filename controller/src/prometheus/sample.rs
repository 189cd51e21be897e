//! From rows to counts. Pure.

use std::collections::{BTreeMap, HashMap};

use serin_filter_core::split::GROUPS;
use serin_filter_core::stat;

use super::Row;
use super::query::{CLASS, CLUSTER};
use crate::observation::{ArmCounts, GROUP_COUNT, Grouped, Proxy, Tally};
use crate::rollout::GuardWindow;

/// By rollout and version, for a variant's name may serve another version in the next release.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByVersion<T>(HashMap<String, HashMap<String, T>>);

impl<T> Default for ByVersion<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Default> ByVersion<T> {
    fn get(&self, rollout: &str, version: &str) -> Option<&T> {
        self.0.get(rollout)?.get(version)
    }

    fn of_row(&mut self, row: &Row<'_>) -> Option<&mut T> {
        let rollout = entry(&mut self.0, label(row, stat::ROLLOUT))?;
        entry(rollout, label(row, stat::VERSION))
    }
}

/// Always there. Nearly all are already: a name is copied when it is seen first, which the map's own entry cannot.
fn entry<'m, T: Default>(map: &'m mut HashMap<String, T>, name: &str) -> Option<&'m mut T> {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), T::default());
    }
    map.get_mut(name)
}

/// Counts of one interval by rollout and version, made of the rows of a cell's query. Rows of the same version and group
/// add up, in whatever encodings their proxies count. Rows with labels that no proxy of ours writes are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutCounts(ByVersion<ArmCounts>);

impl RolloutCounts {
    /// Counts of one version; zero when it had none.
    #[must_use]
    pub fn of(&self, rollout: &str, version: &str) -> ArmCounts {
        let mut arm = self.0.get(rollout, version).cloned().unwrap_or_default();
        // A request counts in both counters at one scrape, but a reset between two scrapes of one cell can lose more
        // of the total than of the bad ones; bad ones then stand for themselves.
        arm.requests
            .tallies()
            .for_each(|tally| tally.total = tally.total.max(tally.bad));
        arm
    }

    /// Counts a row.
    pub fn add(&mut self, row: &Row<'_>) {
        let Some((count, arm)) = whole(row).zip(self.0.of_row(row)) else {
            return;
        };
        match row.label("counter") {
            stat::SPLIT_TOTAL => with_tally(arm, row, |tally| tally.total += count),
            stat::SPLIT_BAD_TOTAL => with_tally(arm, row, |tally| tally.bad += count),
            stat::SPLIT_FUSED_TOTAL => {
                let fused = group(row).and_then(|group| arm.fused.get_mut(group));
                fused.into_iter().for_each(|fused| *fused += count);
            }
            stat::SPLIT_SLOW_TOTAL => {
                let name = label(row, stat::METRIC).to_owned();
                let slow = arm.slow.entry(name).or_insert([0; GROUP_COUNT + 1]);
                let slow = group(row).and_then(|group| slow.get_mut(group));
                slow.into_iter().for_each(|slow| *slow += count);
            }
            stat::FUSE_TRIPS_TOTAL => arm.fuse_trips += count,
            stat::SAMPLED_TOTAL => arm.sampled += count,
            stat::MISROUTED_TOTAL => arm.misrouted += count,
            _ => {}
        }
    }
}

impl<'r, 'a: 'r> FromIterator<&'r Row<'a>> for RolloutCounts {
    fn from_iter<I: IntoIterator<Item = &'r Row<'a>>>(rows: I) -> Self {
        let mut counts = Self::default();
        rows.into_iter().for_each(|row| counts.add(row));
        counts
    }
}

/// What a guard needs of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Guarded {
    requests: Tally,
    /// Groups with a bad request, as bits.
    bad_groups: u32,
    /// Bad requests without a key.
    ungrouped: u64,
}

/// Counts of a guard's window by rollout and version, made of the rows of its query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardCounts(ByVersion<Guarded>);

impl GuardCounts {
    /// Of one version; zero when it had none.
    #[must_use]
    pub fn of(&self, rollout: &str, version: &str) -> GuardWindow {
        let found = self.0.get(rollout, version).copied().unwrap_or_default();
        let Tally { total, bad } = found.requests;
        GuardWindow {
            canary: Tally {
                total: total.max(bad),
                bad,
            },
            bad_sources: u64::from(found.bad_groups.count_ones()) + found.ungrouped,
        }
    }

    /// Counts a row.
    pub fn add(&mut self, row: &Row<'_>) {
        let count = whole(row).filter(|count| *count > 0);
        let Some((count, found)) = count.zip(self.0.of_row(row)) else {
            return;
        };
        match row.label("counter") {
            stat::SPLIT_TOTAL => found.requests.total += count,
            stat::SPLIT_BAD_TOTAL => {
                let Some(group) = group(row) else { return };
                found.requests.bad += count;
                if group < usize::from(GROUPS) {
                    found.bad_groups |= 1 << group;
                } else {
                    found.ungrouped += count;
                }
            }
            _ => {}
        }
    }
}

impl<'r, 'a: 'r> FromIterator<&'r Row<'a>> for GuardCounts {
    fn from_iter<I: IntoIterator<Item = &'r Row<'a>>>(rows: I) -> Self {
        let mut counts = Self::default();
        rows.into_iter().for_each(|row| counts.add(row));
        counts
    }
}

/// A label of ours, wherever the proxy's encoding has put it.
fn label<'r>(row: &'r Row<'_>, name: &str) -> &'r str {
    match row.label(name) {
        "" => {
            let mut packed = stat::unpack(row.label(stat::PACKED));
            packed
                .find(|(label, _)| *label == name)
                .map_or("", |(_, value)| value)
        }
        value => value,
    }
}

/// Position of the row's group; that of requests without a key comes after the others.
fn group(row: &Row<'_>) -> Option<usize> {
    let last = usize::from(GROUPS);
    match label(row, stat::GROUP) {
        stat::GROUP_NONE => Some(last),
        group => group.parse().ok().filter(|group| *group < last),
    }
}

fn with_tally(arm: &mut ArmCounts, row: &Row<'_>, add: impl FnOnce(&mut Tally)) {
    if let Some(group) = group(row) {
        let Grouped { groups, ungrouped } = &mut arm.requests;
        add(groups.get_mut(group).unwrap_or(ungrouped));
    }
}

/// Counters of Envoy are integers, so are their differences.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number below 2^53"
)]
fn whole(row: &Row<'_>) -> Option<u64> {
    row.number()
        .filter(|value| (0.0..9e15).contains(value))
        .map(|value| value.round() as u64)
}

/// Counts by the value of one label, such as a version or a cluster.
pub type Tallies = HashMap<String, Tally>;

/// Reads the rows of the query for somebody else's counters: events by version.
#[must_use]
pub fn custom(rows: &[Row<'_>], version_label: &str) -> Tallies {
    let mut found = Tallies::new();
    for row in rows {
        let Some(count) = whole(row) else { continue };
        let tally = found
            .entry(row.label(version_label).to_owned())
            .or_default();
        match row.label("counter") {
            "bad" => tally.bad += count,
            _ => tally.total += count,
        }
    }
    // Bad events without a total of their own, such as those of a counter that was born later, are events as well.
    let tallies = found.values_mut();
    tallies.for_each(|tally| tally.total = tally.total.max(tally.bad));
    found
}

/// The label of Envoy's, under whichever of its names.
fn of_envoy<'r>(row: &'r Row<'_>, names: [&str; 2]) -> &'r str {
    let found = names.map(|name| row.label(name));
    found
        .into_iter()
        .find(|value| !value.is_empty())
        .unwrap_or("")
}

/// Reads the rows of the query for the answers that clusters gave: requests by cluster, bad are 5xx.
#[must_use]
pub fn answers(rows: &[Row<'_>]) -> Tallies {
    let mut found = Tallies::new();
    for row in rows {
        let (cluster, class) = (of_envoy(row, CLUSTER), of_envoy(row, CLASS));
        // Without a class it is a status by itself, which its class counts already.
        let Some(count) = whole(row).filter(|_| !class.is_empty()) else {
            continue;
        };
        let tally = found.entry(cluster.to_owned()).or_default();
        tally.total += count;
        tally.bad += if class.starts_with('5') { count } else { 0 };
    }
    found
}

/// Reads the rows of the query for ready endpoints, by cluster.
#[must_use]
pub fn ready(rows: &[Row<'_>]) -> HashMap<String, u64> {
    let count = |row: &Row<'_>| Some((of_envoy(row, CLUSTER).to_owned(), whole(row)?));
    rows.iter().filter_map(count).collect()
}

/// Label of a scrape target with the namespace of its pod, as the Prometheus operator writes it.
const NAMESPACE: &str = "namespace";

/// Reads the rows of the proxies' query; `target` is the label `instance`.
#[must_use]
pub fn proxies(rows: &[Row<'_>]) -> Vec<Proxy> {
    let mut found: BTreeMap<&str, Proxy> = BTreeMap::new();
    for row in rows {
        let target = row.label("instance");
        let empty = || Proxy {
            target: target.to_owned(),
            namespace: Some(row.label(NAMESPACE).to_owned()).filter(|it| !it.is_empty()),
            up: false,
            generation: None,
            invalid: false,
        };
        let proxy = found.entry(target).or_insert_with(empty);
        match row.label("__name__") {
            "up" => proxy.up = row.number() == Some(1.0),
            stat::CONFIG_GENERATION => proxy.generation = whole(row),
            stat::CONFIG_INVALID => proxy.invalid = row.number().is_some_and(|value| value != 0.0),
            _ => {}
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Source;

    fn row<'a>(labels: &[(&'a str, &'a str)], value: &'a str) -> Row<'a> {
        Row::new(labels.iter().copied(), value)
    }

    fn counts(rows: &[Row<'_>]) -> RolloutCounts {
        rows.iter().collect()
    }

    #[test]
    fn a_guard_counts_groups_with_bad_requests_in_whatever_encoding() {
        let of = [(stat::ROLLOUT, "ml/fraud"), (stat::VERSION, "8")];
        let total = [&of[..], &[("counter", stat::SPLIT_TOTAL)]].concat();
        let bad = |group| {
            let labels = [("counter", stat::SPLIT_BAD_TOTAL), (stat::GROUP, group)];
            [&of[..], &labels].concat()
        };
        let packed = "serin_rollout:ml/fraud,serin_version:8,serin_group:3";
        let of_others = |counter| [("counter", counter), (stat::PACKED, packed)];
        let counts: GuardCounts = [
            row(&total, "40"),
            row(&bad("3"), "2"),
            row(&bad("5"), "1"),
            row(&bad("6"), "0"),
            row(&bad("none"), "4"),
            row(&of_others(stat::SPLIT_TOTAL), "10"),
            row(&of_others(stat::SPLIT_BAD_TOTAL), "1"),
            row(&bad("99"), "7"),
        ]
        .iter()
        .collect();
        let found = counts.of("ml/fraud", "8");
        assert_eq!(found.canary, Tally { total: 50, bad: 8 });
        // Two groups, and each of those without a key on its own.
        assert_eq!(found.bad_sources, 2 + 4);
        assert_eq!(counts.of("ml/fraud", "7"), GuardWindow::default());
        let lost: GuardCounts = [row(&bad("3"), "2")].iter().collect();
        assert_eq!(lost.of("ml/fraud", "8").canary, Tally { total: 2, bad: 2 });
    }

    #[test]
    fn rows_become_counts_by_version_and_group() {
        let base = |counter, version, group| {
            [
                ("counter", counter),
                (stat::ROLLOUT, "ml/fraud"),
                (stat::VARIANT, "x"),
                (stat::VERSION, version),
                (stat::GROUP, group),
            ]
        };
        let counts = counts(&[
            row(&base(stat::SPLIT_TOTAL, "8", "3"), "40"),
            row(&base(stat::SPLIT_BAD_TOTAL, "8", "3"), "2"),
            row(&base(stat::SPLIT_TOTAL, "8", "none"), "7"),
            row(&base(stat::SPLIT_TOTAL, "7", "3"), "400"),
            row(&base(stat::MISROUTED_TOTAL, "8", ""), "1"),
            row(&base(stat::SPLIT_FUSED_TOTAL, "8", "3"), "11"),
            row(&base(stat::SPLIT_FUSED_TOTAL, "8", "none"), "5"),
            row(&base(stat::FUSE_TRIPS_TOTAL, "8", ""), "2"),
        ]);
        let canary = counts.of("ml/fraud", "8");
        assert_eq!(canary.requests.groups[3], Tally { total: 40, bad: 2 });
        assert_eq!(canary.tally(), Tally { total: 47, bad: 2 });
        assert_eq!(canary.misrouted, 1);
        assert_eq!(
            (canary.fused[3], canary.fused[16], canary.fuse_trips),
            (11, 5, 2)
        );
        assert_eq!(
            canary
                .metric_for_promotion("errors", &Source::Errors)
                .tally(),
            Tally {
                total: 47 + 16,
                bad: 2 + 16
            }
        );
        assert_eq!(counts.of("ml/fraud", "7").tally().total, 400);
        assert_eq!(counts.of("ml/other", "7"), ArmCounts::default());
    }

    #[test]
    fn packed_and_separate_labels_add_up() {
        let packed = |version: &str, group: &str| {
            format!(
                "serin_rollout:ml/fraud,serin_variant:x,serin_version:{version},serin_group:{group}"
            )
        };
        let tag = packed("8:rc1", "3");
        let counts = counts(&[
            row(&[("counter", stat::SPLIT_TOTAL), ("tag", &tag)], "40"),
            row(&[("counter", stat::SPLIT_BAD_TOTAL), ("tag", &tag)], "2"),
            row(
                &[
                    ("counter", stat::SPLIT_TOTAL),
                    (stat::ROLLOUT, "ml/fraud"),
                    (stat::VERSION, "8:rc1"),
                    (stat::GROUP, "3"),
                ],
                "5",
            ),
            row(
                &[
                    ("counter", stat::SPLIT_TOTAL),
                    ("tag", &packed("8:rc1", "none")),
                ],
                "1",
            ),
            // The scrape's own label of this name.
            row(&[("counter", stat::SPLIT_TOTAL), ("tag", "blue")], "1000"),
        ]);
        let canary = counts.of("ml/fraud", "8:rc1");
        assert_eq!(canary.requests.groups[3], Tally { total: 45, bad: 2 });
        assert_eq!(canary.requests.ungrouped, Tally { total: 1, bad: 0 });
        assert_eq!(canary.tally().total, 46);
    }

    #[test]
    fn strange_rows_change_nothing() {
        let labels = [
            ("counter", stat::SPLIT_TOTAL),
            (stat::ROLLOUT, "a/b"),
            (stat::VERSION, "1"),
            (stat::GROUP, "99"),
        ];
        assert_eq!(
            counts(&[row(&labels, "5")]).of("a/b", "1"),
            ArmCounts::default()
        );
        let labels = [
            ("counter", stat::SPLIT_TOTAL),
            (stat::ROLLOUT, "a/b"),
            (stat::VERSION, "1"),
            (stat::GROUP, "2"),
        ];
        assert_eq!(
            counts(&[row(&labels, "NaN")]).of("a/b", "1"),
            ArmCounts::default()
        );
    }

    #[test]
    fn numbers_that_are_no_counts_are_no_events() {
        for value in ["NaN", "+Inf", "-Inf", "-3", "1e300", ""] {
            let labels = |counter| {
                [
                    ("counter", counter),
                    (stat::ROLLOUT, "a/b"),
                    (stat::VERSION, "1"),
                    (stat::GROUP, "2"),
                ]
            };
            let found = counts(&[
                row(&labels(stat::SPLIT_TOTAL), value),
                row(&labels(stat::SPLIT_BAD_TOTAL), value),
            ]);
            assert_eq!(found.of("a/b", "1"), ArmCounts::default(), "{value}");
            let custom = custom(
                &[row(&[("counter", "total"), ("version", "1")], value)],
                "version",
            );
            assert!(custom.values().all(|it| *it == Tally::default()), "{value}");
            assert!(
                ready(&[row(&[(CLUSTER[0], "c")], value)])
                    .values()
                    .all(|it| *it == 0),
                "{value}"
            );
        }
    }

    #[test]
    fn answers_of_clusters_are_read_as_envoy_and_as_istio_name_them() {
        let rows = [
            row(&[(CLUSTER[0], "a"), (CLASS[0], "2")], "5"),
            row(&[(CLUSTER[0], "a"), (CLASS[0], "5")], "2"),
            row(&[(CLUSTER[0], "a")], "7"),
            row(&[(CLUSTER[1], "b"), (CLASS[1], "2xx")], "3"),
            row(&[(CLUSTER[1], "b"), (CLASS[1], "5xx")], "1"),
        ];
        let found = answers(&rows);
        assert_eq!(found["a"], Tally { total: 7, bad: 2 });
        assert_eq!(found["b"], Tally { total: 4, bad: 1 });
        assert_eq!(found.len(), 2);
        let rows = [row(&[(CLUSTER[1], "b")], "3")];
        assert_eq!(ready(&rows)["b"], 3);
    }

    #[test]
    fn an_empty_answer_is_no_request() {
        assert_eq!(counts(&[]).of("a/b", "1"), ArmCounts::default());
        assert!(
            custom(&[], "version").is_empty() && answers(&[]).is_empty() && ready(&[]).is_empty()
        );
        assert_eq!(proxies(&[]), []);
    }

    #[test]
    fn several_series_of_one_version_add_up() {
        let labels = |pod| {
            [
                ("counter", stat::SPLIT_TOTAL),
                (stat::ROLLOUT, "a/b"),
                (stat::VERSION, "1"),
                (stat::GROUP, "2"),
                ("pod", pod),
            ]
        };
        let found = counts(&[row(&labels("x"), "5"), row(&labels("y"), "7")]);
        assert_eq!(found.of("a/b", "1").tally().total, 12);
    }

    #[test]
    fn a_reset_that_lost_more_of_the_total_leaves_no_share_above_one() {
        let labels = |counter| {
            [
                ("counter", counter),
                (stat::ROLLOUT, "a/b"),
                (stat::VERSION, "1"),
                (stat::GROUP, "2"),
            ]
        };
        let found = counts(&[
            row(&labels(stat::SPLIT_TOTAL), "3"),
            row(&labels(stat::SPLIT_BAD_TOTAL), "5"),
        ]);
        assert_eq!(found.of("a/b", "1").tally(), Tally { total: 5, bad: 5 });
        let other = custom(
            &[row(&[("counter", "bad"), ("version", "1")], "4")],
            "version",
        );
        assert_eq!(other["1"], Tally { total: 4, bad: 4 });
    }

    #[test]
    fn a_proxy_without_our_gauge_has_no_generation() {
        let found = proxies(&[
            row(&[("__name__", "up"), ("instance", "a")], "1"),
            row(
                &[("__name__", stat::CONFIG_GENERATION), ("instance", "a")],
                "12",
            ),
            row(&[("__name__", "up"), ("instance", "b")], "0"),
        ]);
        assert_eq!(
            found[0],
            Proxy {
                target: "a".to_owned(),
                namespace: None,
                up: true,
                generation: Some(12),
                invalid: false
            }
        );
        assert_eq!(
            found[1],
            Proxy {
                target: "b".to_owned(),
                namespace: None,
                up: false,
                generation: None,
                invalid: false
            }
        );
    }
}

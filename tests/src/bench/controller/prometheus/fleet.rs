//! What Prometheus says of a fleet of proxies that serve thousands of rollouts: all are well but those that a bench has
//! turned bad.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serin_controller::prometheus::{Selectors, cell_query, guard_query, proxies_query};
use serin_controller::validate::slow_label;
use serin_filter_core::split::GROUPS;
use serin_filter_core::stat;

use crate::bench::controller::population::{CANARY, GUARD, Member, SLOW, STABLE, WEIGHT};
use crate::bench::controller::seen::Seen;

/// Stands for the rollout in rows that all have alike.
const ROLLOUT: &str = "@";
/// Requests of each hash group: of the new version in a guard's window. All others follow from the weight and the time.
const REQUESTS: u64 = 2;
/// Proxies of each namespace.
const PROXIES: usize = 4;

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interval {
    /// A guard's window.
    Window,
    /// A cell, twice as long.
    Cell,
}

/// Rows of one rollout in an interval, well and turned bad.
#[derive(Debug)]
struct Rows {
    well: String,
    bad: String,
}

impl Rows {
    fn of(interval: Interval) -> Rows {
        Rows {
            well: rows(interval, false).join(","),
            bad: rows(interval, true).join(","),
        }
    }
}

/// A release that was turned bad.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Since when Prometheus would have said so.
    pub turned: Instant,
    /// When it first did.
    pub told: Option<Instant>,
}

/// Answers to Serin's queries.
#[derive(Debug)]
pub struct Fleet {
    queries: [String; 3],
    window: Rows,
    cell: Rows,
    progressing: Vec<String>,
    namespaces: Vec<String>,
    seen: Seen,
    faults: Mutex<HashMap<String, Fault>>,
}

impl Fleet {
    /// Of these rollouts, whose proxies run what the plugin objects say.
    #[must_use]
    pub fn new(members: &[Member], cell: Duration, seen: &Seen) -> Fleet {
        let selectors = Selectors::default();
        let mut namespaces: Vec<_> = members.iter().map(|it| it.namespace.clone()).collect();
        namespaces.sort();
        namespaces.dedup();
        let progressing = members.iter().filter(|it| it.progressing);
        Fleet {
            queries: [
                guard_query(&selectors, GUARD),
                cell_query(&selectors, cell),
                proxies_query(&selectors),
            ],
            window: Rows::of(Interval::Window),
            cell: Rows::of(Interval::Cell),
            progressing: progressing.map(Member::id).collect(),
            namespaces,
            seen: seen.clone(),
            faults: Mutex::default(),
        }
    }

    fn faults(&self) -> MutexGuard<'_, HashMap<String, Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on every request of the new version fails.
    pub fn turn_bad(&self, rollouts: &[String]) {
        let fault = Fault {
            turned: Instant::now(),
            told: None,
        };
        let mut faults = self.faults();
        for rollout in rollouts {
            faults.insert(rollout.clone(), fault);
        }
    }

    /// What became of a release that was turned bad.
    #[must_use]
    pub fn fault(&self, rollout: &str) -> Option<Fault> {
        self.faults().get(rollout).copied()
    }

    /// The rows of a query's answer.
    #[must_use]
    pub fn answer(&self, query: &str) -> Option<String> {
        let [guard, cell, proxies] = &self.queries;
        if query == guard {
            let answer = self.counters(&self.window);
            let now = Instant::now();
            for fault in self.faults().values_mut() {
                fault.told.get_or_insert(now);
            }
            return Some(answer);
        }
        if query == cell {
            return Some(self.counters(&self.cell));
        }
        (query == proxies).then(|| self.proxies())
    }

    /// How many rows the answers have: a guard's window, a cell, the proxies.
    #[must_use]
    pub fn sizes(&self) -> [usize; 3] {
        let rollouts = self.progressing.len();
        [
            rollouts * rows(Interval::Window, false).len(),
            rollouts * rows(Interval::Cell, false).len(),
            self.namespaces.len() * PROXIES * 3,
        ]
    }

    fn counters(&self, rows: &Rows) -> String {
        let faults = self.faults();
        let of = |rollout: &String| {
            let rows = if faults.contains_key(rollout) {
                &rows.bad
            } else {
                &rows.well
            };
            rows.replace(ROLLOUT, rollout)
        };
        let rollouts: Vec<_> = self.progressing.iter().map(of).collect();
        rollouts.join(",")
    }

    fn proxies(&self) -> String {
        let mut rows = Vec::new();
        for namespace in &self.namespaces {
            let generation = self.seen.generation(namespace).unwrap_or(0);
            for number in 0..PROXIES {
                let instance = format!("{namespace}-{number}:15020");
                let values = [
                    ("up", 1),
                    (stat::CONFIG_GENERATION, generation),
                    (stat::CONFIG_INVALID, 0),
                ];
                for (name, value) in values {
                    let labels = [
                        ("__name__", name),
                        ("job", "envoy"),
                        ("instance", &instance),
                        ("namespace", namespace),
                    ];
                    rows.push(row(&labels, value));
                }
            }
        }
        rows.join(",")
    }
}

/// All rows of one rollout in an interval. What did not happen has no row, and a guard's window has one for the requests of
/// all groups.
fn rows(interval: Interval, bad: bool) -> Vec<String> {
    let mut found = Vec::new();
    let slow = slow_label(SLOW.0, SLOW.1);
    for (variant, version) in [STABLE, CANARY] {
        let is_canary = version == CANARY.1;
        let times = if interval == Interval::Cell { 2 } else { 1 };
        let canary = REQUESTS * times;
        let total = if is_canary {
            canary
        } else {
            canary * u64::from(100 - WEIGHT) / u64::from(WEIGHT)
        };
        // A label without a value is no label.
        let of_all = |counter| counter_labels(counter, variant, version, "");
        match interval {
            Interval::Window => {
                let all = total * u64::from(GROUPS);
                found.push(row(&of_all(stat::SPLIT_TOTAL)[..4], all));
            }
            // One request in 64.
            Interval::Cell => found.push(row(&of_all(stat::SAMPLED_TOTAL)[..4], 1)),
        }
        for group in 0..GROUPS {
            let failed = match (is_canary, group) {
                (true, _) if bad => total,
                (false, 0 | 8) => 1,
                _ => 0,
            };
            let group = group.to_string();
            let labels = |counter| counter_labels(counter, variant, version, &group);
            if failed > 0 {
                found.push(row(&labels(stat::SPLIT_BAD_TOTAL), failed));
            }
            if interval == Interval::Cell {
                found.push(row(&labels(stat::SPLIT_TOTAL), total));
                if !is_canary {
                    let mut labels = labels(stat::SPLIT_SLOW_TOTAL).to_vec();
                    labels.push((stat::METRIC, &slow));
                    found.push(row(&labels, 1));
                }
            }
        }
    }
    found
}

fn counter_labels<'a>(
    counter: &'a str,
    variant: &'a str,
    version: &'a str,
    group: &'a str,
) -> [(&'a str, &'a str); 5] {
    [
        ("counter", counter),
        (stat::ROLLOUT, ROLLOUT),
        (stat::VARIANT, variant),
        (stat::VERSION, version),
        (stat::GROUP, group),
    ]
}

fn row(labels: &[(&str, &str)], value: u64) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!(r#""{name}":"{value}""#))
        .collect();
    let labels = labels.join(",");
    format!(r#"{{"metric":{{{labels}}},"value":[1700000000.123,"{value}"]}}"#)
}

#[cfg(test)]
mod tests {
    use serin_controller::prometheus::{GuardCounts, RolloutCounts, Row};

    use serde_json::Value;

    use super::*;

    fn read(answer: Option<String>) -> Vec<Row<'static>> {
        let rows: Vec<Value> = serde_json::from_str(&format!("[{}]", answer.unwrap())).unwrap();
        let row = |row: &Value| {
            let labels = row["metric"].as_object().unwrap().iter();
            let labels = labels.map(|(name, it)| (name.clone(), it.as_str().unwrap().to_owned()));
            Row::new(labels, row["value"][1].as_str().unwrap().to_owned())
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn a_release_turned_bad_is_bad_to_the_engine_and_the_others_are_well() {
        let members = [Member::new(0, 2, 2), Member::new(1, 2, 2)];
        let cell = Duration::from_secs(30);
        let fleet = Fleet::new(&members, cell, &Seen::default());
        let [first, second] = [members[0].id(), members[1].id()];
        let window = guard_query(&Selectors::default(), GUARD);
        fleet.turn_bad(std::slice::from_ref(&first));
        assert!(fleet.fault(&first).unwrap().told.is_none());
        let read_window = || read(fleet.answer(&window));
        let counted: GuardCounts = read_window().iter().collect();
        let bad = counted.of(&first, CANARY.1);
        assert_eq!(bad.bad_sources, u64::from(GROUPS));
        let bad = bad.canary;
        assert!(bad.total >= 20 && bad.bad == bad.total, "{bad:?}");
        let well = counted.of(&second, CANARY.1).canary;
        assert_eq!((well.total, well.bad), (bad.total, 0));
        assert!(fleet.fault(&first).unwrap().told.is_some());
        // The split is what the weight says, so that nobody suspects it.
        let stable = counted.of(&second, STABLE.1).canary;
        let all = stable.total + well.total;
        assert_eq!(well.total * 100, all * u64::from(WEIGHT));
        let cell = read(fleet.answer(&cell_query(&Selectors::default(), cell)));
        let counted: RolloutCounts = cell.iter().collect();
        let slow = &counted.of(&second, STABLE.1).slow;
        assert_eq!(slow.values().flatten().sum::<u64>(), 16);
        assert_eq!(fleet.answer("vector(1)"), None);
    }
}

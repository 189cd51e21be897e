//! The queries' texts.

use std::time::Duration;

use serin_filter_core::stat;

use crate::api::PrometheusCounters;

/// How far back a series may have been last scraped and still continue (statistics 7.1 wants at least 15 min).
const LOOKBACK_MINUTES: u64 = 15;

/// Which scrape targets are the proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selectors {
    /// Label matchers of the proxies' scrape targets, such as `job="envoy"`.
    pub proxies: String,
    /// Labels that identify a target.
    pub target_labels: String,
}

impl Default for Selectors {
    fn default() -> Self {
        Self {
            proxies: r#"job="envoy""#.to_owned(),
            target_labels: "job, instance".to_owned(),
        }
    }
}

/// All counts that the judge reads, as exact differences over the interval of length `cell` that ends at the query's
/// time: one row per counter, rollout, variant, version and group, however many proxies there are. Of proxies that pack
/// all labels into one ([`stat::Encoding::Builtin`]) the same rows come with that label alone. What did not happen has no
/// row: with thousands of rollouts that is every other one.
///
/// The birth, reset and gone rules of statistics 7.1: a series that was there before gives its difference; one that
/// fell gives its present value; a new one gives its value if its target was scraped before.
#[must_use]
pub fn cell_query(selectors: &Selectors, cell: Duration) -> String {
    let counters = [
        stat::SPLIT_TOTAL,
        stat::SPLIT_BAD_TOTAL,
        stat::SPLIT_SLOW_TOTAL,
        stat::SPLIT_FUSED_TOTAL,
        stat::FUSE_TRIPS_TOTAL,
        stat::SAMPLED_TOTAL,
        stat::MISROUTED_TOTAL,
    ];
    delta_query(selectors, &counters, &[stat::GROUP, stat::METRIC], cell)
}

/// The counts of a guard: the same differences over a short window that ends now. Late scrapes are missed, which a
/// guard can afford and the judge cannot. Groups are told apart only where something was bad: who is well has one row, so
/// that thousands of rollouts can be asked about in every tick.
#[must_use]
pub fn guard_query(selectors: &Selectors, window: Duration) -> String {
    let all = delta_query(selectors, &[stat::SPLIT_TOTAL], &[], window);
    let bad = delta_query(selectors, &[stat::SPLIT_BAD_TOTAL], &[stat::GROUP], window);
    format!("{all} or {bad}")
}

fn delta_query(selectors: &Selectors, counters: &[&str], by: &[&str], over: Duration) -> String {
    let Selectors {
        proxies,
        target_labels,
    } = selectors;
    let series = format!(r#"{{__name__=~"{}", {proxies}}}"#, counters.join("|"));
    let targets = Targets {
        up: format!("up{{{proxies}}}"),
        labels: target_labels,
    };
    let labels = ["counter", stat::ROLLOUT, stat::VARIANT, stat::VERSION];
    let labels = [&labels, by, &[stat::PACKED]].concat().join(", ");
    format!(
        "(sum by ({labels}) ({}) > 0)",
        differences(&series, &targets, over)
    )
}

/// Somebody else's counters, over the same cell and by the same rules: one row for bad events and one for all, by the
/// value of the version's label.
#[must_use]
pub fn custom_query(
    selectors: &Selectors,
    counters: &PrometheusCounters,
    cell: Duration,
) -> String {
    let targets = Targets {
        up: "up".to_owned(),
        labels: &selectors.target_labels,
    };
    let sum = |counter: &str, series: &str| {
        format!(
            r#"label_replace(sum by ({}) ({}), "counter", "{counter}", "", "")"#,
            counters.version_label,
            differences(series, &targets, cell)
        )
    };
    format!(
        "{} or {}",
        sum("bad", &counters.bad),
        sum("total", &counters.total)
    )
}

/// Labels of Envoy's metrics with the name of the cluster: Envoy's own, and that of Istio's bootstrap.
pub(super) const CLUSTER: [&str; 2] = ["envoy_cluster_name", "cluster_name"];
/// Labels of Envoy's metrics with the class of the status, likewise: `5` and `5xx`.
pub(super) const CLASS: [&str; 2] = ["envoy_response_code_class", "response_code_class"];

/// The answers that clusters gave to the proxies over a cell, by class of the status: the only trace of copies, whose
/// answers no filter sees.
#[must_use]
pub fn answers_query(selectors: &Selectors, cell: Duration) -> String {
    let Selectors {
        proxies,
        target_labels,
    } = selectors;
    let targets = Targets {
        up: format!("up{{{proxies}}}"),
        labels: target_labels,
    };
    // Istio cuts the class out whole. Of Envoy's own, the same name counts each status by itself, without a class.
    let series = format!(r#"{{__name__=~"envoy_cluster_upstream_rq(_xx)?", {proxies}}}"#);
    let labels = [CLUSTER, CLASS].concat().join(", ");
    format!(
        "sum by ({labels}) ({})",
        differences(&series, &targets, cell)
    )
}

/// Endpoints that the proxies hold for healthy, by cluster; of proxies that differ the one that knows most.
#[must_use]
pub fn ready_query(selectors: &Selectors) -> String {
    format!(
        "max by ({}) (envoy_cluster_membership_healthy{{{}}})",
        CLUSTER.join(", "),
        selectors.proxies
    )
}

/// Where the series come from.
struct Targets<'a> {
    /// Selects their `up`.
    up: String,
    /// Labels that identify one.
    labels: &'a str,
}

/// The differences of counters over `over`, series by series.
fn differences(series: &str, targets: &Targets<'_>, over: Duration) -> String {
    let ms = over.as_millis();
    let lookback = (LOOKBACK_MINUTES * 60_000).max(u64::try_from(2 * ms).unwrap_or(u64::MAX));
    // Arithmetic drops the metric's name, so it is kept in a label first.
    let named = |offset: &str| {
        format!(
            r#"label_replace(last_over_time({series}[{lookback}ms]{offset}), "counter", "$1", "__name__", "(.+)")"#
        )
    };
    let (now, before) = (named(""), named(&format!(" offset {ms}ms")));
    let Targets { up, labels } = targets;
    format!(
        "(({now}) - ({before})) >= 0 or (({now}) < ({before})) or ((({now}) unless ({before})) and on ({labels}) ({up} offset {ms}ms))"
    )
}

/// What every proxy reports of itself.
#[must_use]
pub fn proxies_query(selectors: &Selectors) -> String {
    format!(
        r#"{{__name__=~"up|{}|{}", {}}}"#,
        stat::CONFIG_GENERATION,
        stat::CONFIG_INVALID,
        selectors.proxies
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cell_query_reads_all_counters_at_once() {
        let query = cell_query(&Selectors::default(), Duration::from_secs(2));
        assert!(
            query.contains(
                "serin_split_total|serin_split_bad_total|serin_split_slow_total|serin_split_fused_total|serin_fuse_trips_total|serin_sampled_total|serin_misrouted_total"
            ),
            "{query}"
        );
        assert!(
            query.contains(r#"up{job="envoy"} offset 2000ms"#),
            "{query}"
        );
        assert!(
            query.starts_with(
                "(sum by (counter, serin_rollout, serin_variant, serin_version, serin_group, serin_metric, tag)"
            ),
            "{query}"
        );
    }
}

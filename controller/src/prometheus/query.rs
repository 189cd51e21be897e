//! The queries' texts.

use std::time::Duration;

use serin_filter_core::stat;

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
/// all labels into one ([`stat::Encoding::Builtin`]) the same rows come with that label alone.
///
/// The birth, reset and gone rules of statistics 7.1: a series that was there before gives its difference; one that
/// fell gives its present value; a new one gives its value if its target was scraped before.
#[must_use]
pub fn cell_query(selectors: &Selectors, cell: Duration) -> String {
    let counters = [
        stat::SPLIT_TOTAL,
        stat::SPLIT_BAD_TOTAL,
        stat::SPLIT_FUSED_TOTAL,
        stat::FUSE_TRIPS_TOTAL,
        stat::SAMPLED_TOTAL,
        stat::MISROUTED_TOTAL,
    ];
    delta_query(selectors, &counters, cell)
}

/// The counts of a guard: the same differences over a short window that ends now. Late scrapes are missed, which a
/// guard can afford and the judge cannot.
#[must_use]
pub fn guard_query(selectors: &Selectors, window: Duration) -> String {
    delta_query(
        selectors,
        &[stat::SPLIT_TOTAL, stat::SPLIT_BAD_TOTAL],
        window,
    )
}

fn delta_query(selectors: &Selectors, counters: &[&str], over: Duration) -> String {
    let Selectors {
        proxies,
        target_labels,
    } = selectors;
    let ms = over.as_millis();
    let lookback = (LOOKBACK_MINUTES * 60_000).max(u64::try_from(2 * ms).unwrap_or(u64::MAX));
    let series = format!(
        r#"last_over_time({{__name__=~"{}", {proxies}}}[{lookback}ms]"#,
        counters.join("|")
    );
    // Arithmetic drops the metric's name, so it is kept in a label first.
    let named = |offset: &str| {
        format!(r#"label_replace({series}{offset}), "counter", "$1", "__name__", "(.+)")"#)
    };
    let (now, before) = (named(""), named(&format!(" offset {ms}ms")));
    format!(
        "sum by (counter, {}, {}, {}, {}, {}) ((({now}) - ({before})) >= 0 or (({now}) < ({before})) or ((({now}) unless ({before})) and on ({target_labels}) (up{{{proxies}}} offset {ms}ms)))",
        stat::ROLLOUT,
        stat::VARIANT,
        stat::VERSION,
        stat::GROUP,
        stat::PACKED
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
                "serin_split_total|serin_split_bad_total|serin_split_fused_total|serin_fuse_trips_total|serin_sampled_total|serin_misrouted_total"
            ),
            "{query}"
        );
        assert!(
            query.contains(r#"up{job="envoy"} offset 2000ms"#),
            "{query}"
        );
        assert!(
            query.starts_with(
                "sum by (counter, serin_rollout, serin_variant, serin_version, serin_group, tag)"
            ),
            "{query}"
        );
    }
}

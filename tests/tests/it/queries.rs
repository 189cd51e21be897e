//! The controller's query in the real PromQL engine (`promtool test rules`): every rule of statistics 7.1 for series
//! that are born, reset, vanish and return.

use std::time::Duration;

use serde_json::{Value, json};
use serin_controller::prometheus::{
    GuardCounts, RolloutCounts, Row, Selectors, cell_query, guard_query,
};
use serin_filter_core::stat::{self, GROUP, PACKED, ROLLOUT, VARIANT, VERSION};

use crate::promtool::test_rules;

/// Scrapes are one second apart, cells four.
const CELL: Duration = Duration::from_secs(4);
/// The cell under test is (8 s, 12 s].
const END: &str = "12s";

/// The labels of a counter by group, as a proxy with the encoding of Istio has them.
fn labels(group: &str) -> String {
    format!(r#"{ROLLOUT}="ml/fraud",{VARIANT}="canary",{VERSION}="8",{GROUP}="{group}""#)
}

/// The same as a proxy with the built-in encoding has them: one label, [`PACKED`].
fn packed(group: &str) -> String {
    format!(r#"{PACKED}="{ROLLOUT}:ml/fraud,{VARIANT}:canary,{VERSION}:8,{GROUP}:{group}""#)
}

/// One counter of one proxy; values are promtool's: a number a second, `_` for a scrape that did not see the series.
fn series(instance: &str, name: &str, group: &str, values: &str) -> Value {
    labelled(instance, name, &labels(group), values)
}

fn labelled(instance: &str, name: &str, labels: &str, values: &str) -> Value {
    let series = format!(r#"{name}{{job="envoy",instance="{instance}",{labels}}}"#);
    json!({"series": series, "values": values})
}

fn up(instance: &str, values: &str) -> Value {
    json!({"series": format!(r#"up{{job="envoy",instance="{instance}"}}"#), "values": values})
}

/// Checks the sums of the cell: (counter, group, value).
#[track_caller]
fn check(input: &[Value], expected: &[(&str, &str, f64)]) {
    let rows: Vec<_> = expected
        .iter()
        .map(|(counter, group, value)| (*counter, labels(group), *value))
        .collect();
    check_rows(&cell_query(&Selectors::default(), CELL), input, &rows);
}

/// Checks all rows of a query at the end of the cell: (counter, labels, value).
#[track_caller]
fn check_rows(query: &str, input: &[Value], expected: &[(&str, String, f64)]) {
    let samples: Vec<_> = expected
        .iter()
        .map(|(counter, labels, value)| {
            json!({"labels": format!(r#"{{counter="{counter}",{labels}}}"#), "value": value})
        })
        .collect();
    let file = json!({
        "evaluation_interval": "1s",
        "tests": [{
            "interval": "1s",
            "input_series": input,
            "promql_expr_test": [{"expr": query, "eval_time": END, "exp_samples": samples}],
        }],
    });
    test_rules(&file);
}

const TOTAL: &str = stat::SPLIT_TOTAL;
const BAD: &str = stat::SPLIT_BAD_TOTAL;

#[test]
fn a_series_that_was_there_gives_its_difference() {
    check(
        &[up("a", "1x20"), series("a", TOTAL, "1", "100+5x20")],
        &[(TOTAL, "1", 20.0)],
    );
}

#[test]
fn proxies_are_summed_groups_and_counters_are_not() {
    let input = [
        up("a", "1x20"),
        up("b", "1x20"),
        series("a", TOTAL, "1", "0+1x20"),
        series("b", TOTAL, "1", "7+2x20"),
        series("b", TOTAL, "2", "0+3x20"),
        series("b", BAD, "2", "0+1x20"),
    ];
    check(
        &input,
        &[(TOTAL, "1", 12.0), (TOTAL, "2", 12.0), (BAD, "2", 4.0)],
    );
}

#[test]
fn a_birth_counts_whole_if_its_proxy_was_scraped_before() {
    check(
        &[up("a", "1x20"), series("a", BAD, "1", "_x10 3 3 4x9")],
        &[(BAD, "1", 4.0)],
    );
}

#[test]
fn the_history_of_a_proxy_first_scraped_now_counts_nothing() {
    let input = [
        up("a", "_x10 1x10"),
        series("a", TOTAL, "1", "_x10 5000 5010x9"),
        up("b", "1x20"),
        series("b", TOTAL, "1", "0+1x20"),
    ];
    check(&input, &[(TOTAL, "1", 4.0)]);
}

#[test]
fn a_reset_counts_what_came_after_it() {
    check(
        &[up("a", "1x20"), series("a", TOTAL, "1", "100x9 0 12x10")],
        &[(TOTAL, "1", 12.0)],
    );
}

#[test]
fn a_proxy_that_vanishes_leaves_its_last_gains() {
    check(
        &[up("a", "1x9 0x10"), series("a", TOTAL, "1", "50x9 57 _x10")],
        &[(TOTAL, "1", 7.0)],
    );
}

#[test]
fn gains_over_a_gap_are_counted_when_the_series_returns() {
    check(
        &[up("a", "1x20"), series("a", TOTAL, "1", "10x3 _x6 25x10")],
        &[(TOTAL, "1", 15.0)],
    );
}

#[test]
fn a_failed_scrape_moves_its_gain_to_the_next_cell() {
    // Seen at 8 s with 80, missed at 12 s, so the last value of the cell is that of 11 s.
    check(
        &[up("a", "1x20"), series("a", TOTAL, "1", "0+10x11 _ 130")],
        &[(TOTAL, "1", 30.0)],
    );
}

#[test]
fn what_fuses_did_is_read_with_the_rest() {
    // Trips have no group: the label is absent.
    let trips = format!(r#"{ROLLOUT}="ml/fraud",{VARIANT}="canary",{VERSION}="8""#);
    let input = [
        up("a", "1x20"),
        series("a", TOTAL, "1", "0+1x20"),
        series("a", stat::SPLIT_FUSED_TOTAL, "1", "0x9 3 9x10"),
        series("a", stat::SPLIT_FUSED_TOTAL, "none", "_x10 2x10"),
        labelled("a", stat::FUSE_TRIPS_TOTAL, &trips, "1x10 2x10"),
    ];
    let expected = [
        (TOTAL, labels("1"), 4.0),
        (stat::SPLIT_FUSED_TOTAL, labels("1"), 9.0),
        (stat::SPLIT_FUSED_TOTAL, labels("none"), 2.0),
        (stat::FUSE_TRIPS_TOTAL, trips, 1.0),
    ];
    check_rows(&cell_query(&Selectors::default(), CELL), &input, &expected);
}

#[test]
fn proxies_of_both_encodings_are_read_side_by_side() {
    let input = [
        up("a", "1x20"),
        up("b", "1x20"),
        series("a", TOTAL, "1", "0+1x20"),
        labelled("b", TOTAL, &packed("1"), "0+2x20"),
        labelled("b", BAD, &packed("1"), "_x10 1x10"),
        // Plain names hold their labels, so that they are other metrics.
        json!({"series": r#"serin_split_total_ml_fraud_canary_8_1{job="envoy",instance="b"}"#, "values": "0+9x20"}),
    ];
    let expected = [
        (TOTAL, labels("1"), 4.0),
        (TOTAL, packed("1"), 8.0),
        (BAD, packed("1"), 1.0),
    ];
    let selectors = Selectors::default();
    check_rows(&cell_query(&selectors, CELL), &input, &expected);
    let alike = |name, value| (name, labels("1").replace(r#",serin_group="1""#, ""), value);
    let [_, packed_total, packed_bad] = expected.clone();
    let of_guard = [alike(TOTAL, 4.0), packed_total, packed_bad];
    check_rows(&guard_query(&selectors, CELL), &input, &of_guard);

    // The very rows that Prometheus was shown to give are one version's counts.
    let rows = of_guard.iter().map(row).collect::<Vec<_>>();
    let guarded = rows.iter().collect::<GuardCounts>().of("ml/fraud", "8");
    assert_eq!((guarded.canary.total, guarded.canary.bad), (12, 1));
    assert_eq!(guarded.bad_sources, 1);
    let rows: Vec<_> = expected.iter().map(row).collect();
    let canary = rows.iter().collect::<RolloutCounts>().of("ml/fraud", "8");
    assert_eq!((canary.tally().total, canary.tally().bad), (12, 1));
    assert_eq!(
        (
            canary.requests.groups[1].total,
            canary.requests.groups[1].bad
        ),
        (12, 1)
    );
}

/// A row of [`check_rows`] as Prometheus' API sends it.
fn row((counter, labels, value): &(&str, String, f64)) -> Row<'static> {
    // Labels of values without quotes: `a="b",c="d"`.
    let parts: Vec<_> = labels.split_terminator('"').collect();
    let mut labels: Vec<_> = parts
        .chunks_exact(2)
        .map(|pair| {
            (
                pair[0].trim_matches([',', '=']).to_owned(),
                pair[1].to_owned(),
            )
        })
        .collect();
    labels.push(("counter".to_owned(), (*counter).to_owned()));
    Row::new(labels, value.to_string())
}

#[test]
fn a_guard_tells_groups_apart_where_something_was_bad() {
    let input = [
        up("a", "1x20"),
        series("a", TOTAL, "1", "0+1x20"),
        series("a", TOTAL, "2", "0+2x20"),
        series("a", BAD, "1", "3x20"),
        series("a", BAD, "2", "0+1x20"),
    ];
    let ungrouped = labels("1").replace(r#",serin_group="1""#, "");
    let expected = [(TOTAL, ungrouped, 12.0), (BAD, labels("2"), 4.0)];
    check_rows(&guard_query(&Selectors::default(), CELL), &input, &expected);
}

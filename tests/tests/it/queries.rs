//! The controller's query in the real PromQL engine (`promtool test rules`): every rule of statistics 7.1 for series
//! that are born, reset, vanish and return.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use serin_controller::prometheus::{Selectors, cell_query};
use serin_tests::tools;
use serin_tests::world::World;

/// Scrapes are one second apart, cells four.
const CELL: Duration = Duration::from_secs(4);
/// The cell under test is (8 s, 12 s].
const END: &str = "12s";

/// One counter of one proxy; values are promtool's: a number a second, `_` for a scrape that did not see the series.
fn series(instance: &str, name: &str, group: &str, values: &str) -> Value {
    let labels = format!(
        r#"job="envoy",instance="{instance}",rollout="ml/fraud",variant="canary",version="8",group="{group}""#
    );
    json!({"series": format!("{name}{{{labels}}}"), "values": values})
}

fn up(instance: &str, values: &str) -> Value {
    json!({"series": format!(r#"up{{job="envoy",instance="{instance}"}}"#), "values": values})
}

/// Checks the sums of the cell: (counter, group, value).
#[track_caller]
fn check(input: &[Value], expected: &[(&str, &str, f64)]) {
    let samples: Vec<_> = expected
        .iter()
        .map(|(counter, group, value)| {
            let labels = format!(r#"{{counter="{counter}",rollout="ml/fraud",variant="canary",version="8",group="{group}"}}"#);
            json!({"labels": labels, "value": value})
        })
        .collect();
    let query = cell_query(&Selectors::default(), CELL);
    let file = json!({
        "evaluation_interval": "1s",
        "tests": [{
            "interval": "1s",
            "input_series": input,
            "promql_expr_test": [{"expr": query, "eval_time": END, "exp_samples": samples}],
        }],
    });
    let world = World::new("queries").unwrap();
    let path = world.file("test.json");
    std::fs::write(&path, file.to_string()).unwrap();
    let output = Command::new(tools::promtool().unwrap())
        .args(["test", "rules"])
        .arg(&path)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
}

const TOTAL: &str = "serin_split_total";
const BAD: &str = "serin_split_bad_total";

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
fn other_jobs_are_not_read() {
    let mut foreign = series("a", TOTAL, "1", "0+9x20");
    foreign["series"] = json!(
        foreign["series"]
            .as_str()
            .unwrap()
            .replace(r#"job="envoy""#, r#"job="other""#)
    );
    check(
        &[up("a", "1x20"), foreign, series("a", TOTAL, "1", "0+1x20")],
        &[(TOTAL, "1", 4.0)],
    );
}

use std::time::Duration;

use super::*;
use crate::fixtures::{source, text};
use crate::observation::Tally;

fn read(csv: &str) -> Result<Recording, Vec<Mistake>> {
    let grid = Grid::new(Duration::from_secs(30), Duration::from_secs(30)).unwrap();
    read_csv("x.csv", csv, &Names::of(&source(&text()).plan), grid)
}

#[track_caller]
fn check(csv: &str, expected: &str) {
    let mistakes = read(csv).unwrap_err();
    let said: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(said, [expected]);
}

#[test]
fn rows_become_cells_by_variant_and_group_and_add_up() {
    let csv = "\u{feff}# made by hand\ntime, variant, group, total, bad, fused\n\
        1970-01-01T00:01:00Z,canary,3,10,1,\n\
        1970-01-01T00:01:29.9Z,canary,3,5,1,2\n\
        60,stable,none,90,0,0\n\
        90.5,stable,15,7,0,0\n";
    let recording = read(csv).unwrap();
    assert_eq!(recording.keys().copied().collect::<Vec<_>>(), [2, 3]);
    let first = &recording[&2];
    assert_eq!(first.canary.groups[3], Tally { total: 15, bad: 2 });
    assert_eq!(first.canary.fused[3], 2);
    assert_eq!(first.stable.ungrouped, Tally { total: 90, bad: 0 });
    assert_eq!(recording[&3].stable.groups[15].total, 7);
}

#[test]
fn cells_can_be_numbered_and_variants_told_by_version() {
    let recording = read("version,cell,bad,total\n8,17,1,20\n7,17,0,80\n").unwrap();
    assert_eq!(recording[&17].canary.tally(), Tally { total: 20, bad: 1 });
    assert_eq!(recording[&17].stable.tally(), Tally { total: 80, bad: 0 });
}

#[test]
fn each_mistake_of_the_header_is_said_with_its_place() {
    let known = "known are time, cell, variant, version, total, bad, group, fused";
    check(
        "time,variant,total,errors\n",
        &format!(
            "x.csv:1:20: errors: 'errors' is no column: the first row must name them; {known}"
        ),
    );
    check(
        "time;variant;total;bad\n",
        &format!(
            "x.csv:1:1: time;variant;total;bad: 'time;variant;total;bad' is no column: columns are separated by ','; {known}"
        ),
    );
    check(
        "time,variant,total,bad,bad\n",
        "x.csv:1:24: bad: is there twice",
    );
    check(
        "time,cell,variant,total,bad\n",
        "x.csv:1:6: cell: 'time' is given as well: keep one of them",
    );
    check(
        "variant,total,bad\n",
        "x.csv:1:1: variant: there is neither a column 'time' nor 'cell'",
    );
    check(
        "time,variant,total\n",
        "x.csv:1:1: time: there is no column 'bad'",
    );
    check("", "x.csv: holds no rows with counts");
    check(
        "time,variant,total,bad\n",
        "x.csv: holds no rows with counts",
    );
}

#[test]
fn each_mistake_of_a_row_is_said_with_its_place() {
    let row = |row: &str| format!("cell,variant,total,bad,group\n1,canary,5,0,0\n{row}\n");
    for (wrong, expected) in [
        (
            "x,canary,5,0,0",
            "x.csv:3:1: cell: 'x' is not the number of a cell, from 0 to the year 9000",
        ),
        (
            "-1,canary,5,0,0",
            "x.csv:3:1: cell: '-1' is not the number of a cell, from 0 to the year 9000",
        ),
        (
            "1,green,5,0,0",
            "x.csv:3:3: variant: 'green' is no variant of the rollout: the variants are canary and stable",
        ),
        (
            "1,\"a, b\",5,0,0",
            "x.csv:3:3: variant: 'a, b' is no variant of the rollout: the variants are canary and stable",
        ),
        (
            "1,canary,5.5,0,0",
            "x.csv:3:10: total: '5.5' is not a count: a whole number from 0 on",
        ),
        (
            "1,canary,,0,0",
            "x.csv:3:10: total: is empty: write 0 where nothing was counted",
        ),
        (
            "1,canary,5,-1,0",
            "x.csv:3:12: bad: '-1' is not a count: a whole number from 0 on",
        ),
        (
            "1,canary,5,6,0",
            "x.csv:3:12: bad: 6 bad requests among 5: there cannot be more than all",
        ),
        (
            "1,canary,18014398509481984,6,0",
            "x.csv:3:10: total: '18014398509481984' is more than 2^53 requests",
        ),
        (
            "1,canary,5,0,16",
            "x.csv:3:14: group: '16' is not a hash group: 0 to 15, or none",
        ),
        (
            "1,canary,5",
            "x.csv:3:10: total: the row has 3 fields, but the first row names 5 columns",
        ),
    ] {
        check(&row(wrong), expected);
    }
    check(
        "time,version,total,bad\nyesterday,8,5,0\n",
        "x.csv:2:1: time: 'yesterday' is neither a time such as 2026-11-21T10:00:30Z nor seconds since 1970",
    );
    check(
        "time,version,total,bad\n9999-12-30T00:00:00Z,8,5,0\n",
        "x.csv:2:1: time: '9999-12-30T00:00:00Z' is not between the years 1970 and 9000",
    );
    check(
        "cell,version,total,bad\n1,8,9007199254740992,0\n1,8,1,0\n",
        "x.csv:3:5: total: adds up to more than 2^53 requests with the rows before",
    );
    check(
        "time,version,total,bad\n60,9,5,0\n",
        "x.csv:2:4: version: '9' is no version of the rollout: the versions are 8 and 7",
    );
}

#[test]
fn many_mistakes_are_told_at_once_and_not_without_end() {
    let mut csv = "cell,variant,total,bad\n".to_owned();
    csv.push_str(&"1,x,1,1\n".repeat(3));
    assert_eq!(read(&csv).unwrap_err().len(), 3);
    csv.push_str(&"1,x,1,1\n".repeat(1000));
    assert_eq!(read(&csv).unwrap_err().len(), MISTAKES);
}

//! Whole rollouts as text: what an operator would have seen, tick by tick, from the first weight to the end.
//!
//! Everything is driven through the public API with counts that follow from the scene alone, so a trace is the same on
//! every machine. A trace that differs is either a defect or a change that a person has read:
//! `UPDATE_GOLDEN=1 cargo test -p serin-controller --test golden` takes it over.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy sees as code"
)]

#[path = "golden/files.rs"]
mod files;
#[path = "golden/scenes.rs"]
mod scenes;
#[path = "golden/stage.rs"]
mod stage;
#[path = "golden/trace.rs"]
mod trace;
#[path = "golden/traffic.rs"]
mod traffic;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn every_trace_is_the_one_that_was_read() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = String::new();
    for (name, scene) in scenes::ALL {
        let path = folder().join(format!("{name}.txt"));
        let seen = scene();
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if kept == seen {
            continue;
        }
        if update {
            std::fs::write(&path, &seen).unwrap();
        } else {
            let _ = write!(differences, "{name}.txt\n{}", difference(&kept, &seen));
        }
    }
    assert!(
        differences.is_empty(),
        "traces differ (- kept, + seen):\n{differences}\n\
         read them; to accept: UPDATE_GOLDEN=1 cargo test -p serin-controller --test golden"
    );
}

#[test]
fn every_trace_belongs_to_a_scene() {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
        .collect();
    let mut wanted: Vec<_> = scenes::ALL.iter().map(|(name, _)| *name).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn a_difference_shows_the_lines_and_what_is_around_them() {
    let shown = difference("a\nb\nc\nd\ne\n", "a\nb\nX\nd\ne\n");
    assert_eq!(shown, "     b\n3  - c\n3  + X\n     d\n");
}

/// The lines that differ, by the longest common subsequence, each with one line around it.
fn difference(kept: &str, seen: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (kept.lines().collect(), seen.lines().collect());
    let mut common = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    // (line number, sign, text)
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((0, ' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j >= b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push((i + 1, '-', a[i]));
            i += 1;
        } else {
            lines.push((j + 1, '+', b[j]));
            j += 1;
        }
    }
    let mut out = String::new();
    for (at, (number, sign, text)) in lines.iter().enumerate() {
        let from = at.saturating_sub(1);
        let near = lines[from..(at + 2).min(lines.len())].iter();
        let number = if *sign == ' ' {
            String::new()
        } else {
            number.to_string()
        };
        if near.clone().any(|(_, sign, _)| *sign != ' ') {
            let _ = writeln!(out, "{number:<3}{sign:>1} {text}");
        }
    }
    out
}

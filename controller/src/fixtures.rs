//! Rollouts and cells for tests.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use crate::cells::Grid;
use crate::observation::{ArmCounts, Cell, Tally};
use crate::rollout::{RolloutState, accept};
use crate::source::{Source, parse};
use crate::validate::Plan;

/// A rollout file with product.md's last three gates, as text.
pub(crate) fn text() -> String {
    r#"apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {name: fraud, namespace: ml}
spec:
  match:
    hosts: [fraud.ml]
    pathPrefix: /v2/models/fraud
  variants:
    - {name: stable, role: stable, version: "7", route: {cluster: fraud-v7}}
    - {name: canary, version: "8", route: {cluster: fraud-v8}}
  assignment:
    key:
      - {header: x-user-id}
    salt: fraud-8
  strategy:
    canary:
      steps:
        - {weight: 10, gate: {ratio: 2.0, absolute: 0.5pp}}
        - {weight: 25, gate: {ratio: 1.5, absolute: 0.3pp}}
        - {weight: 50, gate: {ratio: 1.25, absolute: 0.2pp}}
      soak: 10s
  analysis:
    falseRollback: 0.01
    falsePromotion: 0.05
"#
    .to_owned()
}

/// [`text`] with one replacement, which must be found.
#[track_caller]
pub(crate) fn edited(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "the fixture does not hold {from:?}");
    text.replacen(from, to, 1)
}

/// [`text`] for the mesh.
pub(crate) fn in_mesh() -> String {
    text()
        .replace("hosts: [fraud.ml]", "hosts: [fraud.ml.svc.cluster.local]")
        .replace("{cluster: fraud-v7}", "{subset: v7}")
        .replace("{cluster: fraud-v8}", "{subset: v8}")
}

/// [`text`] with another strategy, in one line.
pub(crate) fn with_strategy(strategy: &str) -> String {
    let text = text();
    let found = text.split_once("  strategy:\n");
    let (head, rest) = found.expect("the fixture has a strategy");
    let (_, rest) = rest
        .split_once("  analysis:\n")
        .expect("the fixture has an analysis");
    format!("{head}  strategy:\n    {strategy}\n  analysis:\n{rest}")
}

/// The same with a third version, named other.
pub(crate) fn three_versions(strategy: &str) -> String {
    let third = "    - {name: other, version: \"9\", route: {cluster: fraud-v9}}\n  assignment:";
    with_strategy(strategy).replacen("  assignment:", third, 1)
}

/// A parsed fixture.
#[track_caller]
pub(crate) fn source(text: &str) -> Source {
    parse("fraud.yaml", text).unwrap_or_else(|mistakes| {
        let list = mistakes.iter().fold(String::new(), |mut list, mistake| {
            let _ = writeln!(list, "{mistake}");
            list
        });
        panic!("the fixture is invalid:\n{list}")
    })
}

/// Cells of two seconds, read two seconds after their end.
pub(crate) fn grid() -> Grid {
    let two = Duration::from_secs(2);
    Grid::new(two, two).unwrap()
}

/// Counts spread evenly over the groups.
fn arm(total: u64, bad: u64) -> ArmCounts {
    let mut arm = ArmCounts::default();
    let share = |count: u64, group: u64| count / 16 + u64::from(group < count % 16);
    for (group, tally) in (0..).zip(arm.requests.groups.iter_mut()) {
        *tally = Tally {
            total: share(total, group),
            bad: share(bad, group),
        };
    }
    arm
}

/// One cell: (requests, bad) of canary and stable. From cell to cell the bad ones move on to other groups, as they do
/// when no user is special.
pub(crate) fn cell(index: i64, canary: (u64, u64), stable: (u64, u64)) -> Cell {
    let turned = |(total, bad): (u64, u64)| {
        let mut arm = arm(total, bad);
        let turn = usize::try_from(index.rem_euclid(16)).unwrap_or(0);
        arm.requests.groups.rotate_right(turn);
        arm
    };
    Cell {
        index,
        stable: turned(stable),
        arms: vec![turned(canary)],
    }
}

/// A rollout before its first release.
pub(crate) fn before(plan: &Plan) -> RolloutState {
    RolloutState::new(plan, plan.stable.clone())
}

/// A rollout at its first step.
pub(crate) fn started() -> (Plan, RolloutState) {
    started_with(&text())
}

/// The rollout of a file at its first step.
#[track_caller]
pub(crate) fn started_with(text: &str) -> (Plan, RolloutState) {
    let Source { plan, rollout } = source(text);
    let state = accept(
        &plan,
        &rollout,
        &before(&plan),
        Timestamp::UNIX_EPOCH,
        grid(),
    )
    .unwrap()
    .0;
    (plan, state)
}

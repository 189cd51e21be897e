//! What holds whatever happens: random counts, people, files, proxies and restarts.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serin_filter_core::split::BUCKETS;

use super::*;
use crate::api::DeadlinePolicy;
use crate::fixtures::{three_versions, with_strategy};
use crate::report::{Status, View, report};
use crate::validate::{Course, Plan};

/// The most that a counter of Envoy holds as a number of Prometheus.
const MOST: u64 = 1 << 53;

/// Files about the same two versions, one of each strategy and some with other answers to the same things.
fn files() -> Vec<String> {
    let strategy = |strategy: &str| {
        with_strategy(strategy).replace("  strategy:\n", "  rollbackWindow: 1h\n  strategy:\n")
    };
    let steps = "steps: [{weight: 10, gate: {ratio: 2.0, absolute: 0.5pp}}, {weight: 50, gate: {ratio: 1.25, absolute: 0.2pp}, pause: {approval: true}}]";
    let gate = "gate: {ratio: 1.5, absolute: 0.3pp}";
    let mut all = vec![
        text(),
        strategy(&format!("canary: {{{steps}, soak: 10s}}")),
        strategy(&format!(
            "canary: {{{steps}, deadline: {{after: 1m, then: promote}}}}"
        )),
        strategy(&format!("linear: {{stepWeight: 20, {gate}, soak: 4s}}")),
        strategy("blueGreen: {soak: 10s}"),
        strategy(&format!("rolling: {{maxWeight: 30, {gate}}}")),
        strategy("manual: {weight: 5, soak: 10s}"),
        strategy(&format!("shadow: {{sample: 10%, {gate}}}")),
        strategy("abTest: {weights: {canary: 30}, difference: 1pp, for: 1h}"),
    ];
    for answer in ["hold", "alert"] {
        let guards = "guards: [{name: outage, errorRate: {above: 50%}}]";
        all.push(text().replace(
            "falseRollback: 0.01",
            &format!("falseRollback: 0.01\n    onFail: {answer}\n    {guards}"),
        ));
    }
    all
}

/// Three versions, of which some may be out of the test.
fn test_of_three() -> Vec<String> {
    let test = "abTest: {weights: {canary: 30, other: 20}, difference: 1pp, for: 1h}";
    vec![
        three_versions(test),
        three_versions(&test.replace("30", "15")),
    ]
}

type Pair = (u64, u64);

#[derive(Clone, Debug)]
enum Event {
    /// So many cells with these counts, of which the first is canary's and the second stable's.
    Cells(u8, Pair, Pair),
    /// A cell whose sampled requests of the canary went astray.
    Astray,
    /// Time in which Prometheus gives nothing, and what it has not given comes later at once.
    Gap(u8),
    /// All that was ever counted is given again, in the wrong order.
    Again,
    Act(Do, f64),
    Edit(usize),
    Lagging(bool),
    Down(bool),
    /// The state is written and the controller killed; it starts on what was written.
    Restart,
    Ready(u64, u64),
    Guard(bool),
}

fn pair(most: u64) -> impl Strategy<Value = Pair> {
    (0..=most).prop_flat_map(|total| (Just(total), 0..=total))
}

fn event() -> impl Strategy<Value = Event> {
    let doing = prop::sample::select(vec![
        Do::Promote,
        Do::PromoteFull,
        Do::Skip,
        Do::SetWeight,
        Do::Retry,
        Do::Abort,
        Do::Pause,
        Do::Resume,
    ]);
    prop_oneof![
        10 => (1..30_u8, 0..2_u64, 1..9_u64)
            .prop_map(|(count, bad, stable)| Event::Cells(count, (200, bad), (1800, stable))),
        2 => (1..6_u8, 10..200_u64).prop_map(|(count, bad)| Event::Cells(count, (200, bad), (1800, 5))),
        2 => (1..9_u8).prop_map(|count| Event::Cells(count, (0, 0), (0, 0))),
        2 => (1..4_u8, pair(MOST), pair(MOST)).prop_map(|(count, a, b)| Event::Cells(count, a, b)),
        1 => Just(Event::Astray),
        1 => (1..40_u8).prop_map(Event::Gap),
        1 => Just(Event::Again),
        4 => (doing, -1.0..101.0).prop_map(|(what, weight)| Event::Act(what, weight)),
        2 => any::<prop::sample::Index>().prop_map(|at| Event::Edit(at.index(1000))),
        1 => any::<bool>().prop_map(Event::Lagging),
        1 => any::<bool>().prop_map(Event::Down),
        2 => Just(Event::Restart),
        2 => (0..9_u64, 0..9_u64).prop_map(|(canary, stable)| Event::Ready(canary, stable)),
        1 => any::<bool>().prop_map(Event::Guard),
    ]
}

/// The bench, with what was counted and what was written.
struct World {
    bench: Bench,
    files: Vec<String>,
    cells: BTreeMap<i64, Cell>,
    written: RolloutState,
}

impl World {
    fn new(files: Vec<String>, first: usize) -> Self {
        let mut bench = Bench::new(&files[first % files.len()]);
        (bench.generation, bench.reported) = (5, 5);
        bench.ready = Some(Ready {
            canary: 3,
            stable: 7,
        });
        let written = bench.state.clone();
        Self {
            bench,
            files,
            cells: BTreeMap::new(),
            written,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Cells(count, canary, stable) => {
                for _ in 0..count {
                    self.cell(canary, stable, (10, 0));
                    self.deliver(&[]);
                }
            }
            Event::Astray => {
                self.cell((200, 0), (1800, 1), (10, 3));
                self.deliver(&[]);
            }
            Event::Gap(count) => {
                for _ in 0..count {
                    self.cell((200, 0), (1800, 1), (10, 0));
                    self.tick(&[], &[]);
                }
                self.deliver(&[]);
            }
            Event::Again => {
                let all: Vec<_> = self.cells.values().rev().cloned().collect();
                self.tick(&all, &[]);
            }
            Event::Act(what, weight) => {
                self.bench.actions += 1;
                let weight = (what == Do::SetWeight).then_some(weight);
                let id = self.bench.actions.to_string();
                self.deliver(&[Action {
                    weight,
                    ..action(&id, what)
                }]);
            }
            Event::Edit(at) => self.edit(at),
            Event::Lagging(lagging) => self.bench.reported = if lagging { 4 } else { 5 },
            Event::Down(down) => self.bench.down = down.then_some("connection refused"),
            Event::Restart => {
                let json = serde_json::to_string(&self.written).unwrap();
                self.bench.state = serde_json::from_str(&json).unwrap();
            }
            Event::Ready(canary, stable) => self.bench.ready = Some(Ready { canary, stable }),
            Event::Guard(outage) => {
                self.bench.guard.canary = Tally {
                    total: 40,
                    bad: if outage { 30 } else { 0 },
                };
                self.bench.guard.bad_sources = 5;
            }
        }
    }

    /// A cell ends.
    fn cell(&mut self, canary: Pair, stable: Pair, sampled: Pair) {
        let index = self.bench.next_cell;
        let mut found = cell(index, canary, stable);
        (found.arms[0].sampled, found.arms[0].misrouted) = sampled;
        // Of a third version nobody hears anything good or bad.
        found.arms.push(cell(index, stable, stable).arms.remove(0));
        self.cells.insert(index, found);
        self.bench.next_cell += 1;
        self.bench.now += CELL;
    }

    /// A tick with all cells from the next one on.
    fn deliver(&mut self, actions: &[Action]) {
        let release = self.bench.state.release.as_ref();
        let next = release.map_or(0, |release| release.evidence.next_cell);
        let readable = grid().readable_until(self.bench.now);
        let down = self.bench.down.is_some();
        let cells: Vec<_> = if down || next >= readable {
            Vec::new()
        } else {
            self.cells
                .range(next..readable)
                .map(|it| it.1.clone())
                .collect()
        };
        self.tick(&cells, actions);
    }

    fn tick(&mut self, cells: &[Cell], actions: &[Action]) {
        let before = self.bench.state.clone();
        self.bench.run(cells, actions);
        if self.bench.writes > Writes::Nothing {
            self.written = self.bench.state.clone();
        }
        self.went_up_by_right(&before, actions);
        self.ended_for_good(&before, actions);
        self.within_the_limit();
        self.invariants();
    }

    /// A rolling release stays below its limit until the gate has passed.
    fn within_the_limit(&self) {
        let (release, plan) = (self.bench.release(), &self.bench.source.plan);
        let at_step = matches!(release.stage, Stage::Step(_)) && release.outcome.is_none();
        if plan.course == Course::Capacity && at_step && !release.by_hand {
            let (share, limit) = (release.table.share(1), plan.steps[0].weight());
            let passed = release.evidence.passed(plan, 0);
            assert!(share <= limit || passed, "{share} is beyond {limit}");
        }
    }

    fn edit(&mut self, at: usize) {
        let before = self.bench.state.clone();
        self.bench.source = source(&self.files[at % self.files.len()]);
        let plan = &self.bench.source.plan;
        let begins = begins(plan, &before);
        if self.bench.accept().is_err() {
            assert_eq!(self.bench.state, before, "a refusal changes nothing");
            // As the driver does: the accepted file stays in force.
            self.bench.source = Source {
                plan: crate::validate::validate(&self.bench.release().rollout).unwrap(),
                rollout: self.bench.release().rollout.clone(),
            };
            return;
        }
        self.written = self.bench.state.clone();
        let (was, is) = (
            before.release.as_ref().unwrap(),
            self.bench.release().clone(),
        );
        if !begins {
            assert_eq!(was.outcome, is.outcome, "an edit ends nothing");
            assert!(
                rank(is.stage) <= rank(was.stage),
                "an edit does not go up: {:?} to {:?}",
                was.stage,
                is.stage
            );
        }
        self.invariants();
    }

    /// Every stage was left with its gate's evidence, or because somebody or the deadline said so.
    fn went_up_by_right(&self, before: &RolloutState, actions: &[Action]) {
        let was = before.release.as_ref().unwrap();
        let is = self.bench.release();
        let again = was.started != is.started || was.outcome.is_some();
        let (Stage::Step(from), false) = (was.stage, again) else {
            return;
        };
        if rank(is.stage) <= rank(was.stage) {
            return;
        }
        let plan = &self.bench.source.plan;
        let asked = |what: &[Do]| actions.iter().any(|action| what.contains(&action.what));
        let gated = plan.steps[from].gated;
        let split = !is.split.is_alarmed();
        let proven = gated && split && is.evidence.passed(plan, from);
        let approved = was.approved || was.skipped || asked(&[Do::Promote, Do::Skip]);
        let person = asked(&[Do::Promote, Do::PromoteFull]) || (!gated && approved);
        let deadline = plan.deadline.as_ref().is_some_and(|it| {
            let passed = self.bench.now >= was.started + it.after.0;
            it.then == DeadlinePolicy::Promote && passed && split
        });
        assert!(
            proven || person || deadline,
            "went from {:?} to {:?} by no right: {}",
            was.stage,
            is.stage,
            self.bench.last()
        );
    }

    /// A release that was rolled back stays so, unless somebody tries again.
    fn ended_for_good(&self, before: &RolloutState, actions: &[Action]) {
        let was = before.release.as_ref().unwrap();
        let is = self.bench.release();
        let retried = actions.iter().any(|action| action.what == Do::Retry);
        if was.outcome.is_some() && !retried {
            assert_eq!(was, is, "what has ended stays as it is");
        }
    }

    fn invariants(&self) {
        let release = self.bench.release();
        let plan = &self.bench.source.plan;
        self.counted_once(release);
        let all = release.table.share(1) == BUCKETS;
        let going = release.outcome.is_none();
        let at_step = matches!(release.stage, Stage::Step(_));
        assert!(
            !(all && going && at_step),
            "everybody has the canary in {:?}",
            release.stage
        );
        if going && matches!(plan.course, Course::Contest(_) | Course::Copies) {
            assert!(at_step, "a test promotes nobody: {:?}", release.stage);
        }
        if matches!(
            release.outcome,
            Some(Outcome::RolledBack | Outcome::Concluded)
        ) {
            assert_eq!(release.table.share(0), BUCKETS, "everybody is back");
        }
        for arm in &release.stopped {
            assert_eq!(release.table.share(*arm), 0, "arm {arm} is out of the test");
        }
        let shares: u32 = (0..16).map(|arm| u32::from(release.table.share(arm))).sum();
        assert_eq!(shares, u32::from(BUCKETS));
        reads_back(plan, &self.bench.state);
    }

    /// The evidence holds every cell from the first to the next once.
    fn counted_once(&self, release: &Release) {
        let evidence = &release.evidence;
        let mut sum = (0_u64, 0_u64);
        for (_, cell) in self.cells.range(release.first_cell..evidence.next_cell) {
            let tally = cell.arms[0].tally();
            sum.0 = sum.0.saturating_add(tally.total);
            sum.1 = sum.1.saturating_add(tally.bad);
        }
        let Tally { total, bad } = evidence.canary.requests;
        assert_eq!(
            (total, bad),
            sum,
            "cells {} to {}",
            release.first_cell,
            evidence.next_cell
        );
    }
}

/// JSON has no NaN and no infinity: whatever holds one does not come back.
fn reads_back(plan: &Plan, state: &RolloutState) {
    let json = serde_json::to_string(state).unwrap();
    assert_eq!(&serde_json::from_str::<RolloutState>(&json).unwrap(), state);
    let status = report(Some(plan), state, &View::default());
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    for sentence in [&status.message].into_iter().chain(
        status
            .release
            .iter()
            .flat_map(|it| it.metrics.iter().map(|it| &it.sentence)),
    ) {
        assert!(
            !sentence.contains("NaN") && !sentence.contains("inf "),
            "{sentence}"
        );
    }
}

fn rank(stage: Stage) -> usize {
    match stage {
        Stage::Step(index) => index,
        Stage::Soak => 1000,
        Stage::MoveDefault => 1001,
        Stage::DropHeader => 1002,
    }
}

/// A property over events that never get anywhere would hold of anything.
#[test]
fn the_random_events_reach_every_stage_and_every_end() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for round in 0..200_usize {
        let files = if round % 4 == 0 {
            test_of_three()
        } else {
            files()
        };
        let mut world = World::new(files, round);
        for _ in 0..40 {
            let event = event().new_tree(&mut runner).unwrap().current();
            world.happen(&event);
            let release = world.bench.release();
            reached.insert(match (release.outcome, release.stage) {
                (Some(outcome), _) => format!("{outcome:?}"),
                (None, Stage::Step(0)) => "first".to_owned(),
                (None, Stage::Step(_)) => "step".to_owned(),
                (None, stage) => format!("{stage:?}"),
            });
            if !release.stopped.is_empty() {
                reached.insert("one is out".to_owned());
            }
            let messages = release.records.iter().map(|record| &record.message);
            for part in ["shown to be below", "tried again"] {
                if messages.clone().any(|message| message.contains(part)) {
                    reached.insert(part.to_owned());
                }
            }
        }
    }
    let wanted = [
        "Concluded",
        "DropHeader",
        "MoveDefault",
        "RolledBack",
        "Soak",
        "Succeeded",
        "first",
        "one is out",
        "shown to be below",
        "step",
        "tried again",
    ];
    let missing: Vec<_> = wanted.iter().filter(|it| !reached.contains(**it)).collect();
    assert!(missing.is_empty(), "not reached: {missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_release_goes_up_by_right_and_comes_back_for_good(
        first in 0..100_usize,
        events in prop::collection::vec(event(), 1..50),
    ) {
        let mut world = World::new(files(), first);
        events.iter().for_each(|event| world.happen(event));
    }

    #[test]
    fn a_test_of_three_promotes_nobody_and_gives_no_user_to_who_is_out(
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(test_of_three(), 0);
        events.iter().for_each(|event| world.happen(event));
    }

    #[test]
    fn evidence_is_the_same_however_the_cells_are_cut_into_ticks_and_restarts(
        counts in prop::collection::vec((pair(5000), pair(5000)), 1..40),
        cuts in prop::collection::vec((1..9_usize, any::<bool>()), 40),
    ) {
        // Nothing moves: the proxy lags and a failure is only told.
        let text = text().replace("falseRollback: 0.01", "falseRollback: 0.01\n    onFail: alert");
        let cells: Vec<_> = (FIRST..)
            .zip(&counts)
            .map(|(index, (canary, stable))| cell(index, *canary, *stable))
            .collect();
        let still = |text: &str| {
            let mut bench = Bench::new(text);
            bench.reported = 0;
            bench.now = grid().end(FIRST + 100);
            bench
        };
        let mut one_by_one = still(&text);
        for cell in &cells {
            one_by_one.run(std::slice::from_ref(cell), &[]);
        }
        let mut cut = still(&text);
        let mut rest = cells.as_slice();
        for (size, restart) in cuts {
            let (now, later) = rest.split_at(size.min(rest.len()));
            // A restarted controller reads some cells again.
            let again = cells.len() - rest.len();
            let from = again.saturating_sub(if restart { 3 } else { 0 });
            cut.run(&cells[from..again + now.len()], &[]);
            if restart {
                let json = serde_json::to_string(&cut.state).unwrap();
                cut.state = serde_json::from_str(&json).unwrap();
            }
            rest = later;
        }
        // What the cuts have left over comes at once.
        cut.run(rest, &[]);
        prop_assert_eq!(&cut.release().evidence, &one_by_one.release().evidence);
    }
}

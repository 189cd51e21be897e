mod ab_test;
mod counting;
mod down;
mod edits;
mod files;
mod fuse;
mod people;
mod properties;
mod rolling;
mod strategies;
mod up;

use std::time::Duration;

use super::*;
use crate::fixtures::{before, cell, edited, grid, source, text};
use crate::observation::Proxy;
use crate::source::Source;

const CELL: Duration = Duration::from_secs(2);
/// Index of the first cell of every test.
const FIRST: i64 = 100;

fn action(id: &str, what: Do) -> Action {
    Action {
        id: id.to_owned(),
        what,
        by: "ann".to_owned(),
        why: "test".to_owned(),
        seen: None,
        weight: None,
    }
}

/// Drives a rollout as the controller would, one cell a tick.
pub(super) struct Bench {
    source: Source,
    state: RolloutState,
    now: Timestamp,
    next_cell: i64,
    /// Generation given out, and what the one proxy reports.
    pub(super) generation: u64,
    pub(super) reported: u64,
    down: Option<&'static str>,
    guard: GuardWindow,
    ready: Option<Ready>,
    /// Sampled and misrouted requests of every cell.
    sampled: (u64, u64),
    pub(super) writes: Writes,
    pub(super) waiting_for: Option<String>,
    actions: u32,
}

impl Bench {
    pub(super) fn new(text: &str) -> Self {
        let source = source(text);
        let state = before(&source.plan);
        let now = Timestamp::from_second(FIRST * 2).unwrap();
        let mut bench = Self {
            source,
            state,
            now,
            next_cell: FIRST,
            generation: 1,
            reported: 1,
            down: None,
            guard: GuardWindow::default(),
            ready: None,
            sampled: (10, 0),
            writes: Writes::Nothing,
            waiting_for: None,
            actions: 0,
        };
        bench.accept().unwrap();
        bench
    }

    fn accept(&mut self) -> Result<(), Refusal> {
        let Source { rollout, plan } = &self.source;
        (self.state, self.writes) = accept(plan, rollout, &self.state, self.now, grid())?;
        Ok(())
    }

    /// One tick with one cell of (requests, bad) for canary and stable.
    pub(super) fn tick(&mut self, canary: (u64, u64), stable: (u64, u64)) -> &mut Self {
        let mut cell = cell(self.next_cell, canary, stable);
        (cell.arms[0].sampled, cell.arms[0].misrouted) = self.sampled;
        self.next_cell += 1;
        self.now += CELL;
        self.run(&[cell], &[])
    }

    /// So many ticks with the same cell.
    pub(super) fn ticks(
        &mut self,
        count: u32,
        canary: (u64, u64),
        stable: (u64, u64),
    ) -> &mut Self {
        for _ in 0..count {
            self.tick(canary, stable);
        }
        self
    }

    fn run(&mut self, cells: &[Cell], actions: &[Action]) -> &mut Self {
        let proxies = [Proxy {
            target: "a".to_owned(),
            namespace: None,
            up: true,
            generation: Some(self.reported),
            invalid: false,
        }];
        let arms = 1 + self.source.plan.others.len();
        let guards = vec![vec![Some(self.guard); self.source.plan.guards.len()]; arms];
        let input = Input {
            now: self.now,
            grid: grid(),
            cells,
            proxies: self.down.map_or(Ok(proxies.as_slice()), Err),
            generation: Some(self.generation),
            guards: &guards,
            ready: self.ready,
            actions,
            routes: ForeignRoutes::default(),
        };
        let transition = step(Some(&self.source.plan), &self.state, &input);
        self.state = transition.next;
        self.writes = transition.writes;
        self.waiting_for = transition.waiting_for;
        self
    }

    pub(super) fn act(&mut self, what: Do) -> &mut Self {
        self.actions += 1;
        let action = action(&self.actions.to_string(), what);
        self.run(&[], &[action])
    }

    pub(super) fn release(&self) -> &Release {
        self.state.release.as_ref().unwrap()
    }

    pub(super) fn phase(&self) -> Phase {
        self.release().phase()
    }

    fn weight(&self) -> f64 {
        self.release().weight()
    }

    pub(super) fn last(&self) -> &str {
        &self.release().records.last().unwrap().message
    }

    /// Healthy traffic at the present weight, until a condition or 300 cells.
    pub(super) fn healthy_until(&mut self, done: impl Fn(&Self) -> bool) -> &mut Self {
        for _ in 0..300 {
            if done(self) {
                return self;
            }
            let canary = (20.0 * self.weight()) as u64;
            self.tick((canary, canary / 2000), (2000 - canary, 1));
        }
        panic!(
            "not reached: {:?}, {}, waiting for {:?}",
            self.release().stage,
            self.last(),
            self.waiting_for
        );
    }
}

fn at(stage: Stage) -> impl Fn(&Bench) -> bool {
    move |bench| bench.release().stage == stage
}

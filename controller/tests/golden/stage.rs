//! Plays a scene: the part of the controller's driver, with a clock and proxies of its own.

use std::time::Duration;

use jiff::Timestamp;
use serin_controller::cells::Grid;
use serin_controller::observation::{Cell, Proxy, Tally};
use serin_controller::report::{View, report};
use serin_controller::rollout::{
    Action, Do, ForeignRoutes, GuardWindow, Input, Phase, Ready, Release, RolloutState, Writes,
    accept, step,
};
use serin_controller::source::{Source, parse};

use super::trace::Trace;
use super::traffic::{Quality, Traffic};

const CELL: Duration = Duration::from_secs(2);

/// A rollout on stage.
#[derive(Debug)]
pub(crate) struct Stage {
    source: Source,
    pub(crate) state: RolloutState,
    now: Timestamp,
    grid: Grid,
    pub(crate) traffic: Traffic,
    /// Cells that have ended and cannot be read yet, or were not.
    unread: Vec<Cell>,
    /// Given out, and what the one proxy reports: it takes a tick.
    generation: u64,
    reported: u64,
    /// Why Prometheus does not answer.
    pub(crate) down: Option<&'static str>,
    /// The proxy takes no config.
    pub(crate) stuck: bool,
    pub(crate) ready: Option<Ready>,
    pub(crate) guard: Option<GuardWindow>,
    actions: u32,
    trace: Trace,
}

fn understood(text: &str) -> Source {
    parse("fraud.yaml", text).unwrap_or_else(|mistakes| {
        let list: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("the file of the scene is wrong:\n{}", list.join("\n"))
    })
}

impl Stage {
    pub(crate) fn new(text: &str, traffic: Traffic) -> Self {
        let source = understood(text);
        let plan = &source.plan;
        let state = RolloutState::new(plan, plan.stable.clone());
        let mut stage = Self {
            source,
            state,
            now: "2026-01-05T12:00:00Z".parse().unwrap(),
            grid: Grid::new(CELL, CELL).unwrap(),
            traffic,
            unread: Vec::new(),
            generation: 1,
            reported: 1,
            down: None,
            stuck: false,
            ready: None,
            guard: None,
            actions: 0,
            trace: Trace::new(text),
        };
        stage.take_over();
        stage
    }

    fn take_over(&mut self) {
        let Source { rollout, plan } = &self.source;
        match accept(plan, rollout, &self.state, self.now, self.grid) {
            Ok((state, writes)) => {
                self.state = state;
                self.show(writes, None);
            }
            Err(refusal) => self.trace.say(&format!("refused: {refusal}")),
        }
    }

    /// Another file.
    pub(crate) fn edit(&mut self, what: &str, text: &str) -> &mut Self {
        self.trace.say(&format!("the file is edited: {what}"));
        self.source = understood(text);
        self.take_over();
        self
    }

    /// The text says what the scene changes.
    pub(crate) fn say(&mut self, what: &str) -> &mut Self {
        self.trace.say(what);
        self
    }

    /// Quality of the versions from here on.
    pub(crate) fn quality(&mut self, what: &str, quality: &[Quality]) -> &mut Self {
        self.trace.say(what);
        self.traffic.quality = quality.to_vec();
        self
    }

    /// One cell later.
    pub(crate) fn tick(&mut self) -> &mut Self {
        self.tick_with(&[])
    }

    /// As often as that.
    pub(crate) fn ticks(&mut self, count: u32) -> &mut Self {
        for _ in 0..count {
            self.tick();
        }
        self
    }

    /// A new config that the proxy may not take.
    pub(crate) fn generation_given(&mut self) -> &mut Self {
        self.generation += 1;
        self
    }

    /// Until the phase; a scene that never gets there is wrong.
    pub(crate) fn until(&mut self, phase: Phase) -> &mut Self {
        self.until_that(|stage| stage.release().phase() == phase)
    }

    pub(crate) fn until_that(&mut self, done: impl Fn(&Self) -> bool) -> &mut Self {
        for _ in 0..2000 {
            if done(self) {
                return self;
            }
            self.tick();
        }
        panic!(
            "the scene does not get there:\n{}",
            std::mem::replace(&mut self.trace, Trace::new("")).into_text()
        );
    }

    /// Somebody asks for something, in the next tick.
    pub(crate) fn ask(&mut self, what: Do, weight: Option<f64>) -> &mut Self {
        self.actions += 1;
        let weighed = weight.map_or_else(String::new, |weight| format!(" {weight}"));
        self.trace.say(&format!("ann asks: {what:?}{weighed}"));
        let action = Action {
            id: self.actions.to_string(),
            what,
            by: "ann".to_owned(),
            why: "looks good".to_owned(),
            seen: None,
            weight,
        };
        self.tick_with(&[action])
    }

    pub(crate) fn release(&self) -> &Release {
        self.state.release.as_ref().unwrap()
    }

    fn tick_with(&mut self, actions: &[Action]) -> &mut Self {
        let weights = self.weights();
        let index = self.grid.first_after(self.now);
        self.unread.push(self.traffic.cell(index, &weights));
        self.now += CELL;
        let readable = self.grid.readable_until(self.now);
        let cells: Vec<_> = if self.down.is_some() {
            Vec::new()
        } else {
            let (read, unread) = std::mem::take(&mut self.unread)
                .into_iter()
                .partition(|cell| cell.index < readable);
            self.unread = unread;
            read
        };
        let proxies = self.proxies();
        let arms = 1 + self.source.plan.others.len();
        let guards = vec![vec![self.guard; self.source.plan.guards.len()]; arms];
        let input = Input {
            now: self.now,
            grid: self.grid,
            cells: &cells,
            proxies: self.down.map_or(Ok(proxies.as_slice()), Err),
            generation: Some(self.generation),
            guards: &guards,
            ready: self.ready,
            actions,
            routes: ForeignRoutes::default(),
        };
        let transition = step(Some(&self.source.plan), &self.state, &input);
        if !self.stuck {
            self.reported = self.generation;
        }
        self.state = transition.next;
        if transition.writes >= Writes::Up {
            self.generation += 1;
        }
        self.show(transition.writes, transition.waiting_for.as_deref());
        self
    }

    fn weights(&self) -> Vec<f64> {
        let release = self.release();
        let arms = (0..).take(2 + release.others.len());
        arms.map(|arm| f64::from(release.table.share(arm)) / 100.0)
            .collect()
    }

    fn proxies(&self) -> [Proxy; 1] {
        [Proxy {
            target: "envoy-a".to_owned(),
            namespace: None,
            up: true,
            generation: Some(self.reported),
            invalid: false,
        }]
    }

    fn show(&mut self, writes: Writes, waiting: Option<&str>) {
        let view = View {
            waiting_for: waiting.map(str::to_owned),
            proxies: Some(match self.down {
                Some(reason) => Err(reason.to_owned()),
                None => Ok(std::sync::Arc::new(self.proxies().to_vec())),
            }),
            generation: Some(self.generation),
            ..View::default()
        };
        let status = report(Some(&self.source.plan), &self.state, &view);
        self.trace.show(self.now, &status, writes, waiting);
    }

    pub(crate) fn into_text(mut self) -> String {
        let text = Trace::new("");
        std::mem::replace(&mut self.trace, text).into_text()
    }
}

/// A guard's window with so many bad ones of so many, from many users.
pub(crate) fn window(bad: u64, total: u64) -> GuardWindow {
    GuardWindow {
        canary: Tally { total, bad },
        bad_sources: bad.min(16),
    }
}

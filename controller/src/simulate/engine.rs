//! The one place where looking ahead (`simulate`, `lint`) and looking back (`replay`) touch the judge: whole cells of
//! counts go in, what the state machine of production makes of them comes out. Pure.
//!
//! What the counts do not tell is taken as honoured: every proxy runs every config at once, every request reaches the
//! cluster that was meant, recorded requests were split by the weights of their time, and an approval is given in the cell after it was asked for. Guards look at whole cells: at
//! the fewest that cover their window.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serin_filter_core::split::GROUPS;

use crate::api::DeadlinePolicy;
use crate::cells::Grid;
use crate::observation::{ArmCounts, Cell, Grouped, Proxy, Tally};
use crate::report::{Verdict, View, report};
use crate::rollout::{
    Action, Do, ForeignRoutes, GuardWindow, HoldReason, Input, Outcome, Refusal, Release,
    RolloutState, SplitWatch, accept, step,
};
use crate::source::Source;
use crate::stats::poisson::Line;
use crate::validate::{Course, Plan, Source as Counted, VariantRef, validate};

pub use crate::rollout::Record;

/// Hash groups of users.
pub const USER_GROUPS: usize = GROUPS as usize;
/// The one proxy that runs everything at once.
const GENERATION: u64 = 1;

const NOTHING: Line = Line {
    theta: 0.0,
    delta: 0.0,
};

/// Why a rollout cannot be run on counts of errors alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something else than evidence moves its weights.
    #[error(
        "spec.strategy: only canary, linear and blueGreen go up by evidence alone; the others want endpoints, people, several versions or copies, which are not there"
    )]
    Strategy,
    /// It judges no errors.
    #[error(
        "spec.analysis.metrics: none of them is an errorRate, and nothing else is counted here"
    )]
    NoErrors,
}

/// The rollout with what can be judged by counts of errors, and the names of the metrics that were left out.
///
/// # Errors
/// [`Unfit`].
pub fn by_errors(source: &Source) -> Result<(Source, Vec<String>), Unfit> {
    if source.plan.course != Course::Steps {
        return Err(Unfit::Strategy);
    }
    let metrics = source.plan.metrics.iter();
    let (kept, left): (Vec<_>, Vec<_>) = metrics.partition(|it| it.source == Counted::Errors);
    if kept.is_empty() {
        return Err(Unfit::NoErrors);
    }
    let mut rollout = source.rollout.clone();
    let metrics = &mut rollout.spec.analysis.metrics;
    metrics.retain(|metric| metric.error_rate.is_some());
    let plan = validate(&rollout).map_err(|_| Unfit::NoErrors)?;
    let left = left.iter().map(|metric| metric.name.clone()).collect();
    Ok((Source { plan, rollout }, left))
}

/// Counts of one variant over one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arm {
    /// Requests of users, by hash group.
    pub groups: [Tally; USER_GROUPS],
    /// Requests without a key.
    pub ungrouped: Tally,
    /// Requests that the fuse sent home, by hash group; the last are those without a key.
    pub fused: [u64; USER_GROUPS + 1],
    /// How often a fuse opened.
    pub fuse_trips: u64,
}

impl Arm {
    /// Sum over groups and ungrouped requests, without what the fuse sent home.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = self.ungrouped;
        self.groups.iter().for_each(|group| sum.add(*group));
        sum
    }

    fn counts(&self) -> ArmCounts {
        ArmCounts {
            requests: Grouped {
                groups: self.groups,
                ungrouped: self.ungrouped,
            },
            fused: self.fused,
            fuse_trips: self.fuse_trips,
            // Taken as honoured: one request was looked at, and it was where it was meant to be.
            sampled: self.tally().total.min(1),
            misrouted: 0,
            ..ArmCounts::default()
        }
    }
}

impl From<ArmCounts> for Arm {
    fn from(counts: ArmCounts) -> Self {
        Self {
            groups: counts.requests.groups,
            ungrouped: counts.requests.ungrouped,
            fused: counts.fused,
            fuse_trips: counts.fuse_trips,
        }
    }
}

/// Counts of both variants over one cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// The new version.
    pub canary: Arm,
    /// The stable version.
    pub stable: Arm,
}

/// What of a rollout file decides how long it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// Weights as shares of 1, rising, with the line of their gates.
    pub steps: Vec<(f64, Line)>,
    /// A canary within this line is healthy.
    pub tolerance: Line,
    /// Bound on false rollbacks.
    pub false_rollback: f64,
    /// Bound on false promotions.
    pub false_promotion: f64,
    /// Time at 100 %.
    pub soak: Duration,
    /// Limit on the whole release.
    pub deadline: Option<Duration>,
    /// Whether users stay with their version, so that counts come by hash group.
    pub sticky: bool,
    /// Share of the requests that are copied for a shadow.
    pub shadow_sample: Option<f64>,
    /// Level of the e-process of a rollback, and of one gate: what the margin for luck leaves of the bounds.
    pub levels: (f64, f64),
}

impl Design {
    /// Of a valid file.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        // Planning is about one metric: the first.
        let metric = plan.metrics.first();
        let gates = metric.map_or(&[][..], |metric| &metric.gates);
        let steps = plan.steps.iter().zip(gates);
        Self {
            steps: steps
                .filter_map(|(step, gate)| Some((f64::from(step.weight()) / 10_000.0, (*gate)?)))
                .collect(),
            tolerance: metric.map_or(NOTHING, |metric| metric.tolerance),
            false_rollback: plan.false_rollback,
            false_promotion: plan.false_promotion,
            soak: plan.soak,
            deadline: plan.deadline.as_ref().map(|deadline| deadline.after.0),
            sticky: !plan.key.is_empty() || plan.choice.cookie_name().is_some(),
            shadow_sample: plan
                .choice
                .shadow
                .as_ref()
                .map(|shadow| f64::from(shadow.sample) / 10_000.0),
            levels: (
                plan.harm_level() * metric.map_or(1.0, |metric| metric.share),
                plan.gate_level(),
            ),
        }
    }

    /// The gate before 100 %.
    #[must_use]
    pub fn last_gate(&self) -> Line {
        self.steps.last().map_or(self.tolerance, |(_, gate)| *gate)
    }
}

/// How the counts of a release name its variants: by name and by version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Namespace and name of the rollout, as label values have them.
    pub rollout: String,
    /// Name and version of the new version.
    pub canary: (String, String),
    /// Name and version of the stable one.
    pub stable: (String, String),
}

impl Names {
    /// Of a valid file.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let of = |variant: &VariantRef| (variant.name.clone(), variant.version.clone());
        Self {
            rollout: plan.name.to_string(),
            canary: of(&plan.canary),
            stable: of(&plan.stable),
        }
    }
}

/// How a release ended, or why it stands still until somebody comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "by")]
pub enum Ending {
    /// The new version is live.
    Promoted,
    /// Rolled back, or held for a failure as `onFail: hold` says.
    Stopped(By),
    /// Held by the deadline.
    Held,
}

/// What stopped a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum By {
    /// The comparison, with its stated error probability.
    Judge,
    /// A hard limit, which has none.
    Guard,
    /// The time was over.
    Deadline,
}

/// A release in progress, cell by cell.
#[derive(Clone, Debug)]
pub struct Engine<'s> {
    source: &'s Source,
    grid: Grid,
    state: RolloutState,
    next: i64,
    now: Timestamp,
    /// Cells that are not read yet, because their lag is not over.
    unread: VecDeque<Cell>,
    /// The canary's last cells, as many as the longest guard looks back.
    recent: VecDeque<ArmCounts>,
    waiting_for: Option<String>,
}

impl<'s> Engine<'s> {
    /// The release of a rollout file, begun when cell `first` begins.
    ///
    /// # Errors
    /// [`Refusal`], when the file does not fit the grid.
    pub fn begin(source: &'s Source, grid: Grid, first: i64) -> Result<Self, Refusal> {
        let plan = &source.plan;
        let before = RolloutState::new(plan, plan.stable.clone());
        let now = grid.begin(first);
        let (mut state, _) = accept(plan, &source.rollout, &before, now, grid)?;
        if let Some(release) = &mut state.release {
            release.split = SplitWatch::off();
        }
        Ok(Self {
            source,
            grid,
            state,
            next: first,
            now,
            unread: VecDeque::new(),
            recent: VecDeque::new(),
            waiting_for: None,
        })
    }

    /// The canary's share of the users while the next cell passes, 0 to 1.
    #[must_use]
    pub fn canary_share(&self) -> f64 {
        self.release().map_or(0.0, |release| {
            if release.switched_on() {
                release.weight() / 100.0
            } else {
                0.0
            }
        })
    }

    /// One cell passes; at its end guards look at it, and the judge at those whose lag is over.
    pub fn pass(&mut self, interval: &Interval) {
        let plan = &self.source.plan;
        let cell = Cell {
            index: self.next,
            stable: interval.stable.counts(),
            arms: vec![interval.canary.counts()],
        };
        self.next += 1;
        self.now = self.grid.begin(self.next);
        self.remember(interval.canary.counts());
        self.unread.push_back(cell);
        let until = self.grid.readable_until(self.now);
        let readable = self.unread.partition_point(|cell| cell.index < until);
        let cells: Vec<Cell> = self.unread.drain(..readable).collect();
        let guards = plan.guards.iter();
        let guards = guards.map(|guard| Some(self.window(guard.over.0)));
        let guards = [guards.collect::<Vec<_>>()];
        let proxies = [Proxy {
            target: "all".to_owned(),
            namespace: None,
            up: true,
            generation: Some(GENERATION),
            invalid: false,
        }];
        let approval = self.approval();
        let transition = step(
            Some(plan),
            &self.state,
            &Input {
                now: self.now,
                grid: self.grid,
                cells: &cells,
                proxies: Ok(&proxies),
                generation: Some(GENERATION),
                guards: &guards,
                ready: None,
                actions: approval.as_slice(),
                routes: ForeignRoutes::default(),
            },
        );
        self.state = transition.next;
        self.waiting_for = transition.waiting_for;
    }

    fn remember(&mut self, canary: ArmCounts) {
        let longest = self.source.plan.guards.iter().map(|guard| guard.over.0);
        let cells = self.cells_of(longest.max().unwrap_or_default());
        self.recent.push_back(canary);
        while self.recent.len() > cells {
            self.recent.pop_front();
        }
    }

    /// The fewest whole cells that cover a window.
    fn cells_of(&self, window: Duration) -> usize {
        let cells = window.as_millis().div_ceil(self.grid.cell().as_millis());
        usize::try_from(cells).unwrap_or(usize::MAX)
    }

    fn window(&self, over: Duration) -> GuardWindow {
        let mut sum = ArmCounts::default();
        for arm in self.recent.iter().rev().take(self.cells_of(over)) {
            sum.requests.ungrouped.add(arm.requests.ungrouped);
            let groups = sum.requests.groups.iter_mut();
            for (group, more) in groups.zip(&arm.requests.groups) {
                group.add(*more);
            }
        }
        GuardWindow {
            canary: sum.tally(),
            bad_sources: sum.bad_sources(),
        }
    }

    fn approval(&self) -> Option<Action> {
        let release = self.state.in_progress()?;
        let hold = release.hold.as_ref()?;
        (hold.reason == HoldReason::Approval).then(|| Action {
            id: self.now.to_string(),
            what: Do::Promote,
            by: "serin".to_owned(),
            why: "approvals are taken as given here".to_owned(),
            seen: Some(release.stage),
            weight: None,
        })
    }

    fn release(&self) -> Option<&Release> {
        self.state.release.as_ref()
    }

    /// How it ended; `None` while it goes on.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        let release = self.release()?;
        match (release.outcome, &release.hold) {
            (Some(Outcome::Succeeded | Outcome::Concluded), _) => Some(Ending::Promoted),
            (Some(Outcome::RolledBack), _) => Some(Ending::Stopped(self.stopped_by(release))),
            (None, Some(hold)) => match hold.reason {
                HoldReason::Failure => Some(Ending::Stopped(self.stopped_by(release))),
                HoldReason::Deadline => Some(Ending::Held),
                HoldReason::Paused | HoldReason::Approval => None,
            },
            (None, None) => None,
        }
    }

    fn stopped_by(&self, release: &Release) -> By {
        let plan = &self.source.plan;
        let over = plan.deadline.as_ref().is_some_and(|deadline| {
            deadline.then == DeadlinePolicy::Rollback
                && self.now >= release.started + deadline.after.0
        });
        if release.evidence.failed(plan) {
            By::Judge
        } else if over {
            By::Deadline
        } else {
            By::Guard
        }
    }

    /// When the cells so far end: the clock of the release.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The story so far, oldest first.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        self.release().map_or(&[], |release| &release.records)
    }

    /// What the judge says now, and why the release does not go up, in one sentence.
    #[must_use]
    pub fn verdict(&self) -> Option<(Verdict, String)> {
        let view = View {
            waiting_for: self.waiting_for.clone(),
            ..View::default()
        };
        let status = report(Some(&self.source.plan), &self.state, &view);
        let release = status.release?;
        let metric = release.metrics.into_iter().next()?;
        Some((release.verdict, metric.sentence))
    }

    /// Why it does not go up.
    #[must_use]
    pub fn waiting_for(&self) -> Option<&str> {
        self.waiting_for.as_deref()
    }
}

#[cfg(test)]
mod tests;

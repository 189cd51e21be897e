//! The state machine of a rollout. Pure: state and input in, next state and what to write out.
//!
//! Priority within one tick: evidence is counted first, then a person's request, then failure, and only then anything
//! that goes up. So a rollback is decided before a promotion, in the tick that sees it.

mod accept;
mod accepted;
mod act;
mod advance;
mod capacity;
mod fail;
mod route_watch;
mod split;
mod state;

pub use accept::{Refusal, accept, begins, retire};
pub use accepted::Accepted;
pub use act::{Action, Do};
pub use route_watch::RouteWatch;
pub use split::SplitWatch;
pub use state::{
    Answer, Hold, HoldReason, Outcome, PastRelease, Phase, Record, Release, RolloutState, Stage,
};

use jiff::Timestamp;

use crate::cells::Grid;
use crate::observation::{Cell, Proxy, Tally};
use crate::validate::Plan;

/// What the world looks like in this tick.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The driver's clock.
    pub now: Timestamp,
    /// The common grid.
    pub grid: Grid,
    /// Cells that were read, in order; those before the evidence's next cell are ignored.
    pub cells: &'a [Cell],
    /// The expected proxies, or why they could not be asked.
    pub proxies: Result<&'a [Proxy], &'a str>,
    /// First generation whose config carries the rollout's present section; `None` while that is not written.
    pub generation: Option<u64>,
    /// Short windows, by version beside the stable one and then by guard, in the plan's order; `None` where one could
    /// not be read.
    pub guards: &'a [Vec<Option<GuardWindow>>],
    /// Ready endpoints; `None` where nobody asked or knows.
    pub ready: Option<Ready>,
    /// What the routes lack that somebody else owns; nothing of ours.
    pub routes: ForeignRoutes<'a>,
    /// What people asked for since the last tick.
    pub actions: &'a [Action],
}

/// What routes lack that somebody else owns, each in one sentence that says what to change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForeignRoutes<'a> {
    /// They do not follow the header everywhere.
    pub header: Option<&'a str>,
    /// Their default route does not serve what [`RolloutState::default_route`] wants.
    pub default: Option<&'a str>,
}

/// Counts of the canary in a guard's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardWindow {
    /// Requests and bad ones.
    pub canary: Tally,
    /// Hash groups with a bad request.
    pub bad_sources: u64,
}

/// Endpoints that can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Of the new version.
    pub canary: u64,
    /// Of the stable version.
    pub stable: u64,
}

/// What the driver has to write, and in which order. Of two changes in one tick the greater wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writes {
    /// Nothing: only evidence was counted.
    #[default]
    Nothing,
    /// The state file.
    State,
    /// Going up: the state file, then the proxies' config and routes.
    Up,
    /// Going down: the proxies' config and routes at once, then the state file.
    Down,
}

/// The next state and what has to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// State after this tick.
    pub next: RolloutState,
    /// What to write.
    pub writes: Writes,
    /// Why the rollout does not go up in this tick, in one sentence; `None` when nothing holds it.
    pub waiting_for: Option<String>,
}

/// One tick of one rollout. Without a plan (the file was never valid, or is gone) people are answered, nothing else.
#[must_use]
pub fn step(plan: Option<&Plan>, state: &RolloutState, input: &Input<'_>) -> Transition {
    let mut next = state.clone();
    let verdict_due = match (plan, next.in_progress_mut()) {
        (Some(plan), Some(release)) => advance::count(plan, release, input),
        _ => false,
    };
    let mut writes = act::answer(plan, &mut next, input);
    if split_alarmed(&next) != split_alarmed(state) {
        writes = writes.max(Writes::State);
    }
    let mut waiting_for = None;
    if let Some(plan) = plan
        && next.in_progress().is_some()
    {
        writes = writes.max(fail::decide(plan, &mut next, input, verdict_due));
        writes = writes.max(capacity::fall(plan, &mut next, input));
        // What a person has just moved is not moved again before it is written and every proxy has it.
        if writes <= Writes::State && next.in_progress().is_some() {
            match advance::forward(plan, &mut next, input, verdict_due) {
                Ok(moved) => writes = writes.max(moved),
                Err(reason) => waiting_for = Some(reason),
            }
        }
    }
    Transition {
        next,
        writes,
        waiting_for,
    }
}

fn split_alarmed(state: &RolloutState) -> bool {
    let release = state.in_progress();
    release.is_some_and(|release| release.split.is_alarmed())
}

#[cfg(test)]
mod tests;

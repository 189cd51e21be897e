//! What both controllers have in common, on one machine and in a cluster: rollouts in their hands ([`Managed`]), what
//! Prometheus says ([`World`]), and a tick of one rollout ([`advance`]). Where files and objects are, they know.

mod managed;
mod world;

pub use managed::{Managed, Routed};
pub use world::{Ask, Cells, Proxies, Sight, World};

use jiff::Timestamp;

use crate::cells::Grid;
use crate::rollout::{Action, ForeignRoutes, Input, Writes, step};

/// What a rollout sees in a tick.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Cells.
    pub grid: Grid,
    /// What Prometheus says.
    pub world: &'a World,
    /// The proxies that carry it.
    pub proxies: &'a Proxies,
    /// What routes lack that somebody else owns.
    pub routes: ForeignRoutes<'a>,
}

impl<'a> Surroundings<'a> {
    /// All proxies carry it, and its routes are ours.
    #[must_use]
    pub fn whole(grid: Grid, world: &'a World) -> Self {
        Self {
            grid,
            world,
            proxies: &world.proxies,
            routes: ForeignRoutes::default(),
        }
    }
}

/// One tick of one rollout.
pub fn advance(
    managed: &mut Managed,
    surroundings: &Surroundings<'_>,
    actions: &[Action],
    now: Timestamp,
) {
    let Surroundings {
        grid,
        world,
        proxies: expected,
        routes,
    } = *surroundings;
    let now = world.time(now);
    // Without a release nothing needs it, unless somebody asks for one.
    let needed = managed.state.in_progress().is_some() || !actions.is_empty();
    let plan = if needed { managed.plan() } else { None };
    let cells = world.cells_for(plan.as_deref(), &managed.state, grid);
    let guards = plan
        .as_deref()
        .map(|plan| world.guards_for(plan, &managed.state))
        .unwrap_or_default();
    if let Some(cell) = cells.last() {
        let arms = std::iter::once(&cell.stable).chain(&cell.arms);
        managed.view.last_cell = arms.map(|arm| arm.tally().total).collect();
        managed.view.fresh = Some(now);
    }
    let proxies = match expected {
        Some(Ok(proxies)) => Ok(proxies.as_slice()),
        Some(Err(reason)) => Err(reason.as_str()),
        None => Err("not asked yet"),
    };
    let input = Input {
        now,
        grid,
        cells: &cells,
        proxies,
        generation: managed.written_generation(),
        guards: &guards,
        ready: world.ready_for(&managed.state),
        actions,
        routes,
    };
    let transition = step(plan.as_deref(), &managed.state, &input);
    if world.is_partial() && transition.writes == Writes::Nothing {
        // The rest of the tick follows.
        return;
    }
    if let (Some(plan), Some(release), false) = (&plan, &transition.next.release, cells.is_empty())
    {
        managed.trace(plan, release);
    }
    // An answer to a person says nothing about Prometheus.
    if expected.is_some() || transition.next.in_progress().is_none() {
        managed.view.proxies.clone_from(expected);
        let refusal = |plan| world.refusal_for(plan, &managed.state, grid);
        managed.view.refusal = plan.as_deref().and_then(refusal);
        managed.view.waiting_for = managed.view.refusal.clone().or(transition.waiting_for);
    } else if !actions.is_empty() {
        // It was about the state before, and the answer is news.
        managed.view.waiting_for = None;
    }
    managed.change(transition.next, transition.writes);
}

/// An error with its causes, for logs.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

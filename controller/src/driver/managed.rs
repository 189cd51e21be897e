//! A rollout in the driver's hands: its state, what of it is on disk, and what is shown of it.

use std::sync::Arc;

use jiff::Timestamp;
use serin_filter_core::config::RolloutConfig;

use crate::render::section;
use crate::report::{Sources, Status, View, report};
use crate::rollout::{Accepted, Release, RolloutState, Writes, retire};
use crate::validate::{Destination, Plan, VariantRef};

/// Where a default route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Value of the route header that stands for it.
    pub route: String,
    /// Where that is in the mesh.
    pub destination: Option<Destination>,
}

impl Routed {
    fn serves(&self, variant: &VariantRef) -> bool {
        let place = |it| Option::map(it, Destination::place);
        self.route == variant.route
            && place(self.destination.as_ref()) == place(variant.destination.as_ref())
    }

    fn unknown(self) -> VariantRef {
        VariantRef {
            name: "live".to_owned(),
            version: "unknown".to_owned(),
            route: self.route,
            destination: self.destination,
        }
    }
}

/// Evidence is written with every transition and otherwise this often: cells can be read again.
const CHECKPOINT: std::time::Duration = std::time::Duration::from_secs(60);
/// Cells of evidence that are shown.
const TRAIL: usize = 60;

/// A rollout, what of it is written, and what is shown of it.
#[derive(Clone, Debug)]
pub struct Managed {
    /// What is decided.
    pub state: Arc<RolloutState>,
    /// The state that the proxies are shown: it runs behind `state` while a write fails.
    pub shown: Arc<RolloutState>,
    accepted: Accepted,
    /// Name of the rollout's file (standalone).
    pub file: Option<String>,
    /// Since when the file is away (standalone).
    pub missing_since: Option<Timestamp>,
    /// What is still to be written of the last changes.
    pub pending: Writes,
    /// The rollout's section as last rendered.
    pub rendered: Option<Arc<RolloutConfig>>,
    /// The proxies cannot have that yet: its object is not written (cluster).
    pub unwritten: bool,
    /// What is shown beside the state.
    pub view: View,
    saved: Option<(Arc<RolloutState>, Timestamp)>,
}

impl Managed {
    /// From what was written at some time. Where it counts as written at the start, thousands are not written again
    /// because of that.
    #[must_use]
    pub fn restore(state: RolloutState, file: Option<String>, written: Timestamp) -> Self {
        let fresh = Self::new(state);
        Self {
            accepted: Accepted::restore(&fresh.state),
            file,
            saved: Some((Arc::clone(&fresh.state), written)),
            ..fresh
        }
    }

    fn new(state: RolloutState) -> Self {
        let state = Arc::new(state);
        Self {
            shown: Arc::clone(&state),
            state,
            accepted: Accepted::Nothing,
            file: None,
            missing_since: None,
            pending: Writes::Nothing,
            rendered: None,
            unwritten: false,
            view: View::default(),
            saved: None,
        }
    }

    /// A rollout without a state: live is what the default route says, else what the file calls stable.
    #[must_use]
    pub fn first(plan: &Plan, routed: Option<Routed>) -> Self {
        let live = match routed {
            None => plan.stable.clone(),
            Some(routed) => std::iter::once(&plan.stable)
                .chain(plan.arms())
                .find(|variant| routed.serves(variant))
                .cloned()
                .unwrap_or_else(|| routed.unknown()),
        };
        Self::new(RolloutState::new(plan, live))
    }

    /// Takes the next state, which comes of this file.
    pub fn accept(&mut self, plan: Arc<Plan>, state: RolloutState, writes: Writes) {
        self.accepted = Accepted::Kept(plan);
        self.change(state, writes);
    }

    /// Takes the last state: no file is in force any more.
    pub fn retire(&mut self, now: Timestamp) {
        let (state, writes) = retire(&self.state, now);
        self.accepted = Accepted::Nothing;
        self.change(state, writes.max(Writes::State));
    }

    /// Whether a file is in force.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.is_any()
    }

    /// What the accepted file comes to.
    #[must_use]
    pub fn plan(&self) -> Option<Arc<Plan>> {
        self.accepted.plan(&self.state)
    }

    /// Takes the next state; what could not be written yet stays to be written.
    pub fn change(&mut self, state: RolloutState, writes: Writes) {
        let same = |a: &Release, b: &Release| (a.started, &a.canary) == (b.started, &b.canary);
        let before = self
            .state
            .release
            .as_ref()
            .zip(state.release.as_ref())
            .filter(|(a, b)| same(a, b));
        if before.is_none() {
            // Another release has its own evidence, and its own weight to be seen.
            self.view.trail.clear();
            self.view.last_cell.clear();
        }
        let told = before
            .and_then(|(release, _)| release.records.last())
            .map_or(0, |record| record.number);
        let records = state.release.iter().flat_map(|release| &release.records);
        for record in records.filter(|record| record.number > told) {
            tracing::info!(rollout = %state.name, phase = ?record.phase, weight = record.weight, "{}", record.message);
        }
        if self.pending == Writes::Down {
            // That way down is to be seen by the proxies, whatever follows it.
            self.show();
        }
        if *self.state != state {
            self.state = Arc::new(state);
        }
        self.accepted.follow(&self.state);
        self.pending = self.pending.max(writes);
        if self.pending == Writes::Down && self.state.grows_from(&self.shown) {
            // Down from what was never written, and yet up from what the proxies have.
            self.pending = Writes::Up;
        }
    }

    /// The first generation that carries the present section; none while it is not written, for what the proxies
    /// report then is about another one.
    pub fn written_generation(&self) -> Option<u64> {
        let written = self.pending == Writes::Nothing
            && !self.unwritten
            && section(&self.state).as_ref() == self.rendered.as_deref();
        self.view.generation.filter(|_| written)
    }

    /// Lets Envoy's files follow the state.
    pub fn show(&mut self) {
        self.shown = Arc::clone(&self.state);
    }

    /// The state is written.
    pub fn saved(&mut self, now: Timestamp) {
        self.saved = Some((Arc::clone(&self.state), now));
        self.pending = Writes::Nothing;
        self.show();
    }

    /// Whether everything of the state is written, the newest evidence included.
    pub fn is_saved(&self) -> bool {
        let saved = self.saved.as_ref();
        saved.is_some_and(|(state, _)| Arc::ptr_eq(state, &self.state))
    }

    pub fn checkpoint_due(&self, now: Timestamp) -> bool {
        match &self.saved {
            Some((state, at)) => {
                // However often the controller is started, and the clock with it, what it has counted is kept. While it
                // runs, the time that cells cover is ahead of the clock's by less than two cells.
                let both = state.in_progress().zip(self.state.in_progress());
                let late = both.is_some_and(|(then, now)| {
                    let counted = |it: &Release| now.grid.begin(it.evidence.next_cell);
                    counted(now) >= counted(then) + CHECKPOINT + now.grid.cell() * 2
                });
                // A clock that went back must not make it wait.
                (late || now >= *at + CHECKPOINT || now < *at) && *state != self.state
            }
            None => true,
        }
    }

    /// Remembers the evidence of the cells just consumed, for the eye.
    pub fn trace(&mut self, plan: &Plan, release: &Release) {
        if self.view.trail.len() >= TRAIL {
            self.view.trail.remove(0);
        }
        self.view.trail.push(release.evidence.canary.harm(plan));
    }

    /// Says what is wrong with the file, once.
    pub fn say_problems(&mut self, problems: Vec<String>) {
        self.view.not_in_force = None;
        if problems != self.view.file_problems {
            for problem in &problems {
                tracing::error!(rollout = %self.state.name, "{problem}; the running rollout is untouched");
            }
            self.view.file_problems = problems;
        }
    }

    /// What its status is made of.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            accepted: self.accepted.clone(),
            state: Arc::clone(&self.state),
            view: self.view.clone(),
        }
    }

    pub fn status(&self) -> Status {
        report(self.plan().as_deref(), &self.state, &self.view)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::fixtures::started;

    /// In cells of 2 s, as the fixtures have them: when the next checkpoint is due, in seconds after `written`.
    fn due(written: Timestamp, counted_before: i64) -> i64 {
        let (_, mut state) = started();
        let grid = state.release.as_ref().unwrap().grid;
        let cells_until = |now| grid.readable_until(now);
        state.release.as_mut().unwrap().evidence.next_cell = cells_until(written) - counted_before;
        let mut managed = Managed::restore(state.clone(), None, written);
        (0..)
            .find(|seconds| {
                let now = written + SignedDuration::from_secs(*seconds);
                let mut next = state.clone();
                next.release.as_mut().unwrap().evidence.next_cell = cells_until(now);
                managed.change(next, Writes::Nothing);
                managed.checkpoint_due(now)
            })
            .unwrap()
    }

    #[test]
    fn while_a_controller_runs_checkpoints_are_a_minute_apart() {
        for offset in 0..4 {
            let written = Timestamp::from_second(1_000 + offset).unwrap();
            assert_eq!(due(written, 0), 60, "{offset}");
            assert_eq!(due(written, 1), 60, "{offset}");
        }
    }

    #[test]
    fn what_was_counted_is_kept_however_often_a_controller_is_started() {
        let written = Timestamp::from_second(1_000).unwrap();
        assert_eq!(
            due(written, 20),
            24,
            "of 32 cells, 20 were counted before it"
        );
        assert_eq!(due(written, 40), 0);
    }
}

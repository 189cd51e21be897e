//! A rollout in the driver's hands: its state, what of it is on disk, and what is shown of it.

use jiff::Timestamp;
use serde_json::Value;
use serin_filter_core::config::RolloutConfig;

use super::chain;
use crate::render::default_route_in;
use crate::render::section;
use crate::report::{Status, View, report};
use crate::rollout::{Release, RolloutState, Writes};
use crate::standalone::store::{StateFile, Store};
use crate::validate::{Plan, VariantRef, validate};

/// Evidence is written with every transition and otherwise this often: cells can be read again.
const CHECKPOINT: std::time::Duration = std::time::Duration::from_secs(60);
/// Cells of evidence that are shown.
const TRAIL: usize = 60;

#[derive(Debug)]
pub(super) struct Managed {
    pub(super) state: RolloutState,
    /// The state that Envoy's files show: it runs behind `state` while a write fails.
    pub(super) shown: RolloutState,
    pub(super) plan: Option<Plan>,
    pub(super) file: Option<String>,
    pub(super) missing_since: Option<Timestamp>,
    /// What is still to be written of the last changes.
    pub(super) pending: Writes,
    /// The rollout's section as last rendered.
    pub(super) rendered: Option<RolloutConfig>,
    pub(super) view: View,
    saved: Option<(RolloutState, Timestamp)>,
}

impl Managed {
    /// From a state file.
    pub(super) fn restore(file: StateFile) -> Self {
        let state = file.state;
        // The accepted file goes on judging even if the one in the folder is broken by now.
        let plan = state
            .release
            .as_ref()
            .and_then(|release| validate(&release.rollout).ok());
        let saved = Some((state.clone(), Timestamp::UNIX_EPOCH));
        Self {
            shown: state.clone(),
            state,
            plan,
            file: file.file,
            missing_since: None,
            pending: Writes::Nothing,
            rendered: None,
            view: View::default(),
            saved,
        }
    }

    /// A rollout without a state: live is what the default route says, else what the file calls stable.
    pub(super) fn first(plan: &Plan, rds: Option<&Value>) -> Self {
        let routed = rds.and_then(|rds| {
            let mut hosts = plan.hosts.iter();
            hosts.find_map(|host| default_route_in(rds, host, &plan.paths))
        });
        let live = match routed {
            None => plan.stable.clone(),
            Some(route) => std::iter::once(&plan.stable)
                .chain(plan.arms())
                .find(|variant| variant.route == route)
                .cloned()
                .unwrap_or_else(|| VariantRef {
                    name: "live".to_owned(),
                    version: "unknown".to_owned(),
                    route: route.to_owned(),
                }),
        };
        let state = RolloutState::new(plan, live);
        Self {
            shown: state.clone(),
            state,
            plan: None,
            file: None,
            missing_since: None,
            pending: Writes::Nothing,
            rendered: None,
            view: View::default(),
            saved: None,
        }
    }

    /// Takes the next state; what could not be written yet stays to be written.
    pub(super) fn change(&mut self, state: RolloutState, writes: Writes) {
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
        self.state = state;
        self.pending = self.pending.max(writes);
    }

    /// The first generation that carries the present section; none while it is not written, for what the proxies
    /// report then is about another one.
    pub(super) fn written_generation(&self) -> Option<u64> {
        let written = self.pending == Writes::Nothing && section(&self.state) == self.rendered;
        self.view.generation.filter(|_| written)
    }

    /// Lets Envoy's files follow the state.
    pub(super) fn show(&mut self) {
        self.shown = self.state.clone();
    }

    /// Writes the state file, after which Envoy's files may follow; says so when it fails, and the next tick tries
    /// again.
    pub(super) fn save(&mut self, store: &Store, now: Timestamp) -> bool {
        let file = StateFile {
            file: self.file.clone(),
            state: self.state.clone(),
            status: Some(self.status()),
        };
        match store.save(&file) {
            Ok(()) => {
                self.saved = Some((file.state, now));
                self.pending = Writes::Nothing;
                self.show();
                true
            }
            Err(error) => {
                tracing::error!(
                    rollout = %self.state.name,
                    error = chain(&error),
                    "the state cannot be written; tried again in the next tick"
                );
                false
            }
        }
    }

    pub(super) fn checkpoint_due(&self, now: Timestamp) -> bool {
        match &self.saved {
            Some((state, at)) => now >= *at + CHECKPOINT && *state != self.state,
            None => true,
        }
    }

    /// Remembers the evidence of the cells just consumed, for the eye.
    pub(super) fn trace(&mut self, plan: &Plan, release: &Release) {
        if self.view.trail.len() >= TRAIL {
            self.view.trail.remove(0);
        }
        self.view.trail.push(release.evidence.canary.harm(plan));
    }

    /// Says what is wrong with the file, once.
    pub(super) fn say_problems(&mut self, problems: Vec<String>) {
        if problems != self.view.file_problems {
            for problem in &problems {
                tracing::error!(rollout = %self.state.name, "{problem}; the running rollout is untouched");
            }
            self.view.file_problems = problems;
        }
    }

    pub(super) fn status(&self) -> Status {
        report(self.plan.as_ref(), &self.state, &self.view)
    }
}

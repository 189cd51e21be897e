//! Routes and plugins of others: what they lack, and what a rollout's status says of that.

use std::collections::BTreeSet;

use super::Fleet;
use crate::cluster::conditions;
use crate::cluster::foreign::{self, Lacking, Theirs};
use crate::cluster::object::ObjectId;
use crate::report::Condition;
use crate::rollout::RolloutState;

impl Fleet {
    /// What others' objects, as they are now, say of a rollout.
    pub(super) fn routes_of_others(&self, state: &RolloutState) -> (Lacking, Vec<Condition>) {
        look_at_routes(state, &self.theirs, &self.rivals)
    }

    /// Rollouts without a release in progress, at which nobody else looks, may have their routes to themselves now, or no
    /// more.
    pub(super) fn look_at_others_routes(&mut self) {
        if std::mem::replace(&mut self.routes_seen, true) {
            return;
        }
        let idle = self.rollouts.iter().filter_map(|(name, entry)| {
            let managed = entry.managed.as_ref()?;
            (managed.state.in_progress().is_none()).then_some((name, entry, managed))
        });
        let changed = idle.filter_map(|(name, entry, managed)| {
            let (lacking, conditions) = self.routes_of_others(&managed.state);
            let same = lacking == entry.lacking && conditions == managed.view.conditions;
            (!same).then(|| (name.clone(), lacking, conditions))
        });
        for (name, lacking, conditions) in changed.collect::<Vec<_>>() {
            self.rollouts.change(&name, |entry| {
                entry.lacking = lacking;
                entry.status_due = true;
                if let Some(managed) = &mut entry.managed {
                    managed.view.conditions = conditions;
                }
            });
        }
    }
}

/// What somebody else's routes lack for a rollout, and what its status says of that.
pub(super) fn look_at_routes(
    state: &RolloutState,
    theirs: &Theirs,
    rivals: &BTreeSet<ObjectId>,
) -> (Lacking, Vec<Condition>) {
    let Some(mesh) = &state.mesh else {
        return Default::default();
    };
    let lacking = foreign::lacking(state, mesh, theirs);
    let goes_on = state.in_progress().is_some();
    let conditions = more_conditions(mesh.manage, goes_on, &lacking, rivals);
    (lacking, conditions)
}

fn more_conditions(
    manage: bool,
    goes_on: bool,
    lacking: &Lacking,
    rivals: &BTreeSet<ObjectId>,
) -> Vec<Condition> {
    let condition = |kind: &str, wrong: Option<String>, fine: &str| Condition {
        kind: kind.to_owned(),
        status: Some(wrong.is_none()),
        reason: None,
        message: wrong.unwrap_or_else(|| fine.to_owned()),
    };
    let mut found = vec![condition(
        conditions::ROUTES_FOLLOW_HEADER,
        lacking.header.clone(),
        "every version's route follows the header",
    )];
    if !manage {
        found.push(condition(
            conditions::DEFAULT_ROUTE_MOVED,
            lacking.default.clone(),
            "the default route leads where it should",
        ));
    }
    if !goes_on {
        // Without a release nothing is counted. And thousands need not say of one plugin that it is there.
        return found;
    }
    let rival = rivals.first().map(|id| {
        format!("{id} runs the filter as well, so that requests are counted twice: delete it")
    });
    found.push(condition(
        conditions::SOLE_PLUGIN,
        rival,
        "no other plugin has a config of the filter",
    ));
    found
}

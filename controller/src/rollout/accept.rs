//! Taking over a rollout file: the first one, an edit, or a new version.

use jiff::Timestamp;
use serin_filter_core::split::{BUCKETS, BucketTable, rebalance};

use super::Writes;
use super::state::{CANARY, HoldReason, Outcome, Release, RolloutState, RouteWatch, STABLE, Stage};
use crate::api::ModelRollout;
use crate::cells::Grid;
use crate::evidence::Evidence;
use crate::quantity::Span;
use crate::validate::{Plan, VariantRef, validate};

/// Why a valid file cannot be acted on now. The running release is untouched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The rollout's stable variant is not what the default route serves.
    #[error(
        "spec.variants: stable is version '{}' on route '{}', but live is version '{}' on route '{}': \
         name the live version as stable, and the new one as canary",
        stable.version, stable.route, live.version, live.route
    )]
    StableIsNotLive {
        /// As the file says.
        stable: Box<VariantRef>,
        /// As it is.
        live: Box<VariantRef>,
    },
    /// The very same release was rolled back before.
    #[error(
        "spec.assignment.salt: version '{version}' was rolled back with this salt at {at:.0}: \
         to release it again, to other users first, change the salt"
    )]
    RolledBackBefore {
        /// The version.
        version: String,
        /// When.
        at: Timestamp,
    },
    /// The verdicts' rhythm does not fit the installation's cells.
    #[error(
        "spec.analysis.interval: {interval} is not a multiple of the installation's cell of {cell}"
    )]
    Interval {
        /// As the file says.
        interval: Span,
        /// As the installation has it.
        cell: Span,
    },
}

/// Takes over a validated file. Idempotent: the same file again changes nothing.
///
/// # Errors
/// [`Refusal`], when it cannot be acted on.
pub fn accept(
    plan: &Plan,
    rollout: &ModelRollout,
    state: &RolloutState,
    now: Timestamp,
    grid: Grid,
) -> Result<(RolloutState, Writes), Refusal> {
    if let Some(interval) = plan
        .interval
        .filter(|interval| grid.cells_in(*interval).is_none())
    {
        return Err(Refusal::Interval {
            interval: Span(interval),
            cell: Span(grid.cell()),
        });
    }
    let mut next = state.clone();
    match next
        .release
        .as_mut()
        .filter(|release| is_about(release, plan))
    {
        Some(release) => edit(plan, rollout, release, now),
        None => begin(plan, rollout, &mut next, now, grid)?,
    }
    next.hosts.clone_from(&plan.hosts);
    next.paths.clone_from(&plan.paths);
    let weight = |state: &RolloutState| {
        let serving = state.in_progress().filter(|release| release.switched_on());
        serving.map_or(0.0, Release::weight)
    };
    let writes = if next == *state {
        Writes::Nothing
    } else if weight(&next) < weight(state) {
        Writes::Down
    } else {
        Writes::Up
    };
    Ok((next, writes))
}

/// Versions, routes and what makes a user make a release; anything else can be edited while it runs.
///
/// What makes a user are the key, the salt and the name of the cookie that stands in for a key: under others the same
/// people would be drawn anew, users would change their variant, and counts by group would be about other groups.
///
/// Rules and overrides are no part of it, although they take users out of the split or give them back: they look at the
/// request and not at its bucket, so they take the same kind of users from both arms in the same cell, and the arms stay
/// comparable at every moment. (A rule that is written because of how a user fared is beyond what can be checked.) The
/// fuse acts after the choice, and what it sends home is counted on its own. Copies for a shadow change nothing for the
/// user.
fn is_about(release: &Release, plan: &Plan) -> bool {
    let of_release = (
        &release.stable,
        &release.canary,
        &release.key,
        &release.salt,
        release.choice.cookie_name(),
    );
    let of_plan = (
        &plan.stable,
        &plan.canary,
        &plan.key,
        &plan.salt,
        plan.choice.cookie_name(),
    );
    of_release == of_plan
}

fn begin(
    plan: &Plan,
    rollout: &ModelRollout,
    next: &mut RolloutState,
    now: Timestamp,
    grid: Grid,
) -> Result<(), Refusal> {
    if (&plan.stable.version, &plan.stable.route) != (&next.live.version, &next.live.route) {
        let (stable, live) = (Box::new(plan.stable.clone()), Box::new(next.live.clone()));
        return Err(Refusal::StableIsNotLive { stable, live });
    }
    next.archive(now);
    let mut attempts = next
        .history
        .iter()
        .filter(|past| (&past.version, &past.salt) == (&plan.canary.version, &plan.salt));
    if let Some(past) = attempts.find(|past| past.outcome == Some(Outcome::RolledBack)) {
        return Err(Refusal::RolledBackBefore {
            version: past.version.clone(),
            at: past.ended,
        });
    }
    next.live = plan.stable.clone();
    let first_cell = grid.first_after(now);
    let mut release = Release {
        rollout: rollout.clone(),
        stable: plan.stable.clone(),
        canary: plan.canary.clone(),
        key: plan.key.clone(),
        salt: plan.salt.clone(),
        choice: plan.choice.clone(),
        started: now,
        first_cell,
        grid,
        stage: Stage::Step(0),
        since: now,
        table: BucketTable::whole(STABLE),
        hold: None,
        outcome: None,
        approved: false,
        comparison_waived: false,
        guard_told: false,
        deadline_passed: false,
        evidence: Evidence::new(plan, first_cell),
        routes: RouteWatch::default(),
        records: Vec::new(),
    };
    set_weight(
        &mut release,
        plan.steps.first().map_or(0, |step| step.weight),
    );
    let weight = release.weight();
    release.record(
        now,
        format!(
            "version {} begins beside version {} at {weight} %",
            plan.canary.version, plan.stable.version
        ),
    );
    next.release = Some(release);
    Ok(())
}

fn edit(plan: &Plan, rollout: &ModelRollout, release: &mut Release, now: Timestamp) {
    if release.rollout == *rollout {
        return;
    }
    let before = validate(&release.rollout).ok();
    release.rollout = rollout.clone();
    let was_on = release.switched_on();
    release.choice = plan.choice.clone();
    if release.outcome.is_some() {
        return;
    }
    if was_on != release.switched_on() {
        // Switched off, the default route must lead to the version that is live; switched on, the handover begins anew.
        let stage = match release.stage {
            Stage::Step(index) => Stage::Step(index),
            Stage::Soak | Stage::MoveDefault | Stage::DropHeader => Stage::Soak,
        };
        release.enter(stage, now);
    }
    if before
        .as_ref()
        .is_none_or(|before| before.on_fail != plan.on_fail)
    {
        (release.comparison_waived, release.guard_told) = (false, false);
    }
    if before
        .as_ref()
        .is_none_or(|before| before.deadline != plan.deadline)
    {
        release.deadline_passed = false;
    }
    let mut recounted = "";
    if let Stage::Step(index) = release.stage {
        // Cells can be read again: under new margins the evidence is counted anew from the first one. After the last
        // step there is nothing left to compare with, and the frozen limit stays.
        if before.is_none_or(|before| !judged_alike(&before, plan)) {
            release.evidence = Evidence::new(plan, release.first_cell);
            release.comparison_waived = false;
            // The cells to be read again are about other weights.
            release.routes = RouteWatch {
                confirmed: release.routes.confirmed,
                ..RouteWatch::default()
            };
            recounted = "; its evidence is counted again from the first cell";
        }
        let index = index.min(plan.steps.len().saturating_sub(1));
        let step = plan.steps.get(index);
        let weight = step.map_or(0, |step| step.weight);
        if release.stage != Stage::Step(index) || release.table.share(CANARY) != weight {
            set_weight(release, weight);
            release.enter(Stage::Step(index), now);
        }
        let asked = release
            .hold
            .as_ref()
            .is_some_and(|hold| hold.reason == HoldReason::Approval);
        if asked && step.is_some_and(|step| !step.pause.approval) {
            release.hold = None;
        }
    }
    let switched = match (was_on, release.switched_on()) {
        (true, false) => "; switched off, everybody is on the live version",
        (false, true) => "; switched on again",
        _ => "",
    };
    release.record(
        now,
        format!("the rollout file was edited{switched}{recounted}"),
    );
}

/// Whether two plans draw the same conclusions from the same counts.
fn judged_alike(a: &Plan, b: &Plan) -> bool {
    let gates = |plan: &Plan| plan.steps.iter().map(|step| step.gate).collect::<Vec<_>>();
    (a.tolerance, a.false_rollback, a.false_promotion, gates(a))
        == (b.tolerance, b.false_rollback, b.false_promotion, gates(b))
}

/// Gives the canary `weight` of 10 000 buckets, moving the fewest users.
pub(super) fn set_weight(release: &mut Release, weight: u16) {
    let weight = weight.min(BUCKETS);
    // Two weights that sum to the whole always rebalance; should they not, nobody moves.
    if let Ok(table) = rebalance(&release.table, &[BUCKETS - weight, weight]) {
        release.table = table;
    }
}

/// The rollout's file is gone: everybody back to live, and only the live route is remembered.
#[must_use]
pub fn retire(state: &RolloutState, now: Timestamp) -> (RolloutState, Writes) {
    let mut next = state.clone();
    let Some(release) = next.release.as_mut() else {
        return (next, Writes::Nothing);
    };
    if release.outcome.is_none() {
        // No outcome: a file that comes back may begin anew, for nothing was held against the version.
        set_weight(release, 0);
        release.record(now, "the rollout file was removed");
    }
    next.archive(now);
    (next, Writes::Down)
}

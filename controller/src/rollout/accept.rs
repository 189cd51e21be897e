//! Taking over a rollout file: the first one, an edit, or a new version.

use jiff::Timestamp;
use serin_filter_core::split::{BUCKETS, BucketTable, rebalance};

use super::route_watch::RouteWatch;
use super::split::SplitWatch;
use super::state::{CANARY, HoldReason, Outcome, Release, RolloutState, STABLE, Stage};
use super::{Input, Writes};
use crate::api::ModelRollout;
use crate::cells::Grid;
use crate::evidence::Evidence;
use crate::quantity::Span;
use crate::validate::{Course, Plan, VariantRef, validate};

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
    next.mesh.clone_from(&plan.mesh);
    let writes = if next == *state {
        Writes::Nothing
    } else if next.live_share() > state.live_share() && !next.grows_from(state) {
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
        (&release.canary, &release.others),
        &release.key,
        &release.salt,
        release.choice.cookie_name(),
    );
    let of_plan = (
        &plan.stable,
        (&plan.canary, &plan.others),
        &plan.key,
        &plan.salt,
        plan.choice.cookie_name(),
    );
    of_release == of_plan && !is_another_question(release, plan)
}

/// Whether a test has been answered, and the file now asks something else of the same versions: with the answer in hand
/// the winner is released.
fn is_another_question(release: &Release, plan: &Plan) -> bool {
    let asked = |course: &Course| std::mem::discriminant(course);
    release.outcome == Some(Outcome::Concluded)
        && validate(&release.rollout).is_ok_and(|it| asked(&it.course) != asked(&plan.course))
}

/// Whether taking this file over would begin a release.
#[must_use]
pub fn begins(plan: &Plan, state: &RolloutState) -> bool {
    let present = state.release.as_ref();
    !present.is_some_and(|release| is_about(release, plan))
}

/// The same release once more, because somebody wants it.
pub(super) fn begin_again(plan: &Plan, state: &mut RolloutState, input: &Input<'_>) -> bool {
    let Some(release) = state.release.as_ref().filter(|it| is_about(it, plan)) else {
        return false;
    };
    let (rollout, stable) = (release.rollout.clone(), &plan.stable);
    if (&stable.version, &stable.route) != (&state.live.version, &state.live.route) {
        return false;
    }
    state.archive(input.now);
    start(plan, &rollout, state, input.now, input.grid);
    true
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
    start(plan, rollout, next, now, grid);
    Ok(())
}

fn start(plan: &Plan, rollout: &ModelRollout, next: &mut RolloutState, now: Timestamp, grid: Grid) {
    let returning = was_live(plan, next, now);
    next.live = plan.stable.clone();
    let first_cell = grid.first_after(now);
    let mut release = Release {
        rollout: rollout.clone(),
        stable: plan.stable.clone(),
        canary: plan.canary.clone(),
        others: plan.others.clone(),
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
        skipped: false,
        by_hand: false,
        stopped: Vec::new(),
        comparison_waived: false,
        guard_told: false,
        deadline_passed: false,
        slow_counted: None,
        evidence: Evidence::new(plan, first_cell),
        routes: RouteWatch::default(),
        split: SplitWatch::default(),
        records: Vec::new(),
    };
    let (canary, stable) = (&plan.canary.version, &plan.stable.version);
    let message = if let Some(since) = returning {
        release.stage = Stage::Soak;
        set_weight(&mut release, BUCKETS);
        format!(
            "version {canary} was live until {since:.0}: it comes back at once, as rollbackWindow says"
        )
    } else {
        set_step_weights(plan, &mut release, 0);
        match plan.course {
            Course::Copies => {
                format!("copies of requests to version {stable} go to version {canary}")
            }
            Course::Contest(_) if plan.others.is_empty() => {
                format!("version {canary} is tested beside version {stable}")
            }
            Course::Contest(_) => {
                let versions: Vec<_> = plan.arms().map(|arm| arm.version.as_str()).collect();
                format!(
                    "versions {} are tested beside version {stable}",
                    versions.join(", ")
                )
            }
            _ => format!(
                "version {canary} begins beside version {stable} at {} %",
                release.weight()
            ),
        }
    };
    release.record(now, message);
    next.release = Some(release);
}

/// Until when the new version was live, if that is recent enough for it to come back without steps.
fn was_live(plan: &Plan, state: &RolloutState, now: Timestamp) -> Option<Timestamp> {
    let window = plan.rollback_window?;
    if matches!(plan.course, Course::Copies | Course::Contest(_)) {
        return None;
    }
    let version = &plan.canary.version;
    // Newest first. Since it was live it may have come back and been rolled back: then it has to show itself again.
    let last = state.history.iter().find(|past| match past.outcome {
        Some(Outcome::Succeeded) => past.stable == *version,
        Some(Outcome::RolledBack) => past.version == *version,
        Some(Outcome::Concluded) | None => false,
    });
    let replaced = last.filter(|past| past.outcome == Some(Outcome::Succeeded))?;
    (now <= replaced.ended + window).then_some(replaced.ended)
}

fn edit(plan: &Plan, rollout: &ModelRollout, release: &mut Release, now: Timestamp) {
    if release.rollout == *rollout {
        return;
    }
    let before = validate(&release.rollout).ok();
    release.rollout = rollout.clone();
    let was_on = release.switched_on();
    if release.choice.slow != plan.choice.slow {
        release.slow_counted = None;
    }
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
    let tests = matches!(plan.course, Course::Contest(_) | Course::Copies);
    if tests && !matches!(release.stage, Stage::Step(_)) {
        // These strategies promote nobody: who writes one of them into a soak wants its weights.
        set_step_weights(plan, release, 0);
        release.enter(Stage::Step(0), now);
    }
    let mut recounted = "";
    if let Stage::Step(index) = release.stage {
        // Cells can be read again: under new margins the evidence is counted anew from the first one. After the last
        // step there is nothing left to compare with, and the frozen limit stays.
        let copies = |plan: &Plan| plan.course == Course::Copies;
        if before
            .as_ref()
            .is_some_and(|before| copies(before) != copies(plan))
        {
            // What users met says nothing of copies, nor the other way round.
            release.first_cell = release.grid.first_after(now);
            release.evidence = Evidence::new(plan, release.first_cell);
            release.comparison_waived = false;
            recounted = "; its evidence begins anew";
        } else if before.is_none_or(|before| !judged_alike(&before, plan)) {
            release.evidence = Evidence::new(plan, release.first_cell);
            release.comparison_waived = false;
            // The cells to be read again are about other weights.
            release.routes = RouteWatch {
                confirmed: release.routes.confirmed,
                ..RouteWatch::default()
            };
            release.split.forget_counts();
            recounted = "; its evidence is counted again from the first cell";
        }
        let index = index.min(plan.steps.len().saturating_sub(1));
        let step = plan.steps.get(index);
        let weights = step.map_or(&[][..], |step| &step.weights);
        let follows = matches!(
            plan.course,
            Course::Steps | Course::Contest(_) | Course::Copies
        );
        let moved = follows && !release.by_hand && !has_weights(release, weights);
        if release.stage != Stage::Step(index) || moved {
            set_step_weights(plan, release, index);
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
    release.record(now, format!("the rollout was edited{switched}{recounted}"));
}

/// Whether two plans draw the same conclusions from the same counts.
fn judged_alike(a: &Plan, b: &Plan) -> bool {
    let counted = |plan: &Plan| match &plan.course {
        Course::Contest(contest) => (false, Some(contest.difference)),
        course => (*course == Course::Copies, None),
    };
    let levels = |plan: &Plan| (plan.false_rollback, plan.false_promotion);
    (levels(a), counted(a)) == (levels(b), counted(b)) && a.metrics == b.metrics
}

/// Gives the canary `weight` of 10 000 buckets, moving the fewest users.
pub(super) fn set_weight(release: &mut Release, weight: u16) {
    set_weights(release, &[weight]);
}

/// The weights of a step. With the endpoints for a guide it begins with nobody.
pub(super) fn set_step_weights(plan: &Plan, release: &mut Release, index: usize) {
    let step = plan.steps.get(index);
    match (&plan.course, step) {
        (Course::Capacity, _) | (_, None) => set_weight(release, 0),
        (_, Some(step)) => set_weights(release, &step.weights),
    }
}

/// Gives each version beside the stable one its share of 10 000 buckets, moving the fewest users; those without one, and
/// those that were stopped, have nobody.
pub(super) fn set_weights(release: &mut Release, weights: &[u16]) {
    let arms = 1 + release.others.len();
    let mut shares = vec![BUCKETS];
    for (number, position) in (1..=u8::MAX).zip(0..arms) {
        let wanted = weights.get(position).copied().unwrap_or(0);
        let wanted = if release.stopped.contains(&number) {
            0
        } else {
            wanted
        };
        // What is left for stable never runs out: the checker has summed the weights up.
        let left = shares.first().copied().unwrap_or(0);
        let share = wanted.min(left);
        if let Some(stable) = shares.first_mut() {
            *stable = left - share;
        }
        shares.push(share);
    }
    // Weights that sum to the whole always rebalance; should they not, nobody moves.
    if let Ok(table) = rebalance(&release.table, &shares) {
        release.table = table;
    }
}

fn has_weights(release: &Release, weights: &[u16]) -> bool {
    (CANARY..)
        .zip(weights)
        .all(|(arm, weight)| release.table.share(arm) == *weight || release.stopped.contains(&arm))
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
        release.record(now, "the rollout was removed");
    }
    next.archive(now);
    (next, Writes::Down)
}

//! Ending a release: guards, the comparison, and what `onFail` makes of them.

use std::time::Duration;

use jiff::Timestamp;

use super::accept::{set_step_weights, set_weight};
use super::route_watch::RouteWatch;
use super::state::{Hold, HoldReason, Outcome, Release, RolloutState};
use super::{GuardWindow, Input, Writes};
use crate::api::OnFail;
use crate::evidence::{ArmEvidence, thousands};
use crate::validate::{Plan, VariantRef};

/// A guard wants its bad requests from at least this many groups, so that one broken client does not end a release.
const GUARD_SOURCES: u64 = 3;

/// Why a release, or one version of a test, should end.
struct Failure {
    /// Position of the version among those beside the stable one.
    arm: usize,
    /// A hard limit, which nobody can waive; else the evidence.
    guard: bool,
    /// In one sentence.
    reason: String,
}

/// Looks for a failure and does what `onFail` says.
pub(super) fn decide(
    plan: &Plan,
    state: &mut RolloutState,
    input: &Input<'_>,
    verdict_due: bool,
) -> Writes {
    let mut writes = Writes::Nothing;
    for arm in 0..=plan.others.len() {
        let Some(failure) = find(plan, state, input, verdict_due, arm) else {
            continue;
        };
        writes = writes.max(act(plan, state, input.now, failure));
    }
    writes
}

fn act(plan: &Plan, state: &mut RolloutState, now: Timestamp, failure: Failure) -> Writes {
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    let Failure { arm, guard, reason } = failure;
    match plan.on_fail {
        OnFail::Rollback => return end(plan, state, now, arm, reason),
        OnFail::Hold
            if release
                .hold
                .as_ref()
                .is_some_and(|hold| hold.reason == HoldReason::Failure) =>
        {
            return Writes::Nothing;
        }
        OnFail::Hold => {
            let message = format!("{reason}; resume goes on, abort goes back");
            release.hold = Some(Hold {
                reason: HoldReason::Failure,
                message,
                since: now,
            });
            release.record(now, reason);
        }
        OnFail::Alert => {
            let told = if guard {
                &mut release.guard_told
            } else {
                &mut release.comparison_waived
            };
            if std::mem::replace(told, true) {
                return Writes::Nothing;
            }
            release.record(now, format!("{reason}; goes on, as onFail: alert says"));
        }
    }
    Writes::State
}

/// Takes a version back: the release with it, or in a test of several the version alone.
fn end(
    plan: &Plan,
    state: &mut RolloutState,
    now: Timestamp,
    arm: usize,
    reason: String,
) -> Writes {
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    let number = u8::try_from(arm + 1).unwrap_or(u8::MAX);
    if !release.stopped.contains(&number) {
        release.stopped.push(number);
    }
    if release.stopped.len() > plan.others.len() {
        release.stopped.clear();
        return roll_back(state, now, reason);
    }
    set_step_weights(plan, release, 0);
    // What was watched is about other weights.
    release.routes = RouteWatch::default();
    let name = release.arms().nth(arm).map_or("", |it| it.name.as_str());
    let message = format!("{reason}; {name} is out of the test");
    release.record(now, message);
    Writes::Down
}

fn find(
    plan: &Plan,
    state: &RolloutState,
    input: &Input<'_>,
    verdict_due: bool,
    arm: usize,
) -> Option<Failure> {
    let release = state.in_progress()?;
    if release.stopped.iter().any(|it| usize::from(*it) == arm + 1) {
        return None;
    }
    let variant = release.arms().nth(arm)?;
    let evidence = release.evidence.arm(arm)?;
    // Windows that nobody has read say nothing; the comparison still does.
    let windows = input.guards.get(arm).map_or(&[][..], Vec::as_slice);
    let hard = guard(plan, state, variant, windows, input.now)
        .or_else(|| fuse(plan, release, evidence, variant, input));
    if let Some(reason) = hard {
        return Some(Failure {
            arm,
            guard: true,
            reason,
        });
    }
    let failed = verdict_due && !release.comparison_waived && evidence.failed(plan);
    failed.then(|| Failure {
        arm,
        guard: false,
        reason: evidence.failure_sentence(plan, variant),
    })
}

fn guard(
    plan: &Plan,
    state: &RolloutState,
    variant: &VariantRef,
    windows: &[Option<GuardWindow>],
    now: Timestamp,
) -> Option<String> {
    plan.guards.iter().zip(windows).find_map(|(guard, window)| {
        let GuardWindow {
            canary: tally,
            bad_sources,
        } = (*window)?;
        // The window must not reach back into an earlier attempt with the same version.
        let mut attempts = state
            .history
            .iter()
            .filter(|past| past.version == variant.version);
        if attempts.any(|past| now < past.ended + guard.over.0) {
            return None;
        }
        let above = tally.total >= guard.min_requests && tally.rate() > guard.error_rate.above.0;
        (above && bad_sources >= GUARD_SOURCES).then(|| {
            format!(
                "guard {}: {} of {} {} requests in the last {} were bad, more than {}",
                guard.name,
                tally.bad,
                tally.total,
                variant.name,
                guard.over,
                guard.error_rate.above
            )
        })
    })
}

/// The guard that every release with a fuse has: the fuse keeps users from a dead canary, and with them the requests
/// that a guard or the comparison would see. So fuses that open again and again, with every probe after a cooldown, are
/// a failure of their own (product.md).
///
/// Its limits: it looks at cells, so fuses that open several times within one cell count once; it says nothing while
/// stable fails, too, nor when all bad requests came from one or two groups of users, for one broken client opens a
/// fuse, too. What it does not see holds the release anyway, because the gates count what was sent home as bad.
fn fuse(
    plan: &Plan,
    release: &Release,
    evidence: &ArmEvidence,
    variant: &VariantRef,
    input: &Input<'_>,
) -> Option<String> {
    let cooldown = Duration::from_millis(plan.choice.fuse.as_ref()?.cooldown_ms);
    let cell = input.grid.cell().as_millis().max(1);
    // Three cooldowns and the cells at both ends, and some more for probes that wait for a request.
    let cells = (4 * cooldown.as_millis()).div_ceil(cell) + 3;
    let cells = i64::try_from(cells).unwrap_or(i64::MAX);
    let next_cell = release.evidence.next_cell;
    let failed =
        evidence.trips_repeatedly(next_cell, cells) && evidence.trip_sources() >= GUARD_SOURCES;
    failed.then(|| {
        format!(
            "guard fuse: the proxies' fuses cut version {} off again and again while version {} was well; they have \
             sent {} requests home",
            variant.version,
            release.stable.version,
            thousands(evidence.fused)
        )
    })
}

/// Everybody back to live.
pub(super) fn roll_back(state: &mut RolloutState, now: Timestamp, reason: String) -> Writes {
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    set_weight(release, 0);
    release.end(Outcome::RolledBack, now, reason);
    Writes::Down
}

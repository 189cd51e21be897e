//! Ending a release: guards, the comparison, and what `onFail` makes of them.

use std::time::Duration;

use jiff::Timestamp;

use super::accept::set_weight;
use super::state::{Hold, HoldReason, Outcome, Release, RolloutState};
use super::{GuardWindow, Input, Writes};
use crate::api::OnFail;
use crate::evidence::thousands;
use crate::validate::Plan;

/// A guard wants its bad requests from at least this many groups, so that one broken client does not end a release.
const GUARD_SOURCES: u64 = 3;

/// Why a release should end.
enum Failure {
    /// A hard limit, which nobody can waive.
    Guard(String),
    /// The evidence.
    Comparison(String),
}

/// Looks for a failure and does what `onFail` says.
pub(super) fn decide(
    plan: &Plan,
    state: &mut RolloutState,
    input: &Input<'_>,
    verdict_due: bool,
) -> Writes {
    let Some(failure) = find(plan, state, input, verdict_due) else {
        return Writes::Nothing;
    };
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    let (Failure::Guard(reason) | Failure::Comparison(reason)) = &failure;
    let reason = reason.clone();
    match plan.on_fail {
        OnFail::Rollback => return roll_back(state, input.now, reason),
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
                since: input.now,
            });
            release.record(input.now, reason);
        }
        OnFail::Alert => {
            let told = match failure {
                Failure::Guard(_) => &mut release.guard_told,
                Failure::Comparison(_) => &mut release.comparison_waived,
            };
            if std::mem::replace(told, true) {
                return Writes::Nothing;
            }
            release.record(
                input.now,
                format!("{reason}; goes on, as onFail: alert says"),
            );
        }
    }
    Writes::State
}

fn find(
    plan: &Plan,
    state: &RolloutState,
    input: &Input<'_>,
    verdict_due: bool,
) -> Option<Failure> {
    let release = state.in_progress()?;
    if let Some(reason) = guard(plan, state, release, input).or_else(|| fuse(plan, release, input))
    {
        return Some(Failure::Guard(reason));
    }
    let failed = verdict_due && !release.comparison_waived && release.evidence.failed(plan);
    failed.then(|| Failure::Comparison(release.evidence.failure_sentence(plan)))
}

fn guard(
    plan: &Plan,
    state: &RolloutState,
    release: &Release,
    input: &Input<'_>,
) -> Option<String> {
    plan.guards
        .iter()
        .zip(input.guards)
        .find_map(|(guard, window)| {
            let GuardWindow {
                canary: tally,
                bad_sources,
            } = (*window)?;
            // The window must not reach back into an earlier attempt with the same version.
            let mut attempts = state
                .history
                .iter()
                .filter(|past| past.version == release.canary.version);
            if attempts.any(|past| input.now < past.ended + guard.over.0) {
                return None;
            }
            let above =
                tally.total >= guard.min_requests && tally.rate() > guard.error_rate.above.0;
            (above && bad_sources >= GUARD_SOURCES).then(|| {
                format!(
                    "guard {}: {} of {} canary requests in the last {} were bad, more than {}",
                    guard.name, tally.bad, tally.total, guard.over, guard.error_rate.above
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
fn fuse(plan: &Plan, release: &Release, input: &Input<'_>) -> Option<String> {
    let cooldown = Duration::from_millis(plan.choice.fuse.as_ref()?.cooldown_ms);
    let cell = input.grid.cell().as_millis().max(1);
    // Three cooldowns and the cells at both ends, and some more for probes that wait for a request.
    let cells = (4 * cooldown.as_millis()).div_ceil(cell) + 3;
    let cells = i64::try_from(cells).unwrap_or(i64::MAX);
    let evidence = &release.evidence;
    let failed = evidence.trips_repeatedly(cells) && evidence.trip_sources() >= GUARD_SOURCES;
    failed.then(|| {
        format!(
            "guard fuse: the proxies' fuses cut version {} off again and again while version {} was well; they have \
             sent {} requests home",
            release.canary.version,
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
    release.outcome = Some(Outcome::RolledBack);
    release.hold = None;
    release.record(now, reason);
    Writes::Down
}

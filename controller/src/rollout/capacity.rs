//! The weight of a rolling release: the share of the ready endpoints that are the new version's.

use super::accept::set_weight;
use super::state::{CANARY, Release, RolloutState, Stage};
use super::{Input, Ready, Writes};
use crate::validate::{Course, Plan};

/// Buckets in a per cent: finer moves would write a new config for every endpoint of a large deployment.
const PER_CENT: u64 = 100;

/// The weight that the endpoints can carry, in 1/10 000, whole per cents rounded down; none where nobody is ready.
pub(super) fn carried(ready: Ready) -> Option<u16> {
    let all = ready.canary.checked_add(ready.stable)?;
    let per_cent = ready.canary.checked_mul(PER_CENT)?.checked_div(all)?;
    u16::try_from(per_cent * PER_CENT).ok()
}

/// The weight that is wanted now: what the endpoints carry, and not beyond the step's before its gate has passed.
pub(super) fn wanted(plan: &Plan, release: &Release, input: &Input<'_>) -> Option<u16> {
    let carried = carried(input.ready?)?;
    let limit = plan.steps.first().map_or(0, |step| step.weight());
    if release.evidence.passed(plan, 0) {
        Some(carried)
    } else {
        Some(carried.min(limit))
    }
}

/// Goes down with the endpoints, at once: nothing is to be waited for.
pub(super) fn fall(plan: &Plan, state: &mut RolloutState, input: &Input<'_>) -> Writes {
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    if plan.course != Course::Capacity
        || !matches!(release.stage, Stage::Step(_))
        || release.by_hand
    {
        return Writes::Nothing;
    }
    let Some(carried) = input.ready.and_then(carried) else {
        return Writes::Nothing;
    };
    if carried >= release.table.share(CANARY) {
        return Writes::Nothing;
    }
    set_weight(release, carried);
    follow(release, input);
    Writes::Down
}

/// Says why the weight has moved; what was watched for the one before no longer counts.
pub(super) fn follow(release: &mut Release, input: &Input<'_>) {
    let Ready { canary, stable } = input.ready.unwrap_or_default();
    release.routes = super::RouteWatch::default();
    let message = format!(
        "{canary} of {} ready endpoints are version {}'s: on to {} %",
        canary.saturating_add(stable),
        release.canary.version,
        release.weight()
    );
    release.record(input.now, message);
}

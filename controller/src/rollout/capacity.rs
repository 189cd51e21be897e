//! The weight of a rolling release: the share of the ready endpoints that are the new version's.

use super::accept::set_weight;
use serin_filter_core::split::BUCKETS;

use super::route_watch::RouteWatch;
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
///
/// # Errors
/// What is not known, in one sentence.
pub(super) fn wanted(plan: &Plan, release: &Release, input: &Input<'_>) -> Result<u16, String> {
    let Some(ready) = input.ready else {
        return Err(
            "nobody knows how many endpoints are ready: see Envoy's cluster metrics in Prometheus"
                .to_owned(),
        );
    };
    let Some(carried) = carried(ready) else {
        return Err("no endpoint of either version is ready".to_owned());
    };
    Ok(carried.min(limit(plan, release)))
}

/// The most that the gate allows.
fn limit(plan: &Plan, release: &Release) -> u16 {
    if release.evidence.passed(plan, 0) {
        BUCKETS
    } else {
        plan.steps.first().map_or(0, |step| step.weight())
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
    // The limit holds as well where nobody knows the endpoints: an edit may have lowered it.
    let carried = input.ready.and_then(carried).unwrap_or(BUCKETS);
    let limit = limit(plan, release);
    let before = release.table.share(CANARY);
    if carried.min(limit) >= before {
        return Writes::Nothing;
    }
    if limit < carried {
        set_weight(release, limit);
        release.routes = RouteWatch::default();
        let message = format!("down to {} % until the gate has passed", release.weight());
        release.record(input.now, message);
    } else {
        set_weight(release, carried);
        follow(release, input, "down");
    }
    Writes::Down
}

/// Says why the weight has moved; what was watched for the one before no longer counts.
pub(super) fn follow(release: &mut Release, input: &Input<'_>, way: &str) {
    let ready = input.ready.unwrap_or_default();
    let Ready { canary, stable } = ready;
    release.routes = RouteWatch::default();
    let held = if carried(ready).is_some_and(|it| it > release.table.share(CANARY)) {
        ", and no further before the gate has passed"
    } else {
        ""
    };
    let message = format!(
        "{canary} of {} ready endpoints are version {}'s: {way} to {} %{held}",
        canary.saturating_add(stable),
        release.canary.version,
        release.weight()
    );
    release.record(input.now, message);
}

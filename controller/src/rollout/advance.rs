//! Counting, and going on.

use std::time::Duration;

use jiff::Timestamp;
use serin_filter_core::split::BUCKETS;

use super::accept::{set_step_weights, set_weight};
use super::capacity;
use super::fail::roll_back;
use super::route_watch::RouteSample;
use super::state::{CANARY, Hold, HoldReason, Outcome, Release, RolloutState, Stage};
use super::{Input, Writes};
use crate::api::DeadlinePolicy;
use crate::evidence::Conclusion;
use crate::observation::{Cell, Proxy};
use crate::validate::{Contest, Course, Ends, Plan};

/// Wait before the header is dropped again after requests went to the wrong cluster.
const RETRY: Duration = Duration::from_secs(30);

/// Proxies that a message names at most.
const NAMED: usize = 10;

/// What a release waits for whose file has switched it off.
pub(super) const SWITCHED_OFF: &str =
    "switched off (enabled: false): everybody is on the live version";

/// Consumes every cell that was read, exactly once and in order. Whether a verdict is due: with every cell, or with
/// one that ends an interval of the analysis.
pub(super) fn count(plan: &Plan, release: &mut Release, input: &Input<'_>) -> bool {
    if waiting_for_proxies(plan, input).is_none() {
        release.routes.confirmed.get_or_insert(input.now);
        release.slow_counted.get_or_insert(input.now);
    }
    let interval = plan
        .interval
        .and_then(|interval| input.grid.cells_in(interval));
    let mut verdict_due = interval.is_none();
    for cell in input.cells {
        if cell.index != release.evidence.next_cell {
            continue;
        }
        let begin = input.grid.begin(cell.index);
        let slow_counted = release.slow_counted.is_some_and(|since| begin >= since);
        release.evidence.consume(plan, cell, slow_counted);
        let confirmed = release
            .routes
            .confirmed
            .is_some_and(|confirmed| begin >= confirmed);
        let routes = &mut release.routes;
        routes
            .others
            .resize_with(release.others.len(), RouteSample::default);
        let samples = [&mut routes.stable, &mut routes.canary]
            .into_iter()
            .chain(&mut routes.others);
        let arms = std::iter::once(&cell.stable).chain(&cell.arms);
        for (sample, arm) in samples.zip(arms) {
            sample.add(arm.sampled, arm.misrouted, confirmed);
        }
        if confirmed {
            watch_split(plan, release, cell, input.now);
        }
        verdict_due |=
            interval.is_some_and(|cells| release.evidence.next_cell.rem_euclid(cells) == 0);
    }
    // Without a comparison from here on; what is still unread of it belongs into the limit.
    let switched = !matches!(release.stage, Stage::Step(_));
    if switched && !release.evidence.is_frozen() && unread(release, input) <= 0 {
        release.evidence.freeze_limits(plan);
    }
    verdict_due
}

/// Tests the split with a cell that began after every proxy had the present weights.
fn watch_split(plan: &Plan, release: &mut Release, cell: &Cell, now: Timestamp) {
    // Copies are drawn for nobody, and of a release that is switched off nobody is.
    let split = plan.course != Course::Copies && release.switched_on();
    let Some(since) = release.routes.confirmed.filter(|_| split) else {
        return;
    };
    let was_alarmed = release.split.is_alarmed();
    let weights = release.weights();
    release.split.consume(since, &weights, cell);
    let message = match release.split.objection(&release.versions()) {
        Some(objection) if !was_alarmed => objection,
        None if was_alarmed => "the split shows no sign of being wrong any more".to_owned(),
        _ => return,
    };
    release.record(now, message);
}

/// A proxy that does not run the present config, and why if that is known.
fn laggard(proxy: &Proxy) -> String {
    let why = if !proxy.up {
        " (down: Prometheus cannot scrape it)"
    } else if proxy.invalid {
        " (it refused its last config: see its log)"
    } else {
        ""
    };
    format!("{}{why}", proxy.target)
}

/// Cells that can be read and have not been counted: without end where nobody counts.
fn unread(release: &Release, input: &Input<'_>) -> i64 {
    if !release.is_counted_on(input.grid) {
        return i64::MAX;
    }
    input.grid.readable_until(input.now) - release.evidence.next_cell
}

/// Why the proxies cannot be said to run the present config.
fn waiting_for_proxies(plan: &Plan, input: &Input<'_>) -> Option<String> {
    let proxies = match input.proxies {
        Ok(proxies) => proxies,
        Err(reason) => return Some(format!("Prometheus does not answer: {reason}")),
    };
    let Some(generation) = input.generation else {
        return Some("the config has not been written yet".to_owned());
    };
    if proxies.is_empty() {
        return Some(
            "Prometheus scrapes no proxy: see --proxies and Prometheus' targets".to_owned(),
        );
    }
    let laggards: Vec<_> = proxies
        .iter()
        .filter(|proxy| !proxy.runs(generation))
        .map(laggard)
        .collect();
    let (running, all) = (proxies.len() - laggards.len(), proxies.len());
    #[allow(clippy::cast_precision_loss, reason = "counts of proxies")]
    let enough = running as f64 >= plan.quorum * all as f64;
    (!enough).then(|| {
        let named: Vec<_> = laggards.iter().take(NAMED).map(String::as_str).collect();
        let more = match laggards.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let behind = named.join(", ");
        format!(
            "{running} of {all} proxies run generation {generation}; waiting for {behind}{more}"
        )
    })
}

/// Goes up if nothing stands in the way.
///
/// # Errors
/// What it waits for, in one sentence.
pub(super) fn forward(
    plan: &Plan,
    state: &mut RolloutState,
    input: &Input<'_>,
    verdict_due: bool,
) -> Result<Writes, String> {
    let Some(release) = state.in_progress_mut() else {
        return Ok(Writes::Nothing);
    };
    let expired = expired(plan, release, input.now);
    match expired {
        Some((DeadlinePolicy::Rollback, reason)) => return Ok(roll_back(state, input.now, reason)),
        Some((DeadlinePolicy::Hold, reason)) if release.hold.is_none() => {
            release.deadline_passed = true;
            let message = format!("{reason}; resume, promote or abort it");
            release.hold = Some(Hold {
                reason: HoldReason::Deadline,
                message,
                since: input.now,
            });
            release.record(input.now, reason);
            return Ok(Writes::State);
        }
        _ => {}
    }
    if let Some(hold) = &release.hold {
        return Err(hold.message.clone());
    }
    if !release.switched_on() {
        return Err(SWITCHED_OFF.to_owned());
    }
    let unread = unread(release, input);
    // Whoever runs a test was promised its end; for that nobody has to go up, and no proxy has to be asked.
    if let Course::Contest(contest) = &plan.course
        && has_ended(contest, release, input.now)
        && (unread <= 0 || !release.is_counted_on(input.grid) || input.proxies.is_err())
    {
        let stopped = &release.stopped;
        let sentence = release.evidence.conclusion_sentence(plan, contest, stopped);
        let mut message = format!("the test's time is over: {sentence}");
        if let Some(reason) = release.split.objection(&release.versions()) {
            message = format!("{message}; but {reason}");
        }
        return Ok(conclude(state, input.now, message));
    }
    if let Some(reason) = waiting_for_proxies(plan, input) {
        return Err(reason);
    }
    if let Some(reason) = input.routes.header {
        return Err(reason.to_owned());
    }
    if unread > 0 {
        return Err(format!(
            "catching up: {unread} cells are still to be counted"
        ));
    }
    if release.stage != Stage::DropHeader {
        clean_routes(release)?;
    }
    if let Stage::Step(_) = release.stage
        && let Some(reason) = release.split.objection(&release.versions())
    {
        return Err(reason);
    }
    if let Some((DeadlinePolicy::Promote, reason)) = expired {
        release.deadline_passed = true;
        return Ok(move_on(plan, release, input.now, &reason));
    }
    let stage = release.stage;
    match stage {
        Stage::Step(index) => in_step(plan, state, input, index, verdict_due),
        Stage::Soak => leave_soak(plan, release, input.now),
        Stage::MoveDefault => {
            let ready_at = release
                .routes
                .retry_at
                .unwrap_or(release.since + input.grid.settle());
            if let Some(reason) = input.routes.default {
                return Err(reason.to_owned());
            }
            if input.now < ready_at {
                return Err("the default route has moved; the header is dropped next".to_owned());
            }
            Ok(move_on(
                plan,
                release,
                input.now,
                "the default route serves the new version",
            ))
        }
        Stage::DropHeader => finish(state, input.now),
    }
}

/// A deadline that has passed and was not acted on.
fn expired(plan: &Plan, release: &Release, now: Timestamp) -> Option<(DeadlinePolicy, String)> {
    let deadline = plan
        .deadline
        .as_ref()
        .filter(|_| !release.deadline_passed)?;
    let passed = now >= release.started + deadline.after.0;
    passed.then(|| {
        (
            deadline.then,
            format!("the deadline of {} has passed", deadline.after),
        )
    })
}

fn has_ended(contest: &Contest, release: &Release, now: Timestamp) -> bool {
    match contest.ends {
        Ends::After(span) => now >= release.started + span,
        Ends::At(at) => now >= at,
    }
}

/// What a step waits for depends on what moves the weights.
fn in_step(
    plan: &Plan,
    state: &mut RolloutState,
    input: &Input<'_>,
    index: usize,
    verdict_due: bool,
) -> Result<Writes, String> {
    let Some(release) = state.in_progress_mut() else {
        return Ok(Writes::Nothing);
    };
    let now = input.now;
    match &plan.course {
        Course::Steps => {
            let reason = leave_step(plan, release, now, index, verdict_due)?;
            Ok(reason.map_or(Writes::State, |reason| move_on(plan, release, now, &reason)))
        }
        Course::Copies => {
            let Some(reason) = leave_step(plan, release, now, index, verdict_due)? else {
                return Ok(Writes::State);
            };
            Ok(conclude(state, now, format!("on copies, {reason}")))
        }
        Course::Hand => Err(
            "people set the weight (serin set-weight); serin promote gives it everybody".to_owned(),
        ),
        Course::Capacity => follow_up(plan, release, input, verdict_due),
        Course::Contest(contest) => {
            let (evidence, stopped) = (&release.evidence, &release.stopped);
            let sentence = evidence.conclusion_sentence(plan, contest, stopped);
            if verdict_due && evidence.conclusion(plan, stopped) != Conclusion::Open {
                Ok(conclude(state, now, sentence))
            } else {
                Err(sentence)
            }
        }
    }
}

/// Goes up with the endpoints, as far as the gate lets it; with all of them it is the new version's turn alone.
fn follow_up(
    plan: &Plan,
    release: &mut Release,
    input: &Input<'_>,
    verdict_due: bool,
) -> Result<Writes, String> {
    let wanted = capacity::wanted(plan, release, input)?;
    let passed = release.evidence.passed(plan, 0);
    if passed && wanted == BUCKETS {
        if !verdict_due {
            return Err("the gate has passed; waiting for the next verdict".to_owned());
        }
        looked_at(release, "the gate has passed; ")?;
        let reason = release.evidence.passed_sentence(plan, 0);
        let reason = format!("{reason}; every ready endpoint is the new version's");
        return Ok(move_on(plan, release, input.now, &reason));
    }
    if wanted > release.table.share(CANARY) && !release.by_hand {
        set_weight(release, wanted);
        capacity::follow(release, input, "on");
        return Ok(Writes::Up);
    }
    Err(if passed {
        "the gate has passed; the weight follows the ready endpoints".to_owned()
    } else {
        release.evidence.undecided_sentence(plan, 0)
    })
}

/// The question is answered: everybody is on the live version, which has not changed.
fn conclude(state: &mut RolloutState, now: Timestamp, message: String) -> Writes {
    let Some(release) = state.in_progress_mut() else {
        return Writes::Nothing;
    };
    set_weight(release, 0);
    release.end(Outcome::Concluded, now, message);
    Writes::Down
}

/// Why the step may be left; none while it now waits for somebody.
///
/// # Errors
/// What it waits for.
fn leave_step(
    plan: &Plan,
    release: &mut Release,
    now: Timestamp,
    index: usize,
    verdict_due: bool,
) -> Result<Option<String>, String> {
    let Some(step) = plan.steps.get(index) else {
        return Ok(Some("the step is gone".to_owned()));
    };
    let so_far = if step.gated {
        "the gate has passed; "
    } else {
        ""
    };
    if step.gated && !(verdict_due && release.evidence.passed(plan, index)) {
        return Err(release.evidence.undecided_sentence(plan, index));
    }
    if step.weight() > 0 {
        looked_at(release, so_far)?;
    }
    if let Some(wait) = step.pause.duration
        && now < release.since + wait.0
        && !release.skipped
    {
        return Err(format!("{so_far}the step lasts at least {wait}"));
    }
    if step.pause.approval && !release.approved && !release.skipped {
        let message = format!("{so_far}waiting for approval (serin promote)");
        release.hold = Some(Hold {
            reason: HoldReason::Approval,
            message: message.clone(),
            since: now,
        });
        release.record(now, message);
        return Ok(None);
    }
    Ok(Some(if step.gated {
        release.evidence.passed_sentence(plan, index)
    } else {
        "the preview is over".to_owned()
    }))
}

/// Where the requests of this weight really go is known.
fn looked_at(release: &Release, so_far: &str) -> Result<(), String> {
    if release.routes.canary.sampled_confirmed > 0 {
        return Ok(());
    }
    Err(format!(
        "{so_far}waiting for a canary request at this weight whose route was looked at"
    ))
}

fn leave_soak(plan: &Plan, release: &mut Release, now: Timestamp) -> Result<Writes, String> {
    if now < release.since + plan.soak && !release.skipped {
        return Err(format!(
            "soaking at 100 % for {}",
            humantime::format_duration(plan.soak)
        ));
    }
    if let Some(objection) = release.evidence.soak_objection() {
        return Err(objection);
    }
    if release.routes.canary.sampled_confirmed == 0 {
        return Err("the soak has not seen a request whose route was looked at yet".to_owned());
    }
    Ok(move_on(plan, release, now, "the soak is over"))
}

fn clean_routes(release: &Release) -> Result<(), String> {
    let routes = &release.routes;
    // A version without users stays as it was last seen, too.
    let arms = std::iter::once(&routes.canary)
        .chain(&routes.others)
        .zip(release.arms());
    let arms = (CANARY..).zip(arms);
    let arms = arms.filter_map(|(number, arm)| (!release.is_stopped(number)).then_some(arm));
    // Stable gets no more requests at 100 %, so what was last seen of it would stand for ever.
    let step = matches!(release.stage, Stage::Step(_));
    let stable = step.then_some((&routes.stable, &release.stable));
    for (sample, variant) in arms.chain(stable) {
        if sample.misrouted > 0 {
            return Err(format!(
                "{} sampled requests of version {} did not reach '{}': check the routes that Envoy has",
                sample.misrouted, variant.version, variant.route
            ));
        }
    }
    Ok(())
}

fn finish(state: &mut RolloutState, now: Timestamp) -> Result<Writes, String> {
    let Some(release) = state.in_progress_mut() else {
        return Ok(Writes::Nothing);
    };
    let route = release.canary.route.clone();
    if release.routes.canary.misrouted > 0 {
        release.enter(Stage::MoveDefault, now);
        release.routes.retry_at = Some(now + RETRY);
        release.record(
            now,
            format!("the default route does not lead to '{route}' yet: the header comes back"),
        );
        return Ok(Writes::Up);
    }
    if release.routes.canary.sampled_confirmed == 0 {
        return Err("waiting for a sampled request on the default route".to_owned());
    }
    let version = &release.canary.version;
    let message = format!("version {version} is live: every sampled request reached '{route}'");
    release.end(Outcome::Succeeded, now, message);
    state.live = release.canary.clone();
    Ok(Writes::Up)
}

/// One stage on, whatever the evidence says: the callers have checked it, or a person decided.
pub(super) fn move_on(plan: &Plan, release: &mut Release, now: Timestamp, reason: &str) -> Writes {
    let next = match release.stage {
        Stage::Step(index) if index + 1 < plan.steps.len() => Stage::Step(index + 1),
        Stage::Step(_) => Stage::Soak,
        Stage::Soak => Stage::MoveDefault,
        Stage::MoveDefault => Stage::DropHeader,
        // Only the sampled clusters say that the default route is right; nobody can skip that.
        Stage::DropHeader => return Writes::Nothing,
    };
    match next {
        Stage::Step(index) => set_step_weights(plan, release, index),
        Stage::Soak => set_weight(release, BUCKETS),
        Stage::MoveDefault | Stage::DropHeader => {}
    }
    release.enter(next, now);
    let to = match next {
        Stage::Step(_) | Stage::Soak => format!("on to {} %", release.weight()),
        Stage::MoveDefault => "the default route moves".to_owned(),
        Stage::DropHeader => "the header is dropped".to_owned(),
    };
    release.record(now, format!("{reason}; {to}"));
    Writes::Up
}

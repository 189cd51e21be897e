//! From resources to what users see. Pure.

use jiff::Timestamp;

use crate::api::status::{RolloutStatus, Truth};
use crate::cli::installation::{Inner, Seen};
use crate::cluster::names;
use crate::cluster::resource::ModelRollout;
use crate::report::{Condition, Status, View, report};
use crate::rollout::{Action, Phase, RolloutState};
use crate::validate::{RolloutName, VariantRef, validate};

/// Name of a resource.
pub(super) fn name(resource: &ModelRollout) -> RolloutName {
    let metadata = &resource.metadata;
    RolloutName {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// A resource as users see it.
pub(super) fn seen(resource: &ModelRollout) -> Seen {
    let metadata = &resource.metadata;
    let written = resource.status.clone().unwrap_or_default();
    let mut status = match state(&written) {
        Some(state) => of_state(&state, &written),
        None => without_state(resource, &written),
    };
    status.name = name(resource);
    if metadata.deletion_timestamp.is_some() {
        status.message = format!("is being deleted: {}", status.message);
    }
    let made = metadata.creation_timestamp.as_ref().map(|at| at.0);
    Seen {
        made,
        current: written.observed_generation >= metadata.generation,
        pending: pending(resource, &status),
        version: metadata.resource_version.clone(),
        status,
    }
}

fn state(written: &RolloutStatus) -> Option<RolloutState> {
    serde_json::from_str(written.checkpoint.as_deref()?).ok()
}

/// What the checkpoint says, and beside it what the controller knew when it wrote it.
fn of_state(state: &RolloutState, written: &RolloutStatus) -> Status {
    let release = state.release.as_ref();
    let plan = release.and_then(|release| validate(&release.rollout).ok());
    let mut status = report(plan.as_ref(), state, &View::default());
    with_message(&mut status, written);
    let Some(release) = &mut status.release else {
        return status;
    };
    if let Some(verdict) = written.verdict {
        release.verdict = verdict;
    }
    release.generation = written.generation.and_then(|it| u64::try_from(it).ok());
    if let Some(proxies) = &written.proxies {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        release.proxies = Some((count(proxies.running), count(proxies.expected)));
        release.laggards.clone_from(&proxies.laggards);
    }
    let arms = std::iter::once(&mut release.stable).chain(&mut release.arms);
    for arm in arms {
        let same = written
            .variants
            .iter()
            .find(|it| it.name == arm.variant.name);
        arm.observed_weight = same.and_then(|it| percent(it.observed.as_deref()?));
    }
    for metric in &mut release.metrics {
        let same = |it: &&crate::api::status::MetricStatus| {
            it.variant == metric.variant && it.name == metric.name
        };
        if let Some(same) = written.metrics.iter().find(same) {
            metric.verdict = same.verdict;
            metric.sentence.clone_from(&same.sentence);
        }
    }
    status
}

/// A number as status writes it, such as `4.9%`.
fn percent(text: &str) -> Option<f64> {
    text.strip_suffix('%')?.trim().parse().ok()
}

fn with_message(status: &mut Status, written: &RolloutStatus) {
    if let Some(message) = &written.message {
        status.message.clone_from(message);
    }
    if written.conditions.is_empty() {
        return;
    }
    let conditions = written.conditions.iter().map(|it| Condition {
        kind: it.kind.clone(),
        status: match it.status {
            Truth::True => Some(true),
            Truth::False => Some(false),
            Truth::Unknown => None,
        },
        reason: Some(it.reason.clone()),
        message: it.message.clone(),
    });
    status.conditions = conditions.collect();
}

/// A resource that the controller has not taken up, or whose checkpoint this version does not understand.
fn without_state(resource: &ModelRollout, written: &RolloutStatus) -> Status {
    let unknown = || VariantRef {
        name: "live".to_owned(),
        version: "unknown".to_owned(),
        route: String::new(),
        destination: None,
    };
    let live = written.live.as_ref().map(|live| VariantRef {
        name: live.name.clone(),
        version: live.version.clone(),
        route: live.route.clone(),
        destination: None,
    });
    let mistakes = mistakes(resource);
    let message = match (&written.checkpoint, mistakes.first()) {
        (Some(_), _) => {
            "its checkpoint is of another version than this command, which therefore shows little of it"
        }
        (None, Some(mistake)) => mistake,
        (None, None) => "the controller has not taken it up yet",
    };
    let ready = Condition {
        kind: "Ready".to_owned(),
        status: (!mistakes.is_empty()).then_some(false),
        reason: None,
        message: if mistakes.is_empty() {
            "the controller has not said so".to_owned()
        } else {
            mistakes.join("\n")
        },
    };
    let mut status = Status {
        name: name(resource),
        phase: written.phase.unwrap_or(Phase::Pending),
        message: message.to_owned(),
        live: live.unwrap_or_else(unknown),
        release: None,
        conditions: vec![ready],
        history: Vec::new(),
        consumed_actions: Vec::new(),
    };
    with_message(&mut status, written);
    status
}

/// What is wrong with `spec`, for the time before the controller has said so.
fn mistakes(resource: &ModelRollout) -> Vec<String> {
    match resource.file() {
        Err((path, reason)) => vec![format!("{path}: {reason}")],
        Ok(file) => {
            let problems = validate(&file).err().unwrap_or_default();
            let lines = problems.iter();
            lines
                .map(|it| format!("{}: {}", it.path, it.reason))
                .collect()
        }
    }
}

/// What somebody asked for and the controller has not answered. What cannot be understood is nobody's request.
fn pending(resource: &ModelRollout, status: &Status) -> Option<Action> {
    let text = resource.metadata.annotations.as_ref()?.get(names::ACTION)?;
    let action: Action = serde_json::from_str(text).ok()?;
    (!status.consumed_actions.contains(&action.id)).then_some(action)
}

/// Takes what the controller says now, unless the resource tells more: one that lost the lead goes on answering.
pub(super) fn take_live(seen: &mut Seen, live: Status) {
    if story(&live) < story(&seen.status) {
        return;
    }
    let answered = &live.consumed_actions;
    if seen
        .status
        .consumed_actions
        .iter()
        .any(|id| !answered.contains(id))
    {
        return;
    }
    if let Some(action) = &seen.pending
        && live.consumed_actions.contains(&action.id)
    {
        seen.pending = None;
    }
    seen.status = live;
}

/// How far a story is told: which release, and how many lines.
fn story(status: &Status) -> Option<(Timestamp, u64)> {
    let release = status.release.as_ref()?;
    let told = release.records.last().map_or(0, |record| record.number);
    Some((release.started, told))
}

/// What a rollout is, for the decision of the filter.
///
/// # Errors
/// It has no state yet, and a mistake in its `spec`.
pub(in crate::cli) fn inner(resource: &ModelRollout) -> Result<Inner, String> {
    if let Some(state) = resource.status.as_ref().and_then(state) {
        return Ok(Inner::State(Box::new(state)));
    }
    let mistakes = mistakes(resource);
    match resource.file() {
        Ok(file) if mistakes.is_empty() => Ok(Inner::Spec(Box::new(file))),
        _ => Err(mistakes.join("\n")),
    }
}

#[cfg(test)]
mod tests;

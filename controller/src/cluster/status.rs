//! `status` of the resource from what the report says. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::conditions::{self, reasons};
use crate::api::status::{
    ActionStatus, Condition, Counts, Evidence, LAGGARDS, LiveVariant, MetricStatus, PastRelease,
    ProxiesStatus, Ratio, RolloutStatus, TRANSITIONS, TransitionStatus, Truth, VariantStatus,
};
use crate::driver::Managed;
use crate::observation::Tally;
use crate::report::{self, ArmStatus, Level, ReleaseStatus};
use crate::rollout::{HoldReason, Outcome, Phase, Record, Release, RolloutState};

/// What is known of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The rollout, if its spec was ever valid.
    pub managed: Option<&'a Managed>,
    /// What is wrong with the spec.
    pub problems: &'a [String],
    /// The same in one word; none: the spec itself is wrong.
    pub not_in_force: Option<&'static str>,
    /// `metadata.generation` of the spec.
    pub spec_generation: i64,
    /// The status as last written.
    pub written: Option<&'a Written>,
}

/// What is remembered of a status that is written: not the status itself, which is large, and mostly made of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    print: u64,
    since: Vec<Since>,
    /// Of a checkpoint that nobody understands: it stays what it is.
    pub checkpoint: Option<String>,
}

/// Since when a condition is what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    kind: Cow<'static, str>,
    status: Truth,
    time: Timestamp,
}

impl Written {
    /// Of a status. `corrupt`: its checkpoint is not understood.
    #[must_use]
    pub fn of(status: &RolloutStatus, corrupt: bool) -> Self {
        let since = status.conditions.iter().map(|condition| Since {
            kind: conditions::name(&condition.kind),
            status: condition.status,
            time: condition.last_transition_time,
        });
        Self {
            print: print(status),
            since: since.collect(),
            checkpoint: status.checkpoint.clone().filter(|_| corrupt),
        }
    }

    /// Whether this is what is written.
    #[must_use]
    pub fn is(&self, status: &RolloutStatus) -> bool {
        self.print == print(status)
    }
}

fn print(status: &RolloutStatus) -> u64 {
    // A status of numbers, texts and lists is always JSON.
    xxh3_64(&serde_json::to_vec(status).unwrap_or_default())
}

/// The status to be written.
#[must_use]
pub fn next(known: Known<'_>, now: Timestamp) -> RolloutStatus {
    let generation = Some(known.spec_generation);
    let Some(managed) = known.managed else {
        return never_accepted(known, generation, now);
    };
    // A state of numbers, texts and lists is always JSON.
    let checkpoint = serde_json::to_string(&*managed.state).unwrap_or_default();
    let report = managed.status();
    let state = &managed.state;
    status(&report, state, known.written, generation, checkpoint, now)
}

/// There is nothing but what is wrong; what was remembered stays.
fn never_accepted(known: Known<'_>, generation: Option<i64>, now: Timestamp) -> RolloutStatus {
    let ready = report::Condition {
        kind: conditions::READY.to_owned(),
        status: Some(known.problems.is_empty()),
        reason: known.not_in_force.map(str::to_owned),
        message: known.problems.join("\n"),
    };
    let before = known.written.map_or(&[][..], |it| &it.since);
    let reason = conditions::reason(&ready);
    RolloutStatus {
        observed_generation: generation,
        phase: Some(Phase::Pending),
        message: known.problems.first().cloned(),
        conditions: vec![condition(&ready, reason, before, generation, now)],
        checkpoint: known.written.and_then(|it| it.checkpoint.clone()),
        ..RolloutStatus::default()
    }
}

/// Builds `status`. A condition that is what it was keeps the time since when, which `previous` knows.
#[must_use]
pub fn status(
    report: &report::Status,
    state: &RolloutState,
    previous: Option<&Written>,
    observed_generation: Option<i64>,
    checkpoint: String,
    now: Timestamp,
) -> RolloutStatus {
    let before = previous.map_or(&[][..], |it| &it.since);
    let conditions = report.conditions.iter().map(|found| {
        let reason = reason(found, state);
        condition(found, reason, before, observed_generation, now)
    });
    let history = state.history.iter().map(|past| PastRelease {
        version: past.version.clone(),
        stable: past.stable.clone(),
        outcome: past.outcome,
        started: seconds(past.started),
        ended: seconds(past.ended),
        message: past.message.clone(),
    });
    let last_action = state.last_action.as_ref().map(|answered| ActionStatus {
        id: answered.id.clone(),
        what: answered.what,
        by: answered.by.clone(),
        at: seconds(answered.at),
        answer: answered.answer.clone(),
    });
    let status = RolloutStatus {
        observed_generation,
        phase: Some(report.phase),
        message: Some(report.message.clone()),
        live: Some(LiveVariant {
            name: report.live.name.clone(),
            version: report.live.version.clone(),
            route: report.live.route.clone(),
        }),
        conditions: conditions.collect(),
        history: history.collect(),
        last_action,
        checkpoint: Some(checkpoint),
        ..RolloutStatus::default()
    };
    match &report.release {
        Some(release) => with_release(status, release),
        None => status,
    }
}

/// Kubernetes' times are whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn with_release(status: RolloutStatus, release: &ReleaseStatus) -> RolloutStatus {
    let arms = || release.arms.iter();
    let observed: Option<Vec<_>> = arms()
        .map(|arm| Some(percent(arm.observed_weight?)))
        .collect();
    let records = &release.records;
    let shown = records.len().saturating_sub(TRANSITIONS);
    RolloutStatus {
        step: release.step.map(|(step, of)| format!("{step}/{of}")),
        weight: Some(join(arms().map(|arm| percent(arm.weight)))),
        observed: observed.map(|observed| join(observed.into_iter())),
        verdict: Some(release.verdict),
        stable: Some(release.stable.variant.version.clone()),
        canary: Some(release.canary().variant.version.clone()),
        started: Some(seconds(release.started)),
        variants: std::iter::once(&release.stable)
            .chain(&release.arms)
            .map(variant)
            .collect(),
        generation: release.generation.and_then(|it| i64::try_from(it).ok()),
        proxies: release.proxies.map(|(running, expected)| ProxiesStatus {
            running: running as u64,
            expected: expected as u64,
            laggards: release.laggards.iter().take(LAGGARDS).cloned().collect(),
        }),
        metrics: release.metrics.iter().map(metric).collect(),
        transitions: records.iter().skip(shown).map(transition).collect(),
        ..status
    }
}

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// `5%`, `4.9%`: one decimal, two below one per cent, where a decimal more is half of what is said.
fn percent(percent: f64) -> String {
    let scale = if percent < 1.0 { 100.0 } else { 10.0 };
    format!("{}%", (percent * scale).round() / scale)
}

fn variant(arm: &ArmStatus) -> VariantStatus {
    VariantStatus {
        name: arm.variant.name.clone(),
        version: arm.variant.version.clone(),
        route: arm.variant.route.clone(),
        weight: percent(arm.weight),
        observed: arm.observed_weight.map(percent),
        requests: arm.requests.total,
        errors: arm.requests.bad,
        fused: arm.fused,
    }
}

fn metric(metric: &report::MetricStatus) -> MetricStatus {
    let counts = |tally: Tally| Counts {
        n: tally.total,
        bad: tally.bad,
    };
    let evidence = |level: Level| Evidence {
        e: level.e,
        needed: level.needed,
    };
    MetricStatus {
        variant: metric.variant.clone(),
        name: metric.name.clone(),
        verdict: metric.verdict,
        sentence: metric.sentence.clone(),
        canary: counts(metric.canary),
        stable: counts(metric.stable),
        ratio: metric.ratio.map(|ratio| Ratio {
            estimate: ratio.mle,
            lower: ratio.lower,
            upper: ratio.upper,
        }),
        harm: evidence(metric.harm),
        p: metric.p,
        gate: metric.gate.map(evidence),
        caveat: metric.caveat.clone(),
    }
}

fn transition(record: &Record) -> TransitionStatus {
    TransitionStatus {
        time: seconds(record.at),
        phase: record.phase,
        weight: percent(record.weight),
        message: record.message.clone(),
    }
}

fn condition(
    found: &report::Condition,
    reason: &str,
    before: &[Since],
    observed_generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let status = match found.status {
        Some(true) => Truth::True,
        Some(false) => Truth::False,
        None => Truth::Unknown,
    };
    let same = |old: &&Since| old.kind == found.kind && old.status == status;
    let since = before.iter().find(same);
    Condition {
        kind: found.kind.clone(),
        status,
        reason: reason.to_owned(),
        message: found.message.clone(),
        last_transition_time: since.map_or_else(|| seconds(now), |old| old.time),
        observed_generation,
    }
}

/// Why a release does not progress is in its state, in a word of a closed set.
fn reason<'a>(found: &'a report::Condition, state: &RolloutState) -> &'a str {
    let held = found.kind == conditions::PROGRESSING && found.status == Some(false);
    let release = state.release.as_ref().filter(|_| held);
    release
        .and_then(standstill)
        .unwrap_or_else(|| conditions::reason(found))
}

fn standstill(release: &Release) -> Option<&'static str> {
    let ended = release.outcome.map(|outcome| match outcome {
        Outcome::Succeeded => reasons::SUCCEEDED,
        Outcome::RolledBack => reasons::ROLLED_BACK,
        Outcome::Concluded => reasons::CONCLUDED,
    });
    let held = || {
        let hold = release.hold.as_ref()?;
        Some(match hold.reason {
            HoldReason::Paused => reasons::PAUSED,
            HoldReason::Approval => reasons::AWAITING_APPROVAL,
            HoldReason::Deadline => reasons::DEADLINE_PASSED,
            HoldReason::Failure => reasons::HELD_ON_FAILURE,
        })
    };
    ended.or_else(held)
}

#[cfg(test)]
mod tests;

//! From state to status: what users see. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::{Proxy, Tally};
use crate::rollout::{PastRelease, Phase, Record, Release, RolloutState, Stage};
use crate::stats::e_for_display;
use crate::stats::ratio::RatioInterval;
use crate::validate::{Plan, RolloutName, VariantRef};

/// Cells without a canary request after which its verdict is "no data".
const IDLE: u64 = 5;

/// A rollout as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Which rollout.
    pub name: RolloutName,
    /// Where it stands.
    pub phase: Phase,
    /// Why it stands there, in one sentence.
    pub message: String,
    /// What the default route serves.
    pub live: VariantRef,
    /// The release in progress, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// What can be said with yes, no or unknown.
    pub conditions: Vec<Condition>,
    /// Releases before, newest first.
    pub history: Vec<PastRelease>,
    /// Ids of the actions answered so far.
    pub consumed_actions: Vec<String>,
}

/// A release as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The version that was live at the start.
    pub stable: VariantRef,
    /// The new version.
    pub canary: VariantRef,
    /// When it began.
    pub started: Timestamp,
    /// Step in progress, from 1, and how many there are; none from the soak on.
    pub step: Option<(usize, usize)>,
    /// Where it stands.
    pub stage: Stage,
    /// Canary weight as configured, in per cent.
    pub weight: f64,
    /// Canary share of the requests in the last cell, in per cent.
    pub observed_weight: Option<f64>,
    /// Generation of its present config.
    pub generation: Option<u64>,
    /// Proxies that run it, and how many are expected; `None` while Prometheus does not answer.
    pub proxies: Option<(usize, usize)>,
    /// What is judged.
    pub metric: MetricStatus,
    /// Story, oldest first.
    pub records: Vec<Record>,
}

/// A metric as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Name.
    pub name: String,
    /// What the counts say now.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub sentence: String,
    /// The new version's requests since the release began.
    pub canary: Tally,
    /// The stable version's.
    pub stable: Tally,
    /// Requests of the split that fuses sent home from the new version; for promotion each is a bad one.
    #[serde(default)]
    pub fused: u64,
    /// Ratio of the rates.
    pub ratio: Option<RatioInterval>,
    /// Evidence of harm.
    pub harm: Level,
    /// Evidence for the present step's gate; none from the soak on.
    pub gate: Option<Level>,
    /// The next cell to be consumed.
    pub next_cell: i64,
    /// Evidence of harm (natural logarithm) over the last cells, oldest first.
    pub trail: Vec<f64>,
}

/// How far evidence has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// e-value, capped for display.
    pub e: f64,
    /// Natural logarithm of it.
    pub log_e: f64,
    /// e-value that decides.
    pub needed: f64,
}

impl Level {
    fn new((log_e, needed): (f64, f64)) -> Self {
        Self {
            e: e_for_display(log_e),
            log_e,
            needed: e_for_display(needed),
        }
    }
}

/// What the counts say (product.md). Only `Fail` rolls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The gate is proven.
    Pass,
    /// The canary is worse than tolerated.
    Fail,
    /// Not yet known.
    Undecided,
    /// Nothing to judge.
    NoData,
    /// The counts could not be read.
    Error,
}

/// A named fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Yes, no, or `None`: unknown.
    pub status: Option<bool>,
    /// In one sentence.
    pub message: String,
}

/// What the driver knows beside the state.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Why it does not go up.
    pub waiting_for: Option<String>,
    /// Why the file was not taken over; empty when it was.
    pub file_problems: Vec<String>,
    /// The last tick's proxies, or why they could not be asked.
    pub proxies: Option<Result<Vec<Proxy>, String>>,
    /// Generation of the rollout's present section.
    pub generation: Option<u64>,
    /// Canary and stable requests of the last cell.
    pub last_cell: Option<(u64, u64)>,
    /// Evidence of harm over the last cells.
    pub trail: Vec<f64>,
    /// When a cell was last read.
    pub fresh: Option<Timestamp>,
}

/// Builds the status.
#[must_use]
pub fn report(plan: Option<&Plan>, state: &RolloutState, view: &View) -> Status {
    let release = state.release.as_ref();
    let phase = release.map_or(Phase::Pending, Release::phase);
    let last_record = || {
        release
            .and_then(|release| release.records.last())
            .map(|record| record.message.clone())
    };
    let message = match phase {
        Phase::Pending => view
            .file_problems
            .first()
            .cloned()
            .unwrap_or_else(|| "no release yet".to_owned()),
        Phase::Succeeded | Phase::RolledBack => last_record().unwrap_or_default(),
        _ => view
            .waiting_for
            .clone()
            .or_else(last_record)
            .unwrap_or_default(),
    };
    Status {
        name: state.name.clone(),
        phase,
        message,
        live: state.live.clone(),
        release: release
            .zip(plan)
            .map(|(release, plan)| release_status(plan, release, view)),
        conditions: conditions(plan, release, view),
        history: state.history.clone(),
        consumed_actions: state.consumed_actions.clone(),
    }
}

fn release_status(plan: &Plan, release: &Release, view: &View) -> ReleaseStatus {
    let step = match release.stage {
        Stage::Step(index) => Some((index + 1, plan.steps.len())),
        _ => None,
    };
    #[allow(clippy::cast_precision_loss, reason = "counts of one cell")]
    let share = |(canary, stable): (u64, u64)| {
        (canary + stable > 0).then(|| 100.0 * canary as f64 / (canary + stable) as f64)
    };
    let running = |proxies: &Vec<Proxy>| {
        let current = proxies.iter().filter(|proxy| {
            view.generation
                .is_some_and(|generation| proxy.runs(generation))
        });
        (current.count(), proxies.len())
    };
    ReleaseStatus {
        stable: release.stable.clone(),
        canary: release.canary.clone(),
        started: release.started,
        step,
        stage: release.stage,
        weight: release.weight(),
        observed_weight: view.last_cell.and_then(share),
        generation: view.generation,
        proxies: view
            .proxies
            .as_ref()
            .and_then(|proxies| proxies.as_ref().ok())
            .map(running),
        metric: metric_status(plan, release, view),
        records: release.records.clone(),
    }
}

fn metric_status(plan: &Plan, release: &Release, view: &View) -> MetricStatus {
    let evidence = &release.evidence;
    let step = match release.stage {
        Stage::Step(index) if release.outcome.is_none() => Some(index),
        _ => None,
    };
    let unreadable = view
        .proxies
        .as_ref()
        .and_then(|proxies| proxies.as_ref().err());
    let (verdict, sentence) = match (unreadable, step) {
        _ if evidence.failed(plan) => (Verdict::Fail, evidence.failure_sentence(plan)),
        (Some(reason), _) if release.outcome.is_none() => (
            Verdict::Error,
            format!("Prometheus does not answer: {reason}; the weight holds"),
        ),
        _ if evidence.canary.total == 0 => (
            Verdict::NoData,
            "the canary has had no request in the cells read so far; the weight holds".to_owned(),
        ),
        _ if evidence.idle_cells >= IDLE => {
            let sentence = format!(
                "the canary has had no request for {} cells; the weight holds",
                evidence.idle_cells
            );
            (Verdict::NoData, sentence)
        }
        (_, Some(index)) if evidence.passed(plan, index) => {
            (Verdict::Pass, evidence.passed_sentence(plan, index))
        }
        (_, Some(index)) => (Verdict::Undecided, evidence.undecided_sentence(plan, index)),
        (_, None) => match evidence.soak_objection() {
            Some(objection) if release.outcome.is_none() => (Verdict::Undecided, objection),
            _ => (
                Verdict::Pass,
                format!("{}: no sign of harm", evidence.comparison(plan)),
            ),
        },
    };
    MetricStatus {
        name: plan.metric.clone(),
        verdict,
        sentence,
        canary: evidence.canary,
        stable: evidence.stable,
        fused: evidence.fused,
        ratio: evidence.ratio(plan),
        harm: Level::new(evidence.harm(plan)),
        gate: step
            .and_then(|index| evidence.gate(plan, index))
            .map(Level::new),
        next_cell: evidence.next_cell,
        trail: view.trail.clone(),
    }
}

fn conditions(plan: Option<&Plan>, release: Option<&Release>, view: &View) -> Vec<Condition> {
    let condition = |kind: &str, status: Option<bool>, message: String| Condition {
        kind: kind.to_owned(),
        status,
        message,
    };
    let accepted = view.file_problems.is_empty();
    let mut found = vec![condition(
        "Ready",
        Some(accepted),
        if accepted {
            "the rollout file is in force".to_owned()
        } else {
            view.file_problems.join("\n")
        },
    )];
    let Some(release) = release else { return found };
    let going = release.outcome.is_none() && release.hold.is_none();
    let waiting = view
        .waiting_for
        .clone()
        .unwrap_or_else(|| "nothing stands in the way".to_owned());
    found.push(condition(
        "Progressing",
        Some(going),
        if going {
            waiting
        } else {
            format!("{:?}", release.phase())
        },
    ));
    if let Some(plan) = plan {
        let failed = release.evidence.failed(plan);
        found.push(condition(
            "Healthy",
            Some(!failed),
            release.evidence.comparison(plan),
        ));
    }
    if release.outcome.is_none() {
        found.push(match &view.proxies {
            Some(Ok(_)) => condition("DataFresh", Some(true), "Prometheus answers".to_owned()),
            Some(Err(reason)) => {
                let since = view
                    .fresh
                    .map_or_else(String::new, |at| format!(" since {at:.0}"));
                condition(
                    "DataFresh",
                    Some(false),
                    format!(
                        "no data{since}: {reason}; the weight holds, nothing is rolled back for it"
                    ),
                )
            }
            None => condition("DataFresh", None, "not asked yet".to_owned()),
        });
        let (canary, stable) = (release.routes.canary, release.routes.stable);
        let wrong = canary.misrouted + stable.misrouted;
        let status = if wrong > 0 {
            Some(false)
        } else {
            (canary.sampled > 0).then_some(true)
        };
        let looked = canary.sampled + stable.sampled;
        let message = format!(
            "{looked} requests looked at in this stage, {wrong} of the last ones in the wrong cluster"
        );
        found.push(condition("RoutesHonoured", status, message));
    }
    found
}

#[cfg(test)]
mod tests;

//! From state to status: what users see. Pure.

mod metrics;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::observation::{Proxy, Tally};
use crate::rollout::{Accepted, PastRelease, Phase, Record, Release, RolloutState, Stage};
use crate::stats::e_for_display;
use crate::stats::ratio::RatioInterval;
use crate::validate::{Course, Plan, RolloutName, VariantRef};
use metrics::metrics;

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
    pub stable: ArmStatus,
    /// The other versions; most releases have one.
    pub arms: Vec<ArmStatus>,
    /// When it began.
    pub started: Timestamp,
    /// Step in progress, from 1, and how many there are; none from the soak on.
    pub step: Option<(usize, usize)>,
    /// Where it stands.
    pub stage: Stage,
    /// Generation of its present config.
    pub generation: Option<u64>,
    /// Proxies that run it, and how many are expected; `None` while Prometheus does not answer.
    pub proxies: Option<(usize, usize)>,
    /// Scrape targets of those that do not run it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laggards: Vec<String>,
    /// What is judged, version by version.
    pub metrics: Vec<MetricStatus>,
    /// What all metrics of the first version say together.
    pub verdict: Verdict,
    /// Evidence that any of its metrics is harmed.
    pub harm: Level,
    /// That evidence (natural logarithm) over the last cells, oldest first.
    pub trail: Vec<f64>,
    /// The next cell to be consumed.
    pub next_cell: i64,
    /// Story, oldest first.
    pub records: Vec<Record>,
}

/// A version as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// Which version, and where it is served.
    #[serde(flatten)]
    pub variant: VariantRef,
    /// Its weight as configured, in per cent.
    pub weight: f64,
    /// Its share of the requests in the last cell, in per cent.
    pub observed_weight: Option<f64>,
    /// Its requests since the release began, and errors among them.
    pub requests: Tally,
    /// Requests of the split that fuses sent home from it; for promotion each is a bad one.
    #[serde(default)]
    pub fused: u64,
}

impl ReleaseStatus {
    /// The new version; of several the first.
    #[must_use]
    pub fn canary(&self) -> &ArmStatus {
        self.arms.first().unwrap_or(&self.stable)
    }
}

/// A metric of a version as users see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Name of the variant.
    pub variant: String,
    /// Name.
    pub name: String,
    /// What the counts say now.
    pub verdict: Verdict,
    /// The verdict in one sentence.
    pub sentence: String,
    /// Events of the version since the release began.
    pub canary: Tally,
    /// The stable version's.
    pub stable: Tally,
    /// Ratio of the rates.
    pub ratio: Option<RatioInterval>,
    /// Evidence of harm.
    pub harm: Level,
    /// The anytime-valid p-value of the release being within all tolerances, by this metric alone.
    pub p: f64,
    /// Evidence for the present step's gate; none from the soak on, and where the step has none.
    pub gate: Option<Level>,
    /// What the stated error rates do not cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
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

impl Verdict {
    /// What several metrics say together: one that fails is enough, and all must pass.
    fn of_all(verdicts: impl Iterator<Item = Self>) -> Self {
        let order = |verdict: &Self| match verdict {
            Self::Fail => 0,
            Self::Error => 1,
            Self::NoData => 2,
            Self::Undecided => 3,
            Self::Pass => 4,
        };
        verdicts.min_by_key(order).unwrap_or(Self::NoData)
    }
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
    /// Why, in one word for programs, where name and status do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
    /// The same in one word of [`conditions::reasons`](crate::cluster::conditions::reasons); none: it is wrong.
    pub not_in_force: Option<&'static str>,
    /// The last tick's proxies, or why they could not be asked.
    pub proxies: Option<Result<Arc<Vec<Proxy>>, String>>,
    /// Generation of the rollout's present section.
    pub generation: Option<u64>,
    /// Requests of the last cell, the stable version's first; empty before the first cell.
    pub last_cell: Vec<u64>,
    /// Why Prometheus does not say what a metric needs.
    pub refusal: Option<String>,
    /// Evidence of harm over the last cells.
    pub trail: Vec<f64>,
    /// When a cell was last read.
    pub fresh: Option<Timestamp>,
    /// What the driver itself can say with yes, no or unknown.
    pub conditions: Vec<Condition>,
}

/// What a status is made of. It is made when somebody asks: there may be thousands, and few are looked at.
#[derive(Clone, Debug)]
pub struct Sources {
    /// What the accepted file comes to.
    pub accepted: Accepted,
    /// What is decided.
    pub state: Arc<RolloutState>,
    /// What is shown beside the state.
    pub view: View,
}

impl Sources {
    /// The status.
    #[must_use]
    pub fn status(&self) -> Status {
        let plan = self.accepted.plan(&self.state);
        report(plan.as_deref(), &self.state, &self.view)
    }
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
    let proxies = view.proxies.as_ref().and_then(|it| it.as_ref().ok());
    let laggards: Vec<_> = proxies
        .into_iter()
        .flat_map(|all| all.iter())
        .filter(|proxy| !view.generation.is_some_and(|it| proxy.runs(it)))
        .map(|proxy| proxy.target.clone())
        .collect();
    let metrics = metrics(plan, release, view);
    let first = metrics.iter().take(plan.metrics.len());
    ReleaseStatus {
        stable: arm(release, view, 0, &release.stable),
        arms: (1..)
            .zip(release.arms())
            .map(|(number, variant)| arm(release, view, number, variant))
            .collect(),
        started: release.started,
        step,
        stage: release.stage,
        generation: view.generation,
        proxies: proxies.map(|all| (all.len() - laggards.len(), all.len())),
        laggards,
        verdict: Verdict::of_all(first.map(|metric| metric.verdict)),
        harm: Level::new((release.evidence.canary.harm(plan), -plan.harm_level().ln())),
        trail: view.trail.clone(),
        next_cell: release.evidence.next_cell,
        metrics,
        records: release.records.clone(),
    }
}

/// `number` is the version's place in the bucket table.
fn arm(release: &Release, view: &View, number: u8, variant: &VariantRef) -> ArmStatus {
    let all: u64 = view.last_cell.iter().sum();
    let seen = view.last_cell.get(usize::from(number)).copied();
    #[allow(clippy::cast_precision_loss, reason = "counts of one cell")]
    let share = |seen: u64| (all > 0).then(|| 100.0 * seen as f64 / all as f64);
    let evidence = &release.evidence;
    let own = usize::from(number)
        .checked_sub(1)
        .and_then(|position| evidence.arm(position));
    ArmStatus {
        variant: variant.clone(),
        weight: f64::from(release.table.share(number)) / 100.0,
        observed_weight: seen.and_then(share),
        requests: own.map_or(evidence.stable, |arm| arm.requests),
        fused: own.map_or(0, |arm| arm.fused),
    }
}

fn conditions(plan: Option<&Plan>, release: Option<&Release>, view: &View) -> Vec<Condition> {
    let condition = |kind: &str, status: Option<bool>, message: String| Condition {
        kind: kind.to_owned(),
        status,
        reason: None,
        message,
    };
    let accepted = view.file_problems.is_empty();
    let mut found = vec![condition(
        "Ready",
        Some(accepted),
        if accepted {
            "the rollout is in force as it is written".to_owned()
        } else {
            view.file_problems.join("\n")
        },
    )];
    let why_not = view.not_in_force.filter(|_| !accepted);
    found[0].reason = why_not.map(str::to_owned);
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
        let failed = release.evidence.arms().any(|arm| arm.failed(plan));
        let arms = release.evidence.arms().zip(plan.arms());
        let compared: Vec<_> = arms
            .map(|(arm, variant)| arm.comparison(plan, variant))
            .collect();
        found.push(condition("Healthy", Some(!failed), compared.join("; ")));
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
        let routes = &release.routes;
        let arms = || std::iter::once(&routes.canary).chain(&routes.others);
        let all = || arms().chain([&routes.stable]);
        let wrong: u64 = all().map(|sample| sample.misrouted).sum();
        let looked: u64 = all().map(|sample| sample.sampled).sum();
        let status = if wrong > 0 {
            Some(false)
        } else {
            arms().any(|sample| sample.sampled > 0).then_some(true)
        };
        let message = format!(
            "{looked} requests looked at in this stage, {wrong} of the last ones in the wrong cluster"
        );
        found.push(condition("RoutesHonoured", status, message));
        let (status, message) = if plan.is_some_and(|plan| plan.course == Course::Copies) {
            (None, "copies of requests are no split".to_owned())
        } else {
            let confirmed = release.routes.confirmed;
            release.split.verdict(&release.versions(), confirmed)
        };
        found.push(condition("SplitHonoured", status, message));
    }
    found.extend(view.conditions.iter().cloned());
    found
}

#[cfg(test)]
mod tests;

//! What is kept of a rollout between ticks and restarts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serin_filter_core::config::Attribute;
use serin_filter_core::split::{BUCKETS, BucketTable};

use super::act::Do;
use super::route_watch::RouteWatch;
use super::split::SplitWatch;
use crate::api::ModelRollout;
use crate::cells::Grid;
use crate::evidence::Evidence;
use crate::paths::Paths;
use crate::validate::{Choice, Mesh, Plan, RolloutName, VariantRef};

/// Index of the stable variant in the bucket table and the plugin config.
pub(super) const STABLE: u8 = 0;
/// Index of the first of the others.
pub(super) const CANARY: u8 = 1;

/// Releases that are remembered.
const HISTORY: usize = 10;
/// Actions whose ids are remembered, so that each is consumed once.
const REMEMBERED_ACTIONS: usize = 50;
/// Transitions that are kept per release.
const RECORDS: usize = 100;

/// A rollout. It outlives its file: without one it is a tombstone that keeps the live route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutState {
    /// Which rollout.
    pub name: RolloutName,
    /// Hosts of its default route.
    pub hosts: Vec<String>,
    /// Paths of its default route.
    pub paths: Paths,
    /// Its place in the mesh; `None`: standalone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<Mesh>,
    /// What the default route serves. While a promotion hands over, the default route runs ahead of it
    /// ([`RolloutState::default_route`]), and a revert brings it back.
    pub live: VariantRef,
    /// The release in progress, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// Releases before it, newest first.
    #[serde(default)]
    pub history: Vec<PastRelease>,
    /// Ids of the actions already consumed, oldest first.
    #[serde(default)]
    pub consumed_actions: Vec<String>,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<Answer>,
}

/// What somebody asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Id of the action.
    pub id: String,
    /// What was asked for.
    #[serde(rename = "do")]
    pub what: Do,
    /// Who asked.
    pub by: String,
    /// When it was answered.
    pub at: Timestamp,
    /// What came of it, in one sentence.
    pub answer: String,
}

/// One release of one new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The accepted file, so that the release goes on when the file breaks or goes away.
    pub rollout: ModelRollout,
    /// Version that was live at the start.
    pub stable: VariantRef,
    /// The new version; of several the first.
    pub canary: VariantRef,
    /// The others of a test.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<VariantRef>,
    /// Attributes that make a user.
    pub key: Vec<Attribute>,
    /// Salt of the buckets.
    pub salt: String,
    /// What else the filter is told.
    pub choice: Choice,
    /// When it began.
    pub started: Timestamp,
    /// First cell of its evidence.
    pub first_cell: i64,
    /// Grid on which its cells are numbered; another grid numbers other cells.
    pub grid: Grid,
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// Who owns which buckets.
    pub table: BucketTable,
    /// Why it stands still although it could move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Somebody approved leaving the present step.
    #[serde(default)]
    pub approved: bool,
    /// Somebody wants no more waiting in the present stage: no pause, no approval, no soak.
    #[serde(default)]
    pub skipped: bool,
    /// The weight is one that somebody set, and not the step's.
    #[serde(default)]
    pub by_hand: bool,
    /// Versions of a test that have no more users, by their position among the variants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<u8>,
    /// Somebody went on in spite of the comparison, or `onFail: alert` said it already. Guards are not waived.
    #[serde(default)]
    pub comparison_waived: bool,
    /// `onFail: alert` has told of a guard.
    #[serde(default)]
    pub guard_told: bool,
    /// The deadline has been acted on.
    #[serde(default)]
    pub deadline_passed: bool,
    /// Since when every proxy counts slow requests by the file's limits; `None`: not yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_counted: Option<Timestamp>,
    /// What the counts are worth so far.
    pub evidence: Evidence,
    /// Whether requests go where they are meant to.
    #[serde(default)]
    pub routes: RouteWatch,
    /// Whether every version gets the share that the weights say.
    #[serde(default, skip_serializing_if = "SplitWatch::is_empty")]
    pub split: SplitWatch,
    /// What happened, oldest first.
    pub records: Vec<Record>,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// At the weight of a step, counted from 0.
    Step(usize),
    /// All traffic by header; the default route still serves stable.
    Soak,
    /// The default route has moved; the header is still set.
    MoveDefault,
    /// The header is no longer set; the sampled clusters must agree.
    DropHeader,
}

/// How a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The canary is live.
    Succeeded,
    /// Everybody is on the version that was live before.
    RolledBack,
    /// What was to be found out is found out; everybody is on the version that was live before.
    Concluded,
}

/// Why a release stands still, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Kind.
    pub reason: HoldReason,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// Kinds of [`Hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldReason {
    /// Somebody paused it.
    Paused,
    /// The step's `pause.approval`.
    Approval,
    /// `deadline.then: hold`.
    Deadline,
    /// `onFail: hold`.
    Failure,
}

/// One line of a release's story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Counted from 1; the numbers go on when lines in the middle were dropped.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Phase afterwards.
    pub phase: Phase,
    /// Canary weight afterwards, in per cent.
    pub weight: f64,
    /// What happened and why, in one sentence.
    pub message: String,
}

/// Phases as users see them (product.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not begun.
    Pending,
    /// Going up.
    Progressing,
    /// Standing still on purpose.
    Paused,
    /// At 100 %.
    Soaking,
    /// Ended well.
    Succeeded,
    /// Back to live.
    RolledBack,
}

/// A release that ended or was replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastRelease {
    /// The new version it was about.
    pub version: String,
    /// The version it was compared with.
    pub stable: String,
    /// Salt of its buckets: the same version with another one is another attempt.
    pub salt: String,
    /// How it ended; `None`: replaced by another release.
    pub outcome: Option<Outcome>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Its last word.
    pub message: String,
}

impl Release {
    /// The canary's share of the buckets in per cent.
    #[must_use]
    pub fn weight(&self) -> f64 {
        f64::from(self.table.share(CANARY)) / 100.0
    }

    /// Every version beside the stable one.
    pub fn arms(&self) -> impl Iterator<Item = &VariantRef> + Clone {
        std::iter::once(&self.canary).chain(&self.others)
    }

    /// Every version, the stable one first.
    pub fn variants(&self) -> impl Iterator<Item = &VariantRef> + Clone {
        std::iter::once(&self.stable).chain(self.arms())
    }

    /// What the version at each position among the variants is called, the stable one first.
    #[must_use]
    pub fn versions(&self) -> Vec<&str> {
        let all = self.variants();
        all.map(|variant| variant.version.as_str()).collect()
    }

    /// Each version's share of 10 000 buckets, the stable one's first.
    #[must_use]
    pub fn weights(&self) -> Vec<u16> {
        (STABLE..)
            .zip(self.versions())
            .map(|(number, _)| self.table.share(number))
            .collect()
    }

    /// Phase as users see it.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (self.outcome, &self.hold, self.stage) {
            (Some(Outcome::Succeeded | Outcome::Concluded), ..) => Phase::Succeeded,
            (Some(Outcome::RolledBack), ..) => Phase::RolledBack,
            (None, Some(_), _) => Phase::Paused,
            (None, None, Stage::Step(_)) => Phase::Progressing,
            (None, None, _) => Phase::Soaking,
        }
    }

    /// Whether the proxies send no header for the canary: it is what the default route serves.
    #[must_use]
    pub fn canary_is_live(&self) -> bool {
        match self.outcome {
            Some(outcome) => outcome == Outcome::Succeeded,
            None => self.stage == Stage::DropHeader,
        }
    }

    /// Whether the file's switches let the canary have users; if not, everybody is on the live version.
    #[must_use]
    pub fn switched_on(&self) -> bool {
        self.choice.all_on()
    }

    /// Whether a version, by its position among the variants, has no more users in a test.
    #[must_use]
    pub fn is_stopped(&self, variant: u8) -> bool {
        self.stopped.contains(&variant)
    }

    /// Adds a line to the story; the first lines are kept, the middle gives way.
    pub fn record(&mut self, at: Timestamp, message: impl Into<String>) {
        let number = self.records.last().map_or(0, |last| last.number) + 1;
        if self.records.len() >= RECORDS {
            self.records.remove(RECORDS / 2);
        }
        let (phase, weight) = (self.phase(), self.weight());
        self.records.push(Record {
            number,
            at,
            phase,
            weight,
            message: message.into(),
        });
    }

    /// Whether its evidence is counted in cells of this length; in others nobody can go on with it.
    #[must_use]
    pub fn is_counted_on(&self, grid: Grid) -> bool {
        self.grid.cell() == grid.cell()
    }

    /// Enters a stage: what was watched or approved for the one before no longer counts.
    pub fn enter(&mut self, stage: Stage, now: Timestamp) {
        self.stage = stage;
        self.since = now;
        (self.approved, self.skipped, self.by_hand) = (false, false, false);
        self.routes = RouteWatch::default();
    }

    /// There will be no more cells. What people may want to see of it stays.
    pub fn end(&mut self, outcome: Outcome, now: Timestamp, message: impl Into<String>) {
        self.outcome = Some(outcome);
        self.hold = None;
        self.evidence.close();
        self.split = SplitWatch::default();
        self.record(now, message);
    }
}

impl RolloutState {
    /// A rollout that has never had a release; `live` is what its default route serves.
    #[must_use]
    pub fn new(plan: &Plan, live: VariantRef) -> Self {
        Self {
            name: plan.name.clone(),
            hosts: plan.hosts.clone(),
            paths: plan.paths.clone(),
            mesh: plan.mesh.clone(),
            live,
            release: None,
            history: Vec::new(),
            consumed_actions: Vec::new(),
            last_action: None,
        }
    }

    /// The release that has not ended.
    #[must_use]
    pub fn in_progress(&self) -> Option<&Release> {
        self.release
            .as_ref()
            .filter(|release| release.outcome.is_none())
    }

    /// The same, to be changed.
    pub fn in_progress_mut(&mut self) -> Option<&mut Release> {
        self.release
            .as_mut()
            .filter(|release| release.outcome.is_none())
    }

    /// Whether it claims the very same as a rollout with these hosts and paths, for some of the hosts.
    #[must_use]
    pub fn claims(&self, hosts: &[String], paths: &Paths) -> bool {
        self.paths.specificity() == paths.specificity()
            && self.hosts.iter().any(|host| hosts.contains(host))
    }

    /// Share of the buckets that have no version but the live one. By stable's share, for a test has several versions
    /// that may lose users.
    #[must_use]
    pub fn live_share(&self) -> u16 {
        let serving = self.in_progress().filter(|release| release.switched_on());
        serving.map_or(BUCKETS, |release| release.table.share(STABLE))
    }

    /// What a version that is not live gets right now, in 1/10 000.
    fn share(&self, version: &str) -> u16 {
        let serving = self.in_progress().filter(|release| release.switched_on());
        let shares = serving.into_iter().flat_map(|release| {
            let arms = (1..).zip(release.arms());
            arms.map(|(number, arm)| (arm, release.table.share(number)))
        });
        let own = shares.filter(|(arm, _)| arm.version == version);
        own.map(|(_, share)| share).sum()
    }

    /// Whether the live version gets less than before, or any other version more.
    #[must_use]
    pub fn grows_from(&self, before: &Self) -> bool {
        let mut arms = self.in_progress().into_iter().flat_map(Release::arms);
        self.live_share() < before.live_share()
            || arms.any(|arm| self.share(&arm.version) > before.share(&arm.version))
    }

    /// What the default route is to serve right now.
    #[must_use]
    pub fn default_route(&self) -> &VariantRef {
        match self.in_progress() {
            Some(release) if matches!(release.stage, Stage::MoveDefault | Stage::DropHeader) => {
                &release.canary
            }
            _ => &self.live,
        }
    }

    /// Moves the present release, if any, to the history.
    pub fn archive(&mut self, now: Timestamp) {
        let Some(release) = self.release.take() else {
            return;
        };
        let last = release.records.last();
        let past = PastRelease {
            version: release.canary.version.clone(),
            stable: release.stable.version.clone(),
            salt: release.salt.clone(),
            outcome: release.outcome,
            started: release.started,
            ended: last
                .filter(|_| release.outcome.is_some())
                .map_or(now, |record| record.at),
            message: last.map_or_else(String::new, |record| record.message.clone()),
        };
        self.history.insert(0, past);
        self.history.truncate(HISTORY);
    }

    /// Remembers an action's id; `false` if it was consumed before.
    pub fn consume_action(&mut self, id: &str) -> bool {
        if self.consumed_actions.iter().any(|consumed| consumed == id) {
            return false;
        }
        if self.consumed_actions.len() >= REMEMBERED_ACTIONS {
            self.consumed_actions.remove(0);
        }
        self.consumed_actions.push(id.to_owned());
        true
    }
}

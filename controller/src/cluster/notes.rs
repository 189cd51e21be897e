//! Events: what happened to a rollout, where `kubectl describe` shows it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;

use super::fleet::{Fleet, Known};
use super::names;
use crate::api::{API_VERSION, KIND};
use crate::driver::chain;
use crate::rollout::{HoldReason, Outcome, Record, Release, Stage};
use crate::validate::RolloutName;

/// What was told of a rollout so far.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    started: Timestamp,
    number: u64,
    stage: Stage,
    weight: f64,
    held: Option<HoldReason>,
}

impl Told {
    fn of(release: &Release) -> Self {
        Self {
            started: release.started,
            number: release.records.last().map_or(0, |record| record.number),
            stage: release.stage,
            weight: release.weight(),
            held: release.hold.as_ref().map(|hold| hold.reason),
        }
    }
}

/// Why an event is told, in one word that tools can match.
fn reason(before: Option<&Told>, release: &Release, last: bool) -> &'static str {
    let Some(before) = before else {
        return "ReleaseStarted";
    };
    match release.outcome {
        Some(Outcome::Succeeded) if last => return "ReleaseSucceeded",
        Some(Outcome::RolledBack) if last => return "RolledBack",
        Some(Outcome::Concluded) if last => return "TestConcluded",
        _ => {}
    }
    if before.stage != release.stage {
        return match release.stage {
            Stage::Step(_) => "StepCompleted",
            Stage::Soak => "Soaking",
            Stage::MoveDefault => "DefaultRouteMoved",
            Stage::DropHeader => "HeaderDropped",
        };
    }
    match release.hold.as_ref().map(|hold| hold.reason) {
        held if held == before.held => {}
        Some(HoldReason::Approval) => return "ApprovalWanted",
        Some(HoldReason::Paused) => return "Paused",
        Some(HoldReason::Deadline) => return "DeadlinePassed",
        Some(HoldReason::Failure) => return "Failing",
        None => return "Resumed",
    }
    if (before.weight - release.weight()).abs() > f64::EPSILON {
        return "WeightChanged";
    }
    "Noted"
}

/// Events that wait to be sent. More are left out: they are lines in the log as well.
const QUEUE: usize = 1_024;
/// How long the API server may take for one.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Tells of every line of every release, and of every mistake, once. What was told before a restart is not told again.
pub(super) struct Announcer {
    events: mpsc::Sender<(ObjectReference, Event)>,
    told: HashMap<RolloutName, Told>,
    mistakes: HashMap<RolloutName, Vec<String>>,
    begun: bool,
}

impl Announcer {
    pub(super) fn new(client: kube::Client, identity: &str) -> Self {
        let reporter = Reporter {
            controller: names::GROUP.to_owned(),
            instance: Some(identity.to_owned()),
        };
        let (events, waiting) = mpsc::channel(QUEUE);
        // Beside the loop, which must not wait for it; ends with the announcer.
        tokio::spawn(publish(Recorder::new(client, reporter), waiting));
        Self {
            events,
            told: HashMap::new(),
            mistakes: HashMap::new(),
            begun: false,
        }
    }

    /// Tells what is new of rollouts that have changed.
    pub(super) fn announce(&mut self, fleet: &Fleet, changed: &BTreeSet<RolloutName>) {
        for name in changed {
            let Some(known) = fleet.look_up(name) else {
                self.told.remove(name);
                self.mistakes.remove(name);
                continue;
            };
            self.tell_records(name, &known);
            self.tell_mistakes(name, &known);
        }
        self.begun = true;
    }

    fn tell_records(&mut self, name: &RolloutName, known: &Known<'_>) {
        let Some(managed) = known.managed else { return };
        let Some(release) = &managed.state.release else {
            return;
        };
        let now = Told::of(release);
        let before = self.told.get(name);
        if before == Some(&now) {
            return;
        }
        let same = before.filter(|before| before.started == now.started);
        let from = same.map_or(0, |before| before.number);
        let fresh = release.records.iter().filter(|record| record.number > from);
        let fresh: Vec<_> = fresh.collect();
        if self.begun || managed.view.proxies.is_some() {
            let count = fresh.len();
            for (position, record) in fresh.into_iter().enumerate() {
                let reason = reason(same, release, position + 1 == count);
                self.send(reference(name, known.uid), event(record, reason));
            }
        }
        self.told.insert(name.clone(), now);
    }

    fn tell_mistakes(&mut self, name: &RolloutName, known: &Known<'_>) {
        let problems = known.problems;
        if problems.is_empty() {
            self.mistakes.remove(name);
        } else if self.mistakes.get(name).is_none_or(|it| it != problems) {
            if self.begun {
                self.send(reference(name, known.uid), mistake(problems));
            }
            self.mistakes.insert(name.clone(), problems.to_vec());
        }
    }

    fn send(&self, reference: ObjectReference, event: Event) {
        if self.events.try_send((reference, event)).is_err() {
            tracing::debug!("too many events wait: one is left out");
        }
    }
}

async fn publish(recorder: Recorder, mut waiting: mpsc::Receiver<(ObjectReference, Event)>) {
    while let Some((reference, event)) = waiting.recv().await {
        let published = recorder.publish(&event, &reference);
        match tokio::time::timeout(TIMEOUT, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "an event was not taken"),
            Err(_) => tracing::debug!("an event was not taken in time"),
        }
    }
}

fn mistake(problems: &[String]) -> Event {
    Event {
        type_: EventType::Warning,
        reason: "NotInForce".to_owned(),
        note: Some(problems.join("; ").chars().take(1_000).collect()),
        action: "Validate".to_owned(),
        secondary: None,
    }
}

fn event(record: &Record, reason: &str) -> Event {
    let bad = matches!(reason, "RolledBack" | "Failing" | "DeadlinePassed");
    Event {
        type_: if bad {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(record.message.chars().take(1_000).collect()),
        action: "Release".to_owned(),
        secondary: None,
    }
}

fn reference(name: &RolloutName, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(KIND.to_owned()),
        name: Some(name.name.clone()),
        namespace: Some(name.namespace.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

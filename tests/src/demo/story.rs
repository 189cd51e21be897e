//! The two releases of the demo: a good one that becomes live, and a bad one that is thrown out.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serin_controller::report::Status;
use serin_controller::rollout::{Phase, Record};

use super::place::Place;
use super::population::PATH;
use super::screen::{Screen, verdicts};
use crate::tally::Tally;
use crate::traffic::Traffic;

/// The rollout's file in the installation's folder.
pub const FILE: &str = "fraud.yaml";
/// A release that takes longer than this has failed the demo, whatever its evidence. Each takes 30-75 s on two idle cores.
const LIMIT: Duration = Duration::from_secs(180);
/// How long the controller may take to see a file: it reads them twice a second, when the machine lets it.
const TAKE_OVER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

/// How one release went.
#[derive(Debug, Clone)]
pub struct Chapter {
    /// The new version.
    pub version: u32,
    /// How it ended.
    pub phase: Phase,
    /// What happened when.
    pub records: Vec<Record>,
    /// Its last sentence.
    pub message: String,
    /// Requests and users until its end.
    pub tally: Tally,
}

impl Chapter {
    /// From the first record to the last.
    #[must_use]
    pub fn duration(&self) -> Duration {
        match (self.records.first(), self.records.last()) {
            (Some(first), Some(last)) => (last.at - first.at).try_into().unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }
}

/// The rollout file for a release.
#[must_use]
pub fn rollout<P: Place>(stable: u32, canary: u32) -> String {
    let (host, more) = (P::host(), P::more());
    let host = host.to_str().unwrap_or_default();
    let path = PATH.trim_end_matches("/infer");
    format!(
        "apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {{name: fraud, namespace: ml}}
spec:
  match:
    hosts: [{host}]
    pathPrefix: {path}
  variants:
    - {{name: stable, role: stable, version: \"{stable}\", route: {}}}
    - {{name: canary, version: \"{canary}\", route: {}}}
  assignment:
    key:
      - {{header: x-user-id}}
    salt: fraud-{canary}
  strategy:
    canary:
      steps:
        - {{weight: 10, gate: {{ratio: 2.0,  absolute: 0.5pp}}}}
        - {{weight: 25, gate: {{ratio: 1.5,  absolute: 0.3pp}}}}
        - {{weight: 50, gate: {{ratio: 1.25, absolute: 0.2pp}}}}
      soak: 10s
  analysis:
    falseRollback: 0.01
    falsePromotion: 0.05
    metrics:
      - {{name: errors, errorRate: {{}}, tolerance: {{ratio: 1.1, absolute: 0.05pp}}, weight: 0.7}}
      - {{name: slow, latency: {{above: 250ms}}, tolerance: {{ratio: 1.2, absolute: 0.5pp}}, weight: 0.3}}
{more}",
        P::route(stable),
        P::route(canary)
    )
}

/// Releases `canary` beside `stable` and watches until it has ended.
///
/// # Errors
/// When it has not ended in time, or a part of the installation broke.
pub async fn release<P: Place>(
    place: &mut P,
    traffic: &Traffic,
    screen: &mut Screen,
    stable: u32,
    canary: u32,
) -> Result<Chapter> {
    screen.headline(&format!(
        "version {canary} is released beside version {stable}"
    ))?;
    place.release(&rollout::<P>(stable, canary)).await?;
    let begun = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        place.alive()?;
        // What keeps the release from its end, should this be the last look.
        let (why, limit) = match place.status().await {
            // A busy machine: the controller runs, so the next look may get its answer.
            Err(error) => (format!("{error:#}"), LIMIT),
            Ok(status) => match status
                .release
                .as_ref()
                .filter(|it| it.canary().variant.version == canary.to_string())
            {
                None => (
                    format!(
                        "the controller has not taken over the rollout: {}",
                        status.message
                    ),
                    TAKE_OVER,
                ),
                Some(release) => {
                    screen.show(&status, &traffic.look(Glance::of))?;
                    if matches!(status.phase, Phase::Succeeded | Phase::RolledBack) {
                        return Ok(Chapter {
                            version: canary,
                            phase: status.phase,
                            records: release.records.clone(),
                            message: status.message.clone(),
                            tally: traffic.snapshot(),
                        });
                    }
                    let why = format!(
                        "it is {:?} at {:.0} %: {}; {}",
                        status.phase,
                        release.canary().weight,
                        status.message,
                        verdicts(release)
                    );
                    (why, LIMIT)
                }
            },
        };
        if begun.elapsed() > limit {
            bail!("version {canary} has not ended after {limit:?}: {why}");
        }
    }
}

/// What the users see, at a glance.
#[derive(Debug, Clone, Default)]
pub struct Glance {
    /// Requests so far.
    pub requests: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Requests that could not be sent in time.
    pub late: u64,
    /// Half of the answers took no longer.
    pub median: Duration,
    /// Nor did 99 of 100 this.
    pub p99: Duration,
}

impl Glance {
    fn of(tally: &Tally) -> Glance {
        Glance {
            requests: tally.total().requests,
            bad: tally.total().bad,
            late: tally.late,
            median: tally.latency.quantile(0.5),
            p99: tally.latency.quantile(0.99),
        }
    }
}

/// Waits until the first status is there, so that the story begins with everything in place.
///
/// # Errors
/// When there is none in time.
pub async fn first_status(place: &impl Place) -> Result<Status> {
    let limit = Duration::from_secs(30);
    crate::wait::until(limit, "the first status", async || place.status().await)
        .await
        .context("the controller did not take over the first rollout")
}

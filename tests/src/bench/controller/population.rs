//! Thousands of rollouts in a cluster: most of them ended well long ago, some have a release in progress.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;
use serin_controller::api::status::RolloutStatus;
use serin_controller::cells::Grid;
use serin_controller::cluster::names;
use serin_controller::cluster::resource::ModelRollout;
use serin_controller::rollout::{Outcome, RolloutState, Stage, accept};
use serin_controller::validate::validate;
use serin_filter_core::split::BucketTable;

/// Namespaces with models and their callers, each with a plugin object of its own. One object for the mesh holds about
/// 2 000 rollouts (product.md).
pub const NAMESPACES: usize = 50;
/// Name and version of what is live when a release begins.
pub const STABLE: (&str, &str) = ("stable", "7");
/// Name and version of what is new.
pub const CANARY: (&str, &str) = ("canary", "8");
/// Per cent of the step in which the releases are.
pub const WEIGHT: u8 = 5;
/// Window of the guard.
pub const GUARD: Duration = Duration::from_secs(15);
/// Name and limit of the latency metric.
pub const SLOW: (&str, Duration) = ("slow", Duration::from_millis(100));

/// Requests to the API server at once.
const AT_ONCE: usize = 32;

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether its release is in progress; else it has succeeded.
    pub progressing: bool,
}

impl Member {
    /// The rollout of a number, of so many of which so many are in progress: in each namespace alike.
    #[must_use]
    pub fn new(number: usize, rollouts: usize, progressing: usize) -> Member {
        let (namespaces, nth) = (NAMESPACES.min(rollouts), number / NAMESPACES);
        Member {
            namespace: format!("team-{:02}", number % namespaces),
            name: format!("model-{number:05}"),
            progressing: nth * NAMESPACES < progressing,
        }
    }

    /// As metrics and configs name it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its resource. The release's gate wants more requests than a bench lasts, so that nothing but a fault moves it.
    ///
    /// # Errors
    /// None, unless the resource has changed its shape.
    pub fn resource(&self) -> Result<ModelRollout> {
        let Member {
            namespace, name, ..
        } = self;
        let variant = |(name, version): (&str, &str)| {
            let subset = format!("v{version}");
            json!({"name": name, "version": version, "route": {"subset": subset}})
        };
        let (mut stable, canary) = (variant(STABLE), variant(CANARY));
        stable["role"] = json!("stable");
        let gate = json!({"ratio": 1.25, "absolute": "0.1pp"});
        let tolerance = json!({"ratio": 1.1, "absolute": "0.05pp"});
        let above = format!("{}ms", SLOW.1.as_millis());
        let over = format!("{}s", GUARD.as_secs());
        let resource = json!({
            "apiVersion": "serin.dev/v1alpha1",
            "kind": "ModelRollout",
            "metadata": {"namespace": namespace, "name": name, "finalizers": [names::FINALIZER]},
            "spec": {
                "match": {
                    "hosts": [format!("{name}.{namespace}.svc.cluster.local")],
                    "pathPrefix": format!("/v2/models/{name}"),
                },
                "scope": [namespace],
                "route": {"manage": true},
                "variants": [stable, canary],
                "assignment": {"key": [{"header": "x-user-id"}], "salt": format!("{name}-8")},
                "strategy": {"canary": {
                    "steps": [
                        {"weight": WEIGHT, "gate": gate},
                        {"weight": 25, "gate": gate},
                        {"weight": 50, "gate": gate},
                    ],
                    "soak": "10m",
                }},
                "analysis": {
                    "metrics": [
                        {"name": "errors", "errorRate": {}, "tolerance": tolerance},
                        {"name": SLOW.0, "latency": {"above": above}, "tolerance": tolerance},
                    ],
                    "guards": [
                        {"name": "outage", "errorRate": {"above": "50%"}, "minRequests": 20, "over": over},
                    ],
                },
            },
        });
        serde_json::from_value(resource).context("the resource has another shape by now")
    }

    /// The status that a controller left when the release had succeeded.
    fn succeeded(&self, resource: &ModelRollout, grid: Grid) -> Result<RolloutStatus> {
        let file = resource
            .file()
            .map_err(|(path, reason)| anyhow!("{path}: {reason}"))?;
        let plan = validate(&file).map_err(|problems| anyhow!("{problems:?}"))?;
        let fresh = RolloutState::new(&plan, plan.stable.clone());
        let now = Timestamp::now();
        let (mut state, _) = accept(&plan, &file, &fresh, now, grid)?;
        let release = state.release.as_mut().context("no release has begun")?;
        release.enter(Stage::DropHeader, now);
        release.table = BucketTable::whole(1);
        release.end(Outcome::Succeeded, now, "version 8 is live");
        state.live = release.canary.clone();
        Ok(RolloutStatus {
            checkpoint: Some(serde_json::to_string(&state)?),
            ..RolloutStatus::default()
        })
    }
}

/// All of them.
#[must_use]
pub fn members(rollouts: usize, progressing: usize) -> Vec<Member> {
    let numbers = 0..rollouts;
    numbers
        .map(|number| Member::new(number, rollouts, progressing))
        .collect()
}

/// Puts them into the cluster: those that have succeeded with the memory of it, the others as somebody has just applied
/// them.
///
/// # Errors
/// When the API server refuses one.
pub async fn create(client: &Client, members: &[Member], grid: Grid) -> Result<()> {
    stream::iter(members)
        .map(async |member| {
            let api: Api<ModelRollout> = Api::namespaced(client.clone(), &member.namespace);
            let resource = member.resource()?;
            let status = if member.progressing {
                None
            } else {
                Some(member.succeeded(&resource, grid)?)
            };
            let parameters = PostParams::default();
            let mut there = api.create(&parameters, &resource).await?;
            if status.is_some() {
                there.status = status;
                api.replace_status(&member.name, &parameters, &there)
                    .await?;
            }
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_has_as_many_releases_in_progress_as_the_next() {
        let members = members(1_000, 100);
        let progressing: Vec<_> = members.iter().filter(|it| it.progressing).collect();
        assert_eq!(progressing.len(), 100);
        let first = progressing.iter().filter(|it| it.namespace == "team-00");
        assert_eq!(first.count(), 2);
    }

    #[test]
    fn a_rollout_that_has_succeeded_needs_nothing_more() {
        let grid = Grid::new(Duration::from_secs(30), Duration::from_secs(30)).unwrap();
        let member = Member::new(7, 10, 0);
        let resource = member.resource().unwrap();
        let status = member.succeeded(&resource, grid).unwrap();
        let state: RolloutState = serde_json::from_str(&status.checkpoint.unwrap()).unwrap();
        assert_eq!(state.live.version, CANARY.1);
        let file = resource.file().unwrap();
        let plan = validate(&file).unwrap();
        let (again, _) = accept(&plan, &file, &state, Timestamp::now(), grid).unwrap();
        assert_eq!(again, state, "the same file again is no new release");
    }
}

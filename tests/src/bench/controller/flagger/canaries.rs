//! Canaries of Flagger in a real API server. Nobody runs pods there: their deployments are called ready by this bench.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin_controller::cluster::object::Kind;
use serin_controller::cluster::watch::api_resource;
use tokio::task::JoinSet;

use crate::bench::controller::ms;
use crate::bench::rounds::Series;

/// Namespace of everything.
pub const NAMESPACE: &str = "shop";
/// How often Flagger looks at a canary; less it does not allow.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Requests to the API server at once.
const AT_ONCE: usize = 32;

/// What the API server shows of the canaries; it ends when dropped.
pub struct Canaries {
    client: Client,
    number: usize,
    weights: Weights,
    _tasks: JoinSet<()>,
}

/// The weights of the new versions, and since when.
#[derive(Debug, Clone, Default)]
struct Weights(Arc<Mutex<HashMap<String, (i64, Instant)>>>);

impl Weights {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, name: String, weight: i64, now: Instant) {
        let mut weights = self.lock();
        let known = weights.entry(name).or_insert((weight, now));
        if known.0 != weight {
            *known = (weight, now);
        }
    }
}

impl Canaries {
    /// Makes them, each with its deployment.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn create(client: &Client, number: usize) -> Result<Canaries> {
        let weights = Weights::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(make_ready(client.clone()));
        tasks.spawn(follow(client.clone(), weights.clone()));
        let canaries = Canaries {
            client: client.clone(),
            number,
            weights,
            _tasks: tasks,
        };
        let parameters = PostParams::default();
        canaries
            .each(async |name| {
                let object = read(deployment(name))?;
                canaries.deployments().create(&parameters, &object).await?;
                let object = read(canary(name))?;
                canaries.canaries().create(&parameters, &object).await?;
                Ok(())
            })
            .await?;
        Ok(canaries)
    }

    /// Releases another version of each.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn release(&self, version: &str) -> Result<()> {
        let patch =
            json!({"spec": {"template": {"metadata": {"annotations": {"version": version}}}}});
        let parameters = PatchParams::default();
        self.each(async |name| {
            let patch = Patch::Merge(&patch);
            self.deployments().patch(name, &parameters, &patch).await?;
            Ok(())
        })
        .await
    }

    /// How many Flagger has made its own, so that a release can begin.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn initialized(&self) -> Result<usize> {
        let list = self
            .canaries()
            .list(&kube::api::ListParams::default())
            .await?;
        let phase = |it: &DynamicObject| it.data["status"]["phase"].as_str() == Some("Initialized");
        Ok(list.items.iter().filter(|it| phase(it)).count())
    }

    /// Those whose new version has traffic.
    #[must_use]
    pub fn with_traffic(&self) -> Vec<String> {
        let weights = self.weights.lock();
        let up = weights.iter().filter(|(_, (weight, _))| *weight > 0);
        up.map(|(name, _)| name.clone()).collect()
    }

    /// Times from a moment until those of these canaries lost their weight that have lost it.
    #[must_use]
    pub fn reverted(&self, names: &[String], since: Instant) -> Series {
        let weights = self.weights.lock();
        let at = |name: &String| match weights.get(name) {
            Some((0, at)) => Some(ms(at.saturating_duration_since(since))),
            _ => None,
        };
        Series(names.iter().filter_map(at).collect())
    }

    async fn each(&self, act: impl AsyncFn(&str) -> Result<()>) -> Result<()> {
        stream::iter(0..self.number)
            .map(async |number| act(&format!("app-{number:04}")).await)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    fn deployments(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), NAMESPACE, &deployments())
    }

    fn canaries(&self) -> Api<DynamicObject> {
        let resource = resource("flagger.app/v1beta1", "Canary", "canaries");
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }
}

fn deployments() -> ApiResource {
    resource("apps/v1", "Deployment", "deployments")
}

fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

fn read(object: Value) -> Result<DynamicObject> {
    serde_json::from_value(object).context("failed to read an object")
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": {"version": "1"}},
                "spec": {"containers": [{"name": "model", "image": "model:1"}]},
            },
        },
    })
}

/// In steps of one per cent, so that nothing but a fault ends it while the bench lasts.
fn canary(name: &str) -> Value {
    json!({
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "service": {"port": 80},
            "analysis": {
                "interval": format!("{}s", INTERVAL.as_secs()),
                "threshold": 1,
                "maxWeight": 99,
                "stepWeight": 1,
                "metrics": [
                    {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "1m"},
                    {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "1m"},
                ],
            },
        },
    })
}

/// Says of every deployment that as many pods are ready as are wanted.
async fn make_ready(client: Client) {
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &deployments());
    let events = watcher(api.clone(), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    events
        .for_each_concurrent(AT_ONCE, async |deployment| {
            let Ok(deployment) = deployment else { return };
            let Some(status) = ready(&deployment) else {
                return;
            };
            let patch = Patch::Merge(json!({"status": status}));
            // One that failed is tried again with the next change, such as Flagger's own.
            api.patch_status(&deployment.name_any(), &PatchParams::default(), &patch)
                .await
                .ok();
        })
        .await;
}

/// The status of a deployment that is ready; none if it says so already.
fn ready(deployment: &DynamicObject) -> Option<Value> {
    let generation = deployment.metadata.generation;
    let replicas = deployment.data["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = &deployment.data["status"];
    let ready = status["availableReplicas"].as_i64().unwrap_or(0);
    let current = status["observedGeneration"].as_i64() == generation && ready == replicas;
    (!current).then(|| {
        json!({
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
            "availableReplicas": replicas,
        })
    })
}

async fn follow(client: Client, weights: Weights) {
    let resource = api_resource(Kind::VirtualService);
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &resource);
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    events
        .for_each(async |route| {
            let Ok(route) = route else { return };
            if let Some(weight) = weight(&route) {
                weights.see(route.name_any(), weight, Instant::now());
            }
        })
        .await;
}

/// The weight of the new version in a VirtualService of Flagger's.
fn weight(route: &DynamicObject) -> Option<i64> {
    let routes = route.data["spec"]["http"][0]["route"].as_array()?;
    let canary = routes.iter().find(|it| {
        let host = it["destination"]["host"].as_str();
        host.is_some_and(|host| host.ends_with("-canary"))
    });
    Some(canary.and_then(|it| it["weight"].as_i64()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_that_of_the_new_version() {
        let route = |routes: Value| {
            read(json!({"metadata": {}, "spec": {"http": [{"route": routes}]}})).unwrap()
        };
        let both = route(json!([
            {"destination": {"host": "a-primary"}, "weight": 93},
            {"destination": {"host": "a-canary"}, "weight": 7},
        ]));
        assert_eq!(weight(&both), Some(7));
        let none = route(json!([{"destination": {"host": "a-primary"}, "weight": 100}]));
        assert_eq!(weight(&none), Some(0));
    }

    #[test]
    fn a_deployment_is_made_ready_once_for_each_generation() {
        let at = |status: Value| {
            read(json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status}))
                .unwrap()
        };
        let status = ready(&at(json!({"observedGeneration": 1}))).unwrap();
        assert_eq!(status["availableReplicas"], 3);
        assert_eq!(ready(&at(status)), None);
    }
}

//! The filter, compiled to Wasm, in a real Envoy with two workers; the model servers are stand-ins.

mod calls;
mod choice;
mod claims;
mod configuration;
mod cookie;
mod counts;
mod encodings;
mod endings;
mod fuse;
mod grpc;
mod headers;
mod hostile;
mod misrouted;
mod overriding;
mod principal;
mod series;
mod shadow;
mod soak;
mod split;
mod ticks;
mod toggles;
mod updates;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use serin_filter_core::config::{
    Attribute, DEFAULT_SHADOW_HEADER, FilterConfig, RolloutConfig, VERSION, VariantConfig,
};
use serin_filter_core::split::BucketTable;
use serin_filter_core::stat::{self, Encoding};
use serin_filter_core::table::RoutingTable;
use serin_tests::discovery::{self, Route};
use serin_tests::envoy::{Envoy, Setup};
use serin_tests::tally::Tally;
use serin_tests::traffic::{Call, Plan, Traffic};
use serin_tests::upstream::Upstream;
use serin_tests::world::World;
use serin_tests::{tools, wait};

const ROLLOUT: &str = "ml/fraud";
const HOST: &str = "fraud.ml";
const PATH: &str = "/v2/models/fraud/infer";
const USER: HeaderName = HeaderName::from_static("x-user-id");
const ROUTE: &str = "x-serin-route";
const STABLE: &str = "fraud-v7";
const CANARY: &str = "fraud-v8";

/// An Envoy with the filter before two versions.
struct Rig {
    world: World,
    envoy: Envoy,
    wasm: PathBuf,
    stable: Upstream,
    canary: Upstream,
    client: reqwest::Client,
}

impl Rig {
    /// With a configuration that is fine.
    async fn start(config: &FilterConfig) -> Rig {
        let rig = Rig::start_with(&serde_json::to_string(config).unwrap()).await;
        rig.settle(config.generation).await;
        rig
    }

    /// With any text for a configuration.
    async fn start_with(configuration: &str) -> Rig {
        Rig::start_altered(configuration, |_| {}).await
    }

    /// With rollouts as they are in JSON, generation 1.
    async fn start_rollouts(rollouts: &[Value]) -> Rig {
        let rig = Rig::start_with(&rendered(1, rollouts)).await;
        rig.settle(1).await;
        rig
    }

    /// With any text for a configuration, and an Envoy bootstrap that is altered before.
    async fn start_altered(configuration: &str, alter: impl FnOnce(&mut Value)) -> Rig {
        Rig::start_workers(2, configuration, alter).await
    }

    /// [`Rig::start_altered`] with so many worker threads.
    async fn start_workers(
        workers: u32,
        configuration: &str,
        alter: impl FnOnce(&mut Value),
    ) -> Rig {
        let wasm = tools::filter().unwrap();
        let world = World::new("filter").unwrap();
        let (stable, canary) = (
            Upstream::start("7").await.unwrap(),
            Upstream::start("8").await.unwrap(),
        );
        let setup = Setup {
            endpoints: None,
            name: "envoy".to_owned(),
            workers,
            clusters: BTreeMap::from([
                (STABLE.to_owned(), stable.address().port()),
                (CANARY.to_owned(), canary.address().port()),
            ]),
            plugin: world.file("ecds.json"),
            routes: world.file("rds.json"),
        };
        discovery::write_plugin(&setup.plugin, &wasm, configuration).unwrap();
        let routes = [Route::when(ROUTE, CANARY, CANARY), Route::default(STABLE)];
        discovery::write_routes(&setup.routes, &routes).unwrap();
        let envoy = Envoy::start_altered(&world, setup, alter).await.unwrap();
        Rig {
            world,
            envoy,
            wasm,
            stable,
            canary,
            client: reqwest::Client::new(),
        }
    }

    /// Replaces the plugin's configuration by any text.
    fn write(&self, configuration: &str) {
        let path = self.world.file("ecds.json");
        discovery::write_plugin(&path, &self.wasm, configuration).unwrap();
    }

    /// Replaces the plugin's configuration and waits until both workers have it.
    async fn configure(&self, config: &FilterConfig) {
        self.write(&serde_json::to_string(config).unwrap());
        self.settle(config.generation).await;
    }

    /// Waits until the configuration of this generation is in use everywhere.
    async fn settle(&self, generation: u64) {
        self.reads(stat::CONFIG_GENERATION, &[], generation).await;
        self.flush().await;
    }

    /// Waits until both workers have done what Envoy's main thread gave them to do so far: a flush of the statistics
    /// goes through all workers, in turn with it, before the uptime is written.
    async fn flush(&self) {
        for _ in 0..2 {
            // The first change may be of a flush that had begun before.
            let before = self.envoy.stat("server.uptime").await.unwrap();
            wait::until_true(Duration::from_secs(20), "a flush", async || {
                self.envoy.stat("server.uptime").await.unwrap() != before
            })
            .await
            .unwrap();
        }
    }

    /// Replaces the routes, and waits until both workers have them.
    async fn reroute(&self, routes: &[Route]) {
        let routes: Vec<Value> = routes.iter().map(Route::to_json).collect();
        self.reroute_raw(&routes).await;
    }

    /// [`Rig::reroute`] with routes as Envoy has them.
    async fn reroute_raw(&self, routes: &[Value]) {
        const UPDATES: &str = "http.in.rds.serin.update_success";
        let before = self.envoy.stat(UPDATES).await.unwrap();
        discovery::write_raw_routes(&self.world.file("rds.json"), routes).unwrap();
        wait::until_true(Duration::from_secs(20), "new routes", async || {
            self.envoy.stat(UPDATES).await.unwrap() > before
        })
        .await
        .unwrap();
        self.flush().await;
    }

    /// One request of each user, all over 32 connections.
    async fn visit(&self, users: std::ops::Range<u64>) -> Tally {
        let plan = Plan::closed(self.envoy.address(), 32);
        Traffic::start(plan, users.map(call))
            .unwrap()
            .finish()
            .await
            .unwrap()
    }

    /// One request of a user, with further headers; returns the version that answered and the headers that it saw.
    async fn ask(&self, host: &str, user: &[u8], headers: &[(&str, &[u8])]) -> (String, Value) {
        let url = format!("http://{}{PATH}", self.envoy.address());
        let mut request = self.client.get(url).header("host", host).header(USER, user);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let version = answer.headers()["x-serin-model-version"]
            .to_str()
            .unwrap()
            .to_owned();
        (version, answer.json().await.unwrap())
    }

    /// A request that a test completes and hands to [`Seen::of`].
    fn request(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.envoy.address());
        self.client.get(url).header("host", host)
    }

    /// Waits until a metric of a variant, narrowed by further labels, is exactly this.
    async fn counts(&self, name: &str, variant: &str, labels: &[(&str, &str)], expected: u64) {
        let mut all = vec![(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant)];
        all.extend_from_slice(labels);
        self.reads(name, &all, expected).await;
    }

    /// Waits until the sum over the series with these labels is exactly this. There must be one: a series that is
    /// missing or has other labels is not zero.
    async fn reads(&self, name: &str, labels: &[(&str, &str)], expected: u64) {
        let what = format!("{name} {labels:?} to be {expected}");
        wait::until(Duration::from_secs(10), &what, async || {
            let samples = self.envoy.metrics().await?;
            let mut values = samples
                .iter()
                .filter(|sample| sample.is(name, labels))
                .map(|sample| sample.value)
                .peekable();
            if values.peek().is_none() {
                bail!("there is no such series");
            }
            let value: f64 = values.sum();
            if value != expected as f64 {
                bail!("it is {value}");
            }
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Demands that requests of a variant were checked for where they went, and that none went wrong.
    async fn none_misrouted(&self, variant: &str) {
        let labels = [(stat::ROLLOUT, ROLLOUT), (stat::VARIANT, variant)];
        self.envoy
            .metric(stat::SAMPLED_TOTAL, &labels, |value| value > 0.0)
            .await
            .unwrap();
        self.counts(stat::MISROUTED_TOTAL, variant, &[], 0).await;
    }
}

/// A request header.
type Header = (&'static str, &'static str);

/// An answer: what the client got, and what the upstream saw.
struct Seen {
    version: String,
    headers: hyper::HeaderMap,
    upstream: Value,
}

impl Seen {
    /// The answer to a request, which must be a good one.
    async fn of(request: reqwest::RequestBuilder) -> Seen {
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let headers = answer.headers().clone();
        Seen {
            version: headers["x-serin-model-version"]
                .to_str()
                .unwrap()
                .to_owned(),
            headers,
            upstream: answer.json().await.unwrap(),
        }
    }
}

/// A configuration with these rollouts.
fn rendered(generation: u64, rollouts: &[Value]) -> String {
    let config = json!({"version": VERSION, "generation": generation, "rollouts": rollouts});
    // A mistake is told here, and not by waiting for a filter that refuses it.
    RoutingTable::new(serde_json::from_value(config.clone()).unwrap()).unwrap();
    config.to_string()
}

/// The name of a rollout of [`rollout`].
fn name(host: &str) -> String {
    format!("ml/{host}")
}

/// A rollout of one host as JSON, named after it, with all weight on stable and these further or other fields.
fn rollout(host: &str, fields: Value) -> Value {
    let mut rollout = json!({
        "name": name(host),
        "hosts": [host],
        "variants": [
            {"name": "stable", "version": "7", "live": true, "route": STABLE, "cluster": STABLE},
            {"name": "canary", "version": "8", "route": CANARY, "cluster": CANARY},
        ],
        "salt": "fraud-8",
        "table": [[10_000, 0]],
        "progressing": true,
    });
    if let (Value::Object(rollout), Value::Object(fields)) = (&mut rollout, fields) {
        rollout.extend(fields);
    }
    rollout
}

/// A request of a user.
fn call(user: u64) -> Call {
    Call {
        user,
        host: HeaderValue::from_static(HOST),
        path: PATH.to_owned(),
        headers: vec![(USER, HeaderValue::from_str(&key(user)).unwrap())],
        body: Bytes::new(),
    }
}

fn key(user: u64) -> String {
    format!("user-{user}")
}

/// Stable 7 and canary 8, of which the canary has this many buckets of 10 000.
fn config(generation: u64, canary: u16) -> FilterConfig {
    let variant = |name: &str, version: &str, cluster: &str, live| VariantConfig {
        name: name.to_owned(),
        version: version.to_owned(),
        enabled: true,
        live,
        route: cluster.to_owned(),
        cluster: Some(cluster.to_owned()),
    };
    let table =
        serin_filter_core::split::rebalance(&BucketTable::whole(0), &[10_000 - canary, canary]);
    FilterConfig {
        version: VERSION,
        generation,
        route_header: ROUTE.to_owned(),
        shadow_header: DEFAULT_SHADOW_HEADER.to_owned(),
        stats: Encoding::Istio,
        rollouts: vec![RolloutConfig {
            name: ROLLOUT.to_owned(),
            hosts: vec![HOST.to_owned()],
            enabled: true,
            path_prefix: Some("/v2/models/fraud".to_owned()),
            path: None,
            path_template: None,
            variants: vec![
                variant("stable", "7", STABLE, true),
                variant("canary", "8", CANARY, false),
            ],
            key: vec![Attribute::Header("x-user-id".to_owned())],
            cookie: None,
            rules: Vec::new(),
            overriding: None,
            slow: Vec::new(),
            fuse: None,
            shadow: None,
            salt: "fraud-8".to_owned(),
            table: table.unwrap(),
            progressing: true,
        }],
    }
}

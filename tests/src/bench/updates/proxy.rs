//! The Envoy whose configuration changes: every user on one version, then every user on the other, so that each answer
//! tells which configuration decided it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, timeout_at};

use super::delays::Seen;
use super::trace::{self, Work};
use crate::bench::cpu;
use crate::discovery::{self, Route};
use crate::envoy::{Envoy, Setup};
use crate::traffic::{Call, Plan, Traffic, Visit};
use crate::upstream::Upstream;
use crate::wait;
use crate::world::World;

/// The versions that take turns; odd generations have the first one.
const VERSIONS: [&str; 2] = ["8", "7"];
const ROUTE_HEADER: &str = "x-serin-route";
/// Requests a second. More would keep the worker busy by itself, fewer would miss what happens between them.
const RATE: f64 = 500.0;
/// How long before a change traffic is watched, to know what the machine does to it anyhow.
const CALM: Duration = Duration::from_millis(700);
/// How long after a change a request may still be delayed by it: pieces of work are far shorter.
const GRACE: Duration = Duration::from_millis(100);
/// How long nobody must have met the old configuration for the change to be over.
const SETTLED: Duration = Duration::from_secs(1);
/// How long a change may take.
const LONG: Duration = Duration::from_secs(60);
/// A rest that is longer than the distance between two pieces of work.
const REST: Duration = Duration::from_millis(150);

/// The version that answers in a generation.
#[must_use]
pub fn version(generation: u64) -> &'static str {
    VERSIONS[usize::from(generation.is_multiple_of(2))]
}

/// The host of a rollout of [`configuration`].
#[must_use]
pub fn host(rollout: u32) -> String {
    format!("m{rollout}.ml")
}

/// A configuration of rollouts that all lead to the version of the generation.
#[must_use]
pub fn configuration(generation: u64, rollouts: u32) -> Value {
    let canary = usize::from(version(generation) == VERSIONS[0]);
    let rollouts: Vec<Value> = (0..rollouts)
        .map(|number| rollout(number, canary))
        .collect();
    json!({
        "version": 1,
        "generation": generation,
        "routeHeader": ROUTE_HEADER,
        "rollouts": rollouts,
    })
}

fn rollout(number: u32, variant: usize) -> Value {
    json!({
        "name": format!("ml/m{number}"),
        "hosts": [host(number)],
        "variants": [
            {"name": "stable", "version": "7", "live": true, "route": "7"},
            {"name": "canary", "version": "8", "route": "8", "cluster": "8"},
        ],
        "key": [{"header": "x-user-id"}],
        "salt": format!("m{number}"),
        "table": [[10_000, variant]],
        "progressing": true,
        "fuse": {"consecutiveErrors": 5, "errorRatio": 0.5, "pendingMs": 10_000},
    })
}

/// A running Envoy and the traffic before it.
#[derive(Debug)]
pub struct Proxy {
    world: World,
    envoy: Envoy,
    wasm: PathBuf,
    generation: u64,
    _upstreams: [Upstream; 2],
}

impl Proxy {
    /// Starts it with a configuration of so many rollouts.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(wasm: PathBuf, workers: u32, rollouts: u32) -> Result<Proxy> {
        let world = World::new("bench-updates")?;
        let upstreams = [
            Upstream::start(VERSIONS[0]).await?,
            Upstream::start(VERSIONS[1]).await?,
        ];
        let clusters = VERSIONS.iter().zip(&upstreams);
        let clusters = clusters.map(|(name, it)| ((*name).to_owned(), it.address().port()));
        let setup = Setup {
            endpoints: None,
            name: "envoy".to_owned(),
            workers,
            clusters: BTreeMap::from_iter(clusters),
            plugin: world.file("ecds.json"),
            routes: world.file("rds.json"),
        };
        let generation = 1;
        let text = configuration(generation, rollouts).to_string();
        discovery::write_plugin(&setup.plugin, &wasm, &text)?;
        let routes = [Route::when(ROUTE_HEADER, "8", "8"), Route::default("7")];
        discovery::write_routes(&setup.routes, &routes)?;
        let envoy = Envoy::start(&world, setup).await?;
        Ok(Proxy {
            world,
            envoy,
            wasm,
            generation,
            _upstreams: upstreams,
        })
    }

    /// Writes the next configuration beside the one in use; [`Proxy::replace`] puts it in its place.
    fn prepare(&mut self, rollouts: u32) -> Result<()> {
        self.generation += 1;
        let text = configuration(self.generation, rollouts).to_string();
        discovery::write_plugin(&self.world.file("next.json"), &self.wasm, &text)
    }

    /// Replaces the configuration, and returns when that was.
    fn replace(&self) -> Result<Instant> {
        fs::rename(self.world.file("next.json"), self.world.file("ecds.json"))
            .context("failed to replace the configuration")?;
        Ok(Instant::now())
    }

    /// Changes to so many rollouts under traffic, and returns what the clients saw.
    ///
    /// # Errors
    /// When a request fails or the change does not come.
    pub async fn change(&mut self, rollouts: u32) -> Result<Seen> {
        self.prepare(rollouts)?;
        let plan = Plan::open(self.envoy.address(), RATE);
        let (tell, mut visits) = mpsc::unbounded_channel();
        let watch = move |visit| drop(tell.send(visit));
        let traffic = Traffic::start_watched(plan, calls(), watch)?;
        // The traffic and its connections have to get going first.
        collect(&mut visits, &mut Vec::new(), CALM).await?;
        let mut seen = Vec::new();
        collect(&mut visits, &mut seen, CALM).await?;
        let changed = self.replace()?;
        let new = version(self.generation);
        collect_new(&mut visits, &mut seen, new).await?;
        traffic.stop().await?;
        Seen::of(changed, &seen, new, GRACE)
    }

    /// Changes to so many rollouts without traffic, and returns what each worker had to do, with its CPU time, which
    /// others that keep the machine busy change least.
    ///
    /// # Errors
    /// When the change does not come.
    pub async fn trace(&mut self, rollouts: u32) -> Result<Vec<(Work, Duration)>> {
        self.prepare(rollouts)?;
        self.trace_level("trace").await?;
        let heard = self.envoy.process().log().len();
        let workers = self.workers()?;
        let before = workers.iter().map(|worker| self.cpu(*worker));
        let before = before.collect::<Result<Vec<_>>>()?;
        self.replace()?;
        let mut last = (Instant::now(), 0);
        let works = wait::until(LONG, "the workers to be done", async || {
            let log = self.envoy.process().log();
            let log = log.get(heard..).unwrap_or_default();
            if log.len() != last.1 {
                last = (Instant::now(), log.len());
            }
            // Not before: to read it takes time that the workers need.
            if last.0.elapsed() < REST {
                bail!("the trace still grows");
            }
            let works = trace::works(log);
            let works = workers.iter().map(|worker| works.get(worker).copied());
            let works: Option<Vec<Work>> = works.collect();
            works.context("a worker has not begun")
        })
        .await?;
        let used = workers.iter().zip(before).map(|(worker, before)| {
            let used = self.cpu(*worker)?.saturating_sub(before);
            anyhow::Ok(used)
        });
        let used = used.collect::<Result<Vec<_>>>()?;
        self.trace_level("warning").await?;
        self.check().await?;
        Ok(works.into_iter().zip(used).collect())
    }

    /// Demands that the configuration is in use: what did not happen must not be measured.
    async fn check(&self) -> Result<()> {
        let plan = Plan::closed(self.envoy.address(), 16);
        let tally = Traffic::start(plan, calls().take(64))?.finish().await?;
        let new = tally.version(version(self.generation));
        if (new.requests, new.bad) != (64, 0) {
            bail!("the change did not come: {:?}", tally.versions());
        }
        Ok(())
    }

    async fn trace_level(&self, level: &str) -> Result<()> {
        let url = format!("http://{}/logging?wasm={level}", self.envoy.admin_address());
        let answer = reqwest::Client::new().post(url).send().await;
        answer
            .and_then(reqwest::Response::error_for_status)
            .context("failed to change what Envoy logs")?;
        Ok(())
    }

    /// CPU time of a thread so far; see [`cpu::used`].
    fn cpu(&mut self, thread: u32) -> Result<Duration> {
        let pid = self.envoy.process().id().context("Envoy has ended")?;
        cpu::used_by(pid, thread)
    }

    /// Thread ids of the workers.
    fn workers(&mut self) -> Result<Vec<u32>> {
        let pid = self.envoy.process().id().context("Envoy has ended")?;
        let mut workers = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("failed to list threads")? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.starts_with("wrk:worker_") {
                let id = task.file_name().to_string_lossy().parse();
                workers.push(id.context("a thread's id is no number")?);
            }
        }
        Ok(workers)
    }
}

/// Adds the visits of so much time.
async fn collect(
    visits: &mut UnboundedReceiver<Visit>,
    seen: &mut Vec<Visit>,
    during: Duration,
) -> Result<()> {
    let until = Instant::now() + during;
    while let Ok(visit) = timeout_at(until, visits.recv()).await {
        seen.push(visit.context("the traffic has ended by itself")?);
    }
    Ok(())
}

/// Adds visits until the last one that met no `new` is [`SETTLED`] ago.
async fn collect_new(
    visits: &mut UnboundedReceiver<Visit>,
    seen: &mut Vec<Visit>,
    new: &str,
) -> Result<()> {
    let begin = Instant::now();
    let mut until = begin + SETTLED;
    while let Ok(visit) = timeout_at(until, visits.recv()).await {
        let visit = visit.context("the traffic has ended by itself")?;
        if visit.version() != Some(new) {
            until = Instant::now() + SETTLED;
        }
        seen.push(visit);
        if begin.elapsed() > LONG {
            bail!("there still are requests that do not meet version {new}");
        }
    }
    Ok(())
}

/// Requests without end to the first rollout, which every configuration has.
fn calls() -> impl Iterator<Item = Call> + Send + 'static {
    (0_u64..).filter_map(|number| {
        let key = HeaderValue::from_str(&format!("user-{:04}", number % 1_000)).ok()?;
        Some(Call {
            user: 0,
            host: HeaderValue::from_str(&host(0)).ok()?,
            path: "/v2/models/fraud/infer".to_owned(),
            headers: vec![(HeaderName::from_static("x-user-id"), key)],
            body: Bytes::new(),
        })
    })
}

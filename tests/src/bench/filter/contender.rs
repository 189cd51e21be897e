//! One Envoy of the comparison: how it chooses, and what it costs to let it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::bench::cpu;
use crate::discovery::{self, Route};
use crate::envoy::{self, Envoy, Setup};
use crate::tally::Tally;
use crate::traffic::{Call, Plan, Traffic};
use crate::upstream::Upstream;
use crate::world::World;

/// The version that is live, the one on trial, and the clusters that serve them.
pub const LIVE: &str = "7";
/// See [`LIVE`].
pub const CANARY: &str = "8";

/// The host of the rollout.
pub const HOST: &str = "fraud.ml";
/// A host without one, of the same length: the requests are of one size.
pub const OTHER_HOST: &str = "other.ml";

const ROUTE_HEADER: &str = "x-serin-route";
const KEY_HEADER: &str = "x-user-id";
/// Buckets of the canary, of 10 000.
const CANARY_BUCKETS: u32 = 1_000;
/// How far the share of the canary may be from 0.1 in one turn: 800 users are within 0.05 of it by more than four
/// standard deviations, and what is looked for is a contender that does not split at all.
const TOLERANCE: f64 = 0.05;

/// What the clients of a model send (KServe's V2 protocol).
const BODY: &[u8] = br#"{"inputs":[{"name":"features","shape":[1,7],"datatype":"FP32","data":[0.52,-1.31,0.08,2.25,-0.47,0.91,1.6]}]}"#;

/// Like a sidecar's client: a pool of connections that are kept.
const CONNECTIONS: usize = 16;

/// How an Envoy of the comparison chooses where a request goes.
#[derive(Debug, Clone)]
pub enum Way {
    /// Not at all.
    None,
    /// By Envoy's own weights, at random per request.
    WeightedClusters,
    /// Not at all, with a filter that does nothing, from this file.
    Noop(PathBuf),
    /// With the filter.
    Serin {
        /// Its file.
        wasm: PathBuf,
        /// How many rollouts its configuration has; one of them is for [`HOST`].
        rollouts: u32,
        /// The host that is asked.
        host: &'static str,
    },
    /// With a script.
    Lua,
}

impl Way {
    /// Whether a tenth of the users meets the canary.
    fn splits(&self) -> bool {
        match self {
            Way::None | Way::Noop(_) => false,
            Way::WeightedClusters | Way::Lua => true,
            Way::Serin { host, .. } => *host == HOST,
        }
    }

    fn host(&self) -> &'static str {
        match self {
            Way::Serin { host, .. } => host,
            _ => HOST,
        }
    }

    fn filters(&self, setup: &Setup) -> Result<Vec<Value>> {
        let (wasm, configuration) = match self {
            Way::None | Way::WeightedClusters => return Ok(Vec::new()),
            Way::Lua => return Ok(vec![lua()]),
            Way::Noop(wasm) => (wasm, json!({})),
            Way::Serin { wasm, rollouts, .. } => (wasm, configuration(*rollouts)),
        };
        discovery::write_plugin(&setup.plugin, wasm, &configuration.to_string())?;
        Ok(vec![envoy::plugin(&setup.plugin)])
    }

    fn write_routes(&self, setup: &Setup) -> Result<()> {
        if let Way::WeightedClusters = self {
            return discovery::write_raw_routes(&setup.routes, &[weighted()]);
        }
        let routes = [
            Route::when(ROUTE_HEADER, CANARY, CANARY),
            Route::default(LIVE),
        ];
        discovery::write_routes(&setup.routes, &routes)
    }
}

fn weighted() -> Value {
    let weights = [(LIVE, 10_000 - CANARY_BUCKETS), (CANARY, CANARY_BUCKETS)];
    let clusters = weights.map(|(name, weight)| json!({"name": name, "weight": weight}));
    json!({"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}})
}

/// The configuration of the filter; the rollout that is asked stands in the middle.
fn configuration(rollouts: u32) -> Value {
    let asked = rollouts / 2;
    let rollouts: Vec<Value> = (0..rollouts)
        .map(|number| {
            if number == asked {
                rollout("fraud", HOST)
            } else {
                rollout(&format!("m{number}"), &format!("m{number}.ml"))
            }
        })
        .collect();
    json!({"version": 1, "generation": 1, "routeHeader": ROUTE_HEADER, "rollouts": rollouts})
}

fn rollout(name: &str, host: &str) -> Value {
    json!({
        "name": format!("ml/{name}"),
        "hosts": [host],
        "variants": [
            {"name": "stable", "version": LIVE, "live": true, "route": LIVE, "cluster": LIVE},
            {"name": "canary", "version": CANARY, "route": CANARY, "cluster": CANARY},
        ],
        "key": [{"header": KEY_HEADER}],
        "salt": name,
        "table": [[10_000 - CANARY_BUCKETS, 0], [10_000, 1]],
        "progressing": true,
        "fuse": {"consecutiveErrors": 5, "errorRatio": 0.5, "pendingMs": 10_000},
    })
}

/// The script does what the filter does for a request, but for what a script cannot do: count.
fn lua() -> Value {
    let code = format!(
        "function envoy_on_request(handle)
           local headers = handle:headers()
           local key = headers:get('{KEY_HEADER}')
           local hash = 0
           if key then
             for i = 1, #key do
               hash = bit.tobit(bit.bxor(hash, string.byte(key, i)) * 65599)
             end
             hash = bit.bxor(hash, bit.rshift(hash, 16))
           end
           if hash % 10000 < {CANARY_BUCKETS} then
             headers:replace('{ROUTE_HEADER}', '{CANARY}')
           elseif headers:get('{ROUTE_HEADER}') then
             headers:remove('{ROUTE_HEADER}')
           end
         end
         function envoy_on_response(handle)
           local status = handle:headers():get(':status')
         end"
    );
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": code},
        },
    })
}

/// A running Envoy.
#[derive(Debug)]
pub struct Contender {
    way: Way,
    envoy: Envoy,
}

impl Contender {
    /// Starts it before the live upstream and the canary, with one worker.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start(
        world: &World,
        number: usize,
        way: Way,
        (live, canary): &(Upstream, Upstream),
    ) -> Result<Contender> {
        let name = format!("envoy-{number}");
        let setup = Setup {
            endpoints: None,
            workers: 1,
            clusters: BTreeMap::from([
                (LIVE.to_owned(), live.address().port()),
                (CANARY.to_owned(), canary.address().port()),
            ]),
            plugin: world.file(format!("{name}-ecds.json")),
            routes: world.file(format!("{name}-rds.json")),
            name,
        };
        way.write_routes(&setup)?;
        let filters = way.filters(&setup)?;
        let envoy = Envoy::start_with(world, setup, filters).await?;
        Ok(Contender { way, envoy })
    }

    /// One request of each user: microseconds of CPU time that each took.
    ///
    /// # Errors
    /// When requests failed, or did not go where they should: what is not done must not be measured.
    pub async fn turn(&mut self, users: Range<u64>) -> Result<f64> {
        let pid = self.envoy.process().id().context("Envoy has ended")?;
        let requests = users.end - users.start;
        let plan = Plan::closed(self.envoy.address(), CONNECTIONS);
        let before = cpu::used_at_rest(pid).await?;
        let tally = Traffic::start(plan, calls(self.way.host(), users))?
            .finish()
            .await?;
        let spent = cpu::used_at_rest(pid).await?.saturating_sub(before);
        self.check(&tally, requests)?;
        // Far below 2^53.
        Ok(spent.as_secs_f64() * 1e6 / requests as f64)
    }

    fn check(&self, tally: &Tally, requests: u64) -> Result<()> {
        let answered = tally.statuses.get(&200).copied().unwrap_or_default();
        if answered != requests {
            let (statuses, broken) = (&tally.statuses, &tally.broken);
            bail!(
                "{answered} of {requests} requests were answered by 200; all: {statuses:?} {broken:?}"
            );
        }
        let share = tally.version(CANARY).requests as f64 / requests as f64;
        let (wanted, tolerance) = if self.way.splits() {
            (f64::from(CANARY_BUCKETS) / 10_000.0, TOLERANCE)
        } else {
            (0.0, 0.0)
        };
        if (share - wanted).abs() > tolerance {
            bail!("the canary got {share} of the requests, not {wanted}");
        }
        Ok(())
    }
}

/// One request of each user, with the headers that clients send along.
fn calls(host: &'static str, users: Range<u64>) -> impl Iterator<Item = Call> + Send + 'static {
    let fixed = [
        ("user-agent", "serin-bench/1"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("x-tenant", "acme-corporation"),
        ("cookie", "session=0123456789abcdef0123456789abcdef"),
    ];
    let fixed = fixed.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    users.map(move |user| {
        let mut headers = fixed.to_vec();
        if let Ok(key) = HeaderValue::from_str(&format!("user-{user:08}")) {
            headers.push((HeaderName::from_static(KEY_HEADER), key));
        }
        Call {
            // All under one name: the count of each user is of no use here, and costs.
            user: 0,
            host: HeaderValue::from_static(host),
            path: "/v2/models/fraud/infer".to_owned(),
            headers,
            body: Bytes::from_static(BODY),
        }
    })
}

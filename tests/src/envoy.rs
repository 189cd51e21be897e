//! A real Envoy with the Serin filter, configured the way Istio does it: plugin by ECDS, routes by RDS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use serin_filter_core::stat::{LABELS, tag_regex};

use crate::discovery::{RESOURCE, WASM_TYPE};
use crate::exposition::{self, Sample};
use crate::process::Process;
use crate::world::World;
use crate::{ports, tools, wait};

/// How long Envoy may take to start: V8 compiles the filter on a machine that may be busy with other tests.
const START: Duration = Duration::from_secs(60);

/// How long a metric may take to become what it should: Envoy flushes its workers' counts every second, but the machine
/// may be busy.
const METRIC: Duration = Duration::from_secs(60);

/// What to run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The name of the log and of the node.
    pub name: String,
    /// Worker threads.
    pub workers: u32,
    /// Upstream clusters on 127.0.0.1: name and port.
    pub clusters: BTreeMap<String, u16>,
    /// The file with the plugin; it must exist when Envoy starts.
    pub plugin: PathBuf,
    /// The file with the routes; it must exist when Envoy starts.
    pub routes: PathBuf,
    /// A folder with the endpoints of each cluster, for a test that changes them (see [`write_endpoints`](crate::discovery::write_endpoints)).
    pub endpoints: Option<PathBuf>,
}

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy {
    setup: Setup,
    bootstrap: Value,
    world: World,
    process: Process,
    listener: u16,
    admin: u16,
    client: reqwest::Client,
}

impl Envoy {
    /// Starts Envoy and waits until it serves.
    ///
    /// # Errors
    /// When Envoy is not there, ends early (with the end of its log), or is not ready in time.
    pub async fn start(world: &World, setup: Setup) -> Result<Envoy> {
        let filters = vec![plugin(&setup.plugin)];
        Envoy::start_with(world, setup, filters).await
    }

    /// [`Envoy::start`] with other HTTP filters before the router than the plugin ([`plugin`]); the setup's own file is
    /// not looked at then.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn start_with(world: &World, setup: Setup, filters: Vec<Value>) -> Result<Envoy> {
        // Not port 0: after a restart clients and Prometheus find it where it was.
        let (listener, admin) = (ports::free()?, ports::free()?);
        let bootstrap = bootstrap(&setup, &filters, listener, admin);
        Envoy::start_on(world.clone(), setup, bootstrap, listener, admin).await
    }

    /// [`Envoy::start`] with a bootstrap (`config.bootstrap.v3.Bootstrap`) that a test alters before.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn start_altered(
        world: &World,
        setup: Setup,
        alter: impl FnOnce(&mut Value),
    ) -> Result<Envoy> {
        let (listener, admin) = (ports::free()?, ports::free()?);
        let mut bootstrap = bootstrap(&setup, &[plugin(&setup.plugin)], listener, admin);
        alter(&mut bootstrap);
        Envoy::start_on(world.clone(), setup, bootstrap, listener, admin).await
    }

    /// Ends Envoy and starts it again on the same ports, with the files as they are now.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn restart(self) -> Result<Envoy> {
        let Envoy {
            setup,
            bootstrap,
            world,
            process,
            listener,
            admin,
            ..
        } = self;
        process.stop().await?;
        Envoy::start_on(world, setup, bootstrap, listener, admin).await
    }

    async fn start_on(
        world: World,
        setup: Setup,
        bootstrap: Value,
        listener: u16,
        admin: u16,
    ) -> Result<Envoy> {
        let process = spawn(&world, &setup, &bootstrap)?;
        let mut envoy = Envoy {
            setup,
            bootstrap,
            world,
            process,
            listener,
            admin,
            client: reqwest::Client::new(),
        };
        envoy.ready().await?;
        Ok(envoy)
    }

    /// Where it listens for requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.listener))
    }

    /// Where its admin interface is, which is what Prometheus scrapes.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin))
    }

    /// What it was started with.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its metrics as Prometheus would scrape them now.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn metrics(&self) -> Result<Vec<Sample>> {
        exposition::parse(&self.admin("/stats/prometheus").await?)
    }

    /// One of Envoy's own counters or gauges; zero when there is none of that name.
    ///
    /// # Errors
    /// When the admin interface does not answer.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let text = self.admin(&format!("/stats?filter=^{name}$")).await?;
        let Some((_, value)) = text.trim().split_once(": ") else {
            return Ok(0);
        };
        value
            .parse()
            .with_context(|| format!("failed to read the value of '{name}'"))
    }

    /// Waits until a metric, summed over the series with these labels, is what `accept` wants, and returns it.
    ///
    /// # Errors
    /// After a minute, with the last value.
    pub async fn metric(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        accept: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        wait::until(METRIC, &format!("{name} {labels:?}"), async || {
            let value = exposition::sum(&self.metrics().await?, name, labels);
            if !accept(value) {
                bail!("it is {value}");
            }
            Ok(value)
        })
        .await
    }

    async fn admin(&self, path: &str) -> Result<String> {
        let url = format!("http://{}{path}", self.admin_address());
        let answer = self
            .client
            .get(&url)
            .send()
            .await
            .context("failed to reach Envoy's admin")?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .context("failed to read what Envoy's admin says")?;
        if !status.is_success() {
            bail!("'{path}' answers {status}: {text}");
        }
        Ok(text)
    }

    async fn ready(&mut self) -> Result<()> {
        wait::until(START, "Envoy to be ready", async || {
            self.process.alive()?;
            self.admin("/ready").await
        })
        .await?;
        Ok(())
    }
}

/// The HTTP filter whose configuration comes from a file, by ECDS.
#[must_use]
pub fn plugin(file: &Path) -> Value {
    json!({
        "name": RESOURCE,
        "config_discovery": {"config_source": watched(file), "type_urls": [WASM_TYPE]},
    })
}

fn spawn(world: &World, setup: &Setup, bootstrap: &Value) -> Result<Process> {
    let path = world.file(format!("{}.json", setup.name));
    std::fs::write(&path, bootstrap.to_string())
        .with_context(|| format!("failed to write {}", path.display()))?;
    let workers = setup.workers.to_string();
    let arguments = [
        "--config-path".as_ref(),
        path.as_os_str(),
        "--concurrency".as_ref(),
        workers.as_ref(),
        // Several Envoys on one machine would share memory otherwise. A base id of each one's own would do as well,
        // but leaves a file in /dev/shm for ever.
        "--disable-hot-restart".as_ref(),
        // Nothing drains for minutes in a test.
        "--drain-time-s".as_ref(),
        "1".as_ref(),
        "--log-level".as_ref(),
        "warning".as_ref(),
    ];
    Process::start(world, &setup.name, &tools::envoy()?, arguments)
}

fn bootstrap(setup: &Setup, filters: &[Value], listener: u16, admin: u16) -> Value {
    let clusters: Vec<Value> = setup
        .clusters
        .iter()
        .map(|(name, port)| match &setup.endpoints {
            Some(folder) => discovered(name, &folder.join(name)),
            None => cluster(name, *port),
        })
        .collect();
    let tags: Vec<Value> = LABELS
        .iter()
        .map(|label| json!({"tag_name": label, "regex": tag_regex(label)}))
        .collect();
    json!({
        "node": {"id": setup.name, "cluster": "serin"},
        "admin": {"address": address(admin)},
        "stats_flush_interval": "1s",
        "stats_config": {"stats_tags": tags},
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": address(listener),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": connection_manager(setup, filters),
                }]}],
            }],
            "clusters": clusters,
        },
    })
}

fn connection_manager(setup: &Setup, filters: &[Value]) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    let filters: Vec<&Value> = filters.iter().chain([&router]).collect();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "rds": {"route_config_name": RESOURCE, "config_source": watched(&setup.routes)},
        "http_filters": filters,
    })
}

fn watched(path: &Path) -> Value {
    json!({"path_config_source": {"path": path}, "resource_api_version": "V3"})
}

/// A cluster on 127.0.0.1 as Envoy has it (`config.cluster.v3.Cluster`).
#[must_use]
pub fn cluster(name: &str, port: u16) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
    })
}

/// A cluster whose endpoints are in a file.
fn discovered(name: &str, file: &Path) -> Value {
    json!({
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": watched(file)},
    })
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

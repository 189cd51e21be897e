//! A real Envoy with the Serin filter, configured the way Istio does it: plugin by ECDS, routes by RDS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};
use serin_filter_core::stat::{LABELS, tag_regex};

use crate::discovery::{RESOURCE, WASM_TYPE};
use crate::ports;
use crate::proxy::{Proxy, address};
use crate::world::World;

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
    proxy: Proxy,
    listener: u16,
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
        // Not port 0: after a restart clients find it where it was.
        let listener = ports::free()?;
        let bootstrap = bootstrap(&setup, &filters, listener);
        Envoy::start_on(world, setup, bootstrap, listener).await
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
        let listener = ports::free()?;
        let mut bootstrap = bootstrap(&setup, &[plugin(&setup.plugin)], listener);
        alter(&mut bootstrap);
        Envoy::start_on(world, setup, bootstrap, listener).await
    }

    async fn start_on(
        world: &World,
        setup: Setup,
        bootstrap: Value,
        listener: u16,
    ) -> Result<Envoy> {
        let proxy = Proxy::start(world, &setup.name, setup.workers, bootstrap).await?;
        Ok(Envoy {
            setup,
            proxy,
            listener,
        })
    }

    /// Ends Envoy and starts it again on the same ports, with the files as they are now.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub async fn restart(self) -> Result<Envoy> {
        let proxy = self.proxy.restart().await?;
        Ok(Envoy { proxy, ..self })
    }

    /// Where it listens for requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.listener))
    }

    /// What it was started with.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }
}

impl Deref for Envoy {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

impl DerefMut for Envoy {
    fn deref_mut(&mut self) -> &mut Proxy {
        &mut self.proxy
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

fn bootstrap(setup: &Setup, filters: &[Value], listener: u16) -> Value {
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

//! The mesh without our controller: a plugin applied to the API server reaches the Envoys of a gateway and of a caller.
//!
//! Seen with this istiod (a 1.31 development version) and Envoy 1.40: both `WasmPlugin` and `TrafficExtension` are
//! served. Inside istiod a `WasmPlugin` becomes a `TrafficExtension` of the name `NAME~istio-translated-wasmplugin`, so
//! that objects of both kinds run side by side, whatever their names. The clusters of a `ServiceEntry` with subsets are
//! named `outbound|PORT|SUBSET|HOST`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use serin_filter_core::config::{DEFAULT_ROUTE_HEADER, FilterConfig, VERSION};
use serin_filter_core::split::{self, BucketTable};
use serin_filter_core::stat;
use serin_filter_core::table::RoutingTable;
use serin_tests::cluster::control_plane::{ControlPlane, Crds, Setup};
use serin_tests::cluster::istio::{self, Service};
use serin_tests::cluster::istiod::Istiod;
use serin_tests::cluster::mesh_proxy::{MeshProxy, Node};
use serin_tests::cluster::objects;
use serin_tests::upstream::Upstream;
use serin_tests::world::World;
use serin_tests::{ports, tools, wait};

/// How long a change may take from the API server to an Envoy on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the callers and the model are.
const CALLERS: &str = "ml";
/// Where the gateway is.
const GATEWAYS: &str = "istio-ingress";
const PLUGIN: &str = "serin";
const SALT: &str = "fraud-8";

/// A model behind two versions, before a gateway and the sidecar of a caller.
struct Mesh {
    control_plane: ControlPlane,
    istiod: Istiod,
    service: Service,
    gateway: MeshProxy,
    sidecar: MeshProxy,
    /// Where requests enter the gateway and the sidecar.
    entrances: [SocketAddr; 2],
    filter: PathBuf,
    client: reqwest::Client,
    world: World,
    _upstreams: [Upstream; 2],
}

impl Mesh {
    async fn start() -> Mesh {
        let filter = tokio::task::spawn_blocking(tools::filter);
        let filter = filter.await.unwrap().unwrap();
        let world = World::new("mesh").unwrap();
        let control_plane = ControlPlane::start(&world, Setup::default()).await.unwrap();
        control_plane.install_crds(&[Crds::Istio]).await.unwrap();
        let upstreams = [
            Upstream::start("7").await.unwrap(),
            Upstream::start("8").await.unwrap(),
        ];
        let [stable, canary] = upstreams.each_ref().map(|it| it.address().port());
        let service = Service {
            namespace: CALLERS.to_owned(),
            host: "fraud.ml.svc.cluster.local".to_owned(),
            port: ports::free().unwrap(),
            subsets: vec![("v7".to_owned(), stable), ("v8".to_owned(), canary)],
        };
        let entry = ports::free().unwrap();
        let client = control_plane.client().await.unwrap();
        for namespace in [CALLERS, GATEWAYS] {
            control_plane.namespace(namespace).await.unwrap();
        }
        let through = format!("{GATEWAYS}/ingress");
        let objects = vec![
            service.entry(),
            service.destination_rule(),
            service.virtual_service(DEFAULT_ROUTE_HEADER, "v7", &[&through]),
            istio::gateway(GATEWAYS, "ingress", "gateway", entry, &[&service.host]),
        ];
        objects::apply_all(&client, objects).await.unwrap();
        let istiod = Istiod::start(&world, &control_plane, &[]).await.unwrap();
        let gateway = MeshProxy::start(&world, &istiod, Node::gateway(GATEWAYS, "gateway"));
        let gateway = gateway.await.unwrap();
        let sidecar = MeshProxy::start(&world, &istiod, Node::sidecar(CALLERS, "caller"));
        let sidecar = sidecar.await.unwrap();
        let entrances = [
            gateway.listening(entry).await.unwrap(),
            sidecar.listening(service.port).await.unwrap(),
        ];
        Mesh {
            control_plane,
            istiod,
            service,
            gateway,
            sidecar,
            entrances,
            filter,
            client: reqwest::Client::new(),
            world,
            _upstreams: upstreams,
        }
    }

    fn proxies(&self) -> [&MeshProxy; 2] {
        [&self.gateway, &self.sidecar]
    }

    /// A configuration in which the canary has this many buckets of 10 000.
    fn config(&self, generation: u64, canary: u16) -> Value {
        let variant = |name: &str, version: &str, live: bool| {
            let route = format!("v{version}");
            json!({
                "name": name,
                "version": version,
                "live": live,
                "route": route,
                "cluster": self.service.cluster(&route),
            })
        };
        let config = json!({
            "version": VERSION,
            "generation": generation,
            "rollouts": [{
                "name": "ml/fraud",
                "hosts": [self.service.host],
                "variants": [variant("stable", "7", true), variant("canary", "8", false)],
                "key": [{"header": "x-user-id"}],
                "salt": SALT,
                "table": table(canary),
                "progressing": true,
            }],
        });
        // A mistake is told here, and not by waiting for a filter that refuses it.
        let read: FilterConfig = serde_json::from_value(config.clone()).unwrap();
        RoutingTable::new(read).unwrap();
        config
    }

    async fn apply(&self, object: Value) {
        let client = self.control_plane.client().await.unwrap();
        objects::apply(&client, object).await.unwrap();
    }

    /// Applies the plugin for both proxies, and waits until they use it.
    async fn configure(
        &self,
        kind: fn(&str, &str, &std::path::Path, &Value) -> Value,
        generation: u64,
        canary: u16,
    ) {
        let config = self.config(generation, canary);
        for namespace in [GATEWAYS, CALLERS] {
            self.apply(kind(namespace, PLUGIN, &self.filter, &config))
                .await;
        }
        self.settle(generation).await;
    }

    /// Waits until both proxies report this generation.
    async fn settle(&self, generation: u64) {
        for proxy in self.proxies() {
            proxy
                .metric(stat::CONFIG_GENERATION, &[], |value| {
                    value == generation as f64
                })
                .await
                .unwrap();
        }
    }

    /// The version that answers a user.
    async fn version(&self, entrance: SocketAddr, user: &str) -> Result<String> {
        let request = self.client.get(format!("http://{entrance}/v2"));
        let request = request
            .header("host", &self.service.host)
            .header("x-user-id", user);
        let answer = request.send().await?.error_for_status()?;
        let version = answer.headers().get("x-serin-model-version");
        Ok(version.context("no model answered")?.to_str()?.to_owned())
    }

    /// Waits until a user is answered by this version at both entrances.
    async fn serves(&self, user: &str, version: &str) {
        for entrance in self.entrances {
            wait::until(LIMIT, "the version", async || {
                let found = self.version(entrance, user).await?;
                if found != version {
                    bail!("{user} gets {found} from {entrance}");
                }
                Ok(())
            })
            .await
            .unwrap();
        }
    }

    async fn stop(self) {
        let folder = self.world.path().to_owned();
        drop((self.gateway, self.sidecar, self.istiod, self.world));
        self.control_plane.stop().await.unwrap();
        assert!(!folder.exists(), "a part still runs");
    }
}

/// The table in which the canary has this many buckets of 10 000.
fn table(canary: u16) -> BucketTable {
    split::rebalance(&BucketTable::whole(0), &[10_000 - canary, canary]).unwrap()
}

/// A user who has the canary (1) or not (0) at 10 % and at 50 %.
fn user(owners: [u8; 2]) -> String {
    let tables = [table(1_000), table(5_000)];
    (0..)
        .map(|number| format!("user-{number}"))
        .find(|user| {
            let bucket = split::bucket(SALT, user.as_bytes());
            tables.each_ref().map(|table| table.owner(bucket)) == owners
        })
        .unwrap()
}

#[tokio::test]
async fn a_wasm_plugin_in_the_api_server_splits_the_traffic_of_gateway_and_sidecar() {
    let mesh = Mesh::start().await;
    let (early, late, never) = (user([1, 1]), user([0, 1]), user([0, 0]));
    mesh.serves(&early, "7").await;
    mesh.configure(istio::wasm_plugin, 1, 1_000).await;
    mesh.serves(&early, "8").await;
    mesh.serves(&late, "7").await;
    mesh.configure(istio::wasm_plugin, 2, 5_000).await;
    mesh.serves(&late, "8").await;
    mesh.serves(&early, "8").await;
    mesh.serves(&never, "7").await;
    for proxy in mesh.proxies() {
        // Istio's names of the clusters are those that the filter expects.
        let labels = [(stat::ROLLOUT, "ml/fraud"), (stat::VARIANT, "canary")];
        proxy
            .metric(stat::SAMPLED_TOTAL, &labels, |value| value > 0.0)
            .await
            .unwrap();
        let samples = proxy.metrics().await.unwrap();
        let mut misrouted = samples
            .iter()
            .filter(|sample| sample.is(stat::MISROUTED_TOTAL, &labels));
        assert_eq!(misrouted.next().map(|sample| sample.value), Some(0.0));
    }
    mesh.stop().await;
}

#[tokio::test]
async fn a_traffic_extension_does_the_same() {
    let mesh = Mesh::start().await;
    let (early, never) = (user([1, 1]), user([0, 0]));
    mesh.configure(istio::traffic_extension, 1, 1_000).await;
    mesh.serves(&early, "8").await;
    mesh.serves(&never, "7").await;
    mesh.stop().await;
}

#[tokio::test]
async fn without_istiod_and_api_server_proxies_go_on_and_catch_up_later() {
    let mut mesh = Mesh::start().await;
    let early = user([1, 1]);
    mesh.configure(istio::wasm_plugin, 1, 1_000).await;
    mesh.istiod.kill().await.unwrap();
    let config = mesh.config(2, 0);
    for namespace in [GATEWAYS, CALLERS] {
        let plugin = istio::wasm_plugin(namespace, PLUGIN, &mesh.filter, &config);
        mesh.apply(plugin).await;
    }
    mesh.control_plane.kill_api().await.unwrap();
    mesh.serves(&early, "8").await;
    mesh.control_plane.start_api().await.unwrap();
    mesh.istiod.up().await.unwrap();
    mesh.settle(2).await;
    mesh.serves(&early, "7").await;
    mesh.stop().await;
}

#[tokio::test]
async fn a_second_caller_has_an_address_of_its_own() {
    const OTHERS: &str = "shop";
    let mesh = Mesh::start().await;
    mesh.control_plane.namespace(OTHERS).await.unwrap();
    let address = Ipv4Addr::new(127, 0, 0, 2);
    mesh.apply(istio::sidecar(OTHERS, address, mesh.service.port))
        .await;
    let node = Node::sidecar(OTHERS, "shop");
    let second = MeshProxy::start(&mesh.world, &mesh.istiod, node).await;
    let second = second.unwrap();
    let entrance = SocketAddr::from((address, mesh.service.port));
    second.listening_at(entrance).await.unwrap();
    // Its namespace has no plugin.
    mesh.configure(istio::wasm_plugin, 1, 1_000).await;
    assert_eq!(mesh.version(entrance, &user([1, 1])).await.unwrap(), "7");
    drop(second);
    mesh.stop().await;
}

//! Envoys of the mesh, with all their configuration from istiod: gateways, and sidecars of callers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use serin_filter_core::stat::{LABELS, tag_regex};

use super::istiod::Istiod;
use super::objects;
use crate::proxy::{self, Proxy};
use crate::world::World;
use crate::{tools, wait};

/// How long a change may take from istiod to an Envoy on a busy machine.
const LISTEN: Duration = Duration::from_secs(60);

/// What istiod knows of an Envoy.
#[derive(Debug, Clone)]
pub struct Node {
    role: &'static str,
    /// Its namespace, whose plugins apply to it.
    pub namespace: String,
    /// The name of its pod, of its log, and of the label `istio` by which a `Gateway` selects it.
    pub name: String,
    /// Further labels of its pod.
    pub labels: BTreeMap<String, String>,
    /// Worker threads.
    pub workers: u32,
}

impl Node {
    /// A gateway: it listens on the ports that `Gateway` objects name.
    #[must_use]
    pub fn gateway(namespace: &str, name: &str) -> Node {
        Node::new("router", namespace, name)
    }

    /// The sidecar of a caller: it listens on 127.0.0.1, on the port of each service that the caller may reach. Two of
    /// them need services of different ports, or an address of its own for one
    /// ([`sidecar`](super::istio::sidecar)).
    #[must_use]
    pub fn sidecar(namespace: &str, name: &str) -> Node {
        Node::new("sidecar", namespace, name)
    }

    fn new(role: &'static str, namespace: &str, name: &str) -> Node {
        Node {
            role,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::from([("istio".to_owned(), name.to_owned())]),
            workers: 2,
        }
    }

    /// As Envoy's bootstrap has it (`config.core.v3.Node`).
    fn to_json(&self, address: Ipv4Addr) -> Value {
        let Node {
            role,
            namespace,
            name,
            labels,
            ..
        } = self;
        json!({
            "id": format!("{role}~{address}~{name}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{name}.{namespace}"),
            "metadata": {
                "NAMESPACE": namespace,
                "LABELS": labels,
                "NAME": name,
                "INSTANCE_IPS": address,
                "ISTIO_VERSION": "1.31.0",
                "CLUSTER_ID": "Kubernetes",
                // Listeners on the ports themselves: there is no iptables to send everything to one.
                "INTERCEPTION_MODE": "NONE",
            },
        })
    }
}

/// A running Envoy of the mesh.
#[derive(Debug)]
pub struct MeshProxy {
    proxy: Proxy,
    node: Node,
}

impl MeshProxy {
    /// Starts it, and waits until it has what istiod says at first.
    ///
    /// # Errors
    /// As [`Proxy::start`].
    pub async fn start(world: &World, istiod: &Istiod, node: Node) -> Result<MeshProxy> {
        let bootstrap = bootstrap(&node.to_json(pod_address()), istiod.xds_port())?;
        let proxy = Proxy::start(world, &node.name, node.workers, bootstrap).await?;
        Ok(MeshProxy { proxy, node })
    }

    /// Ends it and starts it again on the same admin port.
    ///
    /// # Errors
    /// As [`MeshProxy::start`].
    pub async fn restart(self) -> Result<MeshProxy> {
        let proxy = self.proxy.restart().await?;
        Ok(MeshProxy { proxy, ..self })
    }

    /// What istiod knows of it.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Waits until it listens on a port, and returns where requests go.
    ///
    /// # Errors
    /// After a minute, with where it listens.
    pub async fn listening(&self, port: u16) -> Result<SocketAddr> {
        let what = format!("port {port}");
        let mut address = self.listener(&what, |it| it.port() == port).await?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Ok(address)
    }

    /// Waits until the proxy listens at an address, which a `Sidecar` resource may change while it runs.
    ///
    /// # Errors
    /// After a minute, with where it listens.
    pub async fn listening_at(&self, address: SocketAddr) -> Result<()> {
        let what = address.to_string();
        let found = self.listener(&what, |it| *it == address).await;
        found.map(drop)
    }

    async fn listener(
        &self,
        what: &str,
        wanted: impl Fn(&SocketAddr) -> bool,
    ) -> Result<SocketAddr> {
        wait::until(LISTEN, &format!("a listener on {what}"), async || {
            // Lines of `name::address:port`.
            let listeners = self.proxy.admin("/listeners").await?;
            let addresses = listeners.lines();
            let found = addresses
                .filter_map(|line| line.rsplit_once("::")?.1.parse::<SocketAddr>().ok())
                .find(|it| wanted(it));
            found.with_context(|| {
                format!("it listens on {:?}", listeners.lines().collect::<Vec<_>>())
            })
        })
        .await
    }
}

impl Deref for MeshProxy {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

impl DerefMut for MeshProxy {
    fn deref_mut(&mut self) -> &mut Proxy {
        &mut self.proxy
    }
}

/// An address that no endpoint of a service has: an Envoy whose pod has an endpoint's address would listen on that
/// endpoint's ports.
fn pod_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    Ipv4Addr::new(127, 9, 9, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What Istio's own bootstrap says, as far as this Envoy needs it; the admin interface comes with [`Proxy::start`].
fn bootstrap(node: &Value, xds_port: u16) -> Result<Value> {
    let istiod = json!({
        "name": "xds-grpc",
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
        "load_assignment": {
            "cluster_name": "xds-grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": proxy::address(xds_port)}}]}],
        },
    });
    // Without a limit, as in Istio: until istiod has spoken, there is nothing to serve.
    let ads = json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"});
    Ok(json!({
        "node": node,
        "stats_config": {
            "use_all_default_tags": false,
            "stats_tags": tags(),
            "stats_matcher": matcher()?,
        },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
            },
        },
        "static_resources": {"clusters": [istiod]},
    }))
}

/// Our labels as `extraStatTags` puts them into Istio's bootstrap, and those of Istio's own tags that name what is read
/// of its clusters, or could cut something out of our metrics.
fn tags() -> Vec<Value> {
    let before = [
        ("cluster_name", r"^cluster(\.(.+);)"),
        ("response_code", r"_rq(_(\d{3}))$"),
        ("response_code_class", r"_rq(_(\dxx))$"),
    ];
    let after = [
        ("cache", r"(cache\.(.+?)\.)"),
        ("component", r"(component\.(.+?)\.)"),
        ("tag", r"(tag\.(.+?);\.)"),
        ("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
    ];
    let tag = |name: &str, regex: &str| json!({"tag_name": name, "regex": regex});
    let ours = LABELS.iter().map(|label| tag(label, &tag_regex(label)));
    let before = before.iter().map(|(name, regex)| tag(name, regex));
    let after = after.iter().map(|(name, regex)| tag(name, regex));
    before.chain(ours).chain(after).collect()
}

/// What Istio keeps of Envoy's statistics by itself, and what our manifests ask it to keep for the strategies that read
/// statistics of clusters.
fn matcher() -> Result<Value> {
    const KEPT: [&str; 7] = [
        "reporter=",
        "cluster_manager",
        "listener_manager",
        "server",
        "cluster.xds-grpc",
        "wasm",
        "component",
    ];
    let manifest =
        objects::read_file(&tools::repository().join("manifests/istio/mesh-config.yaml"))?;
    let asked = "/spec/meshConfig/defaultConfig/proxyStatsMatcher/inclusionRegexps";
    let asked = manifest
        .first()
        .and_then(|it| it.pointer(asked)?.as_array());
    let asked = asked.context("the mesh config asks for no statistics")?;
    let patterns: Vec<Value> = KEPT
        .iter()
        .map(|prefix| json!({"prefix": prefix}))
        .chain(
            asked
                .iter()
                .map(|regex| json!({"safe_regex": {"regex": regex}})),
        )
        .collect();
    Ok(json!({"inclusion_list": {"patterns": patterns}}))
}

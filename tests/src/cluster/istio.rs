//! Istio's objects for a model behind two or more versions, as a user of Serin would write them: for tests that bring
//! their own routes, and for those of the mesh alone.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

/// A host with a version behind each subset; the versions listen on 127.0.0.1.
#[derive(Debug, Clone)]
pub struct Service {
    /// The namespace of its objects.
    pub namespace: String,
    /// The host that callers ask.
    pub host: String,
    /// The port that callers ask. A sidecar listens on it, so that each test takes one of its own.
    pub port: u16,
    /// Name of the subset, which is also the label `version` of its endpoint, and the port of the model server. A subset
    /// that is named more than once has more than one endpoint, on further addresses of this machine.
    pub subsets: Vec<(String, u16)>,
}

impl Service {
    /// The service with its endpoints. No pods are needed.
    #[must_use]
    pub fn entry(&self) -> Value {
        let endpoints: Vec<Value> = self
            .subsets
            .iter()
            .enumerate()
            .map(|(index, (subset, port))| {
                let before = self.subsets.iter().take(index);
                let address = 1 + before.filter(|(other, _)| other == subset).count();
                json!({
                    "address": format!("127.0.0.{address}"),
                    "ports": {"http": port},
                    "labels": {"version": subset},
                })
            })
            .collect();
        self.object(
            "ServiceEntry",
            &json!({
                "hosts": [self.host],
                "location": "MESH_INTERNAL",
                "resolution": "STATIC",
                "ports": [{"number": self.port, "name": "http", "protocol": "HTTP"}],
                "endpoints": endpoints,
            }),
        )
    }

    /// The subsets.
    #[must_use]
    pub fn destination_rule(&self) -> Value {
        let subsets: Vec<Value> = self
            .subsets
            .iter()
            .map(|(subset, _)| json!({"name": subset, "labels": {"version": subset}}))
            .collect();
        self.object(
            "DestinationRule",
            &json!({
                "host": self.host,
                "trafficPolicy": {"tls": {"mode": "DISABLE"}},
                "subsets": subsets,
            }),
        )
    }

    /// Routes that follow the filter's header, and lead to the subset `live` without it; for sidecars, and for gateways
    /// by `namespace/name` of their `Gateway`.
    #[must_use]
    pub fn virtual_service(&self, header: &str, live: &str, gateways: &[&str]) -> Value {
        let to = |subset: &str| json!([{"destination": {"host": self.host, "subset": subset}}]);
        let mut routes: Vec<Value> = self
            .subsets
            .iter()
            .filter(|(subset, _)| subset != live)
            .map(|(subset, _)| {
                json!({"match": [{"headers": {header: {"exact": subset}}}], "route": to(subset)})
            })
            .collect();
        routes.push(json!({"route": to(live)}));
        let gateways: Vec<&str> = gateways.iter().copied().chain(["mesh"]).collect();
        self.object(
            "VirtualService",
            &json!({"hosts": [self.host], "gateways": gateways, "http": routes}),
        )
    }

    /// Istio's name of the cluster of a subset, which is what the filter samples.
    #[must_use]
    pub fn cluster(&self, subset: &str) -> String {
        format!("outbound|{}|{subset}|{}", self.port, self.host)
    }

    fn object(&self, kind: &str, spec: &Value) -> Value {
        // The host is a name that Kubernetes takes.
        networking(kind, &self.namespace, &self.host, spec)
    }
}

/// A `Gateway` that makes the proxies with the label `istio: PROXY` listen on a port for these hosts.
#[must_use]
pub fn gateway(namespace: &str, name: &str, proxy: &str, port: u16, hosts: &[&str]) -> Value {
    let port = json!({"number": port, "name": "http", "protocol": "HTTP"});
    networking(
        "Gateway",
        namespace,
        name,
        &json!({"selector": {"istio": proxy}, "servers": [{"port": port, "hosts": hosts}]}),
    )
}

/// A `Sidecar` that makes the sidecars of a namespace listen on another address than 127.0.0.1 for the services of this
/// port, and on nothing else. `address` is one of 127.0.0.0/8, all of which this machine has.
#[must_use]
pub fn sidecar(namespace: &str, address: Ipv4Addr, port: u16) -> Value {
    let port = json!({"number": port, "name": "http", "protocol": "HTTP"});
    networking(
        "Sidecar",
        namespace,
        "default",
        &json!({"egress": [{"port": port, "bind": address, "captureMode": "NONE", "hosts": ["*/*"]}]}),
    )
}

/// A `WasmPlugin` with the filter, on requests that leave the proxies of a namespace.
#[must_use]
pub fn wasm_plugin(namespace: &str, name: &str, filter: &Path, config: &Value) -> Value {
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "url": format!("file://{}", filter.display()),
            "failStrategy": "FAIL_RELOAD",
            "match": [{"mode": "CLIENT"}],
            "pluginConfig": config,
        },
    })
}

/// The same as a `TrafficExtension`, which supersedes `WasmPlugin` from Istio 1.30 on.
#[must_use]
pub fn traffic_extension(namespace: &str, name: &str, filter: &Path, config: &Value) -> Value {
    json!({
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "TrafficExtension",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "match": [{"mode": "CLIENT"}],
            "wasm": {
                "url": format!("file://{}", filter.display()),
                "failStrategy": "FAIL_RELOAD",
                "pluginConfig": config,
            },
        },
    })
}

fn networking(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

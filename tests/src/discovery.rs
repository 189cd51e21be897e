//! Envoy's configuration by file, for tests without a controller (which has a renderer of its own): the plugin as an
//! ECDS resource and the routes as an RDS resource, both in xDS v3 JSON, replaced by rename as Envoy's watch wants it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The name of the extension config and of the route config.
pub const RESOURCE: &str = "serin";

/// The type of the plugin's configuration.
pub const WASM_TYPE: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// One route of the only virtual host, tried in order.
#[derive(Debug, Clone)]
pub struct Route {
    /// The header and the exact value that it must have; none matches every request.
    pub header: Option<(String, String)>,
    /// Where it leads.
    pub cluster: String,
}

impl Route {
    /// A route for requests with this header.
    #[must_use]
    pub fn when(header: &str, value: &str, cluster: &str) -> Route {
        Route {
            header: Some((header.to_owned(), value.to_owned())),
            cluster: cluster.to_owned(),
        }
    }

    /// A route for every request.
    #[must_use]
    pub fn default(cluster: &str) -> Route {
        Route {
            header: None,
            cluster: cluster.to_owned(),
        }
    }

    /// The route as Envoy has it (`config.route.v3.Route`).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut matches = json!({"prefix": "/"});
        if let Some((name, value)) = &self.header {
            matches["headers"] = json!([{"name": name, "string_match": {"exact": value}}]);
        }
        json!({"match": matches, "route": {"cluster": self.cluster}})
    }
}

/// Writes the endpoints of a cluster, as many as wanted: 127.0.0.1, 127.0.0.2 and so on, all with the same port. They
/// are all ready.
///
/// # Errors
/// When the file cannot be written.
pub fn write_endpoints(path: &Path, cluster: &str, port: u16, count: u8) -> Result<()> {
    let endpoint = |number| {
        let address = json!({"address": format!("127.0.0.{number}"), "port_value": port});
        json!({"endpoint": {"address": {"socket_address": address}}})
    };
    let endpoints: Vec<Value> = (1..=count).map(endpoint).collect();
    let resources = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": endpoints}],
    }]});
    replace(path, resources.to_string().as_bytes())
}

/// Writes the plugin's configuration, any text, as the ECDS resource that loads `wasm`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_plugin(path: &Path, wasm: &Path, configuration: &str) -> Result<()> {
    let resource = json!({
        "@type": EXTENSION_TYPE,
        "name": RESOURCE,
        "typed_config": {
            "@type": WASM_TYPE,
            "config": {
                "name": RESOURCE,
                "root_id": RESOURCE,
                // After a trap the next request gets a fresh VM; the default would answer 503 for ever.
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": RESOURCE,
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": wasm}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration,
                },
            },
        },
    });
    write(path, EXTENSION_TYPE, &resource)
}

/// Writes the routes as the RDS resource: one virtual host for every domain.
///
/// # Errors
/// When the file cannot be written.
pub fn write_routes(path: &Path, routes: &[Route]) -> Result<()> {
    let routes: Vec<Value> = routes.iter().map(Route::to_json).collect();
    write_raw_routes(path, &routes)
}

/// [`write_routes`] with routes as Envoy has them (`config.route.v3.Route`).
///
/// # Errors
/// When the file cannot be written.
pub fn write_raw_routes(path: &Path, routes: &[Value]) -> Result<()> {
    let resource = json!({
        "@type": ROUTES_TYPE,
        "name": RESOURCE,
        "virtual_hosts": [{"name": RESOURCE, "domains": ["*"], "routes": routes}],
    });
    write(path, ROUTES_TYPE, &resource)
}

const EXTENSION_TYPE: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const ROUTES_TYPE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

fn write(path: &Path, type_url: &str, resource: &Value) -> Result<()> {
    static VERSION: AtomicU64 = AtomicU64::new(1);
    let version = VERSION.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = json!({"version_info": version, "type_url": type_url, "resources": [resource]});
    replace(path, answer.to_string().as_bytes())
}

/// Replaces a file in one step: whoever reads or watches it sees the old or the new text, never half of one.
///
/// # Errors
/// When the file cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("aside");
    fs::write(&aside, bytes).with_context(|| format!("failed to write {}", aside.display()))?;
    fs::rename(&aside, path).with_context(|| format!("failed to replace {}", path.display()))
}

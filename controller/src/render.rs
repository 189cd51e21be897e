//! From states to what Envoy reads: the plugin config (ECDS) and the routes (RDS). Pure and infallible.
//!
//! Routes are a function of [`RolloutState`] alone, also for a rollout whose file is gone: its default route goes on
//! leading to the live version.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use serin_filter_core::config::{
    DEFAULT_ROUTE_HEADER, FilterConfig, RolloutConfig, VERSION, VariantConfig,
};

use crate::rollout::RolloutState;
use crate::validate::VariantRef;

/// Name of the extension config and of the route config; Envoy's bootstrap refers to both.
pub const RESOURCE_NAME: &str = "serin";

/// The rollout's part of the plugin config; `None` when there is no release to choose for.
#[must_use]
pub fn section(state: &RolloutState) -> Option<RolloutConfig> {
    let release = state.release.as_ref()?;
    let canary_is_live = release.canary_is_live();
    Some(RolloutConfig {
        name: state.name.to_string(),
        hosts: state.hosts.clone(),
        path_prefix: state.path_prefix.clone(),
        variants: vec![
            variant(&release.stable, !canary_is_live),
            variant(&release.canary, canary_is_live),
        ],
        key: release.key.clone(),
        salt: release.salt.clone(),
        table: release.table.clone(),
        progressing: release.outcome.is_none(),
    })
}

/// A variant as the filter knows it.
#[must_use]
pub fn variant(variant: &VariantRef, live: bool) -> VariantConfig {
    VariantConfig {
        name: variant.name.clone(),
        version: variant.version.clone(),
        live,
        route: variant.route.clone(),
        cluster: Some(variant.route.clone()),
    }
}

/// The whole plugin config.
#[must_use]
pub fn filter_config(sections: Vec<RolloutConfig>, generation: u64) -> FilterConfig {
    FilterConfig {
        version: VERSION,
        generation,
        route_header: DEFAULT_ROUTE_HEADER.to_owned(),
        rollouts: sections,
    }
}

/// The plugin config as the file that Envoy's extension discovery reads.
///
/// `FAIL_RELOAD`: should the filter ever trap, one request pays and the next one gets a new VM (envoy-facts 1.4).
#[must_use]
pub fn ecds(config: &str, wasm: &Path) -> Value {
    json!({
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": RESOURCE_NAME,
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": RESOURCE_NAME,
                    "root_id": RESOURCE_NAME,
                    "failure_policy": "FAIL_RELOAD",
                    "vm_config": {
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": wasm}}
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": config
                    }
                }
            }
        }]
    })
}

/// The plugin config inside a file that [`ecds`] wrote.
#[must_use]
pub fn plugin_config(ecds: &Value) -> Option<&str> {
    ecds.pointer("/resources/0/typed_config/config/configuration/value")?
        .as_str()
}

/// The routes of all rollouts as the file that Envoy's route discovery reads: one virtual host per host, the longest
/// path prefix first, and within a rollout the header routes before the default route.
///
/// A rollout without a release (its file is gone, or was never accepted) gives way to one that has the same requests,
/// such as the same rollout under a new name; its default route would hide the other's header routes. `inherited` are
/// virtual hosts to be kept where no rollout owns the host.
#[must_use]
pub fn rds<'a>(states: impl IntoIterator<Item = &'a RolloutState>, inherited: &[Value]) -> Value {
    let mut hosts: BTreeMap<&str, BTreeMap<&str, &RolloutState>> = BTreeMap::new();
    for state in states {
        for host in &state.hosts {
            let owner = hosts
                .entry(host)
                .or_default()
                .entry(&state.path_prefix)
                .or_insert(state);
            if owner.release.is_none() {
                *owner = state;
            }
        }
    }
    let unowned = |host: &&Value| {
        host.get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| !hosts.contains_key(name))
    };
    let kept: Vec<_> = inherited.iter().filter(unowned).cloned().collect();
    let virtual_hosts: Vec<_> = hosts
        .into_iter()
        .map(|(host, owners)| {
            let mut owners: Vec<_> = owners.into_values().collect();
            owners.sort_by_key(|state| Reverse(state.path_prefix.len()));
            let routes: Vec<_> = owners.into_iter().flat_map(routes).collect();
            json!({"name": host, "domains": [host, format!("{host}:*")], "routes": routes})
        })
        .chain(kept)
        .collect();
    json!({
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": RESOURCE_NAME,
            "virtual_hosts": virtual_hosts
        }]
    })
}

fn path_match(prefix: &str) -> Value {
    match prefix {
        "/" => json!({"prefix": "/"}),
        prefix => json!({"path_separated_prefix": prefix}),
    }
}

fn routes(state: &RolloutState) -> Vec<Value> {
    let path = path_match(&state.path_prefix);
    let release = state.release.iter();
    let header_routes = release.flat_map(|release| [&release.stable, &release.canary]).map(|variant| {
        let mut matches = path.clone();
        matches["headers"] = json!([{"name": DEFAULT_ROUTE_HEADER, "string_match": {"exact": variant.route}}]);
        json!({"name": format!("{}/{}", state.name, variant.version), "match": matches, "route": {"cluster": variant.route}})
    });
    let default = json!({"name": format!("{}/default", state.name), "match": path, "route": {"cluster": state.default_route()}});
    header_routes.chain([default]).collect()
}

/// Whether a rollout owns a virtual host of a file that [`rds`] wrote.
#[must_use]
pub fn owns(state: &RolloutState, virtual_host: &Value) -> bool {
    let name = virtual_host.get("name").and_then(Value::as_str);
    name.is_some_and(|name| state.hosts.iter().any(|host| host == name))
}

/// A virtual host with nothing but the rollout's default route: what is left of a host that its file has dropped.
#[must_use]
pub fn default_host(state: &RolloutState, host: &str) -> Value {
    let default: Vec<_> = routes(state).pop().into_iter().collect();
    json!({"name": host, "domains": [host, format!("{host}:*")], "routes": default})
}

/// The virtual hosts in a file that [`rds`] wrote.
#[must_use]
pub fn virtual_hosts(rds: &Value) -> Vec<Value> {
    rds.pointer("/resources/0/virtual_hosts")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The cluster of the default route for a host and a path prefix in a file that [`rds`] wrote: what is live there when
/// no state says so.
#[must_use]
pub fn default_route_in<'a>(rds: &'a Value, host: &str, path_prefix: &str) -> Option<&'a str> {
    let hosts = rds.pointer("/resources/0/virtual_hosts")?.as_array()?;
    let found = hosts
        .iter()
        .find(|candidate| candidate.get("name").and_then(Value::as_str) == Some(host))?;
    let matches = path_match(path_prefix);
    let mut routes = found.get("routes")?.as_array()?.iter();
    // The default route is the one that asks for nothing but the path.
    routes
        .find(|route| route.get("match") == Some(&matches))?
        .pointer("/route/cluster")?
        .as_str()
}

#[cfg(test)]
mod tests;

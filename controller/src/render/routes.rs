//! The routes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use serin_filter_core::config::{DEFAULT_ROUTE_HEADER, DEFAULT_SHADOW_HEADER};

use super::RESOURCE_NAME;
use crate::paths::{Paths, Specificity};
use crate::rollout::RolloutState;

/// The routes of all rollouts as the file that Envoy's route discovery reads: one virtual host per host, in it the
/// rollouts in the order in which the filter prefers them, and within a rollout the header routes before the default
/// route.
///
/// Ports are ignored in host names, as the filter does; `*.suffix` could not be given with any port otherwise.
///
/// A rollout without a release (its file is gone, or was never accepted) gives way to one that has the same requests,
/// such as the same rollout under a new name; its default route would hide the other's header routes. `inherited` are
/// virtual hosts to be kept where no rollout owns the host.
#[must_use]
pub fn rds<'a>(states: impl IntoIterator<Item = &'a RolloutState>, inherited: &[Value]) -> Value {
    let mut hosts: BTreeMap<&str, BTreeMap<Specificity, &RolloutState>> = BTreeMap::new();
    for state in states {
        for host in &state.hosts {
            let owner = hosts
                .entry(host)
                .or_default()
                .entry(state.paths.specificity())
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
            let routes: Vec<_> = owners.into_values().flat_map(routes).collect();
            json!({"name": host, "domains": [host], "routes": routes})
        })
        .chain(kept)
        .collect();
    json!({
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": RESOURCE_NAME,
            "ignore_port_in_host_matching": true,
            "virtual_hosts": virtual_hosts
        }]
    })
}

fn path_match(paths: &Paths) -> Value {
    match paths {
        Paths::Prefix(prefix) if prefix == "/" => json!({"prefix": "/"}),
        Paths::Prefix(prefix) => json!({"path_separated_prefix": prefix}),
        Paths::Exact(path) => json!({"path": path}),
        // Envoy's own templates have fewer characters in names, and no `/**` that takes the path itself as well.
        Paths::Template(_) => json!({"safe_regex": {"regex": paths.expression()}}),
    }
}

fn routes(state: &RolloutState) -> Vec<Value> {
    let path = path_match(&state.paths);
    let to = |cluster: &str| action(state, cluster);
    let release = state.release.iter();
    let variants = release.flat_map(|release| release.variants());
    let header_routes = variants.map(|variant| {
        let mut matches = path.clone();
        matches["headers"] = json!([{"name": DEFAULT_ROUTE_HEADER, "string_match": {"exact": variant.route}}]);
        json!({"name": format!("{}/{}", state.name, variant.version), "match": matches, "route": to(&variant.route)})
    });
    let default = json!({"name": format!("{}/default", state.name), "match": path, "route": to(&state.default_route().route)});
    header_routes.chain([default]).collect()
}

/// Where a request goes, and who gets a copy: the cluster that the filter names, for the requests that it samples.
/// Without the header Envoy sends none.
fn action(state: &RolloutState, cluster: &str) -> Value {
    let shadow = state
        .release
        .as_ref()
        .and_then(|release| release.choice.shadow.as_ref());
    let mut action = json!({"cluster": cluster});
    if shadow.is_some() {
        action["request_mirror_policies"] = json!([{
            "cluster_header": DEFAULT_SHADOW_HEADER,
            "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        }]);
    }
    action
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
    json!({"name": host, "domains": [host], "routes": default})
}

/// The virtual hosts in a file that [`rds`] wrote.
#[must_use]
pub fn virtual_hosts(rds: &Value) -> Vec<Value> {
    rds.pointer("/resources/0/virtual_hosts")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// The cluster of the default route for a host and its paths in a file that [`rds`] wrote: what is live there when
/// no state says so.
#[must_use]
pub fn default_route_in<'a>(rds: &'a Value, host: &str, paths: &Paths) -> Option<&'a str> {
    let hosts = rds.pointer("/resources/0/virtual_hosts")?.as_array()?;
    let found = hosts
        .iter()
        .find(|candidate| candidate.get("name").and_then(Value::as_str) == Some(host))?;
    let matches = path_match(paths);
    let mut routes = found.get("routes")?.as_array()?.iter();
    // The default route is the one that asks for nothing but the path.
    routes
        .find(|route| route.get("match") == Some(&matches))?
        .pointer("/route/cluster")?
        .as_str()
}

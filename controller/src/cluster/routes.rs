//! The routes of all rollouts as Istio's objects: one VirtualService for each host, one DestinationRule for each service.
//! Pure.
//!
//! An object of a host outlives its rollouts: it is what leads to the live version when nothing else is left. What a
//! rollout that is gone served stands in an annotation, so that a later one on the same host does not cut it off.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serin_filter_core::config::DEFAULT_ROUTE_HEADER;
use serin_filter_core::split::BUCKETS;

use super::names;
use super::object::{self, Kind, Memory, ObjectId, Owned, Present};
use crate::paths::{Paths, Specificity};
use crate::rollout::RolloutState;
use crate::validate::{Destination, Mesh, VariantRef, namespace_of};

/// Annotation with the default routes of a VirtualService, by rollout.
pub const LIVE: &str = "serin.dev/live";

/// A default route of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultRoute {
    /// Its paths.
    pub paths: Paths,
    /// What serves them.
    pub live: VariantRef,
}

/// Default routes by rollout.
pub type DefaultRoutes = BTreeMap<String, DefaultRoute>;

/// The default routes that an object of ours remembers.
#[must_use]
pub fn default_routes(virtual_service: &Present) -> DefaultRoutes {
    match &virtual_service.memory {
        Memory::DefaultRoutes(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => DefaultRoutes::new(),
    }
}

/// A rollout whose routes are ours.
fn managed(state: &RolloutState) -> Option<&Mesh> {
    state.mesh.as_ref().filter(|mesh| mesh.manage)
}

/// Hosts for which a rollout needs a VirtualService.
pub fn hosts(state: &RolloutState) -> impl Iterator<Item = &String> {
    main_hosts(state).filter(|_| managed(state).is_some())
}

/// Its hosts without other names of the same.
pub fn main_hosts(state: &RolloutState) -> impl Iterator<Item = &String> {
    let hosts = state.hosts.iter();
    hosts.filter(|host| !is_alias(host, state))
}

/// Services for which a rollout needs a DestinationRule.
#[must_use]
pub fn services(state: &RolloutState) -> BTreeSet<&str> {
    let Some(mesh) = managed(state) else {
        return BTreeSet::new();
    };
    let subsets = versions(state).filter_map(|variant| Some(subset(variant)?.0));
    let policy = mesh.traffic_policy.as_ref().map(|_| mesh.host.as_str());
    subsets.chain(policy).collect()
}

/// Versions that a rollout leads to.
pub fn versions(state: &RolloutState) -> impl Iterator<Item = &VariantRef> {
    let release = state.release.iter();
    let variants = release.flat_map(|release| release.variants());
    variants.chain([&state.live])
}

/// The service of a version, and its subset and labels there.
pub fn subset(variant: &VariantRef) -> Option<(&str, &str, &LiteMap<String, String>)> {
    let destination = variant.destination.as_ref()?;
    let subset = destination.subset.as_deref()?;
    Some((&destination.host, subset, &destination.labels))
}

/// Whether a host is only another name of a service that the rollout names in full: Istio knows the short names itself,
/// and two VirtualServices of one service would be in each other's way.
fn is_alias(host: &str, state: &RolloutState) -> bool {
    let longer = |other: &String| {
        let rest = other.strip_prefix(host).and_then(|it| it.strip_prefix('.'));
        let Some(rest) = rest else { return false };
        let labels: Vec<_> = rest.split('.').collect();
        // name | name.namespace | name.namespace.svc, of name.namespace.svc.cluster.domain
        match host.split('.').count() {
            1 => labels.get(1) == Some(&"svc"),
            2 => labels.first() == Some(&"svc"),
            3 => host.ends_with(".svc"),
            _ => false,
        }
    };
    state.hosts.iter().any(longer)
}

/// Which object has the subsets of a service, or the routes of a host.
#[must_use]
pub fn id(kind: Kind, namespace: &str, host: &str) -> ObjectId {
    ObjectId {
        kind,
        namespace: namespace.to_owned(),
        name: object::name(host),
    }
}

/// What routes a host to its rollouts, in the order of their names; `there` is what routes it now, with its namespace.
#[must_use]
pub fn virtual_service<'a>(
    host: &str,
    states: impl Iterator<Item = &'a RolloutState>,
    there: Option<(&str, &Present)>,
) -> Option<Owned> {
    let mut owners: BTreeMap<Specificity, (&RolloutState, &Mesh)> = BTreeMap::new();
    for state in states {
        let Some(mesh) = managed(state) else { continue };
        let owner = owners
            .entry(state.paths.specificity())
            .or_insert((state, mesh));
        if owner.0.release.is_none() {
            *owner = (state, mesh);
        }
    }
    let names = owners.values().map(|(state, _)| &state.name);
    let first = names.min()?;
    // Where it is already: two of them for one host would be worse than one in an odd namespace.
    let namespace = there.map_or(first.namespace.as_str(), |(namespace, _)| namespace);
    let id = id(Kind::VirtualService, namespace, host);
    let mut remembered = there
        .map(|(_, there)| default_routes(there))
        .unwrap_or_default();
    let known: BTreeSet<_> = owners
        .values()
        .map(|(state, _)| state.name.to_string())
        .collect();
    remembered.retain(|name, gone| {
        !known.contains(name) && !owners.contains_key(&gone.paths.specificity())
    });

    let mut routes: BTreeMap<Specificity, Vec<Value>> = BTreeMap::new();
    for (place, (state, _)) in &owners {
        routes.insert(place.clone(), rollout_routes(state));
    }
    for (name, gone) in &remembered {
        let route = default_route(name, &gone.paths, &gone.live);
        routes.insert(gone.paths.specificity(), vec![route]);
    }
    let mut http: Vec<Value> = routes.into_values().flatten().collect();
    let (_, mesh) = owners.values().next()?;
    let whole = owners
        .values()
        .any(|(state, _)| state.paths == Paths::all());
    if !whole {
        // A host's other paths are not ours to lose.
        http.push(json!({
            "name": "serin/other-paths",
            "route": [{"destination": {"host": mesh.host}}]
        }));
    }
    let gateways: BTreeSet<&str> = owners
        .values()
        .flat_map(|(_, mesh)| &mesh.gateways)
        .map(String::as_str)
        .collect();
    let mut spec = json!({"hosts": [host], "http": http});
    if !gateways.is_empty() {
        spec["gateways"] = json!(gateways);
    }
    let mut live = remembered;
    live.extend(owners.values().map(|(state, _)| {
        let route = DefaultRoute {
            paths: state.paths.clone(),
            live: state.default_route().clone(),
        };
        (state.name.to_string(), route)
    }));
    let live = serde_json::to_string(&live).unwrap_or_default();
    Some(Owned::new(id, spec).annotated(LIVE, live))
}

fn rollout_routes(state: &RolloutState) -> Vec<Value> {
    let release = state.release.iter();
    let variants = release.flat_map(|release| release.variants());
    let header_routes = variants.map(|variant| {
        let mut matches = path_matches(&state.paths);
        for it in &mut matches {
            it["headers"] = json!({DEFAULT_ROUTE_HEADER: {"exact": variant.route}});
        }
        json!({
            "name": format!("{}/{}", state.name, variant.version),
            "match": matches,
            "route": [{"destination": destination(variant)}]
        })
    });
    let mut default = default_route(&state.name.to_string(), &state.paths, state.default_route());
    if let Some((shadow, sample)) = copies(state) {
        default["mirror"] = destination(shadow);
        default["mirrorPercentage"] = json!({"value": sample});
    }
    header_routes.chain([default]).collect()
}

fn default_route(name: &str, paths: &Paths, live: &VariantRef) -> Value {
    json!({
        "name": format!("{name}/default"),
        "match": path_matches(paths),
        "route": [{"destination": destination(live)}]
    })
}

/// The version that gets copies, and of how many per cent of the requests.
fn copies(state: &RolloutState) -> Option<(&VariantRef, f64)> {
    let release = state.in_progress().filter(|it| it.switched_on())?;
    let shadow = release.choice.shadow.as_ref()?;
    let percent = 100.0 * f64::from(shadow.sample) / f64::from(BUCKETS);
    (shadow.cluster == release.canary.route).then_some((&release.canary, percent))
}

/// A prefix ends at a segment, which Istio's own does not.
pub(super) fn path_matches(paths: &Paths) -> Vec<Value> {
    match paths {
        Paths::Prefix(prefix) if prefix == "/" => vec![json!({"uri": {"prefix": "/"}})],
        Paths::Prefix(prefix) => vec![
            json!({"uri": {"exact": prefix}}),
            json!({"uri": {"prefix": format!("{}/", prefix.trim_end_matches('/'))}}),
        ],
        Paths::Exact(path) => vec![json!({"uri": {"exact": path}})],
        Paths::Template(_) => vec![json!({"uri": {"regex": paths.expression()}})],
    }
}

fn destination(variant: &VariantRef) -> Value {
    match &variant.destination {
        Some(Destination {
            host,
            subset: Some(subset),
            ..
        }) => json!({"host": host, "subset": subset}),
        Some(Destination { host, .. }) => json!({"host": host}),
        None => json!({"host": variant.route}),
    }
}

/// The subsets of a service: what its rollouts lead to, and what default routes still lead to whose rollouts are gone.
#[must_use]
pub fn destination_rule<'a>(
    service: &str,
    states: impl Iterator<Item = &'a RolloutState>,
    gone: &[VariantRef],
) -> Option<Owned> {
    let mut namespace = None;
    let mut policy = None;
    let mut subsets: BTreeMap<&str, &LiteMap<String, String>> = BTreeMap::new();
    let kept = gone.iter().filter_map(subset);
    subsets.extend(
        kept.filter(|(host, ..)| *host == service)
            .map(|(_, name, labels)| (name, labels)),
    );
    for state in states {
        let Some(mesh) = managed(state) else { continue };
        let own = versions(state).filter_map(subset);
        for (_, name, labels) in own.filter(|(host, ..)| *host == service) {
            namespace = Some(&state.name.namespace);
            subsets.insert(name, labels);
        }
        if let Some(wanted) = mesh
            .traffic_policy
            .as_ref()
            .filter(|_| mesh.host == service)
        {
            namespace = Some(&state.name.namespace);
            policy = Some(wanted);
        }
    }
    let subsets: Vec<_> = subsets
        .into_iter()
        .map(|(name, labels)| {
            // An empty LiteMap would be written as a list.
            let labels: BTreeMap<_, _> = labels.iter().collect();
            json!({"name": name, "labels": labels})
        })
        .collect();
    let mut spec = json!({"host": service, "subsets": subsets});
    if let Some(policy) = policy {
        spec["trafficPolicy"] = json!(policy);
    }
    // Istio looks for it in the namespaces of the caller and of the service, and in its root namespace.
    let namespace = namespace?;
    let namespace = namespace_of(service).unwrap_or(namespace);
    Some(Owned::new(
        id(Kind::DestinationRule, namespace, service),
        spec,
    ))
}

/// Subsets that the present rule has and the next one has not: nothing may lead there any more when they go.
#[must_use]
pub fn keeping_subsets(next: &Owned, present: &Present) -> Option<Owned> {
    let Memory::Subsets(before) = &present.memory else {
        return None;
    };
    let subsets = next.object.pointer("/spec/subsets");
    let mut all = subsets.and_then(Value::as_array).cloned()?;
    let names: BTreeSet<_> = all.iter().map(|it| it["name"].to_string()).collect();
    let before: Vec<Value> = serde_json::from_str(before).ok()?;
    let dropped: Vec<_> = before
        .into_iter()
        .filter(|it| !names.contains(&it["name"].to_string()))
        .collect();
    if dropped.is_empty() {
        return None;
    }
    all.extend(dropped);
    // As they are there: else it would have to be written for the order's sake.
    all.sort_by_key(|it| it["name"].to_string());
    let mut both = next.clone();
    both.object["spec"]["subsets"] = Value::Array(all);
    Some(both)
}

/// Whether a rule on the server has a subset.
#[must_use]
pub fn has_subset(rule: &Present, name: &str) -> bool {
    let Memory::Subsets(text) = &rule.memory else {
        return false;
    };
    let subsets: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    subsets.iter().any(|it| it["name"] == name)
}

/// The label of managed objects as a selector.
#[must_use]
pub fn ours() -> String {
    let (label, value) = names::MANAGED_BY;
    format!("{label}={value}")
}

#[cfg(test)]
mod tests;

//! The routes of all rollouts as Istio's objects: one VirtualService for each host, one DestinationRule for each service.
//! Pure.
//!
//! An object of a host outlives its rollouts: it is what leads to the live version when nothing else is left. What a
//! rollout that is gone served stands in an annotation, so that a later one on the same host does not cut it off.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serin_filter_core::config::DEFAULT_ROUTE_HEADER;
use serin_filter_core::split::BUCKETS;

use super::names;
use super::object::{self, Kind, ObjectId, Owned};
use crate::paths::{Paths, Specificity};
use crate::rollout::RolloutState;
use crate::validate::{Destination, Mesh, VariantRef};

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
pub fn default_routes(virtual_service: &Value) -> DefaultRoutes {
    let text = virtual_service
        .pointer("/metadata/annotations")
        .and_then(|annotations| annotations.get(LIVE))
        .and_then(Value::as_str);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Everything that routes the rollouts, DestinationRules first. `present` are the objects of ours that are there.
#[must_use]
pub fn objects<'a>(
    states: impl Iterator<Item = &'a RolloutState> + Clone,
    present: &BTreeMap<ObjectId, Value>,
) -> Vec<Owned> {
    let ours = states.filter_map(|state| {
        let mesh = state.mesh.as_ref().filter(|mesh| mesh.manage)?;
        Some((state, mesh))
    });
    let mut found = destination_rules(ours.clone());
    found.extend(virtual_services(ours, present));
    found
}

fn virtual_services<'a>(
    states: impl Iterator<Item = (&'a RolloutState, &'a Mesh)>,
    present: &BTreeMap<ObjectId, Value>,
) -> Vec<Owned> {
    let mut hosts: BTreeMap<&str, BTreeMap<Specificity, (&RolloutState, &Mesh)>> = BTreeMap::new();
    for (state, mesh) in states {
        for host in state.hosts.iter().filter(|host| !is_alias(host, state)) {
            let owner = hosts
                .entry(host)
                .or_default()
                .entry(state.paths.specificity())
                .or_insert((state, mesh));
            if owner.0.release.is_none() {
                *owner = (state, mesh);
            }
        }
    }
    let hosts = hosts.into_iter();
    hosts
        .filter_map(|(host, owners)| virtual_service(host, &owners, present))
        .collect()
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

fn virtual_service(
    host: &str,
    owners: &BTreeMap<Specificity, (&RolloutState, &Mesh)>,
    present: &BTreeMap<ObjectId, Value>,
) -> Option<Owned> {
    let names = owners.values().map(|(state, _)| &state.name);
    let first = names.min()?;
    let name = object::name(host);
    // Where it is already: two of them for one host would be worse than one in an odd namespace.
    let there = present
        .keys()
        .find(|id| id.kind == Kind::VirtualService && id.name == name);
    let namespace = there.map_or(&first.namespace, |id| &id.namespace).clone();
    let id = ObjectId {
        kind: Kind::VirtualService,
        namespace,
        name,
    };
    let mut remembered: DefaultRoutes = present.get(&id).map(default_routes).unwrap_or_default();
    let known: BTreeSet<_> = owners
        .values()
        .map(|(state, _)| state.name.to_string())
        .collect();
    remembered.retain(|name, gone| {
        !known.contains(name) && !owners.contains_key(&gone.paths.specificity())
    });

    let mut routes: BTreeMap<Specificity, Vec<Value>> = BTreeMap::new();
    for (place, (state, _)) in owners {
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
    let variants =
        release.flat_map(|release| std::iter::once(&release.stable).chain(release.arms()));
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

fn destination_rules<'a>(states: impl Iterator<Item = (&'a RolloutState, &'a Mesh)>) -> Vec<Owned> {
    #[derive(Default)]
    struct Rule<'a> {
        namespace: &'a str,
        subsets: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
        policy: Option<&'a serde_json::Map<String, Value>>,
    }
    let mut rules: BTreeMap<&str, Rule> = BTreeMap::new();
    for (state, mesh) in states {
        let release = state.release.iter();
        let variants =
            release.flat_map(|release| std::iter::once(&release.stable).chain(release.arms()));
        for variant in variants.chain([&state.live]) {
            let Some(Destination {
                host,
                subset: Some(subset),
                labels,
            }) = &variant.destination
            else {
                continue;
            };
            let rule = rules.entry(host).or_default();
            rule.namespace = &state.name.namespace;
            rule.subsets.insert(subset, labels);
        }
        if let Some(policy) = &mesh.traffic_policy {
            let rule = rules.entry(&mesh.host).or_default();
            rule.namespace = &state.name.namespace;
            rule.policy = Some(policy);
        }
    }
    let rule = |(host, rule): (&str, Rule)| {
        let subsets = rule.subsets.into_iter();
        let subsets: Vec<_> = subsets
            .map(|(name, labels)| json!({"name": name, "labels": labels}))
            .collect();
        let mut spec = json!({"host": host, "subsets": subsets});
        if let Some(policy) = rule.policy {
            spec["trafficPolicy"] = json!(policy);
        }
        let id = ObjectId {
            kind: Kind::DestinationRule,
            namespace: rule.namespace.to_owned(),
            name: object::name(host),
        };
        Owned::new(id, spec)
    };
    rules.into_iter().map(rule).collect()
}

/// Subsets that the present rule has and the next one has not: nothing may lead there any more when they go.
#[must_use]
pub fn keeping_subsets(next: &Owned, present: &Value) -> Option<Owned> {
    let subsets = |object: &Value| {
        object
            .pointer("/spec/subsets")
            .and_then(Value::as_array)
            .cloned()
    };
    let mut all = subsets(&next.object)?;
    let names: BTreeSet<_> = all.iter().map(|it| it["name"].to_string()).collect();
    let dropped: Vec<_> = subsets(present)?
        .into_iter()
        .filter(|it| !names.contains(&it["name"].to_string()))
        .collect();
    if dropped.is_empty() {
        return None;
    }
    all.extend(dropped);
    let mut both = next.clone();
    both.object["spec"]["subsets"] = Value::Array(all);
    Some(both)
}

/// The label of managed objects as a selector.
#[must_use]
pub fn ours() -> String {
    let (label, value) = names::MANAGED_BY;
    format!("{label}={value}")
}

//! What a rollout in the mesh says beside one on a single machine: subsets of services instead of Envoy clusters.

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::checker::Checker;
use crate::api::{self, Spec};

/// Label of pods that tells versions apart, by the mesh's custom.
const VERSION_LABEL: &str = "version";

/// A rollout's place in the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mesh {
    /// Namespaces of the callers; empty: not said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scope: Vec<String>,
    /// Whether Serin writes the routes.
    pub manage: bool,
    /// Service that serves the hosts' other paths.
    pub host: String,
    /// Gateways that carry the hosts; empty: the sidecars.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Istio's `trafficPolicy` for the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_policy: Option<Map<String, Value>>,
}

/// Where a version is served in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Service.
    pub host: String,
    /// Subset of it; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Labels of the subset's pods. Not a tree: that has room for eleven, and there are tens of thousands of these.
    #[serde(default, skip_serializing_if = "LiteMap::is_empty")]
    pub labels: LiteMap<String, String>,
}

impl Destination {
    /// What a route names. Which pods a subset is, its labels say, and no route does.
    #[must_use]
    pub fn place(&self) -> (&str, Option<&str>) {
        (&self.host, self.subset.as_deref())
    }
}

impl Destination {
    /// The end of the name of its Envoy cluster: Istio puts direction and port before it.
    #[must_use]
    pub fn cluster(&self) -> String {
        let subset = self.subset.as_deref().unwrap_or_default();
        format!("|{subset}|{}", self.host)
    }
}

/// Whether the file is about the mesh.
pub(super) fn is_meant(spec: &Spec) -> bool {
    let in_mesh = |variant: &api::Variant| {
        let api::Route { subset, host, .. } = &variant.route;
        subset.is_some() || host.is_some()
    };
    spec.variants.iter().any(in_mesh)
}

/// Host of the service whose subsets the versions are: a full name before its short ones, which Istio does not know as
/// destinations once they have a dot.
pub(super) fn service(spec: &Spec) -> Option<&str> {
    let hosts = spec.matches.hosts.iter().map(String::as_str);
    let mut hosts = hosts.filter(|host| !host.starts_with('*'));
    let named = spec.route.host.as_deref();
    let full = || hosts.clone().find(|host| namespace_of(host).is_some());
    named.or_else(full).or_else(|| hosts.next())
}

/// Namespace of a service by its full name, `NAME.NAMESPACE.svc.DOMAIN`.
pub(crate) fn namespace_of(service: &str) -> Option<&str> {
    let mut labels = service.split('.').skip(1);
    let namespace = labels.next()?;
    (labels.next() == Some("svc") && labels.next().is_some()).then_some(namespace)
}

/// Where a variant is served, and its value of the route header.
pub(super) fn destination(route: &api::Route, service: &str) -> (String, Destination) {
    let host = route
        .host
        .as_deref()
        .unwrap_or(service)
        .to_ascii_lowercase();
    let subset = route.subset.clone();
    let labels = match &subset {
        Some(subset) if route.labels.is_empty() => [(VERSION_LABEL.to_owned(), subset.clone())]
            .into_iter()
            .collect(),
        _ => route.labels.clone().into_iter().collect(),
    };
    let header = subset.clone().unwrap_or_else(|| host.clone());
    let destination = Destination {
        host,
        subset,
        labels,
    };
    (header, destination)
}

impl Checker {
    /// The mesh part of a file that is about the mesh; else refuses by name what only the mesh can do.
    pub(super) fn mesh(&mut self, namespace: &str, spec: &Spec) -> Option<Mesh> {
        if !is_meant(spec) {
            self.standalone(spec);
            return None;
        }
        for (i, variant) in spec.variants.iter().enumerate() {
            self.mesh_route(i, &variant.route);
        }
        for (i, namespace) in spec.scope.iter().enumerate() {
            self.dns_label(&format!("spec.scope[{i}]"), namespace);
        }
        for (i, gateway) in spec.route.gateways.iter().enumerate() {
            let path = format!("spec.route.gateways[{i}]");
            match gateway.split_once('/') {
                Some((namespace, name)) => {
                    self.dns_label(&path, namespace);
                    self.dns_label(&path, name);
                }
                None if gateway == "mesh" => {}
                None => self.add(
                    path,
                    format!("'{gateway}' must be 'namespace/name', or 'mesh' for the sidecars"),
                ),
            }
        }
        if spec.shadow.is_some() {
            self.add(
                "spec.shadow",
                "is for standalone: in the mesh copies are a strategy (strategy.shadow)",
            );
        }
        let Some(host) = service(spec) else {
            self.add(
                "spec.route.host",
                "must name the service that serves the versions, because no host of spec.match is one",
            );
            return None;
        };
        self.label("spec.route.host", host);
        let short = host.split_once('.').map(|(_, rest)| rest);
        if short.is_some_and(|it| it == namespace || it.strip_suffix(".svc") == Some(namespace)) {
            let name = host.split('.').next().unwrap_or_default();
            self.add(
                "spec.route.host",
                format!(
                    "'{host}' is a short name, at which Istio finds no service: say '{name}.{namespace}.svc.cluster.local', here or in spec.match.hosts"
                ),
            );
        }
        if !spec.route.manage && spec.route.traffic_policy.is_some() {
            self.add(
                "spec.route.trafficPolicy",
                "belongs to the DestinationRule, which is yours with 'manage: false': write it there",
            );
        }
        Some(Mesh {
            scope: spec.scope.clone(),
            manage: spec.route.manage,
            host: host.to_ascii_lowercase(),
            gateways: spec.route.gateways.clone(),
            traffic_policy: spec.route.traffic_policy.clone(),
        })
    }

    fn mesh_route(&mut self, i: usize, route: &api::Route) {
        let path = format!("spec.variants[{i}].route");
        if route.cluster.is_some() {
            self.add(
                format!("{path}.cluster"),
                "is for standalone: every variant has a 'subset' or a 'host' in the mesh",
            );
        }
        if route.subset.is_none() && route.host.is_none() {
            self.add(
                &path,
                "must say 'subset', or 'host' for a service of its own",
            );
        }
        if let Some(subset) = &route.subset {
            self.dns_label(&format!("{path}.subset"), subset);
        }
        if let Some(host) = &route.host {
            self.label(&format!("{path}.host"), host);
        }
        if route.subset.is_none() && !route.labels.is_empty() {
            self.add(
                format!("{path}.labels"),
                "are the labels of a subset's pods: name the 'subset' as well",
            );
        }
    }

    fn standalone(&mut self, spec: &Spec) {
        let only =
            "is for the mesh, where every variant's route has a 'subset' or a 'host': leave it out";
        for (i, variant) in spec.variants.iter().enumerate() {
            let path = format!("spec.variants[{i}].route");
            match &variant.route.cluster {
                Some(cluster) => self.label(&format!("{path}.cluster"), cluster),
                None => self.add(
                    &path,
                    "must say 'cluster' (standalone), or 'subset' or 'host' (mesh)",
                ),
            }
            if !variant.route.labels.is_empty() {
                self.add(format!("{path}.labels"), only);
            }
        }
        let ours = api::RouteOwnership::default();
        let said = [
            ("spec.scope", !spec.scope.is_empty()),
            ("spec.route.manage", !spec.route.manage),
            ("spec.route.host", spec.route.host != ours.host),
            ("spec.route.gateways", spec.route.gateways != ours.gateways),
            (
                "spec.route.trafficPolicy",
                spec.route.traffic_policy != ours.traffic_policy,
            ),
        ];
        for (path, _) in said.into_iter().filter(|(_, said)| *said) {
            self.add(path, only);
        }
    }
}

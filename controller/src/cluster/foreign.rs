//! Routes that somebody else owns: whether they follow the header, and where their default route leads. Pure.

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use serde_json::Value;
use serin_filter_core::config::DEFAULT_ROUTE_HEADER;

use super::object::{Kind, ObjectId};
use super::routes;
use crate::driver::Routed;
use crate::paths::Paths;
use crate::rollout::{ForeignRoutes, RolloutState};
use crate::validate::{Destination, Mesh, Plan, VariantRef};

/// VirtualServices that are not ours, by the hosts that they route.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    objects: BTreeMap<ObjectId, Routes>,
    by_host: BTreeSet<(String, ObjectId)>,
}

/// What of one matters.
#[derive(Clone, Debug)]
struct Routes {
    hosts: Vec<String>,
    /// Gateways that it is for, as `namespace/name`, and [`SIDECARS`].
    gateways: BTreeSet<String>,
    http: Value,
}

impl Routes {
    /// Whether it is for a proxy that carries a rollout's hosts.
    fn is_for(&self, mesh: &Mesh) -> bool {
        match mesh.gateways.as_slice() {
            [] => self.gateways.contains(SIDECARS),
            ours => ours.iter().any(|it| self.gateways.contains(it)),
        }
    }
}

/// Istio's name for all sidecars, as a gateway.
const SIDECARS: &str = "mesh";

impl Theirs {
    /// One is like this now.
    pub fn insert(&mut self, id: ObjectId, object: &Value) {
        self.remove(&id);
        // One for TCP or TLS alone has no say in requests.
        let Some(http) = object.pointer("/spec/http") else {
            return;
        };
        let routes = Routes {
            hosts: texts(object, "/spec/hosts")
                .map(|it| full_name(it, &id.namespace))
                .collect(),
            gateways: gateways(&id, object),
            http: http.clone(),
        };
        for host in &routes.hosts {
            self.by_host.insert((host.clone(), id.clone()));
        }
        self.objects.insert(id, routes);
    }

    /// One is gone. Whether it was there.
    pub fn remove(&mut self, id: &ObjectId) -> bool {
        let Some(Routes { hosts, .. }) = self.objects.remove(id) else {
            return false;
        };
        for host in hosts {
            self.by_host.remove(&(host, id.clone()));
        }
        true
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.keys()
    }

    /// Those that name a host like this.
    fn naming<'a>(&'a self, host: &str) -> impl Iterator<Item = (&'a ObjectId, &'a Routes)> {
        let host = host.to_ascii_lowercase();
        let begin = (host.clone(), ObjectId::first(Kind::VirtualService));
        let found = self.by_host.range(begin..);
        let ids = found.take_while(move |(it, _)| *it == host);
        ids.filter_map(|(_, id)| Some((id, self.objects.get(id)?)))
    }

    /// Those that route a host: with the name that fits best, as the proxies choose. One that means more than this host is
    /// of no concern at other gateways.
    fn routing<'a>(&'a self, host: &str, mesh: &Mesh) -> Vec<(&'a ObjectId, &'a Routes)> {
        let rest = host.strip_prefix("*.").unwrap_or(host);
        let dots = rest.match_indices('.').map(|(at, _)| at);
        let suffixes = dots.map(|at| format!("*{}", &rest[at..]));
        let names = std::iter::once(host.to_owned())
            .chain(suffixes)
            .chain(["*".to_owned()]);
        let fits = |name: &str, it: &Routes| name == host || it.is_for(mesh);
        let mut found = names.map(|name| {
            let naming = self.naming(&name);
            naming.filter(|(_, it)| fits(&name, it)).collect::<Vec<_>>()
        });
        found.find(|found| !found.is_empty()).unwrap_or_default()
    }
}

fn texts<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    let found = object.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten().filter_map(Value::as_str)
}

/// A host in small letters; a name without dots is one of the object's namespace.
fn full_name(host: &str, namespace: &str) -> String {
    if host.contains(['.', '*']) {
        host.to_ascii_lowercase()
    } else {
        format!("{host}.{namespace}.svc.cluster.local").to_ascii_lowercase()
    }
}

fn gateways(id: &ObjectId, object: &Value) -> BTreeSet<String> {
    let full = |it: &str| match it {
        SIDECARS => it.to_owned(),
        _ if it.contains('/') => it.to_owned(),
        _ => format!("{}/{it}", id.namespace),
    };
    let mut found: BTreeSet<_> = texts(object, "/spec/gateways").map(full).collect();
    if found.is_empty() {
        found.insert(SIDECARS.to_owned());
    }
    found
}

/// What routes lack, each in one sentence that says what to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// They do not follow the header everywhere.
    pub header: Option<String>,
    /// The default route does not serve what it should.
    pub default: Option<String>,
}

impl Lacking {
    /// As the state machine wants it.
    #[must_use]
    pub fn as_input(&self) -> ForeignRoutes<'_> {
        ForeignRoutes {
            header: self.header.as_deref(),
            default: self.default.as_deref(),
        }
    }
}

/// What the VirtualServices that are not ours lack for a rollout.
#[must_use]
pub fn lacking(state: &RolloutState, mesh: &Mesh, theirs: &Theirs) -> Lacking {
    if mesh.manage {
        let other = contesting(state, mesh, theirs).map(|id| {
            format!(
                "{id} routes the same host: delete it, or keep it and set spec.route.manage to false"
            )
        });
        return Lacking {
            header: other.clone(),
            default: other,
        };
    }
    let mut found = Lacking::default();
    for host in routes::main_hosts(state) {
        let routing = theirs.routing(host, mesh);
        let mut routing: Vec<_> = routing
            .into_iter()
            .filter_map(|(id, routes)| lacking_in(id, routes, state))
            .collect();
        if routing.is_empty() {
            let missing = format!(
                "no VirtualService routes {host}, apart from any that Serin made: write one that follows the header {DEFAULT_ROUTE_HEADER} and delete Serin's, or set spec.route.manage to true"
            );
            routing.push(Lacking {
                header: Some(missing.clone()),
                default: Some(missing),
            });
        }
        for Lacking { header, default } in routing {
            found.header = found.header.or(header);
            found.default = found.default.or(default);
        }
    }
    found
}

/// One that names a host of ours for a proxy of ours.
fn contesting<'a>(state: &RolloutState, mesh: &Mesh, theirs: &'a Theirs) -> Option<&'a ObjectId> {
    let naming = state.hosts.iter().flat_map(|host| theirs.naming(host));
    let contesting = naming.filter(|(_, it)| it.is_for(mesh));
    contesting.map(|(id, _)| id).min()
}

/// What one of them lacks; `None`: it has no say in requests to these paths, as where several have a host in common.
fn lacking_in(id: &ObjectId, routes: &Routes, state: &RolloutState) -> Option<Lacking> {
    let route = |header: Option<&VariantRef>| {
        let header = header.map(|version| version.route.as_str());
        first_route(&routes.http, &id.namespace, &state.paths, header)
    };
    let leads_to = |header: Option<&VariantRef>, to: &VariantRef| {
        let found = route(header).and_then(|found| found.destination);
        let wanted = to.destination.as_ref();
        found.is_some_and(|found| wanted.is_some_and(|it| found.place() == it.place()))
    };
    // After a release nobody has the header.
    let versions = state
        .in_progress()
        .into_iter()
        .flat_map(|release| release.variants());
    let mut versions = versions.collect::<Vec<_>>();
    if route(None).is_none() && versions.iter().all(|it| route(Some(it)).is_none()) {
        return None;
    }
    versions.retain(|version| !leads_to(Some(version), version));
    let mut wrong = versions.into_iter();
    let header = wrong.next().map(|version| {
        format!(
            "{id} does not send {} with '{DEFAULT_ROUTE_HEADER}: {}' to {}: add such a route before the default one",
            state.paths,
            version.route,
            place(version)
        )
    });
    let wanted = state.default_route();
    let default = (!leads_to(None, wanted)).then(|| {
        format!(
            "the default route of {id} for {} does not lead to {}, which serves version {}: change it, and nothing else",
            state.paths,
            place(wanted),
            wanted.version
        )
    });
    Some(Lacking { header, default })
}

/// Where a request without the header goes by somebody's own routes: what is live when no status says so.
#[must_use]
pub fn default_route(plan: &Plan, theirs: &Theirs) -> Option<Routed> {
    let mesh = plan.mesh.as_ref()?;
    let mut hosts = plan.hosts.iter().map(|host| {
        let routing = theirs.routing(host, mesh).into_iter();
        let routes =
            routing.filter_map(|(id, it)| first_route(&it.http, &id.namespace, &plan.paths, None));
        routes.collect::<Vec<_>>()
    });
    // The first host that anybody routes has the word, also where that is no single place.
    let routes = hosts.find(|routes| !routes.is_empty())?;
    let destination = routes.into_iter().find_map(|route| route.destination)?;
    Some(Routed {
        route: destination
            .subset
            .clone()
            .unwrap_or_else(|| destination.host.clone()),
        destination: Some(destination),
    })
}

fn place(version: &VariantRef) -> String {
    match &version.destination {
        Some(Destination {
            host,
            subset: Some(subset),
            ..
        }) => format!("subset '{subset}' of {host}"),
        Some(Destination { host, .. }) => host.clone(),
        None => version.route.clone(),
    }
}

/// A route that takes a request.
#[derive(Debug, Default)]
struct Route {
    /// Its only destination; `None`: it splits by weights, or leads elsewhere.
    destination: Option<Destination>,
}

/// The first route that takes a request to these paths with this value of the header. Redirects and answers of the proxy
/// itself are somebody else's special case.
fn first_route(
    http: &Value,
    namespace: &str,
    paths: &Paths,
    header: Option<&str>,
) -> Option<Route> {
    let taken = http.as_array()?.iter().find(|route| {
        let matches = route.get("match").and_then(Value::as_array);
        let answers = ["redirect", "directResponse"]
            .iter()
            .any(|it| route.get(it).is_some());
        !answers
            && matches
                .is_none_or(|any| any.is_empty() || any.iter().any(|it| takes(it, paths, header)))
    })?;
    let destinations = taken.get("route").and_then(Value::as_array);
    let Some([only]) = destinations.map(Vec::as_slice) else {
        return Some(Route::default());
    };
    let text = |field: &str| {
        let found = only.pointer(&format!("/destination/{field}"));
        found.and_then(Value::as_str)
    };
    let destination = text("host").map(|host| Destination {
        host: full_name(host, namespace),
        subset: text("subset").map(str::to_owned),
        labels: LiteMap::new(),
    });
    Some(Route { destination })
}

/// Whether a match takes such a request. What it asks beyond path and header only some requests have: then it does not
/// take all, and somebody else's special case is not ours to judge.
fn takes(wanted: &Value, paths: &Paths, header: Option<&str>) -> bool {
    let Some(fields) = wanted.as_object() else {
        return false;
    };
    fields.iter().all(|(field, value)| match field.as_str() {
        "name" | "gateways" | "ignoreUriCase" => true,
        "uri" => takes_path(value, paths),
        "headers" => value.as_object().is_some_and(|headers| {
            headers.iter().all(|(name, condition)| {
                name.eq_ignore_ascii_case(DEFAULT_ROUTE_HEADER)
                    && header.is_some_and(|it| takes_text(condition, it))
            })
        }),
        "withoutHeaders" => value.as_object().is_some_and(|headers| {
            headers
                .keys()
                .all(|name| name.eq_ignore_ascii_case(DEFAULT_ROUTE_HEADER) && header.is_none())
        }),
        _ => false,
    })
}

fn takes_text(condition: &Value, text: &str) -> bool {
    let is = |kind: &str| condition.get(kind).and_then(Value::as_str);
    is("exact").is_some_and(|it| it == text)
        || is("prefix").is_some_and(|it| text.starts_with(it))
        || condition.as_object().is_some_and(serde_json::Map::is_empty)
}

fn takes_path(condition: &Value, paths: &Paths) -> bool {
    let regex = condition.get("regex").and_then(Value::as_str);
    let as_we_write = match paths {
        Paths::Template(_) => regex == Some(paths.expression().as_str()),
        _ => false,
    };
    as_we_write || takes_text(condition, paths.text())
}

#[cfg(test)]
mod tests;

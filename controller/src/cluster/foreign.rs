//! Routes that somebody else owns: whether they follow the header, and where their default route leads. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use serin_filter_core::config::DEFAULT_ROUTE_HEADER;

use super::object::{Kind, ObjectId};
use crate::driver::Routed;
use crate::paths::Paths;
use crate::rollout::{ForeignRoutes, RolloutState};
use crate::validate::{Destination, Mesh, VariantRef};

/// VirtualServices that are not ours, by the hosts that they route.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    /// Of each no more than its hosts and routes.
    objects: BTreeMap<ObjectId, (Vec<String>, Value)>,
    by_host: BTreeSet<(String, ObjectId)>,
}

impl Theirs {
    /// One is like this now.
    pub fn insert(&mut self, id: ObjectId, object: &Value) {
        self.remove(&id);
        let hosts = hosts(&id, object);
        for host in &hosts {
            self.by_host.insert((host.clone(), id.clone()));
        }
        let routes = object.pointer("/spec/http").cloned();
        self.objects.insert(id, (hosts, routes.unwrap_or_default()));
    }

    /// One is gone.
    pub fn remove(&mut self, id: &ObjectId) {
        if let Some((hosts, _)) = self.objects.remove(id) {
            for host in hosts {
                self.by_host.remove(&(host, id.clone()));
            }
        }
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.keys()
    }

    /// The first that routes one of these hosts, and its routes.
    fn of_hosts(&self, hosts: &[String]) -> Option<(&ObjectId, &Value)> {
        let first = |host: &String| {
            let host = host.to_ascii_lowercase();
            let begin = (host.clone(), ObjectId::first(Kind::VirtualService));
            let (found, id) = self.by_host.range(begin..).next()?;
            (*found == host).then_some(id)
        };
        let id = hosts.iter().filter_map(first).min()?;
        let (_, routes) = self.objects.get(id)?;
        Some((id, routes))
    }
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
    let of_hosts = theirs.of_hosts(&state.hosts);
    if mesh.manage {
        let other = of_hosts.map(|(id, _)| {
            format!(
                "{id} routes the same host: delete it, or keep it and set spec.route.manage to false"
            )
        });
        return Lacking {
            header: other.clone(),
            default: other,
        };
    }
    let Some((id, routes)) = of_hosts else {
        let missing = format!(
            "no VirtualService routes {}: write one that follows the header {DEFAULT_ROUTE_HEADER}, or set spec.route.manage to true",
            state.hosts.join(", ")
        );
        return Lacking {
            header: Some(missing.clone()),
            default: Some(missing),
        };
    };
    let versions = state
        .release
        .iter()
        .flat_map(|release| std::iter::once(&release.stable).chain(release.arms()));
    let mut wrong =
        versions.filter(|version| !leads_to(routes, &state.paths, Some(version), version));
    let header = wrong.next().map(|version| {
        format!(
            "{id} does not send {} with '{DEFAULT_ROUTE_HEADER}: {}' to {}: add such a route before the default one",
            state.paths,
            version.route,
            place(version)
        )
    });
    let wanted = state.default_route();
    let default = (!leads_to(routes, &state.paths, None, wanted)).then(|| {
        format!(
            "the default route of {id} for {} does not lead to {}, which serves version {}: change it, and nothing else",
            state.paths,
            place(wanted),
            wanted.version
        )
    });
    Lacking { header, default }
}

/// Where a request without the header goes by somebody's own routes: what is live when no status says so.
#[must_use]
pub fn default_route(hosts: &[String], paths: &Paths, theirs: &Theirs) -> Option<Routed> {
    let (_, routes) = theirs.of_hosts(hosts)?;
    let destination = first_route(routes, paths, None)?;
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

/// The hosts that an object routes, in small letters; a name without dots is one of the object's namespace.
fn hosts(id: &ObjectId, object: &Value) -> Vec<String> {
    let hosts = object.pointer("/spec/hosts").and_then(Value::as_array);
    let named = hosts.into_iter().flatten().filter_map(Value::as_str);
    let whole = |it: &str| {
        if it.contains(['.', '*']) {
            it.to_ascii_lowercase()
        } else {
            format!("{it}.{}.svc.cluster.local", id.namespace).to_ascii_lowercase()
        }
    };
    named.map(whole).collect()
}

fn leads_to(routes: &Value, paths: &Paths, header: Option<&VariantRef>, to: &VariantRef) -> bool {
    let header = header.map(|version| version.route.as_str());
    let found = first_route(routes, paths, header);
    found
        .zip(to.destination.as_ref())
        .is_some_and(|(found, wanted)| found.host == wanted.host && found.subset == wanted.subset)
}

/// The only destination of the first route that takes a request to these paths with this value of the header.
fn first_route(routes: &Value, paths: &Paths, header: Option<&str>) -> Option<Destination> {
    let taken = routes.as_array()?.iter().find(|route| {
        let matches = route.get("match").and_then(Value::as_array);
        matches.is_none_or(|any| any.is_empty() || any.iter().any(|it| takes(it, paths, header)))
    })?;
    let destinations = taken.get("route")?.as_array()?;
    let [only] = destinations.as_slice() else {
        return None;
    };
    let text = |field: &str| {
        let found = only.pointer(&format!("/destination/{field}"));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    Some(Destination {
        host: text("host")?.to_ascii_lowercase(),
        subset: text("subset"),
        labels: BTreeMap::new(),
    })
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

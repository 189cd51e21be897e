//! What the controller may do, and what people may: one table, from which the manifests are made and by which the tests
//! let the controller run. What is not here it cannot do. It reads no Secret: what it has to know of one is mounted.

use serde_json::{Value, json};

use super::names::{GROUP, NAMESPACE, PLURAL};
use super::plugin::NAME;
use crate::crd::{GENERATED, yaml};

/// Name of the service account, and of the roles bound to it.
pub const ACCOUNT: &str = "serin";
/// API group of all roles.
const RBAC: &str = "rbac.authorization.k8s.io";

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// API group; empty: the core's.
    pub group: &'static str,
    /// Resources.
    pub resources: &'static [&'static str],
    /// What may be done with them.
    pub verbs: &'static [&'static str],
    /// The only objects meant; empty: all.
    pub names: &'static [&'static str],
    /// What for.
    pub reason: &'static str,
}

impl Grant {
    fn rule(&self) -> Value {
        let mut rule = json!({
            "apiGroups": [self.group],
            "resources": self.resources,
            "verbs": self.verbs,
        });
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

const OWNED: &[&str] = &["get", "list", "watch", "create", "patch", "update"];
const STATUS: &str = "modelrollouts/status";

/// What the controller does where rollouts, routes and plugins are.
pub const CONTROLLER: &[Grant] = &[
    Grant {
        group: GROUP,
        resources: &[PLURAL],
        verbs: &["get", "list", "watch", "patch"],
        names: &[],
        reason: "reads rollouts; patches nothing of them but its finalizer",
    },
    Grant {
        group: GROUP,
        resources: &[STATUS],
        verbs: &["update"],
        names: &[],
        reason: "says what it sees, and keeps there what it must remember",
    },
    Grant {
        group: "extensions.istio.io",
        resources: &["wasmplugins", "trafficextensions"],
        verbs: OWNED,
        names: &[],
        reason: "one object for each proxy namespace, or one for the mesh; sees those of others that overlap",
    },
    Grant {
        group: "extensions.istio.io",
        resources: &["wasmplugins", "trafficextensions"],
        verbs: &["delete"],
        names: &[NAME],
        reason: "its own object, where no rollout wants it any more",
    },
    Grant {
        group: "networking.istio.io",
        resources: &["virtualservices", "destinationrules"],
        verbs: OWNED,
        names: &[],
        reason: "routes of rollouts with `route.manage: true`; of others it reads whether they follow the header",
    },
    Grant {
        group: "events.k8s.io",
        resources: &["events"],
        verbs: &["create", "patch"],
        names: &[],
        reason: "tells what happens to a rollout",
    },
];

/// What it does in its own namespace.
pub const INSTALLATION: &[Grant] = &[
    Grant {
        group: "coordination.k8s.io",
        resources: &["leases"],
        verbs: &["create"],
        names: &[],
        reason: "makes the Lease when there is none; a name cannot bound that",
    },
    Grant {
        group: "coordination.k8s.io",
        resources: &["leases"],
        verbs: &["get", "update"],
        names: &["serin-controller"],
        reason: "one of its like writes at a time",
    },
];

/// Whoever may look.
pub const VIEW: &[Grant] = &[Grant {
    group: GROUP,
    resources: &[PLURAL, STATUS],
    verbs: &["get", "list", "watch"],
    names: &[],
    reason: "sees rollouts",
}];

/// Whoever is on call: `kubectl serin promote`, `abort` and so on are patches of an annotation.
pub const OPERATE: &[Grant] = &[Grant {
    group: GROUP,
    resources: &[PLURAL],
    verbs: &["get", "list", "watch", "patch"],
    names: &[],
    reason: "sees rollouts and asks for actions",
}];

/// Whoever owns models.
pub const EDIT: &[Grant] = &[Grant {
    group: GROUP,
    resources: &[PLURAL],
    verbs: &[
        "get", "list", "watch", "patch", "create", "update", "delete",
    ],
    names: &[],
    reason: "releases models",
}];

/// The names by which the API server's proxy knows the endpoint.
const LIVE: &[Grant] = &[Grant {
    group: "",
    resources: &["services/proxy"],
    verbs: &["get"],
    names: &[
        "serin-controller",
        "serin-controller:http",
        "http:serin-controller:http",
    ],
    reason: "reads live numbers from the controller's endpoint",
}];

/// The controller's account with its roles in the whole cluster.
#[must_use]
pub fn controller() -> Vec<Value> {
    let own = "serin-installation";
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(Some(NAMESPACE), ACCOUNT),
        }),
        role(None, ACCOUNT, CONTROLLER),
        binding(None, ACCOUNT),
        role(Some(NAMESPACE), own, INSTALLATION),
        binding(Some(NAMESPACE), own),
    ]
}

/// What stands in the place of the cluster's role and its binding, where the controller works in some namespaces alone.
#[must_use]
pub fn in_namespaces(namespaces: &[String]) -> Vec<Value> {
    let roles = |namespace: &String| {
        [
            role(Some(namespace), ACCOUNT, CONTROLLER),
            binding(Some(namespace), ACCOUNT),
        ]
    };
    namespaces.iter().flat_map(roles).collect()
}

/// Roles for people. `serin-view` comes by itself to whoever has Kubernetes' own view, edit or admin role in a namespace.
/// The others are bound by whoever runs the installation: a rollout names hosts, which need not be of its own namespace,
/// and the controller writes routes for them, so who may write rollouts may route requests as one who writes
/// VirtualServices may. (`patch`, which actions need, reaches the spec as well.)
#[must_use]
pub fn people() -> Vec<Value> {
    let aggregated = |name: &str, grants: &[Grant], to: &[&str]| {
        let mut role = role(None, name, grants);
        for to in to {
            role["metadata"]["labels"][format!("{RBAC}/aggregate-to-{to}")] = json!("true");
        }
        role
    };
    vec![
        aggregated("serin-view", VIEW, &["view", "edit", "admin"]),
        aggregated("serin-operate", OPERATE, &[]),
        aggregated("serin-edit", EDIT, &[]),
        role(Some(NAMESPACE), "serin-live", LIVE),
    ]
}

/// The table for people to read.
#[must_use]
pub fn reasons() -> String {
    let sections = [
        ("the controller", CONTROLLER),
        ("the controller, in its own namespace", INSTALLATION),
        ("serin-view", VIEW),
        ("serin-operate", OPERATE),
        ("serin-edit", EDIT),
        ("serin-live", LIVE),
    ];
    let mut text = String::new();
    for (who, grants) in sections {
        text.push_str(&format!("# {who}:\n"));
        for grant in grants {
            let verbs = grant.verbs.join(", ");
            let resources = grant.resources.join(", ");
            text.push_str(&format!("#   {resources}: {verbs}: {}\n", grant.reason));
        }
    }
    text
}

/// The file `manifests/base/rbac.yaml`; with namespaces what stands in the place of the cluster's role there.
///
/// # Errors
/// A value that YAML has no words for.
pub fn file(namespaces: &[String]) -> Result<String, serde_saphyr::SerializeError> {
    if !namespaces.is_empty() {
        return Ok(format!("{GENERATED}{}", yaml(&in_namespaces(namespaces))?));
    }
    let objects = [controller(), people()].concat();
    Ok(format!("{GENERATED}{}{}", reasons(), yaml(&objects)?))
}

fn role(namespace: Option<&str>, name: &str, grants: &[Grant]) -> Value {
    let kind = if namespace.is_some() {
        "Role"
    } else {
        "ClusterRole"
    };
    let rules: Vec<_> = grants.iter().map(Grant::rule).collect();
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": kind,
        "metadata": metadata(namespace, name),
        "rules": rules,
    })
}

fn binding(namespace: Option<&str>, name: &str) -> Value {
    let (kind, of) = match namespace {
        Some(_) => ("RoleBinding", "Role"),
        None => ("ClusterRoleBinding", "ClusterRole"),
    };
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": kind,
        "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": RBAC, "kind": of, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
    })
}

fn metadata(namespace: Option<&str>, name: &str) -> Value {
    let mut metadata = json!({"name": name, "labels": {"app.kubernetes.io/name": "serin"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::super::names::SERVICE;
    use super::*;

    #[test]
    fn nobody_reads_secrets_or_has_a_wildcard() {
        let all = [CONTROLLER, INSTALLATION, VIEW, OPERATE, EDIT, LIVE].concat();
        for grant in all {
            assert!(!grant.resources.contains(&"secrets"), "{grant:?}");
            let words = grant.resources.iter().chain(grant.verbs);
            assert!(
                !words.chain([&grant.group]).any(|it| it.contains('*')),
                "{grant:?}"
            );
        }
    }

    #[test]
    fn in_namespaced_mode_nothing_is_bound_for_the_cluster() {
        let objects = in_namespaces(&["ml".to_owned(), "shop".to_owned()]);
        let kinds: Vec<_> = objects.iter().map(|it| it["kind"].as_str()).collect();
        assert!(
            !kinds
                .iter()
                .flatten()
                .any(|kind| kind.starts_with("Cluster")),
            "{kinds:?}"
        );
        let roles = objects.iter().filter(|it| it["kind"] == "Role");
        let places: Vec<_> = roles
            .map(|it| it["metadata"]["namespace"].clone())
            .collect();
        assert_eq!(places, ["ml", "shop"]);
    }

    #[test]
    fn the_endpoint_has_its_name() {
        let (service, port) = SERVICE;
        let name = format!("http:{service}:{port}");
        assert!(LIVE[0].names.contains(&name.as_str()));
    }
}

//! What `manifests/` holds, and the real API server: it takes all of it, refuses what is wrong with words that help, and
//! lets the controller's account do what its table says and nothing else.

mod mistakes;
mod serving;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams, ValidationDirective};
use serde_json::{Value, json};
use serin_controller::cluster::rbac::{self, Grant};
use serin_controller::crd;
use serin_tests::cluster::control_plane::{ControlPlane, Crds, DEV, SERIN, Setup, fresh_name};
use serin_tests::cluster::identity::ADMIN;
use serin_tests::cluster::objects;
use serin_tests::tools;
use serin_tests::wait::until_true;
use serin_tests::world::World;

use mistakes::mistakes;

/// Everything that may be done with a resource.
const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];
/// What the table does not name, and a thief would like.
const FOREIGN: [(&str, &str); 7] = [
    ("", "secrets"),
    ("", "configmaps"),
    ("", "pods"),
    ("", "namespaces"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
];

fn manifests() -> PathBuf {
    tools::repository().join("manifests")
}

fn example(name: &str) -> Value {
    let path = manifests().join("examples").join(name);
    objects::read_file(&path).unwrap().remove(0)
}

/// The shared control plane, with our resource.
async fn prepared() -> std::sync::Arc<ControlPlane> {
    let control_plane = ControlPlane::shared().await.unwrap();
    define(&control_plane).await;
    control_plane
}

async fn define(control_plane: &ControlPlane) {
    let client = control_plane.client().await.unwrap();
    objects::define(&client, vec![crd::definition()])
        .await
        .unwrap();
    for namespace in ["serin-system", "istio-system", "ml"] {
        control_plane.namespace(namespace).await.unwrap();
    }
}

/// What the API server says of a resource, which it does not keep; nothing: it takes it.
async fn verdict(client: &Client, resource: &Value) -> Option<String> {
    let namespace = resource["metadata"]["namespace"].as_str();
    let api = objects::api(client, "serin.dev/v1alpha1", "ModelRollout", namespace)
        .await
        .unwrap();
    let mut params = PatchParams::apply("serin-tests").dry_run();
    params.field_validation = Some(ValidationDirective::Strict);
    let name = resource["metadata"]["name"].as_str().unwrap();
    match api.patch(name, &params, &Patch::Apply(resource)).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

/// What kubectl says the API server would do with a file (`-f`) or an overlay (`-k`), the last of the `flags`. It must take
/// it without a warning: those are of what Kubernetes does not know, or of a pod that it would call unsafe.
async fn dry_run(control_plane: &ControlPlane, flags: &[&str], path: &Path) -> String {
    let dry = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
    ];
    let arguments = [&dry, flags].concat();
    let arguments = arguments.into_iter().map(OsStr::new);
    let arguments = arguments.chain([path.as_os_str()]);
    let output = control_plane.kubectl(ADMIN, arguments).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let place = path.display();
    assert!(
        output.status.success() && said.is_empty(),
        "{place}: {said}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn the_api_server_takes_every_overlay_as_it_is_applied() {
    let control_plane = prepared().await;
    let overlays = ["base", "overlays/namespaced", "overlays/namespaces-mode"];
    let namespace = objects::read_file(&manifests().join("base/namespace.yaml")).unwrap();
    let client = control_plane.client().await.unwrap();
    objects::apply_all(&client, namespace).await.unwrap();
    for overlay in overlays {
        let folder = manifests().join(overlay);
        let done = dry_run(&control_plane, &["--force-conflicts", "-k"], &folder).await;
        let cluster_wide = done.contains("clusterrole.rbac.authorization.k8s.io/serin serverside");
        assert_eq!(cluster_wide, overlay != "overlays/namespaced", "{done}");
    }
}

#[tokio::test]
async fn the_api_server_takes_every_example() {
    let control_plane = prepared().await;
    let client = control_plane.client().await.unwrap();
    let mut taken = 0;
    for entry in std::fs::read_dir(manifests().join("examples")).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().unwrap();
        assert_eq!(verdict(&client, &example(name)).await, None, "{name}");
        taken += 1;
    }
    assert_eq!(taken, 7, "an example for each strategy");
}

/// Sets the value at a JSON pointer; null takes it away.
fn set(resource: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = resource.pointer_mut(parent).unwrap();
    match (field.parse::<usize>(), value) {
        (Ok(position), value) => parent[position] = value,
        (Err(_), Value::Null) => drop(parent.as_object_mut().unwrap().remove(field).unwrap()),
        (Err(_), value) => parent[field] = value,
    }
}

#[tokio::test]
async fn each_kind_of_mistake_is_refused_with_the_field_and_what_to_do() {
    let control_plane = prepared().await;
    let client = control_plane.client().await.unwrap();
    let mut wrong = Vec::new();
    for (file, pointer, value, answer) in mistakes() {
        let mut resource = example(file);
        set(&mut resource, pointer, value.clone());
        match verdict(&client, &resource).await {
            Some(said) if said.to_lowercase().contains(&answer.to_lowercase()) => {}
            said => wrong.push(format!(
                "{pointer} = {value}\n  wanted: {answer}\n  said: {said:?}"
            )),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_unknown_field_is_refused_by_name() {
    let control_plane = prepared().await;
    let client = control_plane.client().await.unwrap();
    for place in [
        "/spec/anlysis",
        "/spec/variants/0/rolle",
        "/spec/assignment/rules/0/when/0/headers",
    ] {
        let mut resource = example("canary.yaml");
        set(&mut resource, place, json!("x"));
        let said = verdict(&client, &resource).await.unwrap_or_default();
        let field = place.rsplit('/').next().unwrap();
        assert!(
            said.contains(field)
                && (said.contains("field not declared in schema")
                    || said.contains("unknown field")),
            "{place}: {said}"
        );
    }
}

#[tokio::test]
async fn what_people_wrote_is_stored_as_it_is() {
    let control_plane = prepared().await;
    let client = control_plane.client().await.unwrap();
    let namespace = fresh_name("stored");
    control_plane.namespace(&namespace).await.unwrap();
    let mut resource = example("canary.yaml");
    resource["metadata"]["namespace"] = json!(namespace);
    resource["spec"]["fuse"] = json!({"consecutiveErrors": null, "cooldown": "10s"});
    resource["spec"]["assignment"]["key"] =
        json!([{"jwtClaim": ["org", "id"]}, {"jwtClaim": "sub"}]);
    let mut kept = objects::apply(&client, resource.clone())
        .await
        .unwrap()
        .data;
    numbers(&mut kept["spec"]);
    numbers(&mut resource["spec"]);
    assert_eq!(kept["spec"], resource["spec"]);
}

/// 3.0 comes back as 3.
fn numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(fields) => fields.values_mut().for_each(numbers),
        _ => {}
    }
}

#[tokio::test]
async fn people_see_the_columns() {
    let control_plane = prepared().await;
    let client = control_plane.client().await.unwrap();
    let namespace = fresh_name("columns");
    control_plane.namespace(&namespace).await.unwrap();
    let mut resource = example("canary.yaml");
    resource["metadata"]["namespace"] = json!(namespace);
    objects::apply(&client, resource).await.unwrap();
    let api = objects::api(
        &client,
        "serin.dev/v1alpha1",
        "ModelRollout",
        Some(&namespace),
    )
    .await
    .unwrap();
    let status = json!({"status": {
        "phase": "Progressing", "step": "2/4", "weight": "5%", "observed": "4.9%", "verdict": "Undecided",
        "message": "the weight holds", "checkpoint": "{}",
    }});
    let params = PatchParams::default();
    api.patch_status("fraud", &params, &Patch::Merge(&status))
        .await
        .unwrap();
    let table = async |more: &[&str]| {
        let mut arguments = vec!["get", "mro", "-n", &namespace];
        arguments.extend(more);
        let output = control_plane.kubectl(ADMIN, arguments).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let narrow = table(&[]).await;
    assert_eq!(
        narrow[0],
        [
            "NAME", "PHASE", "STEP", "WEIGHT", "OBSERVED", "VERDICT", "AGE"
        ]
    );
    assert_eq!(
        narrow[1][..6],
        ["fraud", "Progressing", "2/4", "5%", "4.9%", "Undecided"]
    );
    let wide = table(&["-o", "wide"]).await;
    assert_eq!(wide[0].last().unwrap(), "MESSAGE");
    assert_eq!(wide[1][7..].join(" "), "the weight holds");
}

/// Whether a user may do something.
async fn may(
    client: &Client,
    namespace: Option<&str>,
    verb: &str,
    group: &str,
    resource: &str,
    name: Option<&str>,
) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: namespace.map(str::to_owned),
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: Some(subresource.to_owned()),
                name: name.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.unwrap();
    answer.status.is_some_and(|status| status.allowed)
}

/// Waits for a permission: the API server learns of new roles through watches of its own.
async fn allowed(what: &str, may: impl AsyncFnMut() -> bool) {
    until_true(Duration::from_secs(30), what, may)
        .await
        .unwrap();
}

/// Whether a user may do in a namespace what the grants say, and nothing else with these resources.
async fn exactly(client: &Client, namespace: &str, grants: &[Grant]) {
    // What is granted first: a refusal says nothing before the roles are known.
    for wanted in [true, false] {
        for grant in grants {
            let name = grant.names.first().copied();
            for resource in grant.resources {
                let granted: Vec<_> = grants
                    .iter()
                    .filter(|it| it.group == grant.group && it.resources.contains(resource))
                    .filter(|it| it.names.is_empty() || it.names == grant.names)
                    .flat_map(|it| it.verbs.iter().copied())
                    .collect();
                let verbs = VERBS.iter().filter(|it| granted.contains(it) == wanted);
                for verb in verbs {
                    let what = format!("{verb} {resource} in {namespace}");
                    let may = async || {
                        may(client, Some(namespace), verb, grant.group, resource, name).await
                    };
                    if wanted {
                        allowed(&what, may).await;
                    } else {
                        assert!(!may().await, "{what}");
                    }
                }
            }
        }
    }
}

async fn nothing_else(client: &Client) {
    for (group, resource) in FOREIGN {
        for verb in VERBS {
            let allowed = may(client, None, verb, group, resource, None).await;
            assert!(!allowed, "{verb} {resource}");
        }
    }
}

/// A control plane of one's own: on the shared one other tests bind roles to the same account.
async fn own(name: &str) -> ControlPlane {
    let world = World::new(name).unwrap();
    let control_plane = ControlPlane::start(&world, Setup::default()).await.unwrap();
    control_plane.install_crds(&[Crds::Istio]).await.unwrap();
    define(&control_plane).await;
    control_plane
}

#[tokio::test]
async fn the_controller_may_do_what_its_table_says_and_nothing_else() {
    let control_plane = own("rbac").await;
    let admin = control_plane.client().await.unwrap();
    let roles = objects::read_file(&manifests().join("base/rbac.yaml")).unwrap();
    objects::apply_all(&admin, roles).await.unwrap();
    let serin = control_plane.client_as(SERIN).await.unwrap();
    exactly(&serin, "ml", rbac::CONTROLLER).await;
    exactly(&serin, "serin-system", rbac::INSTALLATION).await;
    assert!(
        !may(
            &serin,
            Some("ml"),
            "create",
            "coordination.k8s.io",
            "leases",
            None
        )
        .await
    );
    let other = Some("somebody-elses");
    assert!(
        !may(
            &serin,
            Some("serin-system"),
            "update",
            "coordination.k8s.io",
            "leases",
            other
        )
        .await
    );
    nothing_else(&serin).await;
}

#[tokio::test]
async fn people_may_do_what_their_role_says_and_nothing_else() {
    let control_plane = own("roles-of-people").await;
    let admin = control_plane.client().await.unwrap();
    let roles = objects::read_file(&manifests().join("base/rbac.yaml")).unwrap();
    objects::apply_all(&admin, roles).await.unwrap();
    let dev = control_plane.client_as(DEV).await.unwrap();
    for (role, namespace, grants) in [
        ("serin-view", "view", rbac::VIEW),
        ("serin-operate", "operate", rbac::OPERATE),
        ("serin-edit", "edit", rbac::EDIT),
    ] {
        control_plane.namespace(namespace).await.unwrap();
        bind(&admin, namespace, "ClusterRole", role).await;
        exactly(&dev, namespace, grants).await;
    }
    // The endpoint's live numbers, and no other service.
    bind(&admin, "serin-system", "Role", "serin-live").await;
    let proxy = async |service| {
        let system = Some("serin-system");
        may(&dev, system, "get", "", "services/proxy", Some(service)).await
    };
    allowed("live numbers", async || {
        proxy("http:serin-controller:http").await
    })
    .await;
    assert!(!proxy("another").await);
    nothing_else(&dev).await;
}

async fn bind(admin: &Client, namespace: &str, kind: &str, role: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": format!("{role}-dev"), "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": DEV}],
    });
    objects::apply(admin, binding).await.unwrap();
}

#[tokio::test]
async fn in_namespaced_mode_the_controller_may_do_nothing_elsewhere() {
    let control_plane = own("namespaced").await;
    control_plane.namespace("shop").await.unwrap();
    let admin = control_plane.client().await.unwrap();
    let overlay = manifests().join("overlays/namespaced");
    let output = control_plane
        .kubectl(ADMIN, ["kustomize".as_ref(), overlay.as_os_str()])
        .await
        .unwrap();
    let all = objects::read(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let roles = all.into_iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap();
        kind.contains("Role") || kind == "ServiceAccount"
    });
    objects::apply_all(&admin, roles.collect()).await.unwrap();
    let serin = control_plane.client_as(SERIN).await.unwrap();
    exactly(&serin, "ml", rbac::CONTROLLER).await;
    exactly(&serin, "istio-system", rbac::CONTROLLER).await;
    for grant in rbac::CONTROLLER {
        for resource in grant.resources {
            for verb in VERBS {
                let allowed = may(&serin, Some("shop"), verb, grant.group, resource, None).await;
                assert!(!allowed, "{verb} {resource} in shop");
            }
        }
    }
    nothing_else(&serin).await;
}

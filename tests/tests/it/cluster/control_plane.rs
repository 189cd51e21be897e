//! The harness itself: what the other tests of the cluster stand on.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serin_tests::cluster::control_plane::{ControlPlane, DEV, SERIN, Setup, fresh_name};
use serin_tests::cluster::identity::ADMIN;
use serin_tests::cluster::objects;
use serin_tests::world::World;

/// A role for the controller's account, and nothing for anybody else.
const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, namespace: serin-system, name: serin}]
";

fn config_map(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

#[tokio::test]
async fn a_user_may_do_what_roles_say_and_nothing_else() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = fresh_name("roles");
    control_plane.namespace(&namespace).await.unwrap();
    control_plane.apply(ROLE).await.unwrap();
    let maps = async |user| {
        Api::<ConfigMap>::namespaced(control_plane.client_as(user).await.unwrap(), &namespace)
    };
    let admin = maps(ADMIN).await;
    let parameters = PostParams::default();
    admin.create(&parameters, &config_map("a")).await.unwrap();
    let serin = maps(SERIN).await;
    serin.get("a").await.unwrap();
    let refused = serin.create(&parameters, &config_map("b")).await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "{refused:?}"
    );
    let refused = maps(DEV).await.get("a").await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "{refused:?}"
    );
}

#[tokio::test]
async fn kubectl_comes_as_the_user_and_sees_the_definitions_of_others() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let arguments = ["get", "wasmplugins,podmonitors,scaledobjects", "-A"];
    let output = control_plane.kubectl(ADMIN, arguments).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = control_plane.kubectl(DEV, arguments).await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("User \"dev\" cannot list"),
        "{output:?}"
    );
}

#[test]
fn a_shared_control_plane_outlives_the_test_that_started_it() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let control_plane = first.block_on(ControlPlane::shared()).unwrap();
    drop(first);
    runtime().block_on(async {
        let again = ControlPlane::shared().await.unwrap();
        assert!(Arc::ptr_eq(&control_plane, &again));
        let client = again.client().await.unwrap();
        client.apiserver_version().await.unwrap();
    });
}

#[tokio::test]
async fn what_was_written_outlives_a_crash_of_etcd_and_of_the_api_server() {
    let world = World::new("crash").unwrap();
    let setup = Setup {
        fsync: true,
        ..Setup::default()
    };
    let mut control_plane = ControlPlane::start(&world, setup).await.unwrap();
    let folder = world.path().to_owned();
    drop(world);
    let maps = Api::<ConfigMap>::default_namespaced(control_plane.client().await.unwrap());
    let written = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .unwrap();
    control_plane.kill_etcd().await.unwrap();
    control_plane.kill_api().await.unwrap();
    maps.get("a").await.unwrap_err();
    control_plane.start_etcd().await.unwrap();
    control_plane.start_api().await.unwrap();
    // The same client, as a controller would go on with.
    let read = maps.get("a").await.unwrap();
    assert_eq!(
        read.metadata.resource_version,
        written.metadata.resource_version
    );
    control_plane.stop().await.unwrap();
    assert!(!folder.exists(), "a part still runs");
}

#[tokio::test]
async fn applied_twice_an_object_is_the_same() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let client = control_plane.client().await.unwrap();
    let namespace = fresh_name("twice");
    control_plane.namespace(&namespace).await.unwrap();
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {namespace}}}\ndata: {{a: b}}\n"
    );
    let versions = async || {
        control_plane.apply(&text).await.unwrap();
        let api = objects::api(&client, "v1", "ConfigMap", Some(&namespace)).await;
        api.unwrap()
            .get("a")
            .await
            .unwrap()
            .metadata
            .resource_version
    };
    assert_eq!(versions().await, versions().await);
}

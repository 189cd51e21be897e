//! The model server's own objects, plain and for KServe. KServe's controller is not there: what its webhooks would say of
//! them is not known, only that they are what its resource definitions declare.

use serin_tests::cluster::control_plane::Crds;

use super::{dry_run, manifests, prepared};

#[tokio::test]
async fn the_api_server_takes_the_model_server_with_and_without_kserve() {
    let control_plane = prepared().await;
    control_plane.install_crds(&[Crds::Kserve]).await.unwrap();
    for (file, kinds) in [
        (
            "serving/deployment.yaml",
            &["configmap", "deployment.apps", "service", "serviceaccount"][..],
        ),
        (
            "kserve/runtime.yaml",
            &["clusterservingruntime.serving.kserve.io"],
        ),
        (
            "kserve/inferenceservice.yaml",
            &["inferenceservice.serving.kserve.io"],
        ),
    ] {
        let path = manifests().join(file);
        let done = dry_run(&control_plane, &["-f"], &path).await;
        for kind in kinds {
            let line = format!("{kind}/");
            assert!(done.contains(&line), "{file}: no {kind} in\n{done}");
        }
    }
}

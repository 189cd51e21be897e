//! The model server's own objects, plain and for KServe. KServe's controller is not there: what its webhooks would say of
//! them is not known, only that they are what its resource definitions declare.

use serin_tests::cluster::control_plane::Crds;
use serin_tests::cluster::identity::ADMIN;

use super::{manifests, prepared};

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
        let output = control_plane
            .kubectl(
                ADMIN,
                [
                    "apply".as_ref(),
                    "--server-side".as_ref(),
                    "--dry-run=server".as_ref(),
                    "--validate=strict".as_ref(),
                    "-f".as_ref(),
                    path.as_os_str(),
                ],
            )
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let done = String::from_utf8_lossy(&output.stdout);
        // A warning is of what Kubernetes does not know, or of a pod that it would call unsafe.
        assert!(output.status.success() && said.is_empty(), "{file}: {said}");
        for kind in kinds {
            let line = format!("{kind}/");
            assert!(done.contains(&line), "{file}: no {kind} in\n{done}");
        }
    }
}

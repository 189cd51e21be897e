use super::*;
use crate::fixtures::{in_mesh, started_with};

fn module() -> Module {
    Module {
        url: "oci://registry/filter".to_owned(),
        sha256: Some("ab".to_owned()),
        pull_secret: Some("pull".to_owned()),
    }
}

fn sample() -> FilterConfig {
    let (_, state) = started_with(&in_mesh());
    config(
        render::section(&state).into_iter().collect(),
        7,
        Encoding::Plain,
    )
}

#[test]
fn a_config_reads_back_from_either_kind() {
    for kind in [Kind::WasmPlugin, Kind::TrafficExtension] {
        let owned = object(kind, "shop", &module(), &sample());
        assert_eq!(config_in(&owned.object), Some(sample()), "{kind:?}");
        assert_eq!(owned.id, id(kind, "shop"));
    }
}

#[test]
fn it_runs_where_the_request_leaves_and_survives_a_trap() {
    let plugin = object(Kind::WasmPlugin, "shop", &module(), &sample()).object;
    let spec = &plugin["spec"];
    assert_eq!(spec["match"], json!([{"mode": "CLIENT"}]));
    assert_eq!(spec["failStrategy"], "FAIL_RELOAD");
    assert_eq!(spec["sha256"], "ab");
    assert_eq!(spec["imagePullSecret"], "pull");
    let extension = object(
        Kind::TrafficExtension,
        "shop",
        &Module::default(),
        &sample(),
    )
    .object;
    assert_eq!(extension["spec"]["match"], json!([{"mode": "CLIENT"}]));
    assert_eq!(extension["spec"]["wasm"].get("sha256"), None);
}

#[test]
fn a_plugin_of_another_kind_holds_no_config_of_ours() {
    assert_eq!(
        config_in(&json!({"spec": {"url": "x", "pluginConfig": {"a": 1}}})),
        None
    );
    assert_eq!(config_in(&json!({"spec": {"url": "x"}})), None);
    assert_eq!(config_in(&json!({})), None);
}

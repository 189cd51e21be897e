//! The filter's object: which proxies run it, and with which config. Pure.

use serde_json::{Value, json};
use serin_filter_core::config::{FilterConfig, RolloutConfig};
use serin_filter_core::stat::Encoding;

use super::object::{Kind, ObjectId, Owned};
use crate::render;
use crate::validate::RolloutName;

/// Name of the object, and of the plugin in the proxies.
pub const NAME: &str = "serin";

/// What an object may be large, in bytes of JSON: the API server takes 1.5 MiB as a request, etcd as a value, and the
/// proxies' own limit of a message is 4 MiB for all of a proxy's config.
pub const LIMIT: usize = 1_000_000;

/// Where the proxies get the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// `oci://`, `https://` or `file://`.
    pub url: String,
    /// Of the module, in hexadecimal.
    pub sha256: Option<String>,
    /// Secret in the proxy's namespace for the registry.
    pub pull_secret: Option<String>,
}

/// The object of a namespace.
#[must_use]
pub fn object(kind: Kind, namespace: &str, module: &Module, config: &FilterConfig) -> Owned {
    let mut wasm = json!({
        "url": module.url,
        "failStrategy": "FAIL_RELOAD",
        "pluginName": NAME,
        "pluginConfig": config
    });
    if let Some(sha256) = &module.sha256 {
        wasm["sha256"] = json!(sha256);
    }
    if let Some(secret) = &module.pull_secret {
        wasm["imagePullSecret"] = json!(secret);
    }
    // The caller chooses; what arrives has been chosen for.
    let client = json!([{"mode": "CLIENT"}]);
    let spec = if kind == Kind::TrafficExtension {
        json!({"match": client, "wasm": wasm})
    } else {
        wasm["match"] = client;
        wasm
    };
    Owned::new(id(kind, namespace), spec)
}

/// Bytes of an object without any rollout.
#[must_use]
pub fn frame(kind: Kind, module: &Module, stats: Encoding) -> usize {
    let config = config(Vec::new(), u64::MAX, stats);
    object(kind, NAME, module, &config).object.to_string().len()
}

/// Which object that is.
#[must_use]
pub fn id(kind: Kind, namespace: &str) -> ObjectId {
    ObjectId {
        kind,
        namespace: namespace.to_owned(),
        name: NAME.to_owned(),
    }
}

/// The plugin config in an object, whoever wrote it; none where it is no plugin of this kind.
#[must_use]
pub fn config_in(object: &Value) -> Option<FilterConfig> {
    let spec = object.get("spec")?;
    let wasm = spec.get("wasm").unwrap_or(spec);
    let text = wasm.get("pluginConfig")?.to_string();
    FilterConfig::parse(text.as_bytes()).ok()
}

/// The rollouts in an object, as far as they can be read.
#[must_use]
pub fn rollouts_in(object: &Value) -> Vec<RolloutName> {
    let wasm = object.pointer("/spec/wasm").or(object.get("spec"));
    let rollouts = wasm.and_then(|wasm| wasm.pointer("/pluginConfig/rollouts")?.as_array());
    let names = rollouts.into_iter().flatten();
    names
        .filter_map(|rollout| name(rollout.get("name")?.as_str()?))
        .collect()
}

/// The rollout that a section is about.
#[must_use]
pub fn name(section: &str) -> Option<RolloutName> {
    let (namespace, name) = section.split_once('/')?;
    Some(RolloutName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// A config of these sections.
#[must_use]
pub fn config(sections: Vec<RolloutConfig>, generation: u64, stats: Encoding) -> FilterConfig {
    FilterConfig {
        stats,
        ..render::filter_config(sections, generation)
    }
}

#[cfg(test)]
mod tests;

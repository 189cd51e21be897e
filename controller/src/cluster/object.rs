//! Objects of the API server that the controller owns whole. Pure.

use std::fmt;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::names;
use super::routes::LIVE;

/// Longest name of an object whose name is also a label value.
const LONGEST: usize = 63;

/// Kinds that the controller writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Subsets of a service. First: a route to a subset that is not there is an outage.
    DestinationRule,
    /// Routes of a host. Before the plugin: a header that no route knows ends at the default route.
    VirtualService,
    /// The filter and its config.
    WasmPlugin,
    /// The same under its newer name.
    TrafficExtension,
}

impl Kind {
    /// Group and version.
    #[must_use]
    pub fn api_version(self) -> &'static str {
        match self {
            Self::DestinationRule | Self::VirtualService => "networking.istio.io/v1",
            Self::WasmPlugin | Self::TrafficExtension => "extensions.istio.io/v1alpha1",
        }
    }

    /// Name in objects.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DestinationRule => "DestinationRule",
            Self::VirtualService => "VirtualService",
            Self::WasmPlugin => "WasmPlugin",
            Self::TrafficExtension => "TrafficExtension",
        }
    }

    /// Name in URLs.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::DestinationRule => "destinationrules",
            Self::VirtualService => "virtualservices",
            Self::WasmPlugin => "wasmplugins",
            Self::TrafficExtension => "trafficextensions",
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Kind.
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// An object as it is to be, without what only the server knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Owned {
    /// Which.
    pub id: ObjectId,
    /// As applied.
    pub object: Value,
}

impl Owned {
    /// With our label.
    #[must_use]
    pub fn new(id: ObjectId, spec: Value) -> Self {
        let (label, value) = names::MANAGED_BY;
        let mut object = json!({
            "apiVersion": id.kind.api_version(),
            "kind": id.kind.name(),
            "metadata": {
                "name": id.name,
                "namespace": id.namespace,
                "labels": {label: value}
            }
        });
        object["spec"] = as_stored(spec);
        Self { id, object }
    }

    /// With an annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: String) -> Self {
        self.object["metadata"]["annotations"][name] = Value::String(value);
        self
    }

    /// Whether the server has it like this: spec, our labels and our annotations.
    #[must_use]
    pub fn is(&self, present: &Value) -> bool {
        let spec = |object: &Value| object.get("spec").cloned();
        let metadata = |field: &str| {
            let wanted = self.object.pointer(&format!("/metadata/{field}"));
            let Some(wanted) = wanted.and_then(Value::as_object) else {
                return true;
            };
            let found = present.pointer(&format!("/metadata/{field}"));
            wanted
                .iter()
                .all(|(name, value)| found.and_then(|found| found.get(name)) == Some(value))
        };
        spec(&self.object) == spec(present) && metadata("labels") && metadata("annotations")
    }
}

/// Numbers as the API server gives them back: it stores `10.0` as `10`, and the two are not equal here.
fn as_stored(value: Value) -> Value {
    /// Up to here every whole number is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(as_stored).collect()),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(fields.map(|(name, it)| (name, as_stored(it))).collect())
        }
        other => other,
    }
}

/// Whether the controller wrote an object. What it remembers in one is a sign as good as the label, which somebody may
/// have removed.
#[must_use]
pub fn is_ours(object: &Value) -> bool {
    let (label, value) = names::MANAGED_BY;
    let metadata = |kind: &str, name: &str| {
        let found = object.pointer(&format!("/metadata/{kind}"));
        found.and_then(|it| it.get(name)).and_then(Value::as_str)
    };
    metadata("labels", label) == Some(value) || metadata("annotations", LIVE).is_some()
}

/// The name of the object for a host: readable, and unique even where two hosts read alike.
#[must_use]
pub fn name(host: &str) -> String {
    let plain: String = host
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
        .collect();
    let hash = format!("{:08x}", xxh3_64(host.as_bytes()) & 0xffff_ffff);
    let room = LONGEST - "serin--".len() - hash.len();
    let plain: String = plain.chars().take(room).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() {
        format!("serin-{hash}")
    } else {
        format!("serin-{plain}-{hash}")
    }
}

#[cfg(test)]
mod tests;

//! Objects of the API server that the controller owns whole. Pure.

mod present;

pub use present::{Memory, Present, Print};

use std::fmt;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::names;

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

impl ObjectId {
    /// Before every other one of its kind.
    #[must_use]
    pub fn first(kind: Kind) -> Self {
        Self {
            kind,
            namespace: String::new(),
            name: String::new(),
        }
    }
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
        object["spec"] = spec;
        Self { id, object }
    }

    /// With an annotation.
    #[must_use]
    pub fn annotated(mut self, name: &str, value: String) -> Self {
        self.object["metadata"]["annotations"][name] = Value::String(value);
        self
    }

    /// Whether the server has it like this: spec, our label and our annotation.
    #[must_use]
    pub fn is(&self, present: &Present) -> bool {
        present.print.is(&Print::of(&self.object))
    }
}

/// Whether the controller wrote an object.
#[must_use]
pub fn is_ours(object: &Value) -> bool {
    label(object).and_then(Value::as_str) == Some(names::MANAGED_BY.1)
}

/// The label by which our objects are known.
fn label(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/labels")?.get(names::MANAGED_BY.0)
}

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
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

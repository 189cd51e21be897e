//! What is kept of an object of ours that is on the server: not the object itself, which may be large, but what shows
//! whether it is right, and what nobody else remembers.

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::{Kind, annotation, label};
use crate::cluster::plugin;
use crate::cluster::routes::LIVE;
use crate::validate::RolloutName;

/// An object of ours as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// What a write over it must have been computed from.
    pub resource_version: Option<String>,
    /// What it is.
    pub print: Print,
    /// What nobody else remembers.
    pub memory: Memory,
}

/// Stands for everything in an object that is ours: equal where the server would see no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    spec: u64,
    label: u64,
    live: Option<u64>,
}

/// What only the object on the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Of a DestinationRule: its subsets, as JSON.
    Subsets(String),
    /// Of a VirtualService: the default routes in it, as JSON.
    DefaultRoutes(String),
    /// Of a plugin: the rollouts that it holds, in order.
    Rollouts(Vec<RolloutName>),
}

impl Present {
    /// What is to be kept of an object.
    #[must_use]
    pub fn of(kind: Kind, object: &Value) -> Self {
        let version = object.pointer("/metadata/resourceVersion");
        let memory = match kind {
            Kind::DestinationRule => {
                let subsets = object.pointer("/spec/subsets");
                Memory::Subsets(subsets.map(Value::to_string).unwrap_or_default())
            }
            Kind::VirtualService => {
                Memory::DefaultRoutes(annotation(object, LIVE).unwrap_or_default().to_owned())
            }
            Kind::WasmPlugin | Kind::TrafficExtension => {
                let mut names = plugin::rollouts_in(object);
                names.sort_unstable();
                Memory::Rollouts(names)
            }
        };
        Self {
            resource_version: version.and_then(Value::as_str).map(str::to_owned),
            print: Print::of(object),
            memory,
        }
    }

    /// Whether a plugin holds a rollout.
    #[must_use]
    pub fn holds(&self, name: &RolloutName) -> bool {
        matches!(&self.memory, Memory::Rollouts(names) if names.binary_search(name).is_ok())
    }
}

impl Print {
    /// Of an object, whether it is on the server or to be written.
    #[must_use]
    pub fn of(object: &Value) -> Self {
        Self {
            spec: digest(object.get("spec").unwrap_or(&Value::Null)),
            label: digest(label(object).unwrap_or(&Value::Null)),
            live: annotation(object, LIVE).map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes())),
        }
    }

    /// Whether an object with this print is all that is wanted. An annotation that is not wanted is somebody else's.
    #[must_use]
    pub fn is(&self, wanted: &Self) -> bool {
        (self.spec, self.label) == (wanted.spec, wanted.label)
            && wanted.live.is_none_or(|live| self.live == Some(live))
    }

    /// Whether both have the same spec.
    #[must_use]
    pub fn same_spec(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// A number that stands for a value, whatever the order of its fields.
fn digest(value: &Value) -> u64 {
    let mut hasher = Xxh3::new();
    feed(&mut hasher, value);
    hasher.digest()
}

fn feed(hasher: &mut Xxh3, value: &Value) {
    let mut tagged = |tag: u8, bytes: &[u8]| {
        hasher.update(&[tag]);
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        Value::Null => tagged(0, &[]),
        Value::Bool(it) => tagged(1, &[u8::from(*it)]),
        // 100.0 comes back from the server as 100.
        Value::Number(it) => match (it.as_i64(), it.as_f64()) {
            (Some(whole), _) => tagged(2, &whole.to_le_bytes()),
            #[allow(clippy::cast_possible_truncation, reason = "whole, and small enough")]
            (None, Some(float)) if float.fract() == 0.0 && float.abs() < 1e15 => {
                tagged(2, &(float as i64).to_le_bytes());
            }
            _ => tagged(3, it.to_string().as_bytes()),
        },
        Value::String(it) => tagged(4, it.as_bytes()),
        Value::Array(items) => {
            tagged(5, &(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(fields) => {
            tagged(6, &(fields.len() as u64).to_le_bytes());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, field) in fields {
                hasher.update(name.as_bytes());
                hasher.update(&[0xff]);
                feed(hasher, field);
            }
        }
    }
}

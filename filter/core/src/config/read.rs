//! Reading the JSON: what all rollouts share at once, the rollouts one by one.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::encoding;
use super::json::{At, Fields, Json, Object, Problem};
use super::{ConfigError, FilterConfig, RolloutConfig, VERSION};
use crate::stat::Encoding;

impl FilterConfig {
    /// Reads a configuration from JSON. What it says is checked by [`crate::table::RoutingTable::new`].
    ///
    /// # Errors
    /// The JSON is broken, a field is missing or of the wrong type, or the version is newer than [`VERSION`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let parts = Parts::parse(json)?;
        let rollouts = (0..parts.rollouts.len()).filter_map(|index| parts.rollout(json, index));
        Ok(Self {
            version: VERSION,
            rollouts: rollouts.collect::<Result<_, _>>()?,
            generation: parts.head.generation,
            route_header: parts.head.route_header,
            shadow_header: parts.head.shadow_header,
            stats: parts.head.stats,
        })
    }
}

/// All of a configuration but its rollouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// See [`FilterConfig::generation`].
    pub generation: u64,
    /// See [`FilterConfig::route_header`].
    pub route_header: String,
    /// See [`FilterConfig::shadow_header`].
    pub shadow_header: String,
    /// See [`FilterConfig::stats`].
    pub stats: Encoding,
}

/// A configuration of which the rollouts are found but not read yet, so that many of them can be read a few at a time.
#[derive(Debug)]
pub struct Parts {
    /// The rest.
    pub head: Head,
    /// Where the JSON of each rollout lies in that of the configuration.
    pub rollouts: Vec<Range<usize>>,
}

impl Parts {
    /// Reads all but the rollouts.
    ///
    /// # Errors
    /// As those of [`FilterConfig::parse`], unless they lie within a rollout.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let place = Cell::new("config");
        let document = Document(Some(&place)).read(json);
        let (fields, rollouts) = document.map_err(|error| {
            newer(json).unwrap_or_else(|| ConfigError::new(place.get(), error.to_string()))
        })?;
        let problem = Problem::new(true);
        let mut it = Object {
            path: String::new(),
            fields,
            problem: &problem,
        };
        // The version comes first: the rest of a newer format may not be what is expected here, and "unknown version"
        // is the message that helps.
        let version = it.must("version").natural();
        let head = Head {
            generation: it.must("generation").natural(),
            route_header: it
                .maybe("routeHeader")
                .map_or_else(super::default_route_header, At::text),
            shadow_header: it
                .maybe("shadowHeader")
                .map_or_else(super::default_shadow_header, At::text),
            stats: it.maybe("stats").map_or_else(Encoding::default, encoding),
        };
        let known = check_version(u32::try_from(version).unwrap_or(u32::MAX));
        if version != 0 {
            known.clone()?;
        }
        // A version that is missing or no number was reported, and reads as 0.
        let head = problem.or(head)?;
        known?;
        let missing = || ConfigError::new("config", "missing field `rollouts`");
        // The texts are slices of the document, so that their addresses tell their places.
        let start = json.as_ptr().addr();
        let place = |text: &RawValue| {
            let begin = text.get().as_ptr().addr().saturating_sub(start);
            begin..begin.saturating_add(text.get().len())
        };
        let rollouts = rollouts.ok_or_else(missing)?;
        Ok(Self {
            head,
            rollouts: rollouts.into_iter().map(place).collect(),
        })
    }

    /// Reads one rollout of the JSON that these are the parts of; none is left where the index is past the last.
    ///
    /// # Errors
    /// A field is missing or of the wrong type.
    pub fn rollout(&self, json: &[u8], index: usize) -> Option<Result<RolloutConfig, ConfigError>> {
        Some(read_rollout(index, self.text(json, index)?))
    }

    /// The JSON of one rollout.
    pub(crate) fn text<'j>(&self, json: &'j [u8], index: usize) -> Option<&'j [u8]> {
        json.get(self.rollouts.get(index)?.clone())
    }
}

/// Reads the rollout at this place of a configuration.
pub(crate) fn read_rollout(index: usize, text: &[u8]) -> Result<RolloutConfig, ConfigError> {
    decode(index, text, false).or_else(|_| decode(index, text, true))
}

/// Reads a rollout; its errors name their fields only where `paths` asks for that.
fn decode(index: usize, text: &[u8], paths: bool) -> Result<RolloutConfig, ConfigError> {
    let problem = Problem::new(paths);
    let path = problem.path(format_args!("rollouts[{index}]"));
    let json =
        serde_json::from_slice(text).map_err(|error| ConfigError::new(&path, error.to_string()))?;
    let rollout = RolloutConfig::decode(At {
        path,
        json,
        problem: &problem,
    });
    problem.or(rollout)
}

/// Refuses what another major version of the format would mean.
pub(crate) fn check_version(version: u32) -> Result<(), ConfigError> {
    if version == VERSION {
        return Ok(());
    }
    let advice = if version > VERSION {
        "is newer than this filter reads: upgrade the filter before the controller"
    } else {
        "was never published"
    };
    Err(ConfigError::new(
        "version",
        format!("version {version} {advice} (this filter reads version {VERSION})"),
    ))
}

/// Whether what cannot be read is of another version: that is then what to say.
fn newer(json: &[u8]) -> Option<ConfigError> {
    let (fields, _) = Document(None).read(json).ok()?;
    match fields.as_slice() {
        [(_, Json::Natural(version)), ..] => {
            check_version(u32::try_from(*version).unwrap_or(u32::MAX)).err()
        }
        _ => None,
    }
}

type Rollouts<'de> = Option<Vec<&'de RawValue>>;

/// The fields of the document, and apart from them its rollouts; the cell says what is being read. Without it, only the
/// version is read and all else skipped.
struct Document<'a>(Option<&'a Cell<&'static str>>);

impl Document<'_> {
    fn read(self, json: &[u8]) -> Result<(Fields<'_>, Rollouts<'_>), serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let document = self.deserialize(&mut reader)?;
        reader.end()?;
        Ok(document)
    }
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = (Fields<'de>, Rollouts<'de>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = (Fields<'de>, Rollouts<'de>);

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object with version, generation and rollouts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let (mut fields, mut rollouts) = (Vec::new(), None);
        while let Some(name) = access.next_key::<Json>()? {
            match self.0 {
                Some(place) if name.is("rollouts") => {
                    place.set("rollouts");
                    rollouts = Some(access.next_value()?);
                    place.set("config");
                }
                None if !name.is("version") => {
                    access.next_value::<IgnoredAny>()?;
                }
                _ => fields.push((name, access.next_value()?)),
            }
        }
        Ok((fields, rollouts))
    }
}

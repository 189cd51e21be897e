//! Reading the JSON: fast where it is right, and with the path of the field where it is not.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ConfigError, FilterConfig, RolloutConfig, VERSION};
use crate::stat::Encoding;

impl FilterConfig {
    /// Reads a configuration from JSON. What it says is checked by [`crate::table::RoutingTable::new`].
    ///
    /// # Errors
    /// The JSON is broken, a field is missing or of the wrong type, or the version is newer than [`VERSION`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let Parts { head, rollouts } = Parts::parse(json)?;
        let rollouts = rollouts.iter().enumerate();
        let rollouts = rollouts.map(|(index, text)| Parts::rollout(index, text));
        Ok(Self {
            version: VERSION,
            generation: head.generation,
            route_header: head.route_header,
            shadow_header: head.shadow_header,
            stats: head.stats,
            rollouts: rollouts.collect::<Result<_, _>>()?,
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
    /// The JSON of each rollout.
    pub rollouts: Vec<Box<RawValue>>,
}

impl Parts {
    /// Reads all but the rollouts.
    ///
    /// # Errors
    /// As those of [`FilterConfig::parse`], unless they lie within a rollout.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        struct Envelope {
            version: u32,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole {
            version: u32,
            generation: u64,
            #[serde(default = "super::default_route_header")]
            route_header: String,
            #[serde(default = "super::default_shadow_header")]
            shadow_header: String,
            #[serde(default)]
            stats: Encoding,
            rollouts: Vec<Box<RawValue>>,
        }
        // One look at all of it, where it is right. Where it is not, the version is read first and alone: the rest of a
        // newer format may not fit these types, and "unknown version" is the message that helps.
        let quick: Result<Whole, _> = serde_json::from_slice(json);
        let whole = match quick {
            Ok(whole) if whole.version == VERSION => whole,
            _ => {
                let Envelope { version } = read("config", json)?;
                check_version(version)?;
                read("config", json)?
            }
        };
        let head = Head {
            generation: whole.generation,
            route_header: whole.route_header,
            shadow_header: whole.shadow_header,
            stats: whole.stats,
        };
        let rollouts = whole.rollouts;
        Ok(Self { head, rollouts })
    }

    /// Reads one rollout.
    ///
    /// # Errors
    /// A field is missing or of the wrong type.
    pub fn rollout(index: usize, text: &RawValue) -> Result<RolloutConfig, ConfigError> {
        let json = text.get();
        // Keeping track of the path costs as much as the reading, so it is done for what is wrong, alone.
        serde_json::from_str(json)
            .or_else(|_| read(&format!("rollouts[{index}]"), json.as_bytes()))
    }
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

/// Reads a value; `at` is what an error calls the whole of it.
fn read<'de, T: Deserialize<'de>>(at: &str, json: &'de [u8]) -> Result<T, ConfigError> {
    let mut json = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let field = match (at, path.as_str()) {
            (at, ".") => at.to_owned(),
            ("config", path) => path.to_owned(),
            (at, path) => format!("{at}.{path}"),
        };
        ConfigError::new(field, error.inner().to_string())
    })?;
    json.end()
        .map_err(|error| ConfigError::new(at, error.to_string()))?;
    Ok(value)
}

//! The compiled configuration: everything a request needs, validated once, found in constant time.

use fxhash::FxHashMap;

use crate::config::{
    ConfigError, DEFAULT_ROUTE_HEADER, FilterConfig, KeySource, RolloutConfig, VariantConfig,
};
use crate::split::{BucketTable, Seeds};

mod check;

/// A validated configuration. It is only read after it was made, so requests in flight can keep the one they began
/// with.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    generation: u64,
    route_header: String,
    rollouts: Vec<Rollout>,
    hosts: FxHashMap<Vec<u8>, Host>,
}

/// The rollouts of one host.
#[derive(Clone, Debug, Default)]
struct Host {
    /// Number of segments of the longest prefix: no more of a path is ever looked at.
    depth: usize,
    /// Rollouts by path prefix without its trailing slash; that of the prefix `/` is empty.
    prefixes: FxHashMap<Vec<u8>, usize>,
}

/// A validated rollout.
#[derive(Clone, Debug)]
pub struct Rollout {
    name: String,
    variants: Vec<VariantConfig>,
    keys: Vec<KeySource>,
    seeds: Seeds,
    table: BucketTable,
    progressing: bool,
}

impl RoutingTable {
    /// Validates and compiles a configuration.
    ///
    /// # Errors
    /// The first field that is wrong, as a path into the JSON, with the reason and what to do.
    pub fn new(config: FilterConfig) -> Result<Self, ConfigError> {
        check::config(&config)?;
        let mut hosts: FxHashMap<Vec<u8>, Host> = FxHashMap::default();
        for (index, rollout) in config.rollouts.iter().enumerate() {
            let prefix = rollout.path_prefix.trim_end_matches('/');
            for (position, name) in rollout.hosts.iter().enumerate() {
                let host = hosts
                    .entry(name.to_ascii_lowercase().into_bytes())
                    .or_default();
                host.depth = host
                    .depth
                    .max(prefix.bytes().filter(|&byte| byte == b'/').count());
                let claimed = host.prefixes.insert(prefix.as_bytes().to_vec(), index);
                let other = claimed
                    .filter(|&other| other != index)
                    .and_then(|other| config.rollouts.get(other));
                if let Some(other) = other {
                    return Err(ConfigError::new(
                        format!("rollouts[{index}].hosts[{position}]"),
                        format!(
                            "rollouts \"{}\" and \"{}\" both claim host \"{name}\" with pathPrefix \"{}\": \
                             give one of them another host or prefix",
                            other.name, rollout.name, rollout.path_prefix
                        ),
                    ));
                }
            }
        }
        Ok(Self {
            generation: config.generation,
            route_header: config.route_header.to_ascii_lowercase(),
            rollouts: config.rollouts.into_iter().map(Rollout::new).collect(),
            hosts,
        })
    }

    /// Number of this configuration; 0 means that there are no rollouts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Name of the route header, in lower case.
    pub fn route_header(&self) -> &str {
        &self.route_header
    }

    /// The rollouts, in the order of the configuration.
    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// One rollout by its position.
    pub fn rollout(&self, index: usize) -> Option<&Rollout> {
        self.rollouts.get(index)
    }

    /// Position of the rollout that claims this host (with or without port, in any case) with the longest prefix of
    /// the path. The path is asked for only where the host has a prefix other than `/`.
    pub fn find(&self, host: Vec<u8>, path: impl FnOnce() -> Option<Vec<u8>>) -> Option<usize> {
        let mut name = host;
        name.truncate(without_port(&name).len());
        name.make_ascii_lowercase();
        let host = self.hosts.get(&name)?;
        let path = if host.depth == 0 {
            Vec::new()
        } else {
            path().unwrap_or_default()
        };
        host.find(&path)
    }
}

impl Default for RoutingTable {
    /// The pass-through: no rollouts, the default route header.
    fn default() -> Self {
        Self {
            generation: 0,
            route_header: DEFAULT_ROUTE_HEADER.to_owned(),
            rollouts: Vec::new(),
            hosts: FxHashMap::default(),
        }
    }
}

impl Host {
    fn find(&self, path: &[u8]) -> Option<usize> {
        let path = path.split(|byte| matches!(byte, b'?' | b'#')).next()?;
        // The path ends before the slash that follows the deepest prefix, so that its length costs nothing.
        let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
        let mut part = slashes
            .map(|(at, _)| at)
            .nth(self.depth)
            .and_then(|end| path.get(..end))
            .unwrap_or(path);
        loop {
            if let Some(&rollout) = self.prefixes.get(part) {
                return Some(rollout);
            }
            if part.is_empty() {
                return None;
            }
            let end = part.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            part = part.get(..end)?;
        }
    }
}

impl Rollout {
    fn new(config: RolloutConfig) -> Self {
        let lower = |source| match source {
            KeySource::Header(name) => KeySource::Header(name.to_ascii_lowercase()),
        };
        Self {
            name: config.name,
            variants: config.variants,
            keys: config.key.into_iter().map(lower).collect(),
            seeds: Seeds::new(&config.salt),
            table: config.table,
            progressing: config.progressing,
        }
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variants, in the order of the configuration.
    pub fn variants(&self) -> &[VariantConfig] {
        &self.variants
    }

    /// One variant by its position.
    pub fn variant(&self, index: usize) -> Option<&VariantConfig> {
        self.variants.get(index)
    }

    /// Where the key is read, in order; header names in lower case.
    pub fn keys(&self) -> &[KeySource] {
        &self.keys
    }

    /// The seeds of the salt.
    pub fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    /// Who owns which buckets.
    pub fn table(&self) -> &BucketTable {
        &self.table
    }

    /// Whether a release is in progress.
    pub fn progressing(&self) -> bool {
        self.progressing
    }
}

/// The host without its port. An IPv6 literal keeps its brackets, and a bare one, which has no room for a port, stays
/// as it is.
fn without_port(host: &[u8]) -> &[u8] {
    let Some(colon) = host.iter().rposition(|&byte| byte == b':') else {
        return host;
    };
    let (name, port) = host.split_at(colon);
    let bracketed = name.first() == Some(&b'[');
    let whole = if bracketed {
        name.last() == Some(&b']')
    } else {
        !name.contains(&b':')
    };
    if whole && port.iter().skip(1).all(u8::is_ascii_digit) {
        name
    } else {
        host
    }
}

#[cfg(test)]
mod tests;

//! The compiled configuration: everything a request needs, validated once, found in constant time.

use std::fmt::Arguments;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    Attribute, ConfigError, CookieConfig, DEFAULT_ROUTE_HEADER, DEFAULT_SHADOW_HEADER,
    FilterConfig, FuseConfig, Head, RolloutConfig, ShadowConfig, SlowConfig, VariantConfig,
    check_version,
};
use crate::fuse::FuseSettings;
use crate::hash::Map;
use crate::overriding::Overriding;
use crate::rule::{Rule, lower};
use crate::split::{BucketTable, Seeds};
use crate::stat::Encoding;

mod builder;
pub(crate) mod check;
mod hosts;
mod paths;

pub use builder::Builder;

use hosts::Hosts;
use paths::Pattern;

/// A validated configuration. It is only read after it was made, so requests in flight can keep the one they began
/// with.
#[derive(Clone, Debug)]
pub struct RoutingTable {
    generation: u64,
    route_header: String,
    shadow_header: String,
    encoding: Encoding,
    rollouts: Vec<Arc<Rollout>>,
    /// Shared with the table before it where both have the same claims in the same places.
    index: Arc<Index>,
}

/// Positions of rollouts by what they claim.
#[derive(Clone, Debug, Default)]
struct Index {
    names: Map<String, u32>,
    hosts: Hosts,
}

/// A validated rollout.
#[derive(Clone, Debug)]
pub struct Rollout {
    name: String,
    enabled: bool,
    claims: Claims,
    /// Of the text that it was read from. By 64 bits two texts are taken for the same once in 10^19 changes.
    digest: Option<u64>,
    variants: Vec<VariantConfig>,
    live: usize,
    keys: Vec<Attribute>,
    cookie: Option<IssuedCookie>,
    rules: Vec<Rule>,
    overriding: Option<Overriding>,
    seeds: Seeds,
    table: BucketTable,
    progressing: bool,
    slow: Vec<SlowConfig>,
    fuse: Option<FuseSettings>,
    shadow: Option<ShadowConfig>,
}

/// Whose requests are a rollout's own, as the configuration says it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claims {
    hosts: Vec<String>,
    path: Option<String>,
    template: Option<String>,
    prefix: Option<String>,
}

/// The cookie that a rollout issues.
#[derive(Clone, Debug)]
pub struct IssuedCookie {
    pub(crate) source: Attribute,
    config: CookieConfig,
}

impl Claims {
    fn pattern(&self) -> Pattern<'_> {
        match (&self.path, &self.template) {
            (Some(path), _) => Pattern::Exact(path),
            (None, Some(template)) => Pattern::Template(template),
            (None, None) => Pattern::Prefix(self.prefix.as_deref().unwrap_or("/")),
        }
    }

    /// The path field in words, for a message.
    fn words(&self) -> String {
        let fields = [
            ("path", &self.path),
            ("pathTemplate", &self.template),
            ("pathPrefix", &self.prefix),
        ];
        let given = fields
            .into_iter()
            .find_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map_or_else(
            || "every path".to_owned(),
            |(name, value)| format!("{name} \"{value}\""),
        )
    }
}

impl IssuedCookie {
    /// Name and attributes.
    pub fn config(&self) -> &CookieConfig {
        &self.config
    }
}

impl RoutingTable {
    /// Validates and compiles a configuration.
    ///
    /// # Errors
    /// The first field that is wrong, as a path into the JSON, with the reason and what to do.
    pub fn new(config: FilterConfig) -> Result<Self, ConfigError> {
        check_version(config.version)?;
        let head = Head {
            generation: config.generation,
            route_header: config.route_header,
            shadow_header: config.shadow_header,
            stats: config.stats,
        };
        let mut builder = Builder::new(&head, config.rollouts.len())?;
        for rollout in config.rollouts {
            builder.add(rollout, None)?;
            builder.index_next()?;
        }
        Ok(builder.finish())
    }

    /// Number of this configuration; 0 means that there are no rollouts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Name of the route header, in lower case.
    pub fn route_header(&self) -> &str {
        &self.route_header
    }

    /// Name of the shadow header, in lower case.
    pub fn shadow_header(&self) -> &str {
        &self.shadow_header
    }

    /// How labels travel in the names of metrics.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The rollouts, in the order of the configuration; shared, so that a long request keeps its own and not the table.
    pub fn rollouts(&self) -> &[Arc<Rollout>] {
        &self.rollouts
    }

    /// One rollout by its position.
    pub fn rollout(&self, index: usize) -> Option<&Arc<Rollout>> {
        self.rollouts.get(index)
    }

    /// The rollout of this name.
    pub fn by_name(&self, name: &str) -> Option<&Rollout> {
        Some(self.rollouts.get(*self.index.names.get(name)? as usize)?)
    }

    /// Position of the rollout that claims this host (with or without port, in any case) and this path (with its
    /// query) most specifically: first the host decides, as Envoy picks a virtual host (exact, then the longest
    /// `*.suffix`, then `*`), then the path (from left to right a literal segment before `{name}`, the path itself
    /// before what it lies below, a longer prefix before a shorter one). The path is asked for only where it matters.
    pub fn find<'p>(&self, host: &[u8], path: impl FnOnce() -> Option<&'p [u8]>) -> Option<usize> {
        self.index
            .hosts
            .find(host, path)
            .map(|found| found as usize)
    }
}

impl Default for RoutingTable {
    /// The pass-through: no rollouts, the default headers.
    fn default() -> Self {
        Self {
            generation: 0,
            route_header: DEFAULT_ROUTE_HEADER.to_owned(),
            shadow_header: DEFAULT_SHADOW_HEADER.to_owned(),
            encoding: Encoding::default(),
            rollouts: Vec::new(),
            index: Arc::default(),
        }
    }
}

impl Rollout {
    fn new(at: Arguments, config: RolloutConfig, digest: Option<u64>) -> Result<Self, ConfigError> {
        let overriding = config.overriding.as_ref();
        Ok(Self {
            rules: Rule::compile(format_args!("{at}.rules"), &config.rules)?,
            overriding: overriding
                .map(|it| Overriding::compile(format_args!("{at}.override"), it))
                .transpose()?,
            name: config.name,
            enabled: config.enabled,
            claims: Claims {
                hosts: config.hosts,
                path: config.path,
                template: config.path_template,
                prefix: config.path_prefix,
            },
            digest,
            live: config.variants.iter().position(|it| it.live).unwrap_or(0),
            variants: config.variants,
            keys: config.key.into_iter().map(lower).collect(),
            cookie: config.cookie.map(|config| IssuedCookie {
                source: Attribute::Cookie(config.name.clone()),
                config,
            }),
            seeds: Seeds::new(&config.salt),
            table: config.table,
            progressing: config.progressing,
            slow: config.slow,
            fuse: config.fuse.as_ref().map(fuse_settings),
            shadow: config.shadow,
        })
    }

    /// Whether both claim the same under the same name.
    fn claims_as(&self, other: &Self) -> bool {
        self.name == other.name && self.enabled == other.enabled && self.claims == other.claims
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the rollout is there at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The variants, in the order of the configuration.
    pub fn variants(&self) -> &[VariantConfig] {
        &self.variants
    }

    /// One variant by its position.
    pub fn variant(&self, index: usize) -> Option<&VariantConfig> {
        self.variants.get(index)
    }

    /// Position of the live variant.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Position of the enabled variant of this name.
    pub fn named(&self, name: &[u8]) -> Option<usize> {
        let named = |it: &VariantConfig| it.enabled && it.name.as_bytes() == name;
        self.variants.iter().position(named)
    }

    /// Whether this variant is there at all.
    pub fn enabled(&self, variant: usize) -> bool {
        self.variant(variant).is_some_and(|it| it.enabled)
    }

    /// The variant of a bucket: its owner, or the live one where the owner is not enabled.
    pub fn owner(&self, bucket: u16) -> usize {
        let owner = self.table.owner(bucket).into();
        if self.enabled(owner) {
            owner
        } else {
            self.live
        }
    }

    /// Where the key is read, in order; header names in lower case.
    pub fn keys(&self) -> &[Attribute] {
        &self.keys
    }

    /// The cookie that is issued where no key is present.
    pub fn cookie(&self) -> Option<&IssuedCookie> {
        self.cookie.as_ref()
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Who may choose by a header.
    pub fn overriding(&self) -> Option<&Overriding> {
        self.overriding.as_ref()
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

    /// The latency limits that are counted.
    pub fn slow(&self) -> &[SlowConfig] {
        &self.slow
    }

    /// When a variant that is not live is cut off.
    pub fn fuse(&self) -> Option<FuseSettings> {
        self.fuse
    }

    /// Which cluster gets copies.
    pub fn shadow(&self) -> Option<&ShadowConfig> {
        self.shadow.as_ref()
    }
}

fn fuse_settings(config: &FuseConfig) -> FuseSettings {
    FuseSettings {
        consecutive_errors: config.consecutive_errors,
        error_ratio: config.error_ratio,
        min_requests: config.min_requests,
        window: Duration::from_millis(config.window_ms),
        cooldown: Duration::from_millis(config.cooldown_ms),
        pending_limit: config.pending_ms.map(Duration::from_millis),
        slow_limit: config.slow_ms.map(Duration::from_millis),
    }
}

#[cfg(test)]
mod tests;

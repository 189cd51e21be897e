//! The choice of a variant for one request.

use std::borrow::Cow;

use crate::random::Token;
use crate::rule::value;
use crate::split::bucket_of_draw;
use crate::table::{Rollout, RoutingTable};

/// What the choice may ask of a request. Nothing is asked that the request's rollout does not make necessary.
pub trait Request {
    /// The first value of a header, as bytes; `name` is in lower case. `:authority`, `:path` (with its query) and
    /// `:method` are headers, too.
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]>;
    /// The values of all `cookie` headers.
    fn cookies(&self) -> impl Iterator<Item = &[u8]>;
    /// A property of the proxy (Envoy: attributes) by the parts of its path; this is dear.
    fn property(&self, path: &[&str]) -> Option<Vec<u8>>;
    /// 64 uniform random bits, new ones each time.
    fn draw(&self) -> u64;
}

/// Why a variant was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By the bucket of the request's key: the same user gets the same variant everywhere.
    Weight,
    /// By the bucket of the cookie that the filter gave to the client, now or before.
    Cookie,
    /// By a random bucket, because no key is present.
    Random,
    /// By a rule.
    Rule,
    /// By the override header of a trusted caller.
    Override,
    /// Not served by the variant that was chosen, because its fuse is open.
    Fuse,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Weight,
        Self::Cookie,
        Self::Random,
        Self::Rule,
        Self::Override,
        Self::Fuse,
    ];

    /// The value of the metric label `serin_reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Cookie => "cookie",
            Self::Random => "random",
            Self::Rule => "rule",
            Self::Override => "override",
            Self::Fuse => "fuse",
        }
    }

    /// The cohort of a request that was chosen for this reason.
    pub const fn cohort(self) -> Cohort {
        match self {
            Self::Weight | Self::Cookie | Self::Random => Cohort::Split,
            Self::Rule | Self::Override => Cohort::Forced,
            Self::Fuse => Cohort::Fused,
        }
    }
}

/// Which requests may be compared with which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cohort {
    /// Assigned by weights: the only ones that are judged.
    Split,
    /// Assigned by a rule or an override.
    Forced,
    /// Sent home by a fuse, whoever had chosen.
    Fused,
}

impl Cohort {
    /// Every cohort, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Split, Self::Forced, Self::Fused];

    /// The value of the metric label `serin_cohort`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Forced => "forced",
            Self::Fused => "fused",
        }
    }
}

/// The variant that a request was assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Position of the rollout in the configuration.
    pub rollout: usize,
    /// Position of the variant in the rollout.
    pub variant: usize,
    /// Why this variant.
    pub reason: Reason,
    /// Position of the rule, where one decided.
    pub rule: Option<usize>,
    /// The bucket, below [`crate::split::BUCKETS`], where weights decided.
    pub bucket: Option<u16>,
    /// Group of the key, below [`crate::split::GROUPS`]; none without a key, and where weights did not decide.
    pub group: Option<u8>,
    /// The value of the cookie that the response must give to the client.
    pub issue: Option<Token>,
    /// Whether a copy goes to the shadow.
    pub shadow: bool,
}

/// Chooses the variant of a request; none: no rollout claims its host and path.
///
/// The order: the override of a trusted caller, the first rule that matches, the bucket of the key, of the cookie that
/// was issued, of one that is issued now, or a random one. The work does not depend on the number of rollouts: a
/// look-up by host, one for each segment of the path as far as the host has rollouts, one hash, one search in the runs.
pub fn decide(table: &RoutingTable, request: &impl Request) -> Option<Decision> {
    let index = table.find(request.header(":authority")?, || request.header(":path"))?;
    let rollout = table.rollout(index)?;
    let mut decision = forced(rollout, request).unwrap_or_else(|| split(rollout, request));
    decision.rollout = index;
    decision.shadow = rollout
        .shadow()
        .is_some_and(|shadow| bucket_of_draw(request.draw()) < shadow.sample);
    Some(decision)
}

impl Decision {
    const fn new(variant: usize, reason: Reason) -> Self {
        Self {
            rollout: 0,
            variant,
            reason,
            rule: None,
            bucket: None,
            group: None,
            issue: None,
            shadow: false,
        }
    }
}

fn forced(rollout: &Rollout, request: &impl Request) -> Option<Decision> {
    let overriding = rollout
        .overriding()
        .and_then(|it| rollout.named(it.wanted(request)?));
    if let Some(variant) = overriding {
        return Some(Decision::new(variant, Reason::Override));
    }
    let mut rules = rollout.rules().iter().enumerate();
    let (position, rule) =
        rules.find(|(_, rule)| rollout.enabled(rule.variant) && rule.matches(request))?;
    Some(Decision {
        rule: Some(position),
        ..Decision::new(rule.variant, Reason::Rule)
    })
}

fn split(rollout: &Rollout, request: &impl Request) -> Decision {
    // An empty value is no key: it would throw all who send it into one bucket.
    let present = |value: &Cow<[u8]>| !value.is_empty();
    let mut keys = rollout.keys().iter();
    if let Some(key) = keys.find_map(|source| value(source, request).filter(present)) {
        return by_key(rollout, &key, Reason::Weight);
    }
    let Some(cookie) = rollout.cookie() else {
        let bucket = bucket_of_draw(request.draw());
        return Decision {
            bucket: Some(bucket),
            ..Decision::new(rollout.owner(bucket), Reason::Random)
        };
    };
    if let Some(key) = value(&cookie.source, request).filter(present) {
        return by_key(rollout, &key, Reason::Cookie);
    }
    let token = Token::new(request.draw(), request.draw());
    Decision {
        issue: Some(token),
        ..by_key(rollout, token.as_bytes(), Reason::Cookie)
    }
}

fn by_key(rollout: &Rollout, key: &[u8], reason: Reason) -> Decision {
    let bucket = rollout.seeds().bucket(key);
    Decision {
        bucket: Some(bucket),
        group: Some(rollout.seeds().group(key)),
        ..Decision::new(rollout.owner(bucket), reason)
    }
}

#[cfg(test)]
mod tests;

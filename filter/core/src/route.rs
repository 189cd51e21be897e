//! The choice of a variant for one request.

use crate::config::KeySource;
use crate::split::bucket_of_draw;
use crate::table::{Rollout, RoutingTable};

/// What the choice may ask of a request. Each answer can cost a call into the proxy, so nothing is asked twice, and
/// nothing that the request's host does not make necessary.
pub trait Request {
    /// The `:authority`, with or without a port; none: the request has none.
    fn host(&self) -> Option<Vec<u8>>;
    /// The `:path` with its query; none: the request has none, such as a CONNECT.
    fn path(&self) -> Option<Vec<u8>>;
    /// The first value of a header, as bytes; `name` is in lower case.
    fn header(&self, name: &str) -> Option<Vec<u8>>;
    /// 64 uniform random bits, asked for once where no key is present.
    fn draw(&self) -> u64;
}

/// Why a variant was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By the bucket of the request's key: the same user gets the same variant everywhere.
    Weight,
    /// By a random bucket, because no key is present.
    Random,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Weight, Self::Random];

    /// The value of the metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Random => "random",
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
    /// The bucket, below [`crate::split::BUCKETS`].
    pub bucket: u16,
    /// Group of the key, below [`crate::split::GROUPS`]; none without a key.
    pub group: Option<u8>,
}

/// Chooses the variant of a request; none: no rollout claims its host and path.
///
/// The work depends on the request alone, not on the number of rollouts: one look-up by host, one by each leading part
/// of the path down to the deepest prefix that the host has, one hash, one search in the runs.
pub fn decide(table: &RoutingTable, request: &impl Request) -> Option<Decision> {
    let index = table.find(request.host()?, || request.path())?;
    let rollout = table.rollout(index)?;
    let (bucket, group, reason) = match key(rollout, request) {
        Some(key) => (
            rollout.seeds().bucket(&key),
            Some(rollout.seeds().group(&key)),
            Reason::Weight,
        ),
        None => (bucket_of_draw(request.draw()), None, Reason::Random),
    };
    let variant = rollout.table().owner(bucket).into();
    Some(Decision {
        rollout: index,
        variant,
        reason,
        bucket,
        group,
    })
}

/// The key of the request's user. An empty value is no key: it would throw all who send it into one bucket.
fn key(rollout: &Rollout, request: &impl Request) -> Option<Vec<u8>> {
    rollout.keys().iter().find_map(|source| match source {
        KeySource::Header(name) => request.header(name).filter(|value| !value.is_empty()),
    })
}

#[cfg(test)]
mod tests;

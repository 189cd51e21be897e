//! From what is known of a rollout to its resource's status. Pure.

use jiff::Timestamp;

use crate::api::status::RolloutStatus;
use crate::driver::Managed;

/// What is known of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The rollout, if its spec was ever valid.
    pub managed: Option<&'a Managed>,
    /// What is wrong with the spec.
    pub problems: &'a [String],
    /// `metadata.generation` of the spec.
    pub spec_generation: i64,
    /// The status as last written.
    pub written: Option<&'a RolloutStatus>,
}

/// The status to be written.
#[must_use]
pub fn next(known: Known<'_>, _now: Timestamp) -> RolloutStatus {
    let checkpoint = known
        .managed
        .and_then(|managed| serde_json::to_string(&*managed.state).ok())
        .or_else(|| known.written?.checkpoint.clone());
    RolloutStatus {
        observed_generation: Some(known.spec_generation),
        checkpoint,
    }
}

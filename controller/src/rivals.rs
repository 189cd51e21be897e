//! The rules by which other systems judge a canary, as their code decides, for `serin simulate --against`.
//!
//! Sources: the note on rivals, sections 2.1 to 2.3, and the note on statistics, section 8, both read from the code of
//! Flagger 1.44, Argo Rollouts 9f8d111 and Kayenta a69573b. Nothing here judges a release of ours. Like [`crate::stats`]
//! it is pure: no clock, no I/O, no randomness.

pub mod argo;
pub mod flagger;
pub mod kayenta;
pub mod thresholds;

/// What one query of a metric brought back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation {
    /// A number, which may be NaN (0/0 in a query) or infinite.
    Value(f64),
    /// The query was answered with an empty vector: no traffic, or no such series.
    NoData,
    /// The query was not answered: the metric source is down, too slow, or says that the query is wrong.
    Error,
}

/// What a rival does after a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Every check passed: the rollout goes on to its next weight.
    Advance,
    /// The weight stays as it is.
    Hold,
    /// The rollout stops at its weight until a person acts.
    Pause,
    /// All traffic goes back to stable.
    RollBack,
    /// The analysis has ended well and measures no more.
    Succeed,
}

//! What only a new process mends.

use std::time::Duration;

/// Why a model version can never answer again in this process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A forward goes on and on, and libtorch cannot be interrupted.
    #[error("a forward has been running for {}", humantime::format_duration(*.0))]
    Hung(Duration),
    /// Its device answers nothing any more. Safe to show.
    #[error("its device has failed ({0})")]
    Lost(String),
    /// It can no longer do what it could when it was warmed up. Safe to show.
    #[error("it failed again and again ({0}), and then as in its warm-up as well")]
    Exhausted(String),
}

impl Fault {
    /// One word for a metric.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Hung(_) => "hung",
            Self::Lost(_) => "device",
            Self::Exhausted(_) => "exhausted",
        }
    }
}

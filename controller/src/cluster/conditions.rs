//! Conditions of a `ModelRollout` and their reasons: words that programs wait for, so they stay what they are.

use std::borrow::Cow;

use crate::report::Condition;

/// The resource is valid and in force.
pub const READY: &str = "Ready";
/// The release goes up, or could.
pub const PROGRESSING: &str = "Progressing";
/// The new version is not shown to be worse than tolerated.
pub const HEALTHY: &str = "Healthy";
/// Prometheus answers.
pub const DATA_FRESH: &str = "DataFresh";
/// Requests reach the version that they were meant for.
pub const ROUTES_HONOURED: &str = "RoutesHonoured";
/// The versions have the share of users that the weights say.
pub const SPLIT_HONOURED: &str = "SplitHonoured";
/// The default route serves what it should.
pub const DEFAULT_ROUTE_MOVED: &str = "DefaultRouteMoved";
/// The routes that somebody else owns follow the variant header.
pub const ROUTES_FOLLOW_HEADER: &str = "RoutesFollowHeader";
/// No other plugin counts the same requests.
pub const SOLE_PLUGIN: &str = "SolePlugin";

/// The same name without a copy of it.
#[must_use]
pub fn name(kind: &str) -> Cow<'static, str> {
    let known = [
        READY,
        PROGRESSING,
        HEALTHY,
        DATA_FRESH,
        ROUTES_HONOURED,
        SPLIT_HONOURED,
        DEFAULT_ROUTE_MOVED,
        ROUTES_FOLLOW_HEADER,
        SOLE_PLUGIN,
    ];
    let found = known.into_iter().find(|it| *it == kind);
    found.map_or_else(|| Cow::Owned(kind.to_owned()), Cow::Borrowed)
}

/// Reasons where a condition's type and status do not say everything.
pub mod reasons {
    /// `spec` is not valid, and not in force.
    pub const INVALID: &str = "Invalid";
    /// `spec` is valid, and in force when another release has ended.
    pub const WAITING: &str = "Waiting";
    /// `spec` is valid, but its requests belong to another rollout.
    pub const CLAIMED: &str = "Claimed";
    /// `spec` is valid, but there is no room for it in the plugin's object.
    pub const TOO_LARGE: &str = "TooLarge";
    /// Somebody paused the release.
    pub const PAUSED: &str = "Paused";
    /// The step wants somebody's approval.
    pub const AWAITING_APPROVAL: &str = "AwaitingApproval";
    /// The deadline is over and says hold.
    pub const DEADLINE_PASSED: &str = "DeadlinePassed";
    /// The release failed, and `onFail` says hold.
    pub const HELD_ON_FAILURE: &str = "HeldOnFailure";
    /// The new version is live.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Everybody is on the version that was live before.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// What was to be found out is found out.
    pub const CONCLUDED: &str = "Concluded";
    /// Another plugin covers the same proxies.
    pub const OVERLAP: &str = "Overlap";
}

/// Reason of a condition that names none itself.
#[must_use]
pub fn reason(condition: &Condition) -> &str {
    if let Some(reason) = &condition.reason {
        return reason;
    }
    let (yes, no, unknown) = match condition.kind.as_str() {
        READY => ("Accepted", reasons::INVALID, "NotChecked"),
        PROGRESSING => ("Advancing", "Held", "NotChecked"),
        HEALTHY => ("WithinTolerance", "BeyondTolerance", "NoVerdict"),
        DATA_FRESH => (
            "PrometheusAnswers",
            "PrometheusUnavailable",
            "PrometheusNotAsked",
        ),
        ROUTES_HONOURED => ("AsMeant", "WrongCluster", "NothingSampled"),
        SPLIT_HONOURED => ("AsConfigured", "SampleRatioMismatch", "TooFewUnits"),
        DEFAULT_ROUTE_MOVED => ("ServesLive", "ServesAnother", "NotChecked"),
        ROUTES_FOLLOW_HEADER => ("HeaderMatched", "HeaderNotMatched", "NotChecked"),
        SOLE_PLUGIN => ("Alone", reasons::OVERLAP, "NotChecked"),
        _ => ("Yes", "No", "Unknown"),
    };
    match condition.status {
        Some(true) => yes,
        Some(false) => no,
        None => unknown,
    }
}

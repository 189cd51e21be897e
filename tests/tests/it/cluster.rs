//! Serin in a cluster: the real API server, istiod and Envoys. `make test` leaves this module out, and says so, where
//! there is no Go to build them (tests/setup/test.sh).

mod actions;
mod chaos;
mod cli;
mod control_plane;
mod manifests;
mod mesh;
mod release;
mod strategies;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use serin_controller::api::status::{Condition, RolloutStatus};

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

fn condition<'s>(status: &'s RolloutStatus, kind: &str) -> Option<&'s Condition> {
    status.conditions.iter().find(|it| it.kind == kind)
}

/// Runs all to their ends, whatever becomes of the others, and fails with those that failed.
async fn all_hold<const N: usize>(cases: [LocalBoxFuture<'static, ()>; N]) {
    let cases = cases.map(|case| AssertUnwindSafe(case).catch_unwind());
    let ended = join_all(cases).await;
    let failed = ended.iter().filter(|it| it.is_err()).count();
    assert_eq!(failed, 0, "see the panics above");
}

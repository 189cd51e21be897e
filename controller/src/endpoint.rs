//! The read-only endpoint: status for people and tools, metrics, probes for supervisors. A controller that waits for its
//! turn sends whoever asks for rollouts to the one that leads.

mod board;

pub use board::{Board, Change, Snapshot};

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::validate::RolloutName;

/// How long the leader may take to answer for one that waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// A loop that has not gone round for so long hangs: `/healthz` says so, and in a cluster its Lease is not renewed.
pub const HANGS_AFTER: Duration = Duration::from_secs(30);

/// What is shown.
#[derive(Clone)]
pub struct Shown {
    /// Every rollout.
    pub board: Board,
    /// Metrics in Prometheus' text format.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// Serves until `shutdown`.
///
/// # Errors
/// The listener breaks.
pub async fn serve(
    listener: TcpListener,
    shown: Shown,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/v1/rollouts", get(all))
        .route("/v1/rollouts/{namespace}/{name}", get(one))
        .route("/metrics", get(metrics))
        .with_state(shown);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn healthy(State(Shown { board, .. }): State<Shown>) -> Response {
    let silence = board.silence();
    if silence < HANGS_AFTER {
        return "ok\n".into_response();
    }
    let text = format!("no decision for {} s\n", silence.as_secs());
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn ready(State(Shown { board, .. }): State<Shown>) -> Response {
    // One that waits for its turn is as ready as it can be.
    match (board.is_empty(), board.leader()) {
        (false, _) | (true, Some(_)) => "ok\n".into_response(),
        (true, None) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the first tick has not ended\n",
        )
            .into_response(),
    }
}

async fn all(State(Shown { board, .. }): State<Shown>) -> Response {
    match board.read() {
        Some(snapshot) => Json(snapshot).into_response(),
        None => ask_leader(&board, "/v1/rollouts").await,
    }
}

async fn metrics(State(Shown { metrics, .. }): State<Shown>) -> String {
    metrics.map(|text| text()).unwrap_or_default()
}

/// The leader's answer, for one that has none.
async fn ask_leader(board: &Board, path: &str) -> Response {
    let Some(leader) = board.leader() else {
        return not_yet();
    };
    let answer = async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let answer = client.get(format!("{leader}{path}")).send().await?;
        let status = answer.status().as_u16();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?))
    };
    match answer.await {
        Ok((status, body)) => (
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            [("content-type", "application/json")],
            body,
        )
            .into_response(),
        Err(_) => not_yet(),
    }
}

async fn one(
    State(Shown { board, .. }): State<Shown>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let wanted = RolloutName { namespace, name };
    let Some(found) = board.read_one(&wanted) else {
        let RolloutName { namespace, name } = wanted;
        return ask_leader(&board, &format!("/v1/rollouts/{namespace}/{name}")).await;
    };
    match found {
        Some(status) => Json(status).into_response(),
        None => {
            let error = format!("there is no rollout '{wanted}'");
            (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
        }
    }
}

fn not_yet() -> Response {
    let error = json!({"error": "the first tick has not ended: try again in a second"});
    (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
}

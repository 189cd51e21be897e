//! The read-only endpoint: status for people and tools, probes for supervisors.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::publish::Board;

pub(super) async fn serve(
    listener: TcpListener,
    board: Board,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/v1/rollouts", get(all))
        .route("/v1/rollouts/{namespace}/{name}", get(one))
        .with_state(board);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn ready(State(board): State<Board>) -> Response {
    match board.read() {
        Some(_) => "ok\n".into_response(),
        None => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the first tick has not ended\n",
        )
            .into_response(),
    }
}

async fn all(State(board): State<Board>) -> Response {
    match board.read() {
        Some(snapshot) => Json(&*snapshot).into_response(),
        None => not_yet(),
    }
}

async fn one(
    State(board): State<Board>,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let Some(snapshot) = board.read() else {
        return not_yet();
    };
    let found = snapshot
        .rollouts
        .iter()
        .find(|status| status.name.namespace == namespace && status.name.name == name);
    match found {
        Some(status) => Json(status).into_response(),
        None => {
            let error = format!("there is no rollout '{namespace}/{name}'");
            (StatusCode::NOT_FOUND, Json(json!({"error": error}))).into_response()
        }
    }
}

fn not_yet() -> Response {
    let error = json!({"error": "the first tick has not ended: try again in a second"});
    (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
}

//! The REST API of the Open Inference Protocol v2, and `/metrics`.
//!
//! A model is found before anything else of a request is looked at, so every answer of a model, refusals included,
//! says which version gave it. Those headers are never read from requests.

mod body;
pub(crate) mod connections;
pub(crate) mod direct;
mod encoding;
mod extensions;
mod infer;
pub(crate) mod repository;

pub(crate) use infer::JSON_LENGTH;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{MatchedPath, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    backend::torch::PLATFORM,
    error::ApiError,
    inference::{App, EXTENSIONS, SERVER},
    lazy::{self, Refused},
    protocol::response::ModelMetadata,
    registry::{Found, ModelVersion},
};

/// The name of the model that answered.
pub const MODEL_HEADER: HeaderName = HeaderName::from_static("x-serin-model");
/// The version of the model that answered.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-serin-model-version");

/// The latest version of a model.
const MODEL: &str = "/v2/models/{model}";
/// One that is named.
const VERSION: &str = "/v2/models/{model}/versions/{version}";

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let mut models = Router::new();
    for model in [MODEL, VERSION] {
        models = models
            .route(model, get(model_metadata))
            .route(&format!("{model}/ready"), get(model_ready))
            .route(&format!("{model}/config"), get(extensions::config))
            .route(&format!("{model}/stats"), get(extensions::statistics))
            .route(&format!("{model}/infer"), post(infer::routed));
    }
    models
        // Before the layer, so that a wrong verb on a model names the version too.
        .method_not_allowed_fallback(async || ApiError::Method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), find_model))
        .layer(encoding::responses())
        .route("/v2", get(server_metadata))
        .route("/v2/models", get(extensions::models))
        .route("/v2/models/stats", get(extensions::statistics))
        .route("/v2/repository/index", post(extensions::index))
        .route(
            "/v2/repository/models/{model}/load",
            post(extensions::read_only),
        )
        .route(
            "/v2/repository/models/{model}/unload",
            post(extensions::read_only),
        )
        .route("/v2/health/live", get(server_live))
        .route("/v2/health/ready", get(server_ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || ApiError::Method)
        .fallback(async || ApiError::Path)
        .with_state(app)
}

async fn find_model(
    State(app): State<Arc<App>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // Not UTF-8: no model has such a name.
    let Ok(parameters) = parameters else {
        return ApiError::Path.into_response();
    };
    let parameter = |wanted| {
        parameters
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let (model, version) = (parameter("model").unwrap_or_default(), parameter("version"));
    // Questions about a model that sleeps do not wake it.
    let route = request.extensions().get::<MatchedPath>();
    let asks = |what| route.is_some_and(|route| route.as_str().ends_with(what));
    if (asks("/ready") || asks("/stats"))
        && let Ok(Found::Asleep(sleeper)) = app.registry.seek(model, version)
    {
        let response = if asks("/stats") {
            next.run(request).await
        } else {
            let answer = json!({ "name": sleeper.entry.model, "ready": false });
            (health_status(false), Json(answer)).into_response()
        };
        return name(response, &sleeper.entry.model, sleeper.entry.version);
    }
    let found = if asks("/infer") && request.method() == Method::POST {
        lazy::find_to_infer(&app, model, version).await
    } else {
        lazy::find(&app, model, version).await
    };
    let loaded = match found {
        Ok(loaded) => loaded,
        Err(refused) => return refuse(refused),
    };
    request.extensions_mut().insert(Arc::clone(&loaded));
    let response = next.run(request).await;
    name(response, &loaded.model, loaded.version)
}

/// The answer to a request that has not got to a version.
fn refuse(Refused { error, sleeper }: Refused) -> Response {
    let response = error.into_response();
    match sleeper {
        Some(sleeper) => name(response, &sleeper.entry.model, sleeper.entry.version),
        None => response,
    }
}

/// Says which version gave an answer.
fn name(mut response: Response, model: &str, version: u64) -> Response {
    // Model names are made of characters that headers take (see the repository).
    if let Ok(name) = HeaderValue::from_str(model) {
        response.headers_mut().insert(MODEL_HEADER, name);
    }
    response
        .headers_mut()
        .insert(VERSION_HEADER, version.into());
    response
}

async fn server_metadata() -> impl IntoResponse {
    let version = env!("CARGO_PKG_VERSION");
    Json(json!({ "name": SERVER, "version": version, "extensions": EXTENSIONS }))
}

/// Kubernetes restarts on this one. A version whose thread has died has already taken readiness from the whole server,
/// so the restart costs the other versions no traffic.
async fn server_live(State(app): State<Arc<App>>) -> impl IntoResponse {
    let live = !app.registry.has_died();
    (health_status(live), Json(json!({ "live": live })))
}

async fn server_ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let ready = app.is_ready();
    (health_status(ready), Json(json!({ "ready": ready })))
}

async fn model_ready(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<ModelVersion>>,
) -> impl IntoResponse {
    let ready = app.serves(&loaded);
    (
        health_status(ready),
        Json(json!({ "name": loaded.model, "ready": ready })),
    )
}

fn health_status(healthy: bool) -> StatusCode {
    if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn model_metadata(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<ModelVersion>>,
) -> impl IntoResponse {
    Json(ModelMetadata {
        name: &loaded.model,
        versions: app
            .registry
            .current()
            .versions(&loaded.model)
            .map(|version| version.to_string())
            .collect(),
        platform: PLATFORM,
        inputs: &loaded.spec.inputs,
        outputs: &loaded.spec.outputs,
    })
    .into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app
        .metrics
        .render(app.registry.current().iter().map(|loaded| &**loaded))
    {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! The REST API of the Open Inference Protocol v2, and `/metrics`.
//!
//! A model is found before anything else of a request is looked at, so every answer of a model, refusals included,
//! says which version gave it. Those headers are never read from requests.

mod body;

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json, Router,
    extract::{RawPathParams, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    backend::torch::PLATFORM,
    error::ApiError,
    metrics::{InFlight, Metrics, Outcome},
    protocol::{
        request::InferRequest,
        response::{InferResponse, ModelMetadata},
    },
    registry::{ModelVersion, Registry},
    worker::Urgency,
};

/// The name of the model that answered.
pub const MODEL_HEADER: HeaderName = HeaderName::from_static("x-serin-model");
/// The version of the model that answered.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("x-serin-model-version");

/// What the handlers share.
pub struct App {
    /// The loaded models.
    pub registry: Registry,
    /// The metric families.
    pub metrics: Metrics,
    /// Largest body of a request, in bytes.
    pub max_body: usize,
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let mut models = Router::new();
    for model in [
        "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}",
    ] {
        models = models
            .route(model, get(model_metadata))
            .route(&format!("{model}/ready"), get(model_ready))
            .route(&format!("{model}/infer"), post(infer));
    }
    models
        // Before the layer, so that a wrong verb on a model names the version too.
        .method_not_allowed_fallback(async || ApiError::Method)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), find_model))
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(server_live))
        .route("/v2/health/ready", get(server_ready))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || ApiError::Method)
        .fallback(async || ApiError::Path)
        .with_state(app)
}

async fn find_model(
    State(app): State<Arc<App>>,
    parameters: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let parameter = |wanted| {
        parameters
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    let loaded = match app
        .registry
        .find(parameter("model").unwrap_or_default(), parameter("version"))
    {
        Ok(loaded) => Arc::clone(loaded),
        Err(error) => return ApiError::NotFound(error).into_response(),
    };
    request.extensions_mut().insert(Arc::clone(&loaded));
    let mut response = next.run(request).await;
    // Model names are made of characters that headers take (see the repository).
    if let Ok(name) = HeaderValue::from_str(&loaded.model) {
        response.headers_mut().insert(MODEL_HEADER, name);
    }
    response
        .headers_mut()
        .insert(VERSION_HEADER, loaded.version.into());
    response
}

async fn server_metadata() -> impl IntoResponse {
    Json(json!({ "name": "serin-serve", "version": env!("CARGO_PKG_VERSION"), "extensions": [] }))
}

/// Kubernetes restarts on this one. A version whose thread has died has already taken readiness from the whole server,
/// so the restart costs the other versions no traffic.
async fn server_live(State(app): State<Arc<App>>) -> impl IntoResponse {
    let live = !app.registry.has_died();
    (health_status(live), Json(json!({ "live": live })))
}

async fn server_ready(State(app): State<Arc<App>>) -> impl IntoResponse {
    let ready = app.registry.is_ready();
    (health_status(ready), Json(json!({ "ready": ready })))
}

async fn model_ready(Extension(loaded): Extension<Arc<ModelVersion>>) -> impl IntoResponse {
    let ready = loaded.worker.is_alive();
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
        .render(app.registry.iter().map(|loaded| &**loaded))
    {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn infer(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<ModelVersion>>,
    request: Request,
) -> Response {
    let mut in_flight = app.metrics.begin(&loaded, Instant::now());
    match answer(&loaded, request, app.max_body, &in_flight).await {
        Ok(response) => {
            in_flight.outcome = Outcome::Ok;
            response
        }
        Err(error) => {
            in_flight.outcome = error.outcome();
            if error.status().is_server_error() {
                tracing::warn!(%error, "request failed");
            }
            error.into_response()
        }
    }
}

async fn answer(
    loaded: &ModelVersion,
    request: Request,
    max_body: usize,
    in_flight: &InFlight<'_>,
) -> Result<Response, ApiError> {
    let ModelVersion {
        model,
        version,
        spec,
        worker,
    } = loaded;
    let version = *version;
    let unavailable = |reason| ApiError::Worker {
        model: model.clone(),
        version,
        reason,
    };
    body::check_encoding(request.headers())?;
    // Kept until the answer is written.
    let _place = match worker.admit() {
        Ok(place) => place,
        Err(full) => {
            body::discard(request.into_body(), max_body).await;
            return Err(unavailable(full));
        }
    };
    let body = body::read(request.into_body(), max_body).await?;
    let InferRequest {
        id,
        inputs,
        outputs: selected,
    } = InferRequest::parse(&body, spec).map_err(ApiError::Request)?;
    // The text is the largest thing a waiting request would hold.
    drop(body);
    let urgency = Urgency {
        deadline: spec.serving.timeout.map(|it| in_flight.start() + it),
        ..Urgency::default()
    };
    let answer = worker.infer(inputs, urgency).await.map_err(unavailable)?;
    in_flight.computed(&answer);
    let failed = |reason: String| ApiError::Failed {
        model: model.clone(),
        version,
        reason,
    };
    let outputs = answer.outputs.map_err(|error| failed(error.to_string()))?;
    let response = InferResponse::new((model, version), id, spec, &outputs, &selected)
        .map_err(|error| ApiError::not_finite(model, version, &error))?;
    let body = serde_json::to_vec(&response)
        .map_err(|_| failed("its answer could not be written".to_owned()))?;
    Ok((
        [(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )],
        body,
    )
        .into_response())
}

#[cfg(test)]
mod tests;

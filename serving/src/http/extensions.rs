//! Triton's extensions over REST: configuration, statistics, and the repository as far as it can be read.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{RawPathParams, Request, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::body;
use crate::{
    error::ApiError,
    inference::App,
    protocol::{request::RequestError, triton},
    registry::ModelVersion,
};

/// The largest question about the repository, in bytes.
const MAX_QUESTION: usize = 4096;

/// KServe's list of names.
pub(super) async fn models(State(app): State<Arc<App>>) -> impl IntoResponse {
    let current = app.registry.current();
    let names: Vec<&str> = current.names().collect();
    Json(json!({ "models": names })).into_response()
}

pub(super) async fn config(Extension(loaded): Extension<Arc<ModelVersion>>) -> impl IntoResponse {
    Json(triton::ModelConfig::new(&loaded))
}

pub(super) async fn statistics(
    State(app): State<Arc<App>>,
    parameters: RawPathParams,
) -> Result<impl IntoResponse, ApiError> {
    let parameter = |wanted| {
        let mut all = parameters.iter();
        all.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    let (model, version) = (parameter("model"), parameter("version"));
    triton::statistics(&app.registry.current(), &app.metrics, model, version)
        .map(Json)
        .map_err(ApiError::NotFound)
}

#[derive(Deserialize, Default)]
struct Question {
    #[serde(default)]
    ready: bool,
}

pub(super) async fn index(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(request.into_body(), MAX_QUESTION).await?;
    let question = if body.is_empty() {
        Question::default()
    } else {
        let sentence = "the index takes no body, or an object such as {\"ready\": true}";
        let wrong = || ApiError::Request(RequestError::Body(sentence.to_owned()));
        // serde takes arrays for structs.
        let object = body.trim_ascii_start().starts_with(b"{");
        let question = serde_json::from_slice(&body).ok().filter(|_| object);
        question.ok_or_else(wrong)?
    };
    Ok(Json(triton::index(&app.registry.current(), question.ready)).into_response())
}

pub(super) async fn read_only() -> ApiError {
    ApiError::RepositoryReadOnly
}

//! Triton's repository extension as a whole: the index, load and unload, for a port of their own.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    routing::post,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{body, extensions};
use crate::{control::Control, error::ApiError, inference::App};

/// All routes.
pub(crate) fn router(app: Arc<App>, control: Control) -> Router {
    let max_body = app.max_body;
    let index = Router::new()
        .route("/v2/repository/index", post(extensions::index))
        .with_state(app);
    Router::new()
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .with_state(Api { control, max_body })
        .merge(index)
        .method_not_allowed_fallback(async || ApiError::Method)
        .fallback(async || ApiError::Path)
}

#[derive(Clone)]
struct Api {
    control: Control,
    max_body: usize,
}

/// What a client may send along; both requests take the same.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wishes {
    #[serde(default)]
    parameters: Map<String, Value>,
}

type Model = Result<Path<String>, PathRejection>;

async fn load(
    State(api): State<Api>,
    model: Model,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (model, wishes) = api.read(model, request).await?;
    let done = api.control.load(&model, wishes.parameters.keys()).await;
    done.map(|()| StatusCode::OK)
}

async fn unload(
    State(api): State<Api>,
    model: Model,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (model, wishes) = api.read(model, request).await?;
    let done = api.control.unload(&model, wishes.parameters.keys()).await;
    done.map(|()| StatusCode::OK)
}

impl Api {
    /// The model's name, and the body.
    async fn read(&self, model: Model, request: Request) -> Result<(String, Wishes), ApiError> {
        let bytes = body::read(request.into_body(), self.max_body).await?;
        // serde takes arrays for structs.
        let object = bytes.trim_ascii_start().starts_with(b"{");
        let wishes = if bytes.is_empty() {
            Wishes::default()
        } else {
            let wishes = serde_json::from_slice(&bytes).ok().filter(|_| object);
            wishes.ok_or_else(|| {
                let sentence =
                    "loading and unloading take no body, or an object such as {\"parameters\": {}}";
                ApiError::Wish(sentence.to_owned())
            })?
        };
        // Not UTF-8: no model has such a name.
        let Path(model) = model.map_err(|_| ApiError::Path)?;
        Ok((model, wishes))
    }
}

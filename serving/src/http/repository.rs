//! Triton's repository extension as a whole: the index, load and unload, for a port of their own.
//!
//! What is loaded is what the operator has put into the repository. Nothing of a request becomes a model or a part of its
//! configuration, and a name that is not in the repository is nothing but absent.

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
use crate::{
    error::ApiError,
    inference::App,
    reload::{ReloadError, Reloader},
    tensor::shorten,
};

/// All routes.
pub(crate) fn router(app: Arc<App>, reloader: Arc<Reloader>) -> Router {
    let max_body = app.max_body;
    let index = Router::new()
        .route("/v2/repository/index", post(extensions::index))
        .with_state(app);
    Router::new()
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        .with_state(Api { reloader, max_body })
        .merge(index)
        .method_not_allowed_fallback(async || ApiError::Method)
        .fallback(async || ApiError::Path)
}

#[derive(Clone)]
struct Api {
    reloader: Arc<Reloader>,
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
    let model = api.read(model, request, &[]).await?;
    let reloader = api.reloader;
    finish(async move { reloader.load(&model).await }).await
}

async fn unload(
    State(api): State<Api>,
    model: Model,
    request: Request,
) -> Result<StatusCode, ApiError> {
    // No model has dependents here, so either value is fulfilled.
    let known = &["unload_dependents"];
    let model = api.read(model, request, known).await?;
    let reloader = api.reloader;
    finish(async move { reloader.unload(&model).await }).await
}

/// A client that goes away does not stop half way what it has begun.
async fn finish(
    change: impl Future<Output = Result<(), ReloadError>> + Send + 'static,
) -> Result<StatusCode, ApiError> {
    match tokio::spawn(change).await {
        Ok(result) => result.map(|()| StatusCode::OK).map_err(ApiError::Reload),
        // It cannot panic, and nobody aborts it.
        Err(_) => Err(ApiError::Reload(ReloadError::BrokenOff)),
    }
}

impl Api {
    /// The model's name, if the body asks for nothing but what is `known`.
    async fn read(
        &self,
        model: Model,
        request: Request,
        known: &[&str],
    ) -> Result<String, ApiError> {
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
        for name in wishes.parameters.keys() {
            if name == "config" || name.starts_with("file:") {
                let name = shorten(name);
                return Err(ApiError::Wish(format!(
                    "parameter '{name}' is refused: models and their configuration come from the model repository alone; put \
                     the files there and load the model without it"
                )));
            }
            if !known.contains(&name.as_str()) {
                let name = shorten(name);
                return Err(ApiError::Wish(format!(
                    "parameter '{name}' is not supported: leave it out"
                )));
            }
        }
        // Not UTF-8: no model has such a name.
        model.map(|Path(model)| model).map_err(|_| ApiError::Path)
    }
}

//! Requests for inference without the router.
//!
//! What a router does around a handler (a future in a box for each layer, parameters and the route in a map) took a sixth
//! of the time of the thread that reads and writes. Requests whose path has to be decoded, or whose answer may have to be
//! compressed (all with Accept-Encoding), go by the router; their answers are the same, but for the Vary of large ones.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    http::{Method, Request, header::ACCEPT_ENCODING},
    response::Response,
};
use futures::future::{BoxFuture, FutureExt};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use super::infer::infer;
use crate::{inference::App, lazy};

/// Answers the requests of a connection.
#[derive(Clone)]
pub(crate) struct Api {
    app: Arc<App>,
    router: TowerToHyperService<Router>,
}

/// What a request for inference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Target<'a> {
    model: &'a str,
    version: Option<&'a str>,
}

impl Api {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let router = TowerToHyperService::new(super::router(Arc::clone(&app)));
        Self { app, router }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let is_plain =
            request.method() == Method::POST && !request.headers().contains_key(ACCEPT_ENCODING);
        // Its bytes are shared.
        let uri = request.uri().clone();
        let Some(target) = Target::of(uri.path()).filter(|_| is_plain) else {
            return self.router.call(request).await;
        };
        match lazy::find_to_infer(&self.app, target.model, target.version).await {
            Ok(loaded) => {
                let response = infer(&self.app, &loaded, Some(target.route()), request).await;
                Ok(super::name(response, &loaded.model, loaded.version))
            }
            Err(refused) => Ok(super::refuse(refused)),
        }
    }
}

impl Service<Request<Incoming>> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.clone().answer(request).boxed()
    }
}

impl<'a> Target<'a> {
    /// None: another path, or one that is encoded.
    fn of(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v2/models/")?.strip_suffix("/infer")?;
        let (model, version) = match rest.split_once('/') {
            None => (rest, None),
            Some((model, rest)) => (model, Some(rest.strip_prefix("versions/")?)),
        };
        let is_name = |it: &str| !it.is_empty() && !it.contains(['/', '%']);
        (is_name(model) && version.is_none_or(is_name)).then_some(Self { model, version })
    }

    /// The same as the router calls it.
    fn route(self) -> &'static str {
        match self.version {
            None => "/v2/models/{model}/infer",
            Some(_) => "/v2/models/{model}/versions/{version}/infer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_inference_name_a_model_and_perhaps_a_version() {
        let target = |model, version| Some(Target { model, version });
        for (path, expected) in [
            ("/v2/models/fraud/infer", target("fraud", None)),
            (
                "/v2/models/fraud/versions/7/infer",
                target("fraud", Some("7")),
            ),
            ("/v2/models/versions/infer", target("versions", None)),
            ("/v2/models//infer", None),
            ("/v2/models/infer", None),
            ("/v2/models/fraud/versions//infer", None),
            ("/v2/models/fraud/versions/infer", None),
            ("/v2/models/fraud/versions/7/8/infer", None),
            ("/v2/models/fraud/other/7/infer", None),
            ("/v2/models/fr%61ud/infer", None),
            ("/v2/models/fraud/infer/", None),
            ("/v2/models/fraud/ready", None),
            ("/v2/health/live", None),
        ] {
            assert_eq!(Target::of(path), expected, "{path}");
        }
    }

    #[test]
    fn routes_are_called_as_by_the_router() {
        for (version, model) in [
            (None, crate::http::MODEL),
            (Some("7"), crate::http::VERSION),
        ] {
            let target = Target {
                model: "fraud",
                version,
            };
            assert_eq!(target.route(), format!("{model}/infer"));
        }
    }
}

//! The HTTP client below the S3 client.
//!
//! Not reqwest: with its rustls, every process of this workspace that uses reqwest, the controller and the tests among
//! them, would have to install a provider of cryptography. This one brings its own (ring), as `kube`'s client does.

use std::{io, time::Duration};

use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use rustls::crypto::ring;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes clients whose answers begin within a time.
#[derive(Debug)]
pub(super) struct Connector {
    timeout: Duration,
}

impl Connector {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT.min(self.timeout)));
        let tls =
            HttpsConnectorBuilder::new().with_provider_and_native_roots(ring::default_provider());
        let tls = tls.map_err(|error: io::Error| object_store::Error::Generic {
            store: "S3",
            source: format!(
                "this system has no root certificates ({error}): install ca-certificates"
            )
            .into(),
        })?;
        let allow_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let tls = if allow_http.as_deref() == Some("true") {
            tls.https_or_http()
        } else {
            tls.https_only()
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(tls.enable_http1().wrap_connector(tcp));
        let timeout = self.timeout;
        Ok(HttpClient::new(Service { client, timeout }))
    }
}

#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<connect::HttpConnector>, HttpRequestBody>,
    timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {}", humantime::format_duration(*.0))]
struct NoAnswer(Duration);

#[tonic::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = tokio::time::timeout(self.timeout, self.client.request(request)).await;
        let answer = answer
            .map_err(|_| HttpError::new(HttpErrorKind::Timeout, NoAnswer(self.timeout)))?
            .map_err(|error| {
                let kind = if error.is_connect() {
                    HttpErrorKind::Connect
                } else {
                    HttpErrorKind::Interrupted
                };
                HttpError::new(kind, error)
            })?;
        let cut = |error| HttpError::new(HttpErrorKind::Interrupted, error);
        Ok(answer.map(|body| HttpResponseBody::new(body.map_err(cut))))
    }
}

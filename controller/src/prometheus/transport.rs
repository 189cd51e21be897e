//! One GET to Prometheus: plain, or through TLS.
//!
//! `reqwest` is built without TLS here, for its rustls wants a provider that each process installs. `kube`'s client, which
//! the controller has anyway, brings its own (ring), and reads certificates again when they are replaced.

use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, DATE};
use axum::http::{HeaderMap, Uri};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use kube::client::Body;

use super::access::Access;
use super::{BoxError, QueryError};

/// What carries requests to one address.
#[derive(Clone)]
pub(super) enum Transport {
    Plain(reqwest::Client),
    Tls(kube::Client),
}

/// What came back, whatever its status.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// The answerer's own time, in whole seconds.
    pub(super) date: Option<Timestamp>,
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl Transport {
    /// For an address with its scheme. Connects when it is first asked.
    pub(super) fn new(
        endpoint: &str,
        access: &Access,
        timeout: Duration,
    ) -> Result<Self, QueryError> {
        if !endpoint.starts_with("https://") {
            let http = reqwest::Client::builder().timeout(timeout).build();
            return Ok(Self::Plain(http.map_err(client)?));
        }
        let mut config = kube::Config::new(endpoint.parse::<Uri>().map_err(client)?);
        config.connect_timeout = Some(timeout);
        // A query that failed is asked again in the next tick; here it would only be late.
        config.default_retry = false;
        if let Some(ca) = &access.ca {
            // Else the system's certificates would have to be there, although nobody asks them.
            config.root_cert = Some(Vec::new());
            config.root_cert_file = Some(ca.clone());
        }
        if let Some((cert, key)) = &access.identity {
            let name = |path: &Path| Some(path.to_string_lossy().into_owned());
            config.auth_info.client_certificate = name(cert);
            config.auth_info.client_key = name(key);
        }
        Ok(Self::Tls(kube::Client::try_from(config).map_err(client)?))
    }

    /// Asks for `path_and_query` below the address.
    pub(super) async fn get(
        &self,
        endpoint: &str,
        path_and_query: &str,
        access: &Access,
        timeout: Duration,
    ) -> Result<Response, QueryError> {
        let credentials = match &access.credentials {
            Some(credentials) => Some(credentials.header().await.map_err(QueryError::Access)?),
            None => None,
        };
        let asked = async {
            match self {
                Self::Plain(http) => {
                    let mut request = http.get(format!("{endpoint}{path_and_query}"));
                    if let Some(value) = credentials {
                        request = request.header(AUTHORIZATION, value);
                    }
                    plain(request).await
                }
                Self::Tls(client) => {
                    // The client puts the address before it.
                    let mut request = axum::http::Request::get(path_and_query);
                    if let Some(value) = credentials {
                        request = request.header(AUTHORIZATION, value);
                    }
                    let response = client.send(request.body(Body::empty())?).await;
                    let (head, body) = response.map_err(cause)?.into_parts();
                    let body = body.collect_bytes().await.map_err(cause)?;
                    Ok(Response {
                        status: head.status.as_u16(),
                        body,
                        date: date(&head.headers),
                    })
                }
            }
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        let answered: Result<Response, BoxError> =
            answered.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}").into()));
        answered.map_err(|source| QueryError::Unreachable {
            endpoint: endpoint.to_owned(),
            source,
        })
    }
}

fn client(error: impl Into<BoxError>) -> QueryError {
    QueryError::Client(error.into())
}

async fn plain(request: reqwest::RequestBuilder) -> Result<Response, BoxError> {
    // An address in a message holds the whole query, which hides the reason from whoever reads it.
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status().as_u16();
    let date = date(response.headers());
    let body = response.bytes().await;
    Ok(Response {
        status,
        date,
        body: body.map_err(reqwest::Error::without_url)?,
    })
}

/// What is behind an error of the client, whose own words speak of services.
fn cause(error: kube::Error) -> BoxError {
    match error {
        kube::Error::Service(cause) => cause,
        kube::Error::HyperError(cause) => cause.into(),
        other => other.into(),
    }
}

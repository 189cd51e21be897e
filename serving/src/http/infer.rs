//! `POST .../infer`: from a body to an answer, both of them JSON, binary data or a mixture, compressed or not.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    body::HttpBody,
    extract::{MatchedPath, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{body, connections::Peer, encoding};
use crate::{
    aside::aside,
    error::ApiError,
    inference::{self, App},
    metrics::InFlight,
    protocol::{
        request::{InferRequest, RequestError, json},
        response::{Encoded, InferResponse},
    },
    registry::ModelVersion,
    tensor::{bytes_of, shorten},
};

/// Bytes of the JSON in a body that goes on with binary data.
pub(crate) const JSON_LENGTH: HeaderName =
    HeaderName::from_static("inference-header-content-length");

/// A request that came by the router.
pub(super) async fn routed(
    State(app): State<Arc<App>>,
    Extension(loaded): Extension<Arc<ModelVersion>>,
    route: Option<MatchedPath>,
    request: axum::extract::Request,
) -> Response {
    let route = route.as_ref().map(MatchedPath::as_str);
    infer(&app, &loaded, route, request).await
}

/// Answers a request for a model; `route` is what its path matches, for traces.
pub(super) async fn infer<B>(
    app: &App,
    loaded: &ModelVersion,
    route: Option<&str>,
    request: Request<B>,
) -> Response
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let traces = app.traces.as_ref();
    let trace = traces.map(|it| it.rest(loaded, request.headers(), route, request.uri().path()));
    let in_flight = app.metrics.begin(loaded, Instant::now(), trace);
    let result = answer(app, loaded, request, &in_flight).await;
    inference::settle(in_flight, result).unwrap_or_else(ApiError::into_response)
}

async fn answer<B>(
    app: &App,
    loaded: &ModelVersion,
    request: Request<B>,
    in_flight: &InFlight<'_>,
) -> Result<Response, ApiError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let ModelVersion {
        model,
        version,
        spec,
        ..
    } = loaded;
    let max_body = app.max_body;
    let (parts, body) = request.into_parts();
    let encoding = encoding::of(&parts.headers)?;
    let peer = || parts.extensions.get().map(|Peer(address)| *address);
    let turn = inference::take_turn(app, &parts.headers, peer);
    // Kept until the answer is written.
    let _places = match turn.and_then(|turn| Ok((turn, inference::admit(app, loaded)?))) {
        Ok(places) => places,
        Err(full) => {
            body::discard(body, max_body).await;
            return Err(full);
        }
    };
    let body = body::read(body, max_body).await?;
    let body = encoding::decompress(encoding, body, max_body).await?;
    let json_length = json_length(&parts.headers, body.len()).map_err(ApiError::Request)?;
    let request = aside(body.len(), || json::parse(&body, json_length, spec));
    let request = request.map_err(ApiError::Request)?;
    // The text is the largest thing that a waiting request would hold.
    drop(body);
    let InferRequest {
        id,
        inputs,
        outputs: selected,
        scheduling,
    } = request;
    let outputs = inference::infer(loaded, inputs, scheduling, in_flight).await?;
    let size = bytes_of(&outputs);
    let encode = || InferResponse::encode((model, *version), id, spec, &outputs, &selected);
    let encoded = aside(size, encode).map_err(|error| inference::failed(loaded, &error))?;
    Ok(into_response(encoded))
}

/// The header that says how much of a body is JSON.
fn json_length(headers: &HeaderMap, body: usize) -> Result<Option<usize>, RequestError> {
    let mut values = headers.get_all(JSON_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refuse = |found: &[u8]| RequestError::HeaderLength {
        found: shorten(&String::from_utf8_lossy(found)),
        body,
    };
    if values.next().is_some() {
        return Err(refuse(b"given twice"));
    }
    let bytes = value.as_bytes();
    // `parse` takes a sign, too.
    let digits = bytes.iter().all(u8::is_ascii_digit);
    let length = value.to_str().ok().filter(|_| digits);
    match length.and_then(|length| length.parse().ok()) {
        Some(length) if length <= body => Ok(Some(length)),
        _ => Err(refuse(bytes)),
    }
}

fn into_response(Encoded { body, json_length }: Encoded) -> Response {
    let content_type = match json_length {
        Some(_) => "application/octet-stream",
        None => "application/json",
    };
    let content_type = HeaderValue::from_static(content_type);
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(length) = json_length {
        response.headers_mut().insert(JSON_LENGTH, length.into());
    }
    response
}

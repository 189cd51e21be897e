//! Reading a request's body within bounds of size and time.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use futures::StreamExt;

use crate::error::ApiError;

/// A body that takes longer holds memory for nobody.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The binary tensor extension announces itself with this header.
const BINARY_HEADER: &str = "inference-header-content-length";

/// Refuses what would only look like broken JSON.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(BINARY_HEADER) {
        return Err(ApiError::Encoding("binary tensor data"));
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(ApiError::Encoding("a compressed body")),
        _ => Ok(()),
    }
}

/// The whole body, at most `limit` bytes.
///
/// A little more than the limit is read and thrown away: a client that is still writing would otherwise see a reset
/// connection instead of the answer.
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let patience = limit.saturating_mul(2);
    if body.size_hint().lower() > patience as u64 {
        return Err(ApiError::TooLarge(limit));
    }
    tokio::time::timeout(TIMEOUT, collect(body, limit, patience))
        .await
        .unwrap_or(Err(ApiError::SlowBody(TIMEOUT.as_secs())))
}

/// Reads a body that nobody needs and keeps nothing of it, so that the client gets to read its answer.
pub(super) async fn discard(body: Body, limit: usize) {
    let patience = limit.saturating_mul(2);
    if body.size_hint().lower() <= patience as u64 {
        // It is thrown away in any case.
        let _ = tokio::time::timeout(TIMEOUT, collect(body, 0, patience)).await;
    }
}

async fn collect(body: Body, limit: usize, patience: usize) -> Result<Vec<u8>, ApiError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::BrokenBody)?;
        seen = seen.saturating_add(chunk.len());
        if seen <= limit {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
        }
        if seen > patience {
            break;
        }
    }
    if seen > limit {
        Err(ApiError::TooLarge(limit))
    } else {
        Ok(bytes)
    }
}

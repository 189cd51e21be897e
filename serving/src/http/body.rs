//! Reading a request's body within bounds of size and time.

use std::time::Duration;

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http_body_util::BodyExt;

use crate::error::ApiError;

/// A body that takes longer holds memory for nobody.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The whole body, at most `limit` bytes.
///
/// A little more than the limit is read and thrown away: a client that is still writing would otherwise see a reset
/// connection instead of the answer.
pub(super) async fn read<B>(body: B, limit: usize) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let patience = limit.saturating_mul(2);
    if body.size_hint().lower() > patience as u64 {
        return Err(ApiError::TooLarge(limit));
    }
    tokio::time::timeout(TIMEOUT, collect(body, limit, patience))
        .await
        .unwrap_or(Err(ApiError::SlowBody(TIMEOUT.as_secs())))
}

/// Reads a body that nobody needs and keeps nothing of it, so that the client gets to read its answer.
pub(super) async fn discard<B>(body: B, limit: usize)
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let patience = limit.saturating_mul(2);
    if body.size_hint().lower() <= patience as u64 {
        // It is thrown away in any case.
        let _ = tokio::time::timeout(TIMEOUT, collect(body, 0, patience)).await;
    }
}

async fn collect<B>(body: B, limit: usize, patience: usize) -> Result<Bytes, ApiError>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    // What it is said to be: a buffer that grows would be copied again and again, and twice there at the end. Until the
    // body comes it is no memory.
    let announced = usize::try_from(body.size_hint().lower()).map_or(limit, |it| it.min(limit));
    let mut chunks = body.into_data_stream();
    let mut first = Bytes::new();
    let mut bytes = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::BrokenBody)?;
        seen = seen.saturating_add(chunk.len());
        if seen > limit {
            (first, bytes) = (Bytes::new(), BytesMut::new());
        } else if first.is_empty() && bytes.is_empty() {
            // Most bodies arrive in one piece, which needs no copy.
            first = chunk;
        } else {
            if bytes.is_empty() {
                bytes.reserve(announced);
                bytes.extend_from_slice(&std::mem::take(&mut first));
            }
            bytes.extend_from_slice(&chunk);
        }
        if seen > patience {
            break;
        }
    }
    if seen > limit {
        Err(ApiError::TooLarge(limit))
    } else if first.is_empty() {
        Ok(bytes.freeze())
    } else {
        Ok(first)
    }
}

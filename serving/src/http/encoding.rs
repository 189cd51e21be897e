//! Compression of bodies: requests within bounds, and answers as the client asks.

use std::io::{self, BufRead, Read};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::SizeAbove},
};

use crate::{error::ApiError, tensor::shorten};

/// Smaller answers fit a packet as they are.
const MIN_COMPRESSED: u64 = 1024;

/// Two to this power is the largest window, in bytes, that a zstd body may ask for: what RFC 9659 allows for HTTP. The
/// library's own bound is 16 times as much, for each request.
const ZSTD_WINDOW_LOG: u32 = 23;

/// No byte of deflate becomes more than 1 032 (zlib's "Technical Details").
const DEFLATE_RATIO: usize = 1032;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    /// zlib by its specification, but raw deflate from many a client.
    Deflate,
    Zstd,
}

/// Answers are compressed if the request's Accept-Encoding says so.
pub(super) fn responses() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED))
}

/// The encoding of a request's body.
///
/// # Errors
/// [`ApiError::Encoding`] if it is none of ours, or more than one.
pub(super) fn of(headers: &HeaderMap) -> Result<Encoding, ApiError> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(Encoding::Identity);
    };
    let name = String::from_utf8_lossy(value.as_bytes());
    let name = name.trim();
    if values.next().is_some() {
        return Err(ApiError::Encoding(shorten(&format!("{name}, ..."))));
    }
    match name.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        "deflate" => Ok(Encoding::Deflate),
        "zstd" => Ok(Encoding::Zstd),
        _ => Err(ApiError::Encoding(shorten(name))),
    }
}

/// The body as it was before it was compressed, at most `limit` bytes.
///
/// # Errors
/// [`ApiError::Compressed`] if it is broken, [`ApiError::TooLarge`] as soon as it grows over the limit.
pub(super) async fn decompress(
    encoding: Encoding,
    body: Bytes,
    limit: usize,
) -> Result<Bytes, ApiError> {
    if encoding == Encoding::Identity {
        return Ok(body);
    }
    // A small body may hold megabytes: too long for a thread that serves other clients.
    let task = tokio::task::spawn_blocking(move || expand(encoding, &body, limit));
    task.await.unwrap_or(Err(ApiError::BrokenBody))
}

fn expand(encoding: Encoding, body: &[u8], limit: usize) -> Result<Bytes, ApiError> {
    // What may come of it, and no more.
    let most = match encoding {
        Encoding::Zstd => limit,
        _ => body.len().saturating_mul(DEFLATE_RATIO).min(limit),
    };
    match encoding {
        Encoding::Identity => Ok(Bytes::copy_from_slice(body)),
        Encoding::Gzip => {
            let mut decoder = MultiGzDecoder::new(body);
            read("gzip", &mut decoder, most, limit)
        }
        Encoding::Deflate if is_zlib(body) => {
            let mut decoder = ZlibDecoder::new(body);
            let bytes = read("deflate", &mut decoder, most, limit)?;
            at_end("deflate", decoder.get_ref()).map(|()| bytes)
        }
        Encoding::Deflate => {
            let mut decoder = DeflateDecoder::new(body);
            let bytes = read("deflate", &mut decoder, most, limit)?;
            at_end("deflate", decoder.get_ref()).map(|()| bytes)
        }
        Encoding::Zstd => zstd_decoder(body)
            .map_err(|_| ApiError::Compressed("zstd"))
            .and_then(|mut decoder| read("zstd", &mut decoder, most, limit)),
    }
}

fn zstd_decoder<R: BufRead>(body: R) -> io::Result<zstd::Decoder<'static, R>> {
    let mut decoder = zstd::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

/// Reads to the end, but no further than one byte beyond the limit. There is room for the `most` that may come: a buffer
/// that grows would be copied again and again, and twice there each time, and what is not written to is no memory.
fn read(
    name: &'static str,
    decoder: &mut impl Read,
    most: usize,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::with_capacity(most.saturating_add(1));
    decoder
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| ApiError::Compressed(name))?;
    if bytes.len() > limit {
        return Err(ApiError::TooLarge(limit));
    }
    Ok(bytes.into())
}

fn at_end(name: &'static str, rest: &[u8]) -> Result<(), ApiError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(ApiError::Compressed(name))
    }
}

/// Whether a body begins as RFC 1950 says. Raw deflate could only do so with padding that is not zero, which nobody
/// writes.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    fn compressed(data: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
        let level = Compression::fast();
        let mut gzip = GzEncoder::new(Vec::new(), level);
        gzip.write_all(data).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(data).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        raw.write_all(data).unwrap();
        vec![
            (Encoding::Gzip, gzip.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
            (Encoding::Zstd, zstd::encode_all(data, 1).unwrap()),
        ]
    }

    #[test]
    fn every_encoding_is_read_to_its_exact_limit() {
        let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for (encoding, body) in compressed(&data) {
            let whole = expand(encoding, &body, data.len()).unwrap();
            assert_eq!(whole, data, "{encoding:?}");
            let over = expand(encoding, &body, data.len() - 1);
            assert!(matches!(over, Err(ApiError::TooLarge(_))), "{encoding:?}");
        }
    }

    #[test]
    fn bodies_that_are_broken_cut_or_go_on_are_refused() {
        let data = [7_u8; 5_000];
        for (encoding, body) in compressed(&data) {
            let refused = |body: &[u8]| {
                let result = expand(encoding, body, 10_000);
                assert!(
                    matches!(result, Err(ApiError::Compressed(_))),
                    "{encoding:?}: {result:?}"
                );
            };
            refused(&[]);
            refused(&body[..body.len() - 1]);
            refused(&body[..1]);
            refused(&[&body[..], b"more"].concat());
            refused(b"plain text");
        }
    }

    #[test]
    fn a_zstd_body_may_not_ask_for_a_large_window() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[0; 100]).unwrap();
        let body = encoder.finish().unwrap();
        let result = expand(Encoding::Zstd, &body, 1_000);
        assert!(
            matches!(result, Err(ApiError::Compressed("zstd"))),
            "{result:?}"
        );
    }
}

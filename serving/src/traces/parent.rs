//! `traceparent` and `tracestate`, as W3C's Trace Context has them. What is not well-formed counts as absent.

use std::str::FromStr;

use axum::http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Bytes of a traceparent of the version that is known.
const LENGTH: usize = 55;

/// The span that a request was sent in.
///
/// Not by the propagator of OpenTelemetry: it takes identifiers that are too short, and a dash too many.
pub(super) fn of(headers: &HeaderMap) -> Option<SpanContext> {
    let mut all = headers.get_all("traceparent").iter();
    let text = all.next()?.to_str().ok()?.trim();
    if all.next().is_some() {
        return None;
    }
    let (trace, span, flags) = fields(text)?;
    let states = headers.get_all("tracestate").iter();
    let states: Option<Vec<&str>> = states.map(|it| it.to_str().ok()).collect();
    let state = states.and_then(|it| TraceState::from_str(&it.join(",")).ok());
    let parent = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        state.unwrap_or_default(),
    );
    // Not when one of the two is zero.
    parent.is_valid().then_some(parent)
}

/// Trace, span and flags, each of its length and in small hexadecimal digits.
fn fields(text: &str) -> Option<(&str, &str, &str)> {
    let known = text.get(..LENGTH)?;
    let more = text.get(LENGTH..)?;
    let mut parts = known.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (span, flags) = (parts.next()?, parts.next()?);
    let hexadecimal = |it: &u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    let lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let well_formed = lengths
        .iter()
        .all(|(part, length)| part.len() == *length && part.as_bytes().iter().all(hexadecimal));
    // Later versions may say more behind a dash.
    let end = match version {
        "ff" => false,
        "00" => more.is_empty(),
        _ => more.is_empty() || more.starts_with('-'),
    };
    (well_formed && parts.next().is_none() && end).then_some((trace, span, flags))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parent(values: &[&str]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", HeaderValue::from_str(value).unwrap());
        }
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        of(&headers)
    }

    #[test]
    fn a_parent_is_read_as_it_was_written() {
        let found = parent(&[GOOD]).unwrap();
        assert_eq!(found.trace_id().to_string(), &GOOD[3..35]);
        assert_eq!(found.span_id().to_string(), &GOOD[36..52]);
        assert!(found.is_sampled() && found.is_remote());
        assert_eq!(found.trace_state().header(), "a=1,b=2");
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let found = parent(&[&format!("{}{flags}", &GOOD[..53])]).unwrap();
            assert_eq!(found.is_sampled(), sampled, "{flags}");
        }
        let later = GOOD.replacen("00", "cc", 1);
        for more in ["", "-", "-what-more"] {
            assert!(parent(&[&format!("{later}{more}")]).is_some(), "{more}");
        }
    }

    #[test]
    fn what_is_malformed_counts_as_absent() {
        for value in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}-00"),
            &format!("{GOOD}0"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0", 1),
            &format!("{}x", GOOD.replacen("00", "cc", 1)),
            &GOOD.to_uppercase(),
            &GOOD.replace("0af7", "0aG7"),
            &GOOD.replace("0af7", "+af7"),
            &GOOD.replace('-', "_"),
            &GOOD.replace("c-b", "-cb"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert!(parent(&[value]).is_none(), "{value}");
        }
        assert!(parent(&[]).is_none());
        assert!(parent(&[GOOD, GOOD]).is_none(), "which of them?");
    }
}

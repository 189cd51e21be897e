//! Values that flags take, and what is wrong with others.

use std::{ops::RangeInclusive, time::Duration};

use axum::http::Uri;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::source::Place;

/// Reading the repository so often costs a look at every file of it.
const MIN_SPAN: Duration = Duration::from_millis(10);
pub(super) const MAX_SPAN: Duration = Duration::from_secs(24 * 3600);

pub(super) fn place() -> impl TypedValueParser<Value = Place> {
    PathBufValueParser::new().try_map(Place::parse)
}

/// The URL of a collector; an empty one is none.
pub(super) fn collector(text: &str) -> Result<String, String> {
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|it| matches!(it.scheme_str(), Some("http" | "https")));
    match url {
        _ if text.is_empty() => Ok(String::new()),
        Some(_) => Ok(text.to_owned()),
        None => Err("it is no URL: write one such as http://collector:4317".to_owned()),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|it| (0.0..=1.0).contains(it));
    share.ok_or_else(|| "it is no share: write one from 0 to 1".to_owned())
}

pub(super) fn address(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().ok()?;
        (!host.is_empty()).then(|| (host.to_owned(), port))
    });
    parts.ok_or_else(|| "it is no HOST:PORT: write one such as 127.0.0.1:8002".to_owned())
}

/// A span of time that a request can wait for.
pub(super) fn short_span(text: &str) -> Result<Duration, String> {
    const ALLOWED: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(1);
    let span = humantime::parse_duration(text).ok();
    let allowed = span.filter(|it| ALLOWED.contains(it));
    allowed.ok_or_else(|| "it is no span of 1ms to 1s: write one such as 5ms".to_owned())
}

/// A span of time that a core can be busy for.
pub(super) fn busy(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).ok();
    let allowed = span.filter(|it| *it <= Duration::from_millis(10));
    allowed.ok_or_else(|| "it is no span of 0s to 10ms: write one such as 200us".to_owned())
}

/// A span of time that a timer can wait for.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let example = "write one such as 10s or 1m";
    match humantime::parse_duration(text) {
        Ok(span) if (MIN_SPAN..=MAX_SPAN).contains(&span) => Ok(span),
        Ok(_) => {
            let [least, most] = [MIN_SPAN, MAX_SPAN].map(humantime::format_duration);
            Err(format!("it is {least} to {most}: {example}"))
        }
        Err(error) => Err(format!("it is no span of time ({error}): {example}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_busy_for_a_short_while_or_not_at_all() {
        for (text, wanted) in [
            ("0s", Some(0)),
            ("200us", Some(200)),
            ("10ms", Some(10_000)),
            ("11ms", None),
            ("soon", None),
        ] {
            assert_eq!(busy(text).ok(), wanted.map(Duration::from_micros), "{text}");
        }
    }

    #[test]
    fn spans_and_addresses_are_read_strictly() {
        for (text, wanted) in [
            ("10s", Some(10)),
            ("0s", None),
            ("2days", None),
            ("soon", None),
        ] {
            assert_eq!(span(text).ok(), wanted.map(Duration::from_secs), "{text}");
        }
        for (text, host) in [
            ("127.0.0.1:8002", Some("127.0.0.1")),
            ("[::1]:8002", Some("::1")),
            (":8002", None),
            ("8002", None),
            ("localhost:port", None),
        ] {
            let wanted = host.map(|host| (host.to_owned(), 8002));
            assert_eq!(address(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn collectors_and_shares_are_read_strictly() {
        for (text, good) in [
            ("http://collector:4317", true),
            ("https://[::1]:4317", true),
            ("collector:4317", false),
            ("ftp://collector", false),
            ("", true),
        ] {
            assert_eq!(collector(text).is_ok(), good, "{text}");
        }
        for (text, wanted) in [
            ("0", Some(0.0)),
            ("0.25", Some(0.25)),
            ("1", Some(1.0)),
            ("1.1", None),
            ("NaN", None),
            ("-0.5", None),
        ] {
            assert_eq!(share(text).ok(), wanted, "{text}");
        }
    }
}

//! What the server puts up with, as flags.

use std::{num::NonZeroUsize, time::Duration};

use axum::http::HeaderName;
use bytesize::ByteSize;

use crate::{clients::ClientLimit, limits::Limits, memory::Ceiling, spec::MIN_FORWARD};

/// Others are served for so long when a model makes the process end: load balancers learn of it by then.
const LINGER: Duration = Duration::from_secs(3);

/// Bounds of the whole server.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// How long one forward may take, warm-up excluded: if one takes longer, readiness fails and the process ends with code
    /// 3, as libtorch cannot be interrupted; 'off' for ever. A model.yaml may say another by forwardTimeout.
    // Nobody waits so long for an answer over HTTP, so a model that is only slow does not end the process.
    #[arg(long, value_name = "SPAN|off", default_value = "5m", env = "SERIN_FORWARD_TIMEOUT", value_parser = patience)]
    pub forward_timeout: Patience,

    /// How long the headers of a request may take to arrive, from the connection on for its first one; a connection without
    /// a request under way may stay for an hour.
    #[arg(long, value_name = "SPAN", default_value = "30s", env = "SERIN_HEADER_TIMEOUT", value_parser = super::values::span)]
    pub header_timeout: Duration,

    /// Memory of the process above which new requests get 503, such as 6GiB; 'cgroup' is nine tenths of the container's
    /// limit, if it has one, and 'off' none.
    #[arg(long, value_name = "SIZE|cgroup|off", default_value = "cgroup", env = "SERIN_MEMORY_CEILING", value_parser = ceiling)]
    pub memory_ceiling: Ceiling,

    /// Requests that one client may have in flight; more get 429 [default: any number].
    #[arg(long, value_name = "N", env = "SERIN_CLIENT_IN_FLIGHT")]
    pub client_in_flight: Option<NonZeroUsize>,

    /// Header that tells clients apart, such as x-forwarded-client-cert; it must come from a proxy that sets it itself. By
    /// default, and for requests without it, the address is the client, which behind a proxy is the proxy's.
    #[arg(
        long,
        value_name = "NAME",
        env = "SERIN_CLIENT_HEADER",
        requires = "client_in_flight"
    )]
    pub client_header: Option<HeaderName>,
}

/// A span, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        let LimitArgs {
            forward_timeout,
            header_timeout,
            memory_ceiling,
            client_in_flight,
            client_header: header,
        } = args;
        Self {
            forward_timeout: forward_timeout.0,
            linger: LINGER,
            headers: header_timeout,
            memory: memory_ceiling,
            client: client_in_flight.map(|in_flight| ClientLimit { in_flight, header }),
        }
    }
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "off" {
        return Ok(Patience(None));
    }
    match super::values::span(text)? {
        span if span < MIN_FORWARD => {
            let least = humantime::format_duration(MIN_FORWARD);
            Err(format!("it is less than {least}: write one such as 5m"))
        }
        span => Ok(Patience(Some(span))),
    }
}

fn ceiling(text: &str) -> Result<Ceiling, String> {
    match text {
        "off" => Ok(Ceiling::Off),
        "cgroup" => Ok(Ceiling::Cgroup),
        _ => {
            let size: Result<ByteSize, _> = text.parse();
            let size =
                size.map_err(|error| format!("it is no size ({error}): write one such as 6GiB"));
            match size?.as_u64() {
                0 => Err("nothing is no ceiling: write one such as 6GiB, or 'off'".to_owned()),
                bytes => Ok(Ceiling::Bytes(bytes)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_a_size_or_where_it_is_from() {
        for (text, wanted) in [
            ("off", Some(Ceiling::Off)),
            ("cgroup", Some(Ceiling::Cgroup)),
            ("1048576", Some(Ceiling::Bytes(1 << 20))),
            ("2GiB", Some(Ceiling::Bytes(2 << 30))),
            ("0", None),
            ("much", None),
            ("-1", None),
        ] {
            assert_eq!(ceiling(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn a_forward_may_take_for_ever_if_that_is_said() {
        for (text, wanted) in [
            ("off", Some(None)),
            ("30s", Some(Some(Duration::from_secs(30)))),
            ("0s", None),
            ("10ms", None),
            ("never", None),
        ] {
            assert_eq!(patience(text).ok(), wanted.map(Patience), "{text}");
        }
    }
}

//! Requests as the proxy hands them over, and configurations with many rollouts.

use serin_filter_core::config::FilterConfig;
use serin_filter_core::pairs::{Pairs, serialize};
use serin_filter_core::route::Request;
use serin_filter_core::table::RoutingTable;

/// Where the number of a model stands in its names, five digits wide.
pub(crate) const NUMBER: &str = "#####";
/// How many digits that are.
pub(crate) const DIGITS: usize = NUMBER.len();

/// A request whose headers are those of one serialized map.
pub(crate) struct Proxied<'a>(pub(crate) Pairs<'a>);

impl Request for Proxied<'_> {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.0.get(name)
    }

    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.0.all("cookie")
    }

    fn property(&self, _: &[&str]) -> Option<Vec<u8>> {
        None
    }

    fn draw(&self) -> u64 {
        0
    }
}

/// What a Python client of an inference service sends through a gateway, sixteen headers with those of the proxy.
pub(crate) fn inference(host: &str, path: &str) -> Vec<u8> {
    let headers = [
        (":authority", host),
        (":path", path),
        (":method", "POST"),
        (":scheme", "http"),
        ("user-agent", "python-requests/2.32.3"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("content-length", "1734"),
        ("x-forwarded-for", "10.42.7.191"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "5f1c8dbb-2c37-4f0c-9d0e-5a2f6f0f1c4e"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "authorization",
            "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTc5OTk5OTk5OX0.c2lnbmF0dXJl",
        ),
        ("x-user-id", "user-8412907"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
    ];
    let headers = headers.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    serialize(&headers)
}

/// A name with its number in place.
pub(crate) fn numbered(name: &str, number: usize) -> String {
    name.replace(NUMBER, &format!("{number:05}"))
}

/// The JSON of this many rollouts; [`NUMBER`] in host and path stands for that of the rollout.
pub(crate) fn configuration(rollouts: usize, host: &str, path: &str) -> Vec<u8> {
    let rollouts: Vec<_> = (0..rollouts)
        .map(|number| {
            serde_json::json!({
                "name": format!("ml/model-{number:05}"),
                "hosts": [numbered(host, number)],
                "pathPrefix": numbered(path, number),
                "variants": [
                    {"name": "stable", "version": "7", "live": true, "route": "v7", "cluster": "model-v7"},
                    {"name": "canary", "version": "8", "route": "v8", "cluster": "model-v8"}
                ],
                "key": [{"header": "x-user-id"}, {"cookie": "uid"}],
                "salt": format!("model-{number:05}-8"),
                "table": [[9000, 0], [10000, 1]],
                "progressing": true,
                "slow": [{"name": "p99", "aboveMicros": 250_000}],
                "fuse": {"consecutiveErrors": 5, "errorRatio": 0.5, "pendingMs": 10_000}
            })
        })
        .collect();
    let config = serde_json::json!({"version": 1, "generation": 1, "rollouts": rollouts});
    serde_json::to_vec(&config).unwrap()
}

/// What the filter makes of a configuration.
pub(crate) fn compiled(json: &[u8]) -> RoutingTable {
    RoutingTable::new(FilterConfig::parse(json).unwrap()).unwrap()
}

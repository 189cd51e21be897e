//! What crosses between Envoy and the filter, counted outside of Envoy: the built module in an interpreter, before a
//! host that writes down each entry into the VM (`>`) and each call out of it. Entries cost 0.5 to 3 us, calls 0.1 to 1.

mod overlapping;
mod proxy;
mod updates;
mod vectors;

use serin_filter_core::config::FuseConfig;
use serin_tests::tools;

use super::{CANARY as CLUSTER, HOST, PATH, ROUTE, config};
use proxy::{Headers, Proxy};

fn wasm() -> Vec<u8> {
    std::fs::read(tools::filter().unwrap()).unwrap()
}

/// A request with a few headers more than the filter reads.
fn request(host: &str, user: &str) -> Headers {
    let headers = [
        (":authority", host),
        (":method", "POST"),
        (":path", PATH),
        ("content-type", "application/json"),
        ("user-agent", "curl"),
        ("x-user-id", user),
    ];
    let bytes = |text: &str| text.as_bytes().to_vec();
    let headers = headers.map(|(name, value)| (bytes(name), bytes(value)));
    headers.to_vec()
}

/// A fuse that watches each request while it is pending, as the dearest one does.
const FUSE: FuseConfig = FuseConfig {
    consecutive_errors: Some(5),
    error_ratio: Some(0.5),
    min_requests: 20,
    window_ms: 1_000,
    cooldown_ms: 30_000,
    pending_ms: Some(10_000),
    slow_ms: None,
};

fn proxy(canary: u16) -> Proxy {
    let mut config = config(1, canary);
    config.rollouts[0].fuse = Some(FUSE);
    Proxy::start(&wasm(), &serde_json::to_string(&config).unwrap())
}

/// What crosses for one request that is alone, line by line: the entry or call, and what it buys. Labels of metrics are
/// left out.
type Crossing = [(&'static str, &'static str)];

/// A request that is nobody's: it needs to be looked at, and no more. The entries of the response are made all the same,
/// for an export is there for all requests or for none; they find no state and leave.
#[rustfmt::skip]
const NOBODYS: &Crossing = &[
    ("> proxy_on_request_headers", "the choice"),
    ("get_header_map_pairs", "host, path, key, and whether a header of ours was sent from outside, all at once"),
    ("> proxy_on_memory_allocate", "the proxy never writes where it was not told to; answered from memory that is kept"),
    ("> proxy_on_response_headers", "whether the response ends here"),
    ("> proxy_on_response_body", "or here"),
    ("> proxy_on_log", "the end, with the status"),
];

/// A user of the live variant, by a key in a header: no header is set, and the route is not matched again.
#[rustfmt::skip]
const LIVE: &Crossing = &[
    ("> proxy_on_request_headers", "as above"),
    ("get_header_map_pairs", ""),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", "the begin of the duration"),
    ("increment_metric serin_assignments_total", "assignments by reason, and with requests: what is in flight"),
    ("> proxy_on_response_headers", ""),
    ("> proxy_on_response_body", ""),
    ("> proxy_on_log", ""),
    ("get_header_map_value :status", "the class of the response"),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", "the end of the duration"),
    ("record_metric serin_request_duration_ms", "latency for people and dashboards"),
    ("increment_metric serin_requests_total", "requests by cohort and class"),
    ("increment_metric serin_split_total", "the sample of the user's group, while a release is judged"),
];

/// A user of the canary: one call more, for the way.
#[rustfmt::skip]
const CANARY: &Crossing = &[
    ("> proxy_on_request_headers", ""),
    ("get_header_map_pairs", ""),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", "the same reading for the fuse"),
    ("replace_header_map_value x-serin-route", "the route, which Envoy matches again"),
    ("increment_metric serin_assignments_total", ""),
    ("> proxy_on_response_headers", ""),
    ("clock_time_get", "whether the answer began in time, for a fuse with a pending bound"),
    ("> proxy_on_response_body", ""),
    ("> proxy_on_log", ""),
    ("get_header_map_value :status", ""),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", "the same reading for the fuse"),
    ("record_metric serin_request_duration_ms", ""),
    ("increment_metric serin_requests_total", ""),
    ("increment_metric serin_split_total", ""),
];

/// A user of the canary whose fuse is open: no header, and no duration, for it would be that of the live variant.
#[rustfmt::skip]
const FUSED: &Crossing = &[
    ("> proxy_on_request_headers", ""),
    ("get_header_map_pairs", ""),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", "whether the cooldown is over"),
    ("increment_metric serin_assignments_total", ""),
    ("> proxy_on_response_headers", ""),
    ("> proxy_on_response_body", ""),
    ("> proxy_on_log", ""),
    ("get_header_map_value :status", ""),
    ("> proxy_on_memory_allocate", ""),
    ("clock_time_get", ""),
    ("increment_metric serin_requests_total", ""),
    ("increment_metric serin_split_fused_total", "who was sent home counts against the variant"),
];

/// What one request of the canary in 16 adds (of the live variant one in 64): whether the variant was really asked.
#[rustfmt::skip]
const SAMPLED: &Crossing = &[
    ("get_property response.code_details", "whether any upstream was asked"),
    ("> proxy_on_memory_allocate", ""),
    ("get_property xds.cluster_name", "which one"),
    ("> proxy_on_memory_allocate", ""),
    ("increment_metric serin_sampled_total", "of how many"),
];

#[track_caller]
fn assert_crosses(journal: &[String], expected: &[&Crossing]) {
    let expected = expected.iter().flat_map(|part| part.iter());
    let expected: Vec<&str> = expected.map(|(line, _)| *line).collect();
    assert_eq!(journal, expected);
}

/// Lets the metrics be defined, which happens once for each; those of a new configuration have their ids already.
fn warm_up(proxy: &mut Proxy, request: &Headers) {
    let journal = proxy.serve(request, 200);
    assert!(journal.iter().any(|line| line.starts_with("define_metric")));
}

#[test]
fn a_request_that_is_nobodys_is_looked_at_once() {
    let mut proxy = proxy(10_000);
    // From the first one on: nothing is prepared for it.
    for _ in 0..2 {
        assert_crosses(&proxy.serve(&request("other.ml", "user"), 200), &[NOBODYS]);
    }
}

#[test]
fn a_user_of_the_live_variant_crosses_no_more_than_this() {
    let (mut proxy, request) = (proxy(0), request(HOST, "user"));
    warm_up(&mut proxy, &request);
    assert_crosses(&proxy.serve(&request, 200), &[LIVE]);
    assert_eq!(proxy.request_header(ROUTE), None);
}

#[test]
fn a_user_of_the_canary_crosses_no_more_than_this() {
    let (mut proxy, request) = (proxy(10_000), request(HOST, "user"));
    warm_up(&mut proxy, &request);
    // Counts come last, all of them.
    let (before, counts) = CANARY.split_at(CANARY.len() - 2);
    let (asked, sampled) = SAMPLED.split_at(SAMPLED.len() - 1);
    for number in 1..=200 {
        let journal = proxy.serve(&request, 200);
        if number % 16 == 0 {
            assert_crosses(&journal, &[before, asked, counts, sampled]);
        } else {
            assert_crosses(&journal, &[CANARY]);
        }
    }
    assert_eq!(proxy.request_header(ROUTE), Some(CLUSTER.as_bytes()));
}

#[test]
fn a_user_who_was_sent_home_crosses_no_more_than_this() {
    let (mut proxy, request) = (proxy(10_000), request(HOST, "user"));
    for _ in 0..5 {
        proxy.serve(&request, 503);
    }
    warm_up(&mut proxy, &request);
    assert_crosses(&proxy.serve(&request, 200), &[FUSED]);
    assert_eq!(proxy.request_header(ROUTE), None);
}

#[test]
fn a_header_of_ours_from_outside_costs_one_call_to_remove() {
    let mut proxy = proxy(0);
    let mut forged = request(HOST, "user");
    forged.push((ROUTE.as_bytes().to_vec(), CLUSTER.as_bytes().to_vec()));
    warm_up(&mut proxy, &forged);
    let journal = proxy.serve(&forged, 200);
    let (before, after) = LIVE.split_at(3);
    let remove = ("remove_header_map_value x-serin-route", "");
    // When exactly is of no interest, as long as it is before the request goes on.
    assert!(journal[3..].contains(&remove.0.to_owned()), "{journal:#?}");
    let others = journal.iter().filter(|line| **line != remove.0);
    let others: Vec<String> = others.cloned().collect();
    assert_crosses(&others, &[before, after]);
    assert_eq!(proxy.request_header(ROUTE), None);
}

/// What the module does by itself has no place in the lists above. The interpreter weighs instructions, so that its numbers
/// mean something beside each other only; the bounds are a twentieth above what was seen.
#[test]
fn a_request_takes_no_more_instructions_than_this() {
    let mut proxy = proxy(0);
    // As many headers as a sidecar sees, of which the filter needs few.
    let of = |host| {
        let more =
            (0..6).map(|number| (format!("x-other-{number}").into_bytes(), b"value".to_vec()));
        let mut request = request(host, "user");
        request.extend(more);
        request
    };
    let (routed, nobodys) = (of(HOST), of("other.ml"));
    // What runs for the first time is translated first, and that is counted.
    proxy.work(&routed, 200);
    proxy.work(&nobodys, 200);
    let (routed, nobodys) = (proxy.work(&routed, 200), proxy.work(&nobodys, 200));
    assert!(
        routed <= 14_500 && nobodys <= 5_200,
        "{routed} for a routed request, {nobodys} for another"
    );
}

/// Every export is one that Envoy must find, or that the filter cannot do without; each callback costs an entry.
#[rustfmt::skip]
const EXPORTS: &Crossing = &[
    ("_initialize", "constructors of the standard library (WASI reactor)"),
    ("memory", "where the proxy reads and writes"),
    ("proxy_abi_version_0_2_1", "what Envoy knows the ABI by"),
    ("proxy_on_configure", "a configuration"),
    ("proxy_on_log", "the end of a request, however it came"),
    ("proxy_on_memory_allocate", "room for what host calls return"),
    ("proxy_on_request_headers", "the choice"),
    ("proxy_on_response_body", "whether an answer came whole"),
    ("proxy_on_response_headers", "the same for one without a body; the issued cookie"),
    ("proxy_on_response_trailers", "the same for one with trailers, such as gRPC"),
    ("proxy_on_tick", "counts of requests that overlap, and the rest of a long configuration; no ticks come at other times"),
];

#[test]
fn the_module_has_at_most_200_kib() {
    let size = wasm().len();
    assert!(size <= 200 * 1024, "{size} bytes");
}

#[test]
fn all_exports_are_needed_ones() {
    let exports = proxy(0).exports();
    let expected: Vec<&str> = EXPORTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(exports, expected);
}

//! Every call into the proxy, in terms that cannot fail: what cannot be had is `None`, what cannot be done is not.
//!
//! Most functions of the SDK panic on a status that they do not expect, and its trait methods on more; those used here
//! were read one by one against what Envoy answers in the callback where they are used. Header values are bytes: one
//! value that is not UTF-8 would take the text functions, and the worker with them, down.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType};

use crate::raw;

/// Keys in the data that all VMs of the proxy share, and that outlive each of them; the name of the plugin follows. Istio
/// gives every plugin the same space, so they bear our name.
const GOOD: &str = "serin.config.good:";
const REFUSED: &str = "serin.config.refused:";

/// `DownstreamConnectionTermination` (bit 14) and `DownstreamRemoteReset` (bit 28), which is what an HTTP/2 client
/// that cancels sends (`CoreResponseFlag` in envoy/stream_info/stream_info.h).
const CLIENT_WENT_AWAY: u64 = 1 << 14 | 1 << 28;

/// The plugin's configuration, in `on_configure`.
pub(crate) fn configuration(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size)
        .ok()
        .flatten()
        .unwrap_or_default()
}

/// The first value of a response header. Only in `on_log`, where a map that does not exist is just empty.
pub(crate) fn response_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name)
        .ok()
        .flatten()
}

/// The first value of a response trailer. Only in `on_log`, where a map that does not exist is just empty.
pub(crate) fn response_trailer(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseTrailers, name)
        .ok()
        .flatten()
}

/// Sets a request header in place of all its values. Envoy matches the route again, which is dear: once at most.
pub(crate) fn set_request_header(name: &str, value: &str) {
    let _ =
        hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value.as_bytes()));
}

/// Adds a response header; in the response phase.
pub(crate) fn add_response_header(name: &str, value: &str) {
    let _ = hostcalls::add_map_value_bytes(MapType::HttpResponseHeaders, name, value.as_bytes());
}

/// Removes all values of a request header. Envoy matches the route again even if there was none.
pub(crate) fn remove_request_header(name: &str) {
    let _ = hostcalls::remove_map_value(MapType::HttpRequestHeaders, name);
}

/// A property by the parts of its path.
pub(crate) fn property(path: Vec<&str>) -> Option<Vec<u8>> {
    hostcalls::get_property(path).ok().flatten()
}

/// Name of the plugin, which tells plugins of one VM apart.
pub(crate) fn plugin_name() -> String {
    let name = property(vec!["plugin_name"]).unwrap_or_default();
    String::from_utf8_lossy(&name).into_owned()
}

/// Name of the upstream cluster that the request was routed to.
pub(crate) fn cluster() -> Option<Vec<u8>> {
    property(vec!["xds", "cluster_name"])
}

/// Where the response came from, such as `via_upstream` (Envoy: response code details).
pub(crate) fn code_details() -> Option<Vec<u8>> {
    property(vec!["response", "code_details"])
}

/// Whether the client ended the request, in `on_log`.
pub(crate) fn client_hung_up() -> bool {
    let flags = property(vec!["response", "flags"]);
    let flags = flags.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    flags.is_some_and(|bytes| u64::from_le_bytes(bytes) & CLIENT_WENT_AWAY != 0)
}

/// Time since some moment, by a clock that is never set.
pub(crate) fn now() -> Duration {
    Duration::from_nanos(raw::monotonic_time())
}

/// Makes the calls that follow in this entry in the name of another context; returns whether there is such a one.
pub(crate) fn act_for(context: u32) -> bool {
    hostcalls::set_effective_context(context).is_ok()
}

/// Asks for ticks of the root context; none more where the period is zero.
pub(crate) fn tick_every(period: Duration) {
    let _ = hostcalls::set_tick_period(period);
}

/// Defines a metric. The proxy keeps an entry for each call, also for a name that it has: call it once per name.
pub(crate) fn define(kind: MetricType, name: &str) -> Option<u32> {
    hostcalls::define_metric(kind, name).ok()
}

/// Adds to a counter.
pub(crate) fn add(counter: u32, more: u32) {
    let _ = hostcalls::increment_metric(counter, i64::from(more));
}

/// Changes a gauge.
pub(crate) fn change(gauge: u32, by: i64) {
    let _ = hostcalls::increment_metric(gauge, by);
}

/// Sets a gauge, or adds a value to a histogram.
pub(crate) fn record(metric: u32, value: u64) {
    let _ = hostcalls::record_metric(metric, value);
}

/// A random seed. The keys of the standard library's hash maps are drawn from WASI's `random_get`, and this needs
/// neither another crate nor a call into the proxy for each draw.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Keeps a configuration that is good for VMs that will not have seen it: those of a new binary, and those that follow
/// a trap. It is one copy for the whole proxy. Every VM writes it, which costs a copy of the bytes each time: little
/// beside the parsing that went before, and each VM meets the configurations in their order, so that the newest stays.
pub(crate) fn keep_good(plugin: &str, configuration: &[u8]) {
    let _ = hostcalls::set_shared_data(&key(GOOD, plugin), Some(configuration), None);
}

/// The newest good configuration that any VM of the proxy has met.
pub(crate) fn good(plugin: &str) -> Option<Vec<u8>> {
    hostcalls::get_shared_data(&key(GOOD, plugin)).ok()?.0
}

/// Whether no VM of this proxy has refused this configuration in favour of this generation before: each worker meets
/// it, but people want to read of it once.
pub(crate) fn refused_first(plugin: &str, configuration: &[u8], in_use: u64) -> bool {
    let key = key(REFUSED, plugin);
    let digest = fxhash::hash64(&(configuration, in_use)).to_le_bytes();
    let (known, version) = hostcalls::get_shared_data(&key).unwrap_or_default();
    // Whoever is overtaken here need not tell. The very first refusal has no version to compare, and no rival: Envoy
    // tries a configuration that is new to it on the main thread, before any worker.
    known.as_deref() != Some(digest.as_slice())
        && hostcalls::set_shared_data(&key, Some(&digest), version).is_ok()
}

fn key(of: &str, plugin: &str) -> String {
    [of, plugin].concat()
}

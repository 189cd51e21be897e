//! The entry points of the module (Proxy-Wasm ABI 0.2.1), under names that `serin-trim` turns into `proxy_on_*`.
//!
//! There is none for the creation of a stream: the proxy does not say more in it than which plugin the stream belongs
//! to, and a VM nearly always has one plugin only.
#![allow(unsafe_code, reason = "exported names are unsafe attributes")]

use std::cell::RefCell;
use std::time::Duration;

use fxhash::FxHashMap;
use proxy_wasm::types::Action;

use crate::exchange::Exchange;
use crate::{counters, host, plugin, ticks};

/// Between two pieces of a long configuration: requests that wait get their turn.
const SOON: Duration = Duration::from_millis(1);

thread_local! {
    /// The requests of this worker that are in flight and belong to a rollout, by the proxy's number for them.
    static EXCHANGES: RefCell<FxHashMap<u32, Exchange>> = RefCell::default();
}

/// A new configuration. The answer is always "fine": Envoy turns a refusal of the first configuration into a 500 for
/// every request of the proxy.
#[unsafe(export_name = "serin_on_configure")]
extern "C" fn on_configure(root: u32, size: usize) -> bool {
    // Before the timer that was to see to it stops.
    counters::tell();
    ticks::take_over(root);
    if plugin::configure(size) {
        ticks::start(SOON, host::now());
    }
    true
}

/// Time to tell what was counted, and to go on with a configuration that is long.
#[unsafe(export_name = "serin_on_tick")]
extern "C" fn on_tick(root: u32) {
    counters::tell();
    let more = plugin::go_on();
    ticks::came(root, more, host::now());
}

#[unsafe(export_name = "serin_on_request_headers")]
extern "C" fn on_request_headers(stream: u32, _headers: usize, _end_of_stream: bool) -> Action {
    if let Some(exchange) = Exchange::begin(&plugin::loaded()) {
        let started = exchange.started();
        let alone = EXCHANGES.with_borrow_mut(|exchanges| {
            exchanges.insert(stream, exchange);
            exchanges.len() == 1
        });
        counters::settle(started, alone);
    }
    Action::Continue
}

// Whether a response came to its end is seen here, for nothing but the entries: one for the headers, one for each piece
// of the body, one for the trailers. To ask for the response flags of each request in `on_log` costs three times one.

#[unsafe(export_name = "serin_on_response_headers")]
extern "C" fn on_response_headers(stream: u32, _headers: usize, end_of_stream: bool) -> Action {
    with(stream, |exchange| exchange.answered(end_of_stream));
    Action::Continue
}

#[unsafe(export_name = "serin_on_response_body")]
extern "C" fn on_response_body(stream: u32, _size: usize, end_of_stream: bool) -> Action {
    if end_of_stream {
        with(stream, Exchange::ended);
    }
    Action::Continue
}

#[unsafe(export_name = "serin_on_response_trailers")]
extern "C" fn on_response_trailers(stream: u32, _trailers: usize) -> Action {
    with(stream, Exchange::ended);
    Action::Continue
}

/// The end of a request; nothing follows. Envoy also logs requests that it refused before any filter saw them.
#[unsafe(export_name = "serin_on_log")]
extern "C" fn on_log(stream: u32) {
    let ended = EXCHANGES.with_borrow_mut(|exchanges| {
        let exchange = exchanges.remove(&stream)?;
        Some((exchange, exchanges.is_empty()))
    });
    if let Some((exchange, alone)) = ended {
        counters::settle(exchange.log(), alone);
    }
}

fn with(stream: u32, act: impl FnOnce(&mut Exchange)) {
    EXCHANGES.with_borrow_mut(|exchanges| {
        if let Some(exchange) = exchanges.get_mut(&stream) {
            act(exchange);
        }
    });
}

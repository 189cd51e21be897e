//! One request: choose and mark it on its way up, count it when it is over.

use std::cell::Cell;
use std::rc::Rc;
use std::time::SystemTime;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use serin_filter_core::outcome::{GRPC_UNKNOWN, Outcome};
use serin_filter_core::random::SplitMix64;
use serin_filter_core::route::{Decision, Request, decide};

use crate::host;
use crate::root::Loaded;

thread_local! {
    /// Each worker draws from a generator of its own: a seed from WASI once, and no call into the proxy per draw.
    static DRAWS: Cell<SplitMix64> = Cell::new(SplitMix64::new(host::seed()));
}

/// A request, with the configuration that it began with.
pub(crate) struct Exchange {
    loaded: Rc<Loaded>,
    /// Absent where no rollout claims the request, and where Envoy refused it before any filter saw it: then `on_log`
    /// comes alone.
    assigned: Option<Assigned>,
    /// Whether the response came to its end.
    ended: bool,
}

struct Assigned {
    decision: Decision,
    started: SystemTime,
    call: Call,
}

/// What the request's content type says of how its answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Http,
    /// gRPC itself: the status comes in trailers or, without a message, in headers.
    Grpc,
    /// gRPC-Web: the status may be hidden in the body.
    GrpcWeb,
}

impl Exchange {
    pub(crate) fn new(loaded: Rc<Loaded>) -> Self {
        Self {
            loaded,
            assigned: None,
            ended: false,
        }
    }

    /// Sets or removes the route header, with at most one change of the headers.
    fn mark(&self, decision: Option<&Decision>) {
        let table = &self.loaded.table;
        let variant = decision.and_then(|it| table.rollout(it.rollout)?.variant(it.variant));
        let name = table.route_header();
        match variant.filter(|variant| !variant.live) {
            Some(variant) => host::set_request_header(name, &variant.route),
            None if host::request_header(name).is_some() => host::remove_request_header(name),
            None => {}
        }
    }
}

impl Context for Exchange {}

impl HttpContext for Exchange {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let decision = decide(&self.loaded.table, &Headers);
        self.mark(decision.as_ref());
        if let Some(decision) = decision {
            if let Some(metrics) = self.loaded.metrics.of(&self.loaded.table, &decision) {
                metrics.assigned(decision.reason);
            }
            // The content type is read here because a later filter, such as a transcoder, may change it.
            self.assigned = Some(Assigned {
                decision,
                started: host::now(),
                call: Call::of_request(),
            });
        }
        Action::Continue
    }

    // Whether a response came to its end is seen here, for nothing but the entries into the VM: one for the headers, one
    // for each piece of the body, one for the trailers, at 1 to 3 us each. The SDK exports these callbacks whether or
    // not they are wanted, so Envoy has entered all along; what this costs is the chance to drop the exports. To ask for
    // the flags in `on_log` of each request would cost about 6 us (neither figure is of a quiet machine).

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        self.ended |= end_of_stream;
        Action::Continue
    }

    fn on_http_response_body(&mut self, _size: usize, end_of_stream: bool) -> Action {
        self.ended |= end_of_stream;
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        self.ended = true;
        Action::Continue
    }

    fn on_log(&mut self) {
        let Some(Assigned {
            decision,
            started,
            call,
        }) = self.assigned.take()
        else {
            return;
        };
        let table = &self.loaded.table;
        let Some(metrics) = self.loaded.metrics.of(table, &decision) else {
            return;
        };
        metrics.finished(&decision, &outcome(call, self.ended), host::since(started));
        let variant = table
            .rollout(decision.rollout)
            .and_then(|it| it.variant(decision.variant));
        if let Some(cluster) = variant.and_then(|variant| variant.cluster.as_deref()) {
            metrics.sample(cluster);
        }
    }
}

/// The request headers as they are in the proxy.
struct Headers;

impl Request for Headers {
    fn host(&self) -> Option<Vec<u8>> {
        host::request_header(":authority")
    }

    fn path(&self) -> Option<Vec<u8>> {
        host::request_header(":path")
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        host::request_header(name)
    }

    fn draw(&self) -> u64 {
        DRAWS.with(|draws| {
            let mut generator = draws.get();
            let draw = generator.draw();
            draws.set(generator);
            draw
        })
    }
}

impl Call {
    fn of_request() -> Self {
        let content_type = host::request_header("content-type").unwrap_or_default();
        match content_type.strip_prefix(b"application/grpc") {
            Some([] | [b'+' | b';', ..]) => Self::Grpc,
            Some([b'-', ..]) => Self::GrpcWeb,
            _ => Self::Http,
        }
    }
}

/// How the request ended, in `on_log`.
fn outcome(call: Call, ended: bool) -> Outcome {
    let status: Option<u16> = host::response_header(":status").and_then(|value| number(&value));
    let mut grpc_status = match call {
        Call::Http => None,
        Call::Grpc | Call::GrpcWeb => host::response_trailer("grpc-status")
            .or_else(|| host::response_header("grpc-status"))
            .map(|value| number(&value).unwrap_or(GRPC_UNKNOWN)),
    };
    let cut_short = call == Call::Grpc && status == Some(200) && grpc_status.is_none();
    // Flags are dear to ask for, and say something new only where the end is missing.
    let client_hung_up = (!ended || cut_short) && host::client_hung_up();
    if cut_short && !client_hung_up {
        // The client has to assume this status too.
        grpc_status = Some(GRPC_UNKNOWN);
    }
    Outcome {
        status,
        ended,
        grpc_status,
        client_hung_up,
    }
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

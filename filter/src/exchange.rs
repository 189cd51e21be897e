//! One request: choose and mark it on its way up, count it when it is over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serin_filter_core::attribute::cookie::set_cookie;
use serin_filter_core::fuse::{Admission, Ticket};
use serin_filter_core::outcome::{GRPC_UNKNOWN, Outcome, is_bad};
use serin_filter_core::pairs::Pairs;
use serin_filter_core::random::SplitMix64;
use serin_filter_core::route::{Decision, Reason, Request, decide};
use serin_filter_core::table::{Rollout, RoutingTable};

use crate::host;
use crate::metrics::VariantMetrics;
use crate::plugin::Loaded;
use crate::raw;

thread_local! {
    /// Each worker draws from a generator of its own: a seed from WASI once, and no call into the proxy per draw.
    static DRAWS: Cell<SplitMix64> = Cell::new(SplitMix64::new(host::seed()));
}

/// A request that belongs to a rollout, as that was when the request began. Streams can last for days, so that each keeps
/// no more than its own rollout of its configuration.
pub(crate) struct Exchange {
    rollout: Arc<Rollout>,
    metrics: Rc<VariantMetrics>,
    decision: Decision,
    /// Whether the fuse sent it to the live variant.
    fused: bool,
    ticket: Option<Ticket>,
    started: Duration,
    call: Call,
    /// Whether the response came to its end.
    ended: bool,
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
    /// Decides where a request goes, marks it, and counts the choice; none: no rollout claims it.
    pub(crate) fn begin(loaded: &Rc<Loaded>) -> Option<Self> {
        raw::with_request_headers(|bytes| Self::choose(loaded, Pairs::new(bytes)))
    }

    fn choose(loaded: &Rc<Loaded>, headers: Pairs) -> Option<Self> {
        let table = &loaded.table;
        let chosen = decide(table, &Headers(headers))
            .and_then(|decision| Some((decision, table.rollout(decision.rollout)?)));
        let Some((decision, rollout)) = chosen else {
            mark(headers, table.route_header(), None);
            mark(headers, table.shadow_header(), None);
            return None;
        };
        let metrics = (loaded.metrics).of(table.encoding(), rollout, &decision)?;
        let started = host::now();
        let (fused, ticket) = match metrics.fuse().map(|it| it.admit(started)) {
            None => (false, None),
            Some(Admission::Through(ticket)) => (false, Some(ticket)),
            Some(Admission::Home) => (true, None),
        };
        prepare(headers, table, rollout, &decision, fused);
        metrics.assigned(if fused { Reason::Fuse } else { decision.reason });
        if decision.shadow {
            metrics.shadowed();
        }
        Some(Self {
            rollout: Arc::clone(rollout),
            metrics: Rc::clone(metrics),
            decision,
            fused,
            ticket,
            started,
            // A later filter, such as a transcoder, may change it.
            call: Call::of(headers.get("content-type").unwrap_or_default()),
            ended: false,
        })
    }

    /// The response has begun.
    pub(crate) fn answered(&mut self, end_of_stream: bool) {
        if end_of_stream {
            self.ended = true;
        } else if let (Some(ticket), Some(fuse)) = (&mut self.ticket, self.metrics.fuse()) {
            fuse.answered(ticket, self.started);
        }
        if let (Some(token), Some(cookie)) = (&self.decision.issue, self.rollout.cookie()) {
            let config = cookie.config();
            let value = set_cookie(&config.name, token.as_str(), &config.attributes());
            host::add_response_header("set-cookie", &value);
        }
    }

    /// The response has come to its end.
    pub(crate) fn ended(&mut self) {
        self.ended = true;
    }

    /// When it began.
    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    /// The request is over; returns when.
    pub(crate) fn log(self) -> Duration {
        let (rollout, metrics) = (&self.rollout, &self.metrics);
        let (outcome, now) = (outcome(self.call, self.ended), host::now());
        let took = now.saturating_sub(self.started);
        if let (Some(ticket), Some(fuse)) = (self.ticket, metrics.fuse()) {
            let bad = is_bad(&outcome);
            let known = bad || !outcome.client_hung_up;
            fuse.finish(ticket, now, known.then_some(bad), took);
        }
        metrics.finished(rollout, &self.decision, self.fused, &outcome, took);
        let served = if self.fused {
            rollout.live()
        } else {
            self.decision.variant
        };
        if let Some(cluster) = rollout.variant(served).and_then(|it| it.cluster.as_deref()) {
            metrics.sample(cluster);
        }
        now
    }
}

/// Sets and removes the headers of a request that belongs to a rollout.
fn prepare(
    headers: Pairs,
    table: &RoutingTable,
    rollout: &Rollout,
    decision: &Decision,
    fused: bool,
) {
    let variant = rollout.variant(decision.variant);
    let route = variant.filter(|variant| !variant.live && !fused);
    mark(
        headers,
        table.route_header(),
        route.map(|it| it.route.as_str()),
    );
    let shadow = rollout.shadow().filter(|_| decision.shadow);
    mark(
        headers,
        table.shadow_header(),
        shadow.map(|it| it.cluster.as_str()),
    );
    if let Some(overriding) = rollout.overriding() {
        if decision.reason != Reason::Override {
            mark(headers, overriding.header(), None);
        }
        if let Some(name) = overriding.secret_header() {
            mark(headers, name, None);
        }
    }
}

/// Sets a header, or removes it where it is there: Envoy matches the route again after either.
fn mark(headers: Pairs, name: &str, value: Option<&str>) {
    match value {
        Some(value) => host::set_request_header(name, value),
        None if headers.get(name).is_some() => host::remove_request_header(name),
        None => {}
    }
}

/// The request headers, and what else the proxy knows.
struct Headers<'a>(Pairs<'a>);

impl Request for Headers<'_> {
    fn header<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.0.get(name)
    }

    fn cookies(&self) -> impl Iterator<Item = &[u8]> {
        self.0.all("cookie")
    }

    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        host::property(path.to_vec())
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
    fn of(content_type: &[u8]) -> Self {
        match content_type.strip_prefix(b"application/grpc") {
            Some([] | [b'+' | b';', ..]) => Self::Grpc,
            Some([b'-', ..]) => Self::GrpcWeb,
            _ => Self::Http,
        }
    }
}

/// How the request ended, in `on_log`.
fn outcome(call: Call, ended: bool) -> Outcome {
    let status: Option<u16> = raw::with_response_header(":status", number);
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

/// A decimal number, with nothing around it. The library's own asks first whether the bytes are text.
fn number<T: TryFrom<u32>>(value: &[u8]) -> Option<T> {
    let (first, rest) = value.split_first()?;
    let digit = |byte: &u8| char::from(*byte).to_digit(10);
    let number = rest.iter().try_fold(digit(first)?, |number, byte| {
        number.checked_mul(10)?.checked_add(digit(byte)?)
    })?;
    T::try_from(number).ok()
}

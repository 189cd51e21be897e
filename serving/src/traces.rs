//! Spans of inferences, for a collector that takes OTLP over gRPC.
//!
//! They are made when a request ends, of the times that are measured anyway: one of the server, and in it one for the
//! queue and one for the forward. Batches leave in the background, and what the collector does not take is lost.

mod parent;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::http::HeaderMap;
use opentelemetry::{
    Context, Key, KeyValue,
    trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};
use prometheus::IntCounter;
use tonic::Code;

use crate::{error::ApiError, registry::ModelVersion, worker::Answer};

/// What the spans say of their service, unless the environment (`OTEL_SERVICE_NAME`) says it.
const SERVICE: &str = "serin-serve";
/// Its name among the resource's attributes.
const SERVICE_NAME: Key = Key::from_static_str("service.name");
/// The one call of gRPC that is traced.
const MODEL_INFER: &str = "inference.GRPCInferenceService/ModelInfer";
/// How long the last spans have to leave.
const FLUSH: Duration = Duration::from_secs(1);

/// Where spans go, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// URL of the collector's gRPC port.
    pub endpoint: String,
    /// Share of the requests without a parent that are traced; a parent says it for itself.
    pub sample: f64,
    /// What this deployment is called among those that serve the same models.
    pub variant: Option<String>,
}

/// What is counted of spans.
#[derive(Debug, Clone)]
pub struct SpanCounters {
    /// Made.
    pub made: IntCounter,
    /// Taken by the collector.
    pub sent: IntCounter,
}

/// Makes spans.
pub struct Traces {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    made: IntCounter,
}

/// How a request came.
enum Protocol {
    Rest { route: String, path: String },
    Grpc,
}

/// The span of a request that goes on.
pub struct Trace {
    tracer: SdkTracer,
    made: IntCounter,
    parent: Context,
    protocol: Protocol,
    model: String,
    version: u64,
    computed: OnceLock<Computed>,
}

/// What is known of a request once it was computed.
struct Computed {
    started: Instant,
    queue: Duration,
    compute: Duration,
    together: usize,
}

/// How a request ended.
pub enum End<'a> {
    /// With an answer.
    Answered,
    /// With an error.
    Refused(&'a ApiError),
    /// The client went away.
    Dropped,
}

impl Traces {
    /// Begins to send; the collector need not be there. To be called on the runtime.
    ///
    /// # Errors
    /// [`ExporterBuildError`] if the endpoint is no URL, or variables (`OTEL_EXPORTER_OTLP_...`) are wrong.
    pub fn new(collector: &Collector, counters: SpanCounters) -> Result<Self, ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(&collector.endpoint)
            .build()?;
        let SpanCounters { made, sent } = counters;
        let exporter = Counting {
            exporter,
            sent,
            failing: AtomicBool::new(false),
        };
        let sampler = Sampler::TraceIdRatioBased(collector.sample);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource(collector.variant.as_deref()))
            .build();
        Ok(Self {
            tracer: provider.tracer(SERVICE),
            provider,
            made,
        })
    }

    /// A request over REST, by the route that it matched.
    #[must_use]
    pub fn rest(
        &self,
        loaded: &ModelVersion,
        headers: &HeaderMap,
        route: Option<&str>,
        path: &str,
    ) -> Box<Trace> {
        let protocol = Protocol::Rest {
            route: route.unwrap_or(path).to_owned(),
            path: path.to_owned(),
        };
        self.begin(loaded, headers, protocol)
    }

    /// A request over gRPC.
    #[must_use]
    pub fn grpc(&self, loaded: &ModelVersion, headers: &HeaderMap) -> Box<Trace> {
        self.begin(loaded, headers, Protocol::Grpc)
    }

    fn begin(&self, loaded: &ModelVersion, headers: &HeaderMap, protocol: Protocol) -> Box<Trace> {
        let parent = match parent::of(headers) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        Box::new(Trace {
            tracer: self.tracer.clone(),
            made: self.made.clone(),
            parent,
            protocol,
            model: loaded.model.clone(),
            version: loaded.version,
            computed: OnceLock::new(),
        })
    }

    /// Sends what is left, as far as the collector takes it within a second.
    pub async fn stop(&self) {
        let provider = self.provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        // What is lost was logged when it was tried.
        let _ = tokio::time::timeout(FLUSH, flushed).await;
    }
}

fn resource(variant: Option<&str>) -> Resource {
    let builder = || {
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let variant = variant.map(|it| KeyValue::new("serin.variant", it.to_owned()));
        Resource::builder().with_attributes([version].into_iter().chain(variant))
    };
    let found = builder().build();
    let named = found.get_ref(&SERVICE_NAME).map(ToString::to_string);
    if named.is_some_and(|it| !it.starts_with("unknown_service")) {
        found
    } else {
        builder().with_service_name(SERVICE).build()
    }
}

impl Trace {
    /// Notes what a forward took.
    pub fn computed(&self, answer: &Answer) {
        // Once only: a request is computed once.
        let _ = self.computed.set(Computed {
            started: answer.started,
            queue: answer.queue,
            compute: answer.compute,
            together: answer.together,
        });
    }

    /// Makes the spans of a request that came at `start` and has ended now.
    pub fn end(&self, start: Instant, end: &End<'_>) {
        let (now, clock) = (Instant::now(), SystemTime::now());
        // Spans have a date, and what was measured has none.
        let at = |instant: Instant| {
            let ago = now.saturating_duration_since(instant);
            clock.checked_sub(ago).unwrap_or(clock)
        };
        let name = match &self.protocol {
            Protocol::Rest { route, .. } => format!("POST {route}"),
            Protocol::Grpc => MODEL_INFER.to_owned(),
        };
        let span = self.tracer.span_builder(name).with_kind(SpanKind::Server);
        let span = span.with_start_time(at(start));
        let mut span = span.start_with_context(&self.tracer, &self.parent);
        if !span.is_recording() {
            return;
        }
        self.describe(&mut span, end);
        let context = Context::new().with_span(span);
        let mut made = 1;
        if let Some(computed) = self.computed.get() {
            let Computed {
                started,
                queue,
                compute,
                ..
            } = *computed;
            let arrived = started.checked_sub(queue).unwrap_or(started);
            for (name, from, to) in [
                ("queue", arrived, started),
                ("compute", started, started + compute),
            ] {
                let child = self.tracer.span_builder(name).with_start_time(at(from));
                let mut child = child.start_with_context(&self.tracer, &context);
                child.end_with_timestamp(at(to));
                made += 1;
            }
        }
        context.span().end_with_timestamp(clock);
        self.made.inc_by(made);
    }

    /// By OpenTelemetry's conventions for HTTP and RPC.
    fn describe(&self, span: &mut impl Span, end: &End<'_>) {
        span.set_attribute(KeyValue::new("serin.model.name", self.model.clone()));
        span.set_attribute(KeyValue::new(
            "serin.model.version",
            self.version.to_string(),
        ));
        if let Some(computed) = self.computed.get() {
            let together = i64::try_from(computed.together).unwrap_or(i64::MAX);
            span.set_attribute(KeyValue::new("serin.batch.requests", together));
        }
        let wrong = match &self.protocol {
            Protocol::Rest { route, path } => {
                span.set_attribute(KeyValue::new("http.request.method", "POST"));
                span.set_attribute(KeyValue::new("http.route", route.clone()));
                span.set_attribute(KeyValue::new("url.path", path.clone()));
                span.set_attribute(KeyValue::new("url.scheme", "http"));
                let status = match end {
                    End::Answered => Some(200),
                    End::Refused(error) => Some(error.status().as_u16()),
                    End::Dropped => None,
                };
                if let Some(status) = status {
                    let code = KeyValue::new("http.response.status_code", i64::from(status));
                    span.set_attribute(code);
                }
                // What a client did wrong is no error of the server.
                let wrong = status.filter(|status| *status >= 500);
                wrong.map(|status| status.to_string())
            }
            Protocol::Grpc => {
                span.set_attribute(KeyValue::new("rpc.system.name", "grpc"));
                span.set_attribute(KeyValue::new("rpc.method", MODEL_INFER));
                let code = match end {
                    End::Answered => Code::Ok,
                    End::Refused(error) => Code::from(*error),
                    End::Dropped => Code::Cancelled,
                };
                let name = code_name(code);
                span.set_attribute(KeyValue::new("rpc.response.status_code", name));
                is_error(code).then(|| name.to_owned())
            }
        };
        match (wrong, end) {
            (Some(wrong), End::Refused(error)) => {
                span.set_attribute(KeyValue::new("error.type", wrong));
                span.set_status(Status::error(error.to_string()));
            }
            (_, End::Dropped) => span.set_attribute(KeyValue::new("error.type", "cancelled")),
            _ => {}
        }
    }
}

/// The names of gRPC's own list.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether a code is the server's fault, by the conventions.
fn is_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Counts what the collector takes, and says once when it does not and once when it does again.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    sent: IntCounter,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = self.exporter.export(batch).await;
        let failing = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Ok(()) => {
                self.sent.inc_by(count);
                if failing {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) if !failing => {
                tracing::warn!(%error, "the collector takes no spans over gRPC: they are lost until it does");
            }
            Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests;

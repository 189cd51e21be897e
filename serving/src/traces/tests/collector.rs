//! A collector of spans in the test's own process: OpenTelemetry's service, over gRPC.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, Span},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

pub(crate) struct Collector {
    pub(crate) url: String,
    batches: mpsc::UnboundedReceiver<ExportTraceServiceRequest>,
}

struct Service(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, batches) = mpsc::unbounded_channel();
        let server = Server::builder().add_service(TraceServiceServer::new(Service(sender)));
        // It ends with the test's runtime.
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self { url, batches }
    }

    /// All spans that have come, each with the resource that it is of.
    pub(crate) fn spans(&mut self) -> Vec<(Resource, Span)> {
        let mut spans = Vec::new();
        while let Ok(batch) = self.batches.try_recv() {
            for ResourceSpans {
                resource,
                scope_spans,
                ..
            } in batch.resource_spans
            {
                let resource = resource.unwrap();
                let of_scope = scope_spans.into_iter().flat_map(|it| it.spans);
                spans.extend(of_scope.map(|span| (resource.clone(), span)));
            }
        }
        spans
    }
}

/// The text or number of an attribute.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

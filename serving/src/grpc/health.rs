//! `grpc.health.v1.Health`, for probes that know nothing of this protocol.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use super::proto::grpc_inference_service_server::SERVICE_NAME;
use crate::{inference::App, tensor::shorten};

/// Ready is what `/v2/health/ready` says, at the moment of the question.
pub(super) struct HealthService(pub(super) Arc<App>);

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + 'static>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !service.is_empty() && service != SERVICE_NAME {
            let service = shorten(service);
            return Err(Status::not_found(format!(
                "service '{service}' is unknown: ask for '{SERVICE_NAME}' or for no service"
            )));
        }
        let status = if self.0.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        Ok(Response::new(HealthCheckResponse {
            status: status.into(),
        }))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let sentence = "health is not streamed: ask again with Check";
        Err(Status::unimplemented(sentence))
    }
}

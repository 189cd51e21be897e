//! The calls of the inference service; `ModelInfer` has a file of its own.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    infer,
    proto::{
        self, grpc_inference_service_server::GrpcInferenceService,
        model_metadata_response::TensorMetadata, repository_index_response::ModelIndex,
    },
};
use crate::{
    backend::torch::PLATFORM,
    error::ApiError,
    inference::{App, EXTENSIONS, SERVER},
    protocol::triton,
    registry::Found,
    spec::TensorSpec,
};

/// A thin shell around what REST calls, too.
pub(super) struct InferenceService(pub(super) Arc<App>);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
    async fn server_live(
        &self,
        _: Request<proto::ServerLiveRequest>,
    ) -> Answer<proto::ServerLiveResponse> {
        let live = !self.0.registry.has_died();
        answer(proto::ServerLiveResponse { live })
    }

    async fn server_ready(
        &self,
        _: Request<proto::ServerReadyRequest>,
    ) -> Answer<proto::ServerReadyResponse> {
        let ready = self.0.is_ready();
        answer(proto::ServerReadyResponse { ready })
    }

    /// A model that is not here is not ready, as in Triton.
    async fn model_ready(
        &self,
        request: Request<proto::ModelReadyRequest>,
    ) -> Answer<proto::ModelReadyResponse> {
        let proto::ModelReadyRequest { name, version } = request.get_ref();
        let version = Some(version.as_str()).filter(|version| !version.is_empty());
        // The question loads nothing.
        let ready = match self.0.registry.seek(name, version) {
            Ok(Found::Loaded(loaded)) => self.0.serves(&loaded),
            Ok(Found::Asleep(_)) | Err(_) => false,
        };
        answer(proto::ModelReadyResponse { ready })
    }

    async fn server_metadata(
        &self,
        _: Request<proto::ServerMetadataRequest>,
    ) -> Answer<proto::ServerMetadataResponse> {
        answer(proto::ServerMetadataResponse {
            name: SERVER.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        })
    }

    async fn model_metadata(
        &self,
        request: Request<proto::ModelMetadataRequest>,
    ) -> Answer<proto::ModelMetadataResponse> {
        let proto::ModelMetadataRequest { name, version } = request.get_ref();
        let loaded = infer::find(&self.0, name, version).await?;
        let current = self.0.registry.current();
        let versions = current.versions(&loaded.model);
        answer(proto::ModelMetadataResponse {
            name: loaded.model.clone(),
            versions: versions.map(|version| version.to_string()).collect(),
            platform: PLATFORM.to_owned(),
            inputs: loaded.spec.inputs.iter().map(metadata).collect(),
            outputs: loaded.spec.outputs.iter().map(metadata).collect(),
            ..Default::default()
        })
    }

    async fn model_infer(
        &self,
        request: Request<proto::ModelInferRequest>,
    ) -> Answer<proto::ModelInferResponse> {
        infer::infer(&self.0, request).await
    }

    async fn model_config(
        &self,
        request: Request<proto::ModelConfigRequest>,
    ) -> Answer<proto::ModelConfigResponse> {
        let proto::ModelConfigRequest { name, version } = request.get_ref();
        let loaded = infer::find(&self.0, name, version).await?;
        let config = Some(triton::ModelConfig::new(&loaded).into());
        answer(proto::ModelConfigResponse { config })
    }

    async fn model_statistics(
        &self,
        request: Request<proto::ModelStatisticsRequest>,
    ) -> Answer<proto::ModelStatisticsResponse> {
        let proto::ModelStatisticsRequest { name, version } = request.get_ref();
        let App {
            registry, metrics, ..
        } = &*self.0;
        let stats = triton::statistics(
            &registry.current(),
            metrics,
            Some(name.as_str()).filter(|name| !name.is_empty()),
            Some(version.as_str()).filter(|version| !version.is_empty()),
        );
        let stats = stats.map_err(ApiError::NotFound)?;
        let model_stats = stats.model_stats.into_iter().map(Into::into).collect();
        answer(proto::ModelStatisticsResponse { model_stats })
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Answer<proto::RepositoryIndexResponse> {
        let index = triton::index(&self.0.registry.current(), request.get_ref().ready);
        let models = index.into_iter().map(|entry| ModelIndex {
            name: entry.name,
            version: entry.version,
            state: entry.state.to_owned(),
            reason: entry.reason,
        });
        answer(proto::RepositoryIndexResponse {
            models: models.collect(),
        })
    }

    async fn repository_model_load(
        &self,
        _: Request<proto::RepositoryModelLoadRequest>,
    ) -> Answer<proto::RepositoryModelLoadResponse> {
        Err(ApiError::RepositoryReadOnly.into())
    }

    async fn repository_model_unload(
        &self,
        _: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Answer<proto::RepositoryModelUnloadResponse> {
        Err(ApiError::RepositoryReadOnly.into())
    }
}

fn metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.name().to_owned(),
        shape: spec.shape.clone(),
    }
}

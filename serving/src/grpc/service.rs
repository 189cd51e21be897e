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
    control::Control,
    error::ApiError,
    inference::{App, EXTENSIONS, SERVER},
    protocol::triton,
    registry::Found,
    spec::TensorSpec,
    tensor::shorten,
};

/// A thin shell around what REST calls, too.
pub(super) struct InferenceService {
    pub(super) app: Arc<App>,
    /// `None` where models cannot be loaded and unloaded.
    pub(super) control: Option<Control>,
}

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
        let live = !self.app.registry.has_died();
        answer(proto::ServerLiveResponse { live })
    }

    async fn server_ready(
        &self,
        _: Request<proto::ServerReadyRequest>,
    ) -> Answer<proto::ServerReadyResponse> {
        let ready = self.app.is_ready();
        answer(proto::ServerReadyResponse { ready })
    }

    /// A model that is not here is not ready, as in Triton.
    async fn model_ready(
        &self,
        request: Request<proto::ModelReadyRequest>,
    ) -> Answer<proto::ModelReadyResponse> {
        let proto::ModelReadyRequest { name, version } = request.get_ref();
        let version = infer::named(version);
        // The question loads nothing.
        let ready = match self.app.registry.seek(name, version) {
            Ok(Found::Loaded(loaded)) => self.app.serves(&loaded),
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
        let loaded = infer::find(&self.app, name, version).await?;
        let current = self.app.registry.current();
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
        infer::infer(&self.app, request).await
    }

    async fn model_config(
        &self,
        request: Request<proto::ModelConfigRequest>,
    ) -> Answer<proto::ModelConfigResponse> {
        let proto::ModelConfigRequest { name, version } = request.get_ref();
        let loaded = infer::find(&self.app, name, version).await?;
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
        } = &*self.app;
        let stats = triton::statistics(
            &registry.current(),
            metrics,
            infer::named(name),
            infer::named(version),
        );
        let stats = stats.map_err(ApiError::NotFound)?;
        let model_stats = stats.model_stats.into_iter().map(Into::into).collect();
        answer(proto::ModelStatisticsResponse { model_stats })
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Answer<proto::RepositoryIndexResponse> {
        let proto::RepositoryIndexRequest {
            repository_name,
            ready,
        } = request.get_ref();
        the_one(repository_name)?;
        let index = triton::index(&self.app.registry.current(), *ready);
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
        request: Request<proto::RepositoryModelLoadRequest>,
    ) -> Answer<proto::RepositoryModelLoadResponse> {
        let asked = request.get_ref();
        let control = self.control(&asked.repository_name)?;
        let parameters = asked.parameters.keys();
        control.load(&asked.model_name, parameters).await?;
        answer(proto::RepositoryModelLoadResponse {})
    }

    async fn repository_model_unload(
        &self,
        request: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Answer<proto::RepositoryModelUnloadResponse> {
        let asked = request.get_ref();
        let control = self.control(&asked.repository_name)?;
        let parameters = asked.parameters.keys();
        control.unload(&asked.model_name, parameters).await?;
        answer(proto::RepositoryModelUnloadResponse {})
    }
}

impl InferenceService {
    /// What changes a repository, where there is such, and only the one.
    fn control(&self, repository_name: &str) -> Result<&Control, ApiError> {
        let control = self.control.as_ref();
        let control = control.ok_or(ApiError::RepositoryReadOnly)?;
        the_one(repository_name)?;
        Ok(control)
    }
}

/// Repositories have no names here; Triton refuses them, too.
fn the_one(repository_name: &str) -> Result<(), ApiError> {
    if repository_name.is_empty() {
        return Ok(());
    }
    let name = shorten(repository_name);
    Err(ApiError::Wish(format!(
        "repository_name '{name}' is not supported: there is one repository, so leave it empty"
    )))
}

fn metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.name().to_owned(),
        shape: spec.shape.clone(),
    }
}

//! `ModelInfer`: from a message to an answer.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tonic::{
    Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
    transport::server::TcpConnectInfo,
};

use super::{
    admission::Reading,
    proto::{ModelInferRequest, ModelInferResponse, model_infer_response::InferOutputTensor},
};
use crate::{
    aside::aside,
    error::ApiError,
    inference::{self, App},
    lazy::{self, Refused},
    metrics::InFlight,
    protocol::request::{InferRequest, grpc},
    registry::ModelVersion,
    repository::Entry,
    tensor::Tensor,
};

/// The name of the model that answered.
const MODEL: &str = "x-serin-model";
/// The version of the model that answered.
const VERSION: &str = "x-serin-model-version";

pub(super) async fn infer(
    app: &Arc<App>,
    request: Request<ModelInferRequest>,
) -> Result<Response<ModelInferResponse>, Status> {
    let (metadata, mut extensions, request) = request.into_parts();
    let reading = extensions.remove::<Reading>();
    let start = reading.as_ref().map_or_else(Instant::now, |it| it.since);
    let version = named(&request.model_version);
    let loaded = match lazy::find_to_infer(app, &request.model_name, version).await {
        Ok(loaded) => loaded,
        Err(Refused { error, sleeper }) => {
            let mut status = Status::from(error);
            if let Some(sleeper) = sleeper {
                let Entry { model, version, .. } = &sleeper.entry;
                sign(status.metadata_mut(), model, *version);
            }
            return Err(status);
        }
    };
    let headers = metadata.into_headers();
    let trace = app.traces.as_ref();
    let trace = trace.map(|traces| traces.grpc(&loaded, &headers));
    let in_flight = app.metrics.begin(&loaded, start, trace);
    let peer = || {
        let connection = extensions.get::<TcpConnectInfo>();
        Some(connection?.remote_addr()?.ip())
    };
    let turn = inference::take_turn(app, &headers, peer);
    let result = match turn {
        Ok(_turn) => answer(app, &loaded, request, reading, &in_flight).await,
        Err(greedy) => Err(greedy),
    };
    match inference::settle(in_flight, result) {
        Ok(message) => {
            let mut response = Response::new(message);
            sign(response.metadata_mut(), &loaded.model, loaded.version);
            Ok(response)
        }
        Err(error) => {
            let mut status = Status::from(error);
            sign(status.metadata_mut(), &loaded.model, loaded.version);
            Err(status)
        }
    }
}

/// The model version that a message means, loaded if it was not; the default one if it names none.
pub(super) async fn find(
    app: &Arc<App>,
    model: &str,
    version: &str,
) -> Result<Arc<ModelVersion>, ApiError> {
    Ok(lazy::find(app, model, named(version)).await?)
}

/// What a message names, if it does.
pub(super) fn named(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

async fn answer(
    app: &App,
    loaded: &ModelVersion,
    request: ModelInferRequest,
    reading: Option<Reading>,
    in_flight: &InFlight<'_>,
) -> Result<ModelInferResponse, ApiError> {
    // Kept until the answer is a message.
    let _place = inference::admit(app, loaded)?;
    drop(reading);
    // Most are not looked at, but only handed on.
    let looks = loaded.spec.inputs.iter().any(|it| it.range.is_some());
    let bytes = request.raw_input_contents.iter().map(Bytes::len);
    let bytes = if looks { bytes.sum() } else { 0 };
    let request = aside(bytes, || grpc::parse(request, &loaded.spec)).map_err(ApiError::Request)?;
    let InferRequest {
        id,
        inputs,
        outputs: selected,
        scheduling,
    } = request;
    let outputs = inference::infer(loaded, inputs, scheduling, in_flight).await?;
    let mut outputs: Vec<Option<Tensor>> = outputs.into_iter().map(Some).collect();
    let mut response = ModelInferResponse {
        model_name: loaded.model.clone(),
        model_version: loaded.version.to_string(),
        id: id.unwrap_or_default(),
        ..Default::default()
    };
    for output in selected {
        let tensor = outputs.get_mut(output.index).and_then(Option::take);
        // Each is selected once, and the worker has checked their number.
        let Some((spec, tensor)) = loaded.spec.outputs.get(output.index).zip(tensor) else {
            return Err(inference::failed(
                loaded,
                &"its answer could not be written",
            ));
        };
        response.outputs.push(InferOutputTensor {
            name: spec.name.clone(),
            datatype: tensor.datatype().name().to_owned(),
            shape: tensor.shape().to_vec(),
            ..Default::default()
        });
        response.raw_output_contents.push(tensor.into_bytes());
    }
    Ok(response)
}

/// Says which model version gave an answer, refusals included.
fn sign(metadata: &mut MetadataMap, model: &str, version: u64) {
    // Model names are made of characters that headers take (see the repository).
    if let Ok(name) = MetadataValue::try_from(model) {
        metadata.insert(MODEL, name);
    }
    metadata.insert(VERSION, version.into());
}

//! The API over real sockets, with the fake backend and tonic's client.

mod malformed;
mod reading;
mod repository;

use std::{collections::BTreeMap, time::Duration};

use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::proto::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, RepositoryModelUnloadRequest, ServerLiveRequest,
    ServerMetadataRequest, ServerReadyRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient,
    infer_parameter::ParameterChoice,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
};
use crate::{
    backend::fake,
    http::tests::{MAX_BODY, Server},
    inference::EXTENSIONS,
};

type Client = GrpcInferenceServiceClient<Channel>;

async fn channel(server: &Server) -> Channel {
    channel_to(&server.grpc).await
}

async fn channel_to(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint
        .timeout(Duration::from_secs(20))
        .connect()
        .await
        .unwrap()
}

async fn client(server: &Server) -> Client {
    Client::new(channel(server).await)
}

/// One row of `x` as binary data.
pub(crate) fn request(first: f32) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "fraud".to_owned(),
        id: "a".to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 2],
            ..Default::default()
        }],
        raw_input_contents: vec![[first, 1.5].map(f32::to_le_bytes).concat().into()],
        ..Default::default()
    }
}

/// The same as a list of values.
fn typed(first: f32) -> ModelInferRequest {
    let mut request = request(first);
    request.raw_input_contents.clear();
    request.inputs[0].contents = Some(InferTensorContents {
        fp32_contents: vec![first, 1.5],
        ..Default::default()
    });
    request
}

fn parameters(key: &str, choice: ParameterChoice) -> BTreeMap<String, InferParameter> {
    let parameter = InferParameter {
        parameter_choice: Some(choice),
    };
    BTreeMap::from([(key.to_owned(), parameter)])
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn health_metadata_and_configuration_are_those_of_rest() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let live = client.server_live(ServerLiveRequest {}).await.unwrap();
    let ready = client.server_ready(ServerReadyRequest {}).await.unwrap();
    assert!(live.get_ref().live && ready.get_ref().ready);
    for (name, version, wanted) in [
        ("fraud", "", true),
        ("fraud", "7", true),
        ("fraud", "8", false),
        ("x", "", false),
    ] {
        let (name, version) = (name.to_owned(), version.to_owned());
        let ready = client
            .model_ready(ModelReadyRequest { name, version })
            .await;
        assert_eq!(ready.unwrap().get_ref().ready, wanted);
    }
    let metadata = client.server_metadata(ServerMetadataRequest {}).await;
    assert_eq!(metadata.unwrap().get_ref().extensions, EXTENSIONS);
    let (name, version) = ("fraud".to_owned(), String::new());
    let metadata = client
        .model_metadata(ModelMetadataRequest { name, version })
        .await;
    let metadata = metadata.unwrap().into_inner();
    assert_eq!(metadata.versions, ["7", "9"]);
    assert_eq!(
        (&*metadata.inputs[0].datatype, &*metadata.inputs[0].shape),
        ("FP32", &[-1, 2][..])
    );
    let (name, version) = ("fraud".to_owned(), "7".to_owned());
    let config = client
        .model_config(ModelConfigRequest { name, version })
        .await;
    let config = config.unwrap().into_inner().config.unwrap();
    assert_eq!(
        (
            config.input.len(),
            config.output.len(),
            config.output[1].data_type
        ),
        (1, 2, 9)
    );
    let (name, version) = ("fraud".to_owned(), "8".to_owned());
    let missing = client
        .model_metadata(ModelMetadataRequest { name, version })
        .await;
    let sentence = "version '8' of model 'fraud' is not found";
    assert_eq!(refused(missing), (Code::NotFound, sentence.to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn the_standard_health_service_answers_probes() {
    let server = Server::start().await;
    let mut health = HealthClient::new(channel(&server).await);
    let mut check = async |service: &str| {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await;
        answer.map(|answer| answer.get_ref().status())
    };
    for service in ["", "inference.GRPCInferenceService"] {
        assert_eq!(check(service).await.unwrap(), ServingStatus::Serving);
    }
    assert_eq!(check("other").await.unwrap_err().code(), Code::NotFound);
    let dead = client(&server)
        .await
        .model_infer(request(fake::PANIC))
        .await;
    assert_eq!(refused(dead).0, Code::Unavailable);
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    server.stop().await;
}

#[tokio::test]
async fn inference_takes_binary_data_or_values_and_names_the_version() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    for request in [request(2.0), typed(2.0)] {
        let answer = client.model_infer(request).await.unwrap();
        assert_eq!(answer.metadata().get("x-serin-model-version").unwrap(), "9");
        let answer = answer.into_inner();
        assert_eq!((&*answer.model_version, &*answer.id), ("9", "a"));
        let names: Vec<&str> = answer.outputs.iter().map(|output| &*output.name).collect();
        assert_eq!(names, ["y", "n"]);
        assert_eq!(
            answer.raw_output_contents[0],
            [4_f32, 3.0].map(f32::to_le_bytes).concat()
        );
        assert_eq!(
            answer.raw_output_contents[1],
            1_i64.to_le_bytes().as_slice()
        );
    }
    let mut part = request(2.0);
    part.model_version = "7".to_owned();
    part.outputs.push(InferRequestedOutputTensor {
        name: "n".to_owned(),
        ..Default::default()
    });
    let answer = client.model_infer(part).await.unwrap().into_inner();
    assert_eq!(
        (&*answer.model_version, &*answer.outputs[0].name),
        ("7", "n")
    );
    assert_eq!(answer.raw_output_contents.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn failures_have_codes_and_name_the_version() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let mut check = async |request: ModelInferRequest, code: Code, words: &str| {
        let status = client.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
        status.metadata().get("x-serin-model-version").cloned()
    };
    let failed = check(
        request(fake::FAIL),
        Code::Internal,
        "index out of range in self",
    )
    .await;
    assert_eq!(failed.unwrap(), "9");
    let mut unknown = request(1.0);
    unknown.model_name = "other".to_owned();
    let none = check(unknown, Code::NotFound, "model 'other' is not found").await;
    assert_eq!(none, None);
    let mut late = request(fake::WAIT);
    late.parameters = parameters("timeout", ParameterChoice::Int64Param(2_000));
    check(late, Code::DeadlineExceeded, "timeout of 2000 microseconds").await;
    server.gate.release();
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_unavailable_and_says_when_to_try_again() {
    let server = std::sync::Arc::new(Server::start_with(1).await);
    let mut waiting = Vec::new();
    let mut first = client(&server).await;
    let running = tokio::spawn(async move { first.model_infer(request(fake::WAIT)).await.is_ok() });
    let gate = std::sync::Arc::clone(&server);
    tokio::task::spawn_blocking(move || gate.gate.wait_for_request())
        .await
        .unwrap();
    for _ in 0..2 {
        let mut client = client(&server).await;
        waiting.push(tokio::spawn(async move {
            client.model_infer(request(1.0)).await
        }));
    }
    // Of the two one fits the queue.
    let (refused, _, mut rest) = futures::future::select_all(waiting).await;
    let status = refused.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("the queue is full"), "{status}");
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "1000"
    );
    server.gate.release();
    assert!(running.await.unwrap());
    assert!(rest.remove(0).await.unwrap().is_ok());
    std::sync::Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn messages_are_compressed_both_ways_and_bounded_when_decompressed() {
    use tonic::codec::CompressionEncoding;
    let server = Server::start().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut client = client(&server)
            .await
            .send_compressed(encoding)
            .accept_compressed(encoding);
        let answer = client.model_infer(request(2.0)).await.unwrap();
        assert_eq!(answer.get_ref().raw_output_contents[0].len(), 8);
        let mut bomb = request(2.0);
        bomb.raw_input_contents = vec![vec![0; 20 * MAX_BODY].into()];
        let (code, sentence) = refused(client.model_infer(bomb).await);
        assert_eq!(code, Code::ResourceExhausted, "{sentence}");
        assert!(client.model_infer(request(1.0)).await.is_ok());
    }
    server.stop().await;
}

#[tokio::test]
async fn statistics_and_the_index_tell_what_was_counted() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    client.model_infer(request(1.0)).await.unwrap();
    client.model_infer(request(fake::FAIL)).await.unwrap_err();
    let (name, version) = ("fraud".to_owned(), "9".to_owned());
    let stats = client
        .model_statistics(ModelStatisticsRequest { name, version })
        .await;
    let stats = stats.unwrap().into_inner().model_stats;
    let [stats] = stats.as_slice() else {
        panic!("{stats:?}");
    };
    let inference = stats.inference_stats.as_ref().unwrap();
    let count = |duration: &Option<super::proto::StatisticDuration>| duration.unwrap().count;
    assert_eq!((count(&inference.success), count(&inference.fail)), (1, 1));
    assert_eq!((stats.inference_count, stats.execution_count), (1, 2));
    assert!(stats.last_inference > 0 && inference.success.unwrap().ns > 0);
    let all = client
        .model_statistics(ModelStatisticsRequest::default())
        .await;
    assert_eq!(all.unwrap().get_ref().model_stats.len(), 2);
    let index = client
        .repository_index(RepositoryIndexRequest::default())
        .await;
    let index = index.unwrap().into_inner().models;
    assert_eq!(
        (index.len(), &*index[0].version, &*index[0].state),
        (2, "7", "READY")
    );
    let another = RepositoryIndexRequest {
        repository_name: "a".to_owned(),
        ..Default::default()
    };
    let (code, sentence) = refused(client.repository_index(another).await);
    assert_eq!(code, Code::InvalidArgument);
    assert!(
        sentence.contains("repository_name 'a' is not supported"),
        "{sentence}"
    );
    let load = RepositoryModelLoadRequest::default();
    let (code, sentence) = refused(client.repository_model_load(load).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(
        sentence.contains("is not enabled on this server"),
        "{sentence}"
    );
    let unload = RepositoryModelUnloadRequest::default();
    let (code, _) = refused(client.repository_model_unload(unload).await);
    assert_eq!(code, Code::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn shutdown_lets_the_call_in_flight_finish() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    let running =
        tokio::spawn(async move { client.model_infer(Request::new(request(fake::WAIT))).await });
    let server = tokio::task::spawn_blocking(move || {
        server.gate.wait_for_request();
        server
    });
    let server = server.await.unwrap();
    server.stop_after(|server_gate| server_gate.release()).await;
    assert!(running.await.unwrap().is_ok());
}

//! What a server does between the signal and its end.

use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::grpc::proto::{
    ModelReadyRequest, ServerReadyRequest,
    grpc_inference_service_client::GrpcInferenceServiceClient,
};

async fn until_not_ready(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.get("/v2/health/ready").await.status != 503 {
        assert!(Instant::now() < deadline, "it stays ready");
    }
}

/// Waits until a request stands at the gate, without holding up the server, which may run on this thread.
async fn at_the_gate(gate: Gate) -> Gate {
    let waiting = tokio::task::spawn_blocking(move || {
        gate.wait_for_request();
        gate
    });
    waiting.await.unwrap()
}

#[tokio::test]
async fn a_server_that_shall_end_is_not_ready_and_serves_for_its_delay() {
    let server = Server::start_as(8, |config| config.drain.delay = LONG).await;
    let channel = Endpoint::from_shared(server.grpc.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    let mut grpc = GrpcInferenceServiceClient::new(channel);
    let mut check = async || {
        let answer = health.check(HealthCheckRequest::default()).await;
        answer.unwrap().into_inner().status()
    };
    assert_eq!(check().await, ServingStatus::Serving);
    server.stop.unbounded_send(()).unwrap();
    until_not_ready(&server).await;
    assert_eq!(server.get("/v2/models/fraud/ready").await.status, 503);
    assert_eq!(check().await, ServingStatus::NotServing);
    let ready = grpc.server_ready(ServerReadyRequest::default()).await;
    assert!(!ready.unwrap().get_ref().ready);
    let name = "fraud".to_owned();
    let question = ModelReadyRequest {
        name,
        ..Default::default()
    };
    let ready = grpc.model_ready(question).await;
    assert!(!ready.unwrap().get_ref().ready);
    assert_eq!(server.get("/v2/health/live").await.status, 200);
    assert_eq!(server.infer(1.0).await.status, 200);
    let answer = grpc.model_infer(crate::grpc::tests::request(1.0)).await;
    assert!(answer.is_ok(), "{answer:?}");
    // The second signal.
    server.stop().await;
}

#[tokio::test]
async fn requests_of_either_protocol_are_finished_and_no_more_are_taken() {
    let server = Server::start().await;
    let url = format!("{}/v2/models/fraud/infer", server.url);
    let rest = server.client.post(url).body(body(fake::WAIT));
    let rest = tokio::spawn(async move { answer(rest).await.status });
    let channel = Endpoint::from_shared(server.grpc.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut grpc = GrpcInferenceServiceClient::new(channel.clone());
    let gate = at_the_gate(server.gate).await;
    // It waits behind the first.
    let request = crate::grpc::tests::request(fake::WAIT);
    let answer = tokio::spawn(async move { grpc.model_infer(request).await });
    let address = server.url.trim_start_matches("http://").to_owned();
    let in_flight = async || {
        let metrics = reqwest::get(format!("http://{address}/metrics"))
            .await
            .unwrap();
        let metrics = metrics.text().await.unwrap();
        metrics.contains(r#"serin_serve_requests_in_flight{model="fraud",version="9"} 2"#)
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !in_flight().await {
        assert!(Instant::now() < deadline, "the second does not come");
    }
    server.stop.unbounded_send(()).unwrap();
    for address in [&address, server.grpc.trim_start_matches("http://")] {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < deadline, "{address} stays open");
        }
    }
    assert!(!rest.is_finished() && !answer.is_finished() && !server.done.is_finished());
    gate.release();
    assert_eq!(rest.await.unwrap(), 200);
    let gate = at_the_gate(gate).await;
    gate.release();
    let answer = answer.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    server.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_second_signal_leaves_the_requests_in_flight() {
    let server = Server::start().await;
    let url = format!("{}/v2/models/fraud/infer", server.url);
    let request = server.client.post(url).body(body(fake::WAIT));
    let asking = tokio::spawn(async move { answer(request).await.status });
    let gate = at_the_gate(server.gate).await;
    for _ in 0..2 {
        server.stop.unbounded_send(()).unwrap();
    }
    server.done.await.unwrap().unwrap();
    assert!(!asking.is_finished());
    gate.release();
}

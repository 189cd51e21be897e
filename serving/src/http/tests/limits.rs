//! Memory and clients that take too much.

use std::num::NonZeroUsize;

use super::*;
use crate::{clients::ClientLimit, memory::Ceiling};

async fn wait_for(server: &Server, wanted: u16) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = server.infer(1.0).await;
        if answer.status == wanted {
            return answer;
        }
        assert!(Instant::now() < deadline, "never {wanted}");
    }
}

#[tokio::test]
async fn above_the_ceiling_requests_are_refused_and_health_stays() {
    let limits = Limits {
        memory: Ceiling::Bytes(1),
        ..Limits::default()
    };
    let server = Server::start_within(8, limits).await;
    let refused = wait_for(&server, 503).await;
    let sentence = "the server has hardly any memory left: try again in a moment";
    assert_eq!(
        (
            refused.json["error"].as_str(),
            &refused.headers["retry-after"]
        ),
        (Some(sentence), &"1".parse().unwrap())
    );
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/fraud"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let metrics = server.metrics().await;
    for line in [
        r#"serin_serve_memory_bytes{what="ceiling"} 1"#,
        r#"serin_serve_memory_bytes{what="resident"} "#,
        r#"outcome="overloaded",version="9"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let channel = tonic::transport::Endpoint::from_shared(server.grpc.clone()).unwrap();
    let mut client =
        crate::grpc::proto::grpc_inference_service_client::GrpcInferenceServiceClient::new(
            channel.connect().await.unwrap(),
        );
    let request = crate::grpc::proto::ModelInferRequest {
        model_name: "fraud".to_owned(),
        ..Default::default()
    };
    let refused = client.model_infer(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (tonic::Code::Unavailable, sentence)
    );
    server.stop().await;
}

fn limited(header: Option<&'static str>) -> Limits {
    Limits {
        client: Some(ClientLimit {
            in_flight: NonZeroUsize::MIN,
            header: header.map(HeaderName::from_static),
        }),
        ..Limits::default()
    }
}

/// A request that stands at the gate, for a client.
async fn occupy(server: &Arc<Server>, key: &'static str) -> JoinHandle<u16> {
    let (asking, gate) = (Arc::clone(server), Arc::clone(server));
    let asking = tokio::spawn(async move { ask(&asking, key, fake::WAIT).await.status });
    tokio::task::spawn_blocking(move || gate.gate.wait_for_request())
        .await
        .unwrap();
    asking
}

async fn ask(server: &Server, key: &str, first: f32) -> Answer {
    let url = format!("{}/v2/models/fraud/versions/9/infer", server.url);
    let request = server.client.post(url).header("x-api-key", key);
    answer(request.body(body(first))).await
}

async fn over_grpc(server: &Server, key: &str) -> Option<(tonic::Code, String)> {
    use crate::grpc::proto::{
        ModelInferRequest, grpc_inference_service_client::GrpcInferenceServiceClient as Client,
    };
    let endpoint = tonic::transport::Endpoint::from_shared(server.grpc.clone());
    let channel = endpoint.unwrap().connect().await.unwrap();
    let mut request = tonic::Request::new(ModelInferRequest {
        model_name: "fraud".to_owned(),
        model_version: "7".to_owned(),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("x-api-key", key.parse().unwrap());
    let refused = Client::new(channel).model_infer(request).await.err()?;
    Some((refused.code(), refused.message().to_owned()))
}

const SENTENCE: &str = "the client has 1 requests in flight, and more are not allowed at once: try again when one is answered";

#[tokio::test]
async fn a_client_with_too_many_requests_gets_429_and_others_go_on() {
    let server = Arc::new(Server::start_within(8, limited(Some("x-api-key"))).await);
    let first = occupy(&server, "a").await;
    let refused = ask(&server, "a", 1.0).await;
    assert_eq!(
        (
            refused.status,
            refused.json["error"].as_str(),
            &refused.headers["retry-after"]
        ),
        (429, Some(SENTENCE), &"1".parse().unwrap())
    );
    let code = tonic::Code::ResourceExhausted;
    let refused = over_grpc(&server, "a").await;
    assert_eq!(
        refused,
        Some((code, SENTENCE.to_owned())),
        "whatever it speaks"
    );
    let other = over_grpc(&server, "b").await.unwrap();
    assert_eq!(
        other.0,
        tonic::Code::InvalidArgument,
        "it got as far as its inputs"
    );
    let waiting = {
        let server = Arc::clone(&server);
        tokio::spawn(async move { ask(&server, "b", 1.0).await.status })
    };
    server.gate.release();
    assert_eq!((first.await.unwrap(), waiting.await.unwrap()), (200, 200));
    assert_eq!(
        ask(&server, "a", 1.0).await.status,
        200,
        "its place is free again"
    );
    let line = r#"serin_serve_requests_total{model="fraud",outcome="limited",version="9"} 1"#;
    let metrics = server.metrics().await;
    assert!(metrics.contains(line), "{metrics}");
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn without_a_header_the_address_is_the_client() {
    let server = Arc::new(Server::start_within(8, limited(None)).await);
    let first = occupy(&server, "a").await;
    assert_eq!(ask(&server, "b", 1.0).await.status, 429);
    let code = tonic::Code::ResourceExhausted;
    let refused = over_grpc(&server, "b").await;
    assert_eq!(refused, Some((code, SENTENCE.to_owned())));
    server.gate.release();
    assert_eq!(first.await.unwrap(), 200);
    Arc::into_inner(server).unwrap().stop().await;
}

#[tokio::test]
async fn nobody_is_counted_where_nothing_is_bounded() {
    let server = Arc::new(Server::start().await);
    let first = occupy(&server, "a").await;
    let url = "/v2/models/fraud/versions/7/infer";
    let second = server.send(Method::POST, url, body(1.0)).await;
    assert_eq!(second.status, 200);
    server.gate.release();
    assert_eq!(first.await.unwrap(), 200);
    Arc::into_inner(server).unwrap().stop().await;
}

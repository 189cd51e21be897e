//! Messages that are being read.

use std::{future::poll_fn, io, time::Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::task::JoinHandle;
use tonic::codegen::{Service, http};

use super::*;

/// A request whose message does not come.
fn hang(mut channel: Channel) -> JoinHandle<()> {
    let never = stream::pending::<Result<Bytes, io::Error>>();
    let request = http::Request::builder()
        .method("POST")
        .uri("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(Body::from_stream(never)));
    tokio::spawn(async move {
        let ready = poll_fn(|context| channel.poll_ready(context)).await;
        ready.unwrap();
        drop(channel.call(request.unwrap()).await);
    })
}

#[tokio::test]
async fn whoever_finds_too_many_messages_being_read_is_told_when_to_try_again() {
    let server = Server::start_with(1).await;
    let channel = channel(&server).await;
    // As many as have a place at one of the two versions: one that waits and one that is computed.
    let hanging = [0; 4].map(|_| hang(channel.clone()));
    let mut client = Client::new(channel);
    let deadline = Instant::now() + Duration::from_secs(20);
    // Until all of them have arrived it is answered.
    let refused = loop {
        match client.model_infer(request(1.0)).await {
            Ok(_) => assert!(Instant::now() < deadline, "nobody is refused"),
            Err(refused) => break refused,
        }
    };
    let sentence = "too many requests are being read at the moment: try again";
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, sentence)
    );
    let pushback = refused.metadata().get("grpc-retry-pushback-ms");
    assert_eq!(pushback.unwrap(), "1000");
    // Whoever leaves gives its place back.
    hanging.iter().for_each(JoinHandle::abort);
    while client.model_infer(request(1.0)).await.is_err() {
        assert!(Instant::now() < deadline, "the places are not given back");
    }
    server.stop().await;
}

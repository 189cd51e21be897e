//! Requests that do not get to a lazy model are counted, and told which version it was.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use prost::Message;
use tonic::codegen::Service;

use super::*;
use crate::{
    grpc::{self, proto::ModelInferRequest},
    http,
};

#[tokio::test]
async fn inferences_that_a_load_fails_are_counted_and_questions_are_not() {
    let live = Live::start("", GARBAGE).await;
    assert!(live.find().await.is_err());
    assert_eq!(live.counted(), [""; 0], "it was a question");
    for _ in 0..2 {
        let Err(refused) = live.find_to_infer().await else {
            panic!("there is no model");
        };
        assert_eq!(refused.sleeper.unwrap().entry.version, 1);
    }
    live.assert_counted(&[("unavailable", 2)]);
    assert!(find_to_infer(&live.app, "fraud", Some("2")).await.is_err());
    assert!(find_to_infer(&live.app, "other", None).await.is_err());
    live.assert_counted(&[("unavailable", 2)]);
    fs::write(live.dir.path().join("fraud/1/model.pt"), "good").unwrap();
    live.reloader.push().await;
    assert!(live.find_to_infer().await.is_ok());
    live.assert_counted(&[("unavailable", 2)]);
}

#[tokio::test]
async fn inferences_for_which_a_load_has_no_place_or_no_time_are_counted_as_that() {
    let live = Live::start("timeout: 50ms\nqueueSize: 1\n", "one").await;
    live.held.store(true, Ordering::SeqCst);
    let mut context = Context::from_waker(Waker::noop());
    // One that waits, and one that would be computed.
    let (mut one, mut two) = (pin!(live.find_to_infer()), pin!(live.find_to_infer()));
    assert!(one.as_mut().poll(&mut context).is_pending());
    assert!(two.as_mut().poll(&mut context).is_pending());
    let full = live.find_to_infer().await.err().unwrap();
    assert_eq!(full.error.outcome(), crate::metrics::Outcome::Overloaded);
    live.assert_counted(&[("overloaded", 1)]);
    let (one, two) = tokio::join!(one, two);
    assert!(one.is_err() && two.is_err());
    live.assert_counted(&[("expired", 2), ("overloaded", 1)]);
    live.held.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn clients_that_leave_while_a_model_is_being_loaded_are_counted_as_that() {
    let live = Live::start("", "one").await;
    live.held.store(true, Ordering::SeqCst);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut left = pin!(live.find_to_infer());
        assert!(left.as_mut().poll(&mut context).is_pending());
    }
    live.assert_counted(&[("dropped", 1)]);
    live.held.store(false, Ordering::SeqCst);
    assert!(live.find_to_infer().await.is_ok());
    live.assert_counted(&[("dropped", 1)]);
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|it| it.to_str().unwrap())
}

#[track_caller]
fn assert_named(headers: &HeaderMap) {
    assert_eq!(header(headers, "x-serin-model"), Some("fraud"));
    assert_eq!(header(headers, "x-serin-model-version"), Some("1"));
}

#[tokio::test]
async fn whoever_is_refused_is_told_the_version_and_to_try_again_whatever_it_speaks() {
    let live = Live::start("", GARBAGE).await;
    let mut rest = http::router(Arc::clone(&live.app));
    for (method, path, status) in [
        ("POST", "/v2/models/fraud/infer", 503),
        ("POST", "/v2/models/fraud/versions/1/infer", 503),
        ("GET", "/v2/models/fraud/infer", 503),
        ("GET", "/v2/models/fraud", 503),
        ("GET", "/v2/models/fraud/ready", 503),
        ("GET", "/v2/models/fraud/stats", 200),
    ] {
        let request = Request::builder().method(method).uri(path);
        let answer = rest.call(request.body(Body::empty()).unwrap()).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_named(answer.headers());
        // The questions that load nothing are answered.
        let again = status == 503 && !path.ends_with("/ready");
        let wanted = again.then_some("1");
        assert_eq!(header(answer.headers(), "retry-after"), wanted, "{path}");
    }
    live.assert_counted(&[("unavailable", 2)]);
    let message = ModelInferRequest {
        model_name: "fraud".to_owned(),
        ..Default::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let request = Request::builder()
        .method("POST")
        .uri("/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .body(Body::from([&[0], &length[..], &message].concat()));
    let mut grpc = grpc::inference(Arc::clone(&live.app)).into_axum_router();
    let answer = grpc.call(request.unwrap()).await.unwrap();
    let headers = answer.headers();
    let unavailable = (tonic::Code::Unavailable as i32).to_string();
    assert_eq!(header(headers, "grpc-status"), Some(&*unavailable));
    assert_eq!(header(headers, "grpc-retry-pushback-ms"), Some("1000"));
    assert_named(headers);
    live.assert_counted(&[("unavailable", 3)]);
}

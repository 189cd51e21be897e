//! Input: a message of gRPC, `ModelInferRequest`.

use bytes::Bytes;
use prost::Message;
use serin_serving::{
    grpc::{
        codec,
        proto::{ModelInferRequest, RepositoryModelLoadRequest},
    },
    protocol::request::grpc::parse,
    tensor::Datatype,
};

use super::{check, spec};

/// Decodes a message within bounds, and checks it for a model whose input `x` has the datatype that it has in the message.
pub fn run(data: &[u8]) {
    // Another message, with a list of its own.
    let other = codec::check_lists::<RepositoryModelLoadRequest>(data);
    assert!(other.is_ok() || other.is_err_and(|status| !status.message().is_empty()));
    if let Err(status) = codec::check_lists::<ModelInferRequest>(data) {
        assert!(!status.message().is_empty());
        return;
    }
    let Ok(message) = ModelInferRequest::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let input = message.inputs.iter().find(|it| it.name == "x");
    let datatype = input.and_then(|it| it.datatype.parse().ok());
    let spec = spec(datatype.unwrap_or(Datatype::Fp32));
    check(&parse(message, &spec), &spec);
}

//! What holds whichever way a request comes.

use bytes::Bytes;

use super::*;
use crate::{
    grpc::proto::{InferTensorContents, ModelInferRequest, model_infer_request::InferInputTensor},
    spec::ModelSpec,
};

/// A model that looks up one of 16 rows for each token.
fn words() -> ModelSpec {
    let tokens = TensorSpec {
        range: Some(0..=15),
        ..TensorSpec::new("tokens", Datatype::Int64, vec![-1])
    };
    ModelSpec {
        inputs: vec![tokens],
        outputs: vec![TensorSpec::new("y", Datatype::Fp32, vec![-1])],
        ..ModelSpec::default()
    }
}

type Answer = Result<InferRequest, RequestError>;

/// Three tokens by each way, with its name.
fn ways(tokens: [i64; 3]) -> [(&'static str, Answer); 5] {
    let spec = words();
    let raw = Bytes::from(tokens.map(i64::to_le_bytes).concat());
    let entry = |rest: &str| {
        format!(
            r#"{{"inputs": [{{"name": "tokens", "datatype": "INT64", "shape": [3], {rest}}}]}}"#
        )
    };
    let text = entry(&format!(r#""data": {tokens:?}"#));
    let head = entry(r#""parameters": {"binary_data_size": 24}"#);
    let binary = Bytes::from([head.as_bytes(), &*raw].concat());
    let message = |contents: Option<InferTensorContents>, raw: Option<Bytes>| ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: "tokens".to_owned(),
            datatype: "INT64".to_owned(),
            shape: vec![3],
            contents,
            ..InferInputTensor::default()
        }],
        raw_input_contents: raw.into_iter().collect(),
        ..ModelInferRequest::default()
    };
    let list = InferTensorContents {
        int64_contents: tokens.to_vec(),
        ..InferTensorContents::default()
    };
    [
        ("JSON", json::parse(&text.into(), None, &spec)),
        ("binary", json::parse(&binary, Some(head.len()), &spec)),
        ("raw", json::parse(&raw, Some(0), &spec)),
        ("gRPC", grpc::parse(message(None, Some(raw)), &spec)),
        ("gRPC lists", grpc::parse(message(Some(list), None), &spec)),
    ]
}

#[test]
fn values_out_of_the_range_of_an_input_are_refused_whichever_way_they_come() {
    for (way, answer) in ways([0, 15, 7]) {
        let inputs = answer.unwrap().inputs;
        assert_eq!(inputs[0].bytes()[8], 15, "{way}");
    }
    for (tokens, value) in [
        ([3, 16, 99], 16),
        ([3, -1, 4], -1),
        ([3, i64::MIN, 0], i64::MIN),
    ] {
        let wanted = format!(
            "input 'tokens' is refused: value 1 of data ({value}) is out of the range that the model takes, 0 to 15"
        );
        for (way, answer) in ways(tokens) {
            assert_eq!(answer.unwrap_err().to_string(), wanted, "{way}");
        }
    }
}

//! What the fuzzer runs: one function per input that others write. Each panics where a promise is broken.
//!
//! The tests of serin-serving compile this very file and run it on the committed corpus, so that what was found once
//! stays mended without a fuzzer. Inputs are made to be read and written by hand, but for those of gRPC.

pub mod description;
pub mod grpc;
pub mod rest;

use serin_serving::{
    protocol::request::{InferRequest, RequestError},
    spec::{ModelSpec, TensorSpec},
    tensor::Datatype,
};

/// A target: takes any bytes, panics on a finding.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus as well.
pub const TARGETS: [(&str, Target); 5] = [
    ("binary", rest::binary),
    ("grpc", grpc::run),
    ("pbtxt", description::pbtxt),
    ("rest", rest::json),
    ("yaml", description::yaml),
];

/// The longest refusal, in characters.
const MAX_SENTENCE: usize = 400;

/// A model whose input `x` has this datatype, beside a scalar.
fn spec(datatype: Datatype) -> ModelSpec {
    let tensor =
        |name: &str, datatype, shape: &[i64]| TensorSpec::new(name, datatype, shape.to_vec());
    ModelSpec {
        inputs: vec![
            tensor("x", datatype, &[-1, 2]),
            tensor("n", Datatype::Int64, &[]),
        ],
        outputs: vec![
            tensor("y", Datatype::Fp32, &[-1]),
            tensor("h", Datatype::Fp16, &[1]),
        ],
        ..ModelSpec::default()
    }
}

/// What must be so of every request that is taken, and of every refusal.
fn check(request: &Result<InferRequest, RequestError>, spec: &ModelSpec) {
    match request {
        Ok(request) => {
            assert_eq!(request.inputs.len(), spec.inputs.len());
            for (input, wanted) in request.inputs.iter().zip(&spec.inputs) {
                let fits = wanted.check(input.datatype(), input.shape());
                assert!(fits.is_ok(), "{fits:?}");
                let count: i64 = input.shape().iter().product();
                let size = usize::try_from(count).map(|it| it * input.datatype().size());
                assert_eq!(size, Ok(input.bytes().len()), "{:?}", input.shape());
                if input.datatype() == Datatype::Bool {
                    assert!(input.bytes().iter().all(|it| *it < 2));
                }
            }
            assert!(!request.outputs.is_empty());
            for output in &request.outputs {
                assert!(output.index < spec.outputs.len());
                let json = spec
                    .outputs
                    .get(output.index)
                    .is_some_and(|it| it.datatype.has_json_form());
                assert!(output.binary || json);
            }
        }
        Err(error) => {
            let sentence = error.to_string();
            let length = sentence.chars().count();
            assert!((1..=MAX_SENTENCE).contains(&length), "{sentence}");
        }
    }
}

/// What stands before and after the first end of a line; without one, all of it comes first.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let mut lines = data.splitn(2, |&byte| byte == b'\n');
    (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    )
}

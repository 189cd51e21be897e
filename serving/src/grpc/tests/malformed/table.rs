//! Messages that are refused, for the model of the table of JSON. The tests of the program send them as well.

use super::*;

/// What to change of a good request, and the words of the sentence that refuses it.
pub(crate) type Case = (&'static str, fn(&mut ModelInferRequest));

fn input(request: &mut ModelInferRequest) -> &mut InferInputTensor {
    &mut request.inputs[0]
}

fn contents(request: &mut ModelInferRequest) -> &mut InferTensorContents {
    request.raw_input_contents.clear();
    request.inputs[0].contents.get_or_insert_default()
}

fn request_parameter(request: &mut ModelInferRequest, key: &str, choice: ParameterChoice) {
    request.parameters = parameters(key, choice);
}

#[allow(
    clippy::semicolon_if_nothing_returned,
    reason = "each is one change, written as a value"
)]
pub(crate) const TABLE: &[Case] = &[
    // Names.
    ("version '1e1' of model 'fraud' is not found", |r| {
        r.model_version = "1e1".to_owned()
    }),
    ("version '-9' of model 'fraud' is not found", |r| {
        r.model_version = "-9".to_owned()
    }),
    ("version '09' of model 'fraud' is not found", |r| {
        r.model_version = "09".to_owned()
    }),
    ("version '99999999999999999999' of model", |r| {
        r.model_version = "99999999999999999999".to_owned()
    }),
    ("model '' is not found", |r| r.model_name.clear()),
    ("model '../../etc/passwd' is not found", |r| {
        r.model_name = "../../etc/passwd".to_owned()
    }),
    ("model 'fraud\u{202e}' is not found", |r| {
        r.model_name.push('\u{202e}')
    }),
    ("model 'AAAA", |r| r.model_name = "A".repeat(50_000)),
    // Lists.
    ("0 inputs, but the model has 1: 'x'", |r| {
        r.inputs.clear();
        r.raw_input_contents.clear();
    }),
    ("2 inputs, but the model has 1: 'x'", |r| {
        r.inputs.push(InferInputTensor::default())
    }),
    ("more than 64 inputs", |r| {
        r.inputs = vec![InferInputTensor::default(); 20_000]
    }),
    ("more than 64 outputs", |r| {
        r.outputs = vec![InferRequestedOutputTensor::default(); 20_000]
    }),
    ("more than 64 raw_input_contents", |r| {
        r.raw_input_contents = vec![Bytes::new(); 20_000]
    }),
    ("2 raw_input_contents, but 1 inputs", |r| {
        r.raw_input_contents.push(Bytes::new())
    }),
    ("no input 'z', it has: 'x'", |r| {
        input(r).name = "z".to_owned()
    }),
    ("no input '', it has: 'x'", |r| input(r).name.clear()),
    ("no output 'q', it has: 'y', 'n'", |r| {
        r.outputs.push(InferRequestedOutputTensor {
            name: "q".to_owned(),
            ..Default::default()
        })
    }),
    ("output 'y' is given twice", |r| {
        r.outputs = vec![
            InferRequestedOutputTensor {
                name: "y".to_owned(),
                ..Default::default()
            };
            2
        ]
    }),
    // Datatypes.
    ("datatype '' is unknown", |r| input(r).datatype.clear()),
    ("datatype 'float32' is unknown", |r| {
        input(r).datatype = "float32".to_owned()
    }),
    ("'BYTES' is not supported: a TorchScript tensor", |r| {
        input(r).datatype = "BYTES".to_owned()
    }),
    ("'UINT16' is not supported: libtorch", |r| {
        input(r).datatype = "UINT16".to_owned()
    }),
    ("'UINT64' is not supported: libtorch", |r| {
        input(r).datatype = "UINT64".to_owned()
    }),
    ("datatype is FP16, but the model has FP32", |r| {
        input(r).datatype = "FP16".to_owned()
    }),
    // Shapes.
    ("shape is [], but the model has [-1, 2]", |r| {
        input(r).shape.clear()
    }),
    ("shape is [2], but the model has [-1, 2]", |r| {
        input(r).shape = vec![2]
    }),
    ("shape must be an array of at most 8", |r| {
        input(r).shape = vec![1; 9]
    }),
    ("shape must be an array of at most 8", |r| {
        input(r).shape = vec![1; 10_000]
    }),
    ("dimension 0 of the shape is -1", |r| {
        input(r).shape = vec![-1, 2]
    }),
    ("dimension 0 of the shape is 0", |r| {
        input(r).shape = vec![0, 2]
    }),
    ("more than 16777216 elements", |r| {
        input(r).shape = vec![i64::MAX, 2]
    }),
    ("dimension 0 of the shape is -9223372036854775808", |r| {
        input(r).shape = vec![i64::MIN, 2]
    }),
    ("needs 67108864 bytes, but there are 8", |r| {
        input(r).shape = vec![1 << 23, 2]
    }),
    // Data.
    ("needs 8 bytes, but there are 0", |r| {
        r.raw_input_contents = vec![Bytes::new()]
    }),
    ("needs 8 bytes, but there are 7", |r| {
        r.raw_input_contents = vec![vec![0; 7].into()]
    }),
    ("needs 8 bytes, but there are 9", |r| {
        r.raw_input_contents = vec![vec![0; 9].into()]
    }),
    ("needs 8 bytes, but there are 0", |r| {
        r.raw_input_contents.clear()
    }),
    ("it has both contents and raw_input_contents", |r| {
        input(r).contents = Some(InferTensorContents {
            fp32_contents: vec![1.0],
            ..Default::default()
        })
    }),
    ("needs 8 bytes, but there are 4", |r| {
        contents(r).fp32_contents = vec![1.0]
    }),
    ("needs 8 bytes, but there are 12", |r| {
        contents(r).fp32_contents = vec![1.0; 3]
    }),
    (
        "FP32 takes its values from fp32_contents, but fp64_contents holds 2",
        |r| contents(r).fp64_contents = vec![1.0; 2],
    ),
    (
        "FP32 takes its values from fp32_contents, but int_contents holds 1",
        |r| {
            contents(r).fp32_contents = vec![1.0; 2];
            contents(r).int_contents = vec![1];
        },
    ),
    (
        "FP32 takes its values from fp32_contents, but bytes_contents holds 1",
        |r| contents(r).bytes_contents = vec![vec![0; 8]],
    ),
    ("more than 64 bytes_contents", |r| {
        contents(r).bytes_contents = vec![vec![]; 10_000]
    }),
    // Parameters.
    ("parameter 'timeout' is -1, but must be", |r| {
        request_parameter(r, "timeout", ParameterChoice::Int64Param(-1))
    }),
    ("parameter 'timeout' is the text '5', but must be", |r| {
        request_parameter(r, "timeout", ParameterChoice::StringParam("5".to_owned()))
    }),
    ("parameter 'priority' is 0.5, but must be", |r| {
        request_parameter(r, "priority", ParameterChoice::DoubleParam(0.5))
    }),
    ("parameter 'sequence_id' is not supported", |r| {
        request_parameter(r, "sequence_id", ParameterChoice::Int64Param(1))
    }),
    ("parameter 'timeout' is without a value, but must be", |r| {
        r.parameters = BTreeMap::from([("timeout".to_owned(), InferParameter::default())])
    }),
    ("more than 64 parameters", |r| {
        r.parameters = (0..100)
            .map(|key| (key.to_string(), InferParameter::default()))
            .collect()
    }),
    ("parameter 'shared_memory_region' is not supported", |r| {
        input(r).parameters = parameters(
            "shared_memory_region",
            ParameterChoice::StringParam("x".to_owned()),
        )
    }),
    ("parameter 'classification' is not supported", |r| {
        r.outputs = vec![InferRequestedOutputTensor {
            name: "y".to_owned(),
            parameters: parameters("classification", ParameterChoice::Int64Param(3)),
        }]
    }),
];

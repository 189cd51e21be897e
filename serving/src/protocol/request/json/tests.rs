//! What a body means.

use std::time::Duration;

use super::{super::RequestedOutput, *};
use crate::backend::fake;

fn parse(body: &str) -> InferRequest {
    super::parse(&Bytes::from(body.to_owned()), None, &fake::spec()).unwrap()
}

fn json_output(index: usize) -> RequestedOutput {
    let binary = false;
    RequestedOutput { index, binary }
}

/// JSON, and behind it binary data.
fn parse_binary(json: &str, data: &[u8], spec: &ModelSpec) -> Result<InferRequest, String> {
    let body = Bytes::from([json.as_bytes(), data].concat());
    super::parse(&body, Some(json.len()), spec).map_err(|error| error.to_string())
}

#[test]
fn fields_come_in_any_order_and_unknown_ones_are_passed_over() {
    let request = parse(
        r#"{"parameters": {"priority": 1}, "x-new": [1], "outputs": [{"name": "n", "parameters": {"binary_data": false}}],
            "inputs": [{"data": [1, 2], "parameters": {}, "shape": [1, 2], "datatype": "FP32", "name": "x"}], "id": "7"}"#,
    );
    assert_eq!(request.id.as_deref(), Some("7"));
    assert_eq!(request.outputs, [json_output(1)]);
    assert_eq!(request.scheduling.priority, 1);
    assert_eq!(request.inputs[0].shape(), [1, 2]);
}

#[test]
fn without_a_selection_all_outputs_are_answered() {
    for outputs in ["", r#", "outputs": []"#, r#", "outputs": null"#] {
        let body = format!(
            r#"{{"inputs": [{{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}}]{outputs}}}"#
        );
        assert_eq!(
            parse(&body).outputs,
            [json_output(0), json_output(1)],
            "{outputs}"
        );
    }
}

#[test]
fn inputs_are_put_into_the_order_of_the_model() {
    let mut spec = fake::spec();
    spec.inputs
        .push(TensorSpec::new("k", Datatype::Int8, vec![1]));
    let body = br#"{"inputs": [{"name":"k","datatype":"INT8","shape":[1],"data":[5]},
                               {"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
    let request = super::parse(&Bytes::from_static(body), None, &spec).unwrap();
    assert_eq!(
        request
            .inputs
            .iter()
            .map(Tensor::datatype)
            .collect::<Vec<_>>(),
        [Datatype::Fp32, Datatype::Int8]
    );
}

fn two_inputs() -> ModelSpec {
    let mut spec = fake::spec();
    let more = |name: &str, datatype| TensorSpec::new(name, datatype, vec![2]);
    spec.inputs.push(more("h", Datatype::Fp16));
    spec.inputs.push(more("k", Datatype::Int8));
    spec
}

#[test]
fn binary_data_is_taken_in_the_order_of_the_request_and_mixes_with_json() {
    let json = r#"{"inputs": [{"name":"k","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}},
                              {"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]},
                              {"name":"h","datatype":"FP16","shape":[2],"parameters":{"binary_data_size":4}}],
                   "parameters": {"timeout": 5, "binary_data_output": true},
                   "outputs": [{"name":"n","parameters":{"binary_data":false}}, {"name":"y"}]}"#;
    let request = parse_binary(json, &[7, 8, 1, 2, 3, 4], &two_inputs()).unwrap();
    let [x, h, k] = request.inputs.as_slice() else {
        panic!("{:?}", request.inputs);
    };
    assert_eq!(x.bytes(), [1_f32, 2.0].map(f32::to_le_bytes).as_flattened());
    assert_eq!((h.bytes(), k.bytes()), (&[1, 2, 3, 4][..], &[7, 8][..]));
    let y = RequestedOutput {
        index: 0,
        binary: true,
    };
    assert_eq!(request.outputs, [json_output(1), y]);
    assert_eq!(request.scheduling.timeout, Some(Duration::from_micros(5)));
}

#[test]
fn a_body_without_json_is_the_only_input_and_asks_for_binary_outputs() {
    let raw = |length: usize, spec: &ModelSpec| {
        super::parse(&vec![0_u8; length].into(), Some(0), spec).map_err(|error| error.to_string())
    };
    let request = raw(24, &fake::spec()).unwrap();
    assert_eq!(request.inputs[0].shape(), [3, 2]);
    assert!(request.outputs.iter().all(|output| output.binary));
    for (length, words) in [
        (0, "needs 8 bytes, but there are 0"),
        (23, "shape [2, 2] needs 16 bytes, but there are 23"),
    ] {
        let error = raw(length, &fake::spec()).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert!(
        raw(8, &two_inputs())
            .unwrap_err()
            .contains("more than one input")
    );
    let mut two = fake::spec();
    two.inputs[0].shape = vec![DYNAMIC, DYNAMIC];
    assert!(
        raw(8, &two)
            .unwrap_err()
            .contains("two dimensions of its input have any size")
    );
}

#[test]
fn half_precision_goes_as_binary_data_only() {
    let mut spec = fake::spec();
    spec.inputs[0].datatype = Datatype::Bf16;
    spec.outputs[0].datatype = Datatype::Fp16;
    let json = |data: &str, outputs: &str| {
        format!(r#"{{"inputs": [{{"name":"x","datatype":"BF16","shape":[1,2],{data}}}]{outputs}}}"#)
    };
    let binary = r#""parameters":{"binary_data_size":4}"#;
    let error = parse_binary(&json(r#""data":[1,2]"#, ""), &[], &spec).unwrap_err();
    assert!(
        error.contains("BF16 has no JSON form: send it as binary data"),
        "{error}"
    );
    let error = parse_binary(&json(binary, ""), &[0; 4], &spec).unwrap_err();
    assert!(
        error.contains(
            "output 'y' is refused: it is FP16, which has no JSON form: ask for it as binary"
        ),
        "{error}"
    );
    let other = r#", "outputs": [{"name":"n"}]"#;
    assert!(parse_binary(&json(binary, other), &[0; 4], &spec).is_ok());
    let all = r#", "parameters": {"binary_data_output": true}"#;
    assert!(parse_binary(&json(binary, all), &[0; 4], &spec).is_ok());
}

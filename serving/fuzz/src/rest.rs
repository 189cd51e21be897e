//! Requests of REST: JSON, and binary data behind it.

use bytes::Bytes;
use serin_serving::{
    protocol::request::json::parse,
    tensor::{Datatype, Tensor, json},
};

use super::{check, first_line, spec};

/// A datatype of the protocol; any other line is FP32.
fn datatype(line: &[u8]) -> Datatype {
    let name = std::str::from_utf8(line).unwrap_or_default();
    name.parse().unwrap_or(Datatype::Fp32)
}

/// Input: a line with the datatype of `x`, and the body.
pub fn json(data: &[u8]) {
    let (line, body) = first_line(data);
    let spec = spec(datatype(line));
    let body = Bytes::copy_from_slice(body);
    let request = parse(&body, None, &spec);
    check(&request, &spec);
    if let Ok(request) = request {
        request.inputs.iter().for_each(survives);
    }
}

/// Input: a line with the datatype of `x`, one with the length of the JSON, and the body.
pub fn binary(data: &[u8]) {
    let (line, rest) = first_line(data);
    let (length, body) = first_line(rest);
    let spec = spec(datatype(line));
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|it| it.parse().ok());
    let body = Bytes::copy_from_slice(body);
    check(&parse(&body, length, &spec), &spec);
}

/// What was read from JSON is what is read again when it was written.
fn survives(tensor: &Tensor) {
    if !tensor.datatype().has_json_form() || !json::is_representable(tensor) {
        return;
    }
    let written = serde_json::value::to_raw_value(&json::Values(tensor));
    let again = written.map(|it| json::parse(&it, tensor.datatype(), tensor.shape().to_vec()));
    assert!(
        matches!(&again, Ok(Ok(again)) if again == tensor),
        "{tensor:?} became {again:?}"
    );
}

//! Requests of the REST API: JSON, and behind it the binary data of inputs.
//!
//! While a body is read, a request takes at most six times its size: the text, whose buffer may be twice as long; the
//! strings and pieces of `id` and names, which are disjoint from the data; and four bytes of tensor for each byte of
//! text, which is what FP64 or INT64 written `1,1,...` comes to. Tensors are only filled if the text holds as many
//! values as the shape says, so a wrong count costs nothing. Binary data is a part of the body and never copied. No
//! list is kept beyond what a model can have.

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{InferRequest, InputError, Inputs, Outputs, RequestError, checked};
use crate::{
    protocol::{
        bounded::{Bounded, object},
        parameters::{InputParameters, Json, OutputParameters, RequestParameters},
    },
    spec::{DYNAMIC, MAX_TENSORS, ModelSpec, TensorSpec},
    tensor::{Datatype, MAX_RANK, Tensor, binary, check_shape, clip, json},
};

/// The parser quotes what it did not expect, which may be the whole body: this many characters of it are enough.
const MAX_REASON: usize = 160;

/// `inputs` or `outputs` as text.
type Entries<'a> = Bounded<&'a RawValue, MAX_TENSORS>;

#[derive(Deserialize)]
struct Body<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Json<RequestParameters>,
    #[serde(borrow)]
    inputs: Entries<'a>,
    #[serde(borrow)]
    outputs: Option<Entries<'a>>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Json<OutputParameters>,
}

/// `shape` and `data` wait as text until the name is known, so that a refusal can name the input.
#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    #[serde(borrow)]
    shape: &'a RawValue,
    #[serde(default)]
    parameters: Json<InputParameters>,
    #[serde(default, borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
}

/// What is there, null included.
fn present<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Reads a body, of which the first `json_length` bytes are JSON and the rest is binary data; without a length all of
/// it is JSON.
///
/// # Errors
/// [`RequestError`] with the first thing that is wrong.
pub fn parse(
    body: &Bytes,
    json_length: Option<usize>,
    spec: &ModelSpec,
) -> Result<InferRequest, RequestError> {
    if json_length == Some(0) {
        return parse_raw(body, spec);
    }
    let json_length = json_length.unwrap_or(body.len());
    let too_long = || RequestError::HeaderLength {
        found: json_length.to_string(),
        body: body.len(),
    };
    let (text, _) = body.split_at_checked(json_length).ok_or_else(too_long)?;
    let mut data = Data(body.slice(json_length..));
    let text = str::from_utf8(text).map_err(|_| RequestError::Utf8)?;
    let body: Body<'_> =
        object(text).map_err(|reason| RequestError::Body(clip(&reason, MAX_REASON)))?;
    let inputs = parse_inputs(&body.inputs, &mut data, &spec.inputs)?;
    if !data.0.is_empty() {
        return Err(RequestError::LeftOver(data.0.len()));
    }
    let Json(parameters) = body.parameters;
    let outputs = body.outputs.as_ref();
    Ok(InferRequest {
        id: body.id,
        inputs,
        outputs: select_outputs(outputs, parameters.binary_data_output, &spec.outputs)?
            .finish(parameters.binary_data_output)?,
        scheduling: parameters.scheduling,
    })
}

/// Reads a body that is nothing but the data of a model's only input; everything else follows from the model.
fn parse_raw(body: &Bytes, spec: &ModelSpec) -> Result<InferRequest, RequestError> {
    let [input] = spec.inputs.as_slice() else {
        return Err(RequestError::Raw("it has more than one input, send JSON"));
    };
    let shape = raw_shape(input, body.len())?;
    let tensor = binary::parse(body.clone(), input.datatype, shape);
    Ok(InferRequest {
        id: None,
        inputs: vec![checked(input, tensor.map_err(InputError::Tensor))?],
        outputs: Outputs::new(&spec.outputs, 0)?.finish(true)?,
        scheduling: RequestParameters::default().scheduling,
    })
}

/// The shape of `length` bytes: one dimension of any size takes what the others leave.
fn raw_shape(input: &TensorSpec, length: usize) -> Result<Vec<i64>, RequestError> {
    if input.shape.iter().filter(|&&size| size == DYNAMIC).count() > 1 {
        let why = "two dimensions of its input have any size, send the shape in JSON";
        return Err(RequestError::Raw(why));
    }
    let sizes = |dynamic: i64| -> Vec<i64> {
        let size = |&size: &i64| if size == DYNAMIC { dynamic } else { size };
        input.shape.iter().map(size).collect()
    };
    // The number of rows is rounded down: what does not fit is refused with the shape that comes nearest.
    let row = check_shape(&sizes(1)).ok();
    let row = row.and_then(|count| count.checked_mul(input.datatype.size()));
    let rows = row.and_then(|row| length.checked_div(row)).unwrap_or(1);
    Ok(sizes(i64::try_from(rows.max(1)).unwrap_or(i64::MAX)))
}

/// The binary data that no input has taken yet.
struct Data(Bytes);

impl Data {
    fn take(&mut self, size: usize) -> Result<Bytes, InputError> {
        let left = self.0.len();
        if size > left {
            return Err(InputError::Truncated { wanted: size, left });
        }
        Ok(self.0.split_to(size))
    }
}

fn parse_inputs(
    entries: &Entries<'_>,
    data: &mut Data,
    specs: &[TensorSpec],
) -> Result<Vec<Tensor>, RequestError> {
    let mut inputs = Inputs::new(specs, entries.count)?;
    for (index, entry) in entries.kept.iter().enumerate() {
        let input: Input<'_> = parse_entry("input", index, entry)?;
        if input.data.is_none() && input.parameters.0.binary_data_size.is_none() {
            return Err(RequestError::Entry {
                role: "input",
                index,
                reason: "missing field `data`, and no binary_data_size in its parameters"
                    .to_owned(),
            });
        }
        inputs.fill(&input.name, |spec| parse_input(&input, data, spec))?;
    }
    inputs.finish()
}

fn parse_entry<'a, T: Deserialize<'a>>(
    role: &'static str,
    index: usize,
    entry: &'a RawValue,
) -> Result<T, RequestError> {
    object(entry.get()).map_err(|reason| RequestError::Entry {
        role,
        index,
        reason: without_position(&reason),
    })
}

fn parse_input(
    input: &Input<'_>,
    data: &mut Data,
    spec: &TensorSpec,
) -> Result<Tensor, InputError> {
    let datatype: Datatype = input.datatype.parse()?;
    // serde's own refusal quotes the whole string.
    if input.shape.get().contains('"') {
        return Err(InputError::Shape);
    }
    let shape: Bounded<i64, MAX_RANK> =
        serde_json::from_str(input.shape.get()).map_err(|_| InputError::Shape)?;
    if shape.count > MAX_RANK {
        return Err(InputError::Shape);
    }
    let shape = shape.kept;
    spec.check(datatype, &shape)?;
    match (input.data, input.parameters.0.binary_data_size) {
        (Some(_), Some(_)) => Err(InputError::BothData("data", "binary_data_size")),
        (None, Some(size)) => Ok(binary::parse(data.take(size)?, datatype, shape)?),
        (Some(text), None) => Ok(json::parse(text, datatype, shape)?),
        // Refused before, where the index is known.
        (None, None) => Err(InputError::Truncated { wanted: 0, left: 0 }),
    }
}

fn select_outputs<'s>(
    entries: Option<&Entries<'_>>,
    binary: bool,
    specs: &'s [TensorSpec],
) -> Result<Outputs<'s>, RequestError> {
    let mut outputs = Outputs::new(specs, entries.map_or(0, |entries| entries.count))?;
    let kept = entries.map(|entries| entries.kept.as_slice());
    for (index, entry) in kept.unwrap_or_default().iter().enumerate() {
        let output: Output = parse_entry("output", index, entry)?;
        let binary = output.parameters.0.binary_data.unwrap_or(binary);
        outputs.select(&output.name, binary)?;
    }
    Ok(outputs)
}

/// The entry was cut out of the body, so its line and column would mislead.
fn without_position(text: &str) -> String {
    let end = text.rfind(" at line ").unwrap_or(text.len());
    clip(text.get(..end).unwrap_or(text), MAX_REASON)
}

#[cfg(test)]
mod tests;

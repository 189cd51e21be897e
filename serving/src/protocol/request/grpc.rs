//! Requests of the gRPC API, whose tensors are binary data or lists of values.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{InferRequest, InputError, Inputs, Outputs, RequestError};
use crate::{
    grpc::proto::{
        InferParameter, InferTensorContents, ModelInferRequest, infer_parameter::ParameterChoice,
        model_infer_request::InferInputTensor,
    },
    protocol::parameters::{
        InputParameters, OutputParameters, ParameterError, Parameters, RequestParameters, Scalar,
    },
    spec::{ModelSpec, TensorSpec},
    tensor::{Datatype, MAX_RANK, Tensor, TensorError, binary, json::DataError},
};

/// Checks a message for a model of `spec`. Its outputs are all wanted as binary data.
///
/// # Errors
/// [`RequestError`] with the first thing that is wrong.
pub fn parse(request: ModelInferRequest, spec: &ModelSpec) -> Result<InferRequest, RequestError> {
    let ModelInferRequest {
        id,
        parameters,
        inputs: entries,
        outputs,
        raw_input_contents: raw,
        ..
    } = request;
    let parameters: RequestParameters = parse_parameters(&parameters)?;
    let mut inputs = Inputs::new(&spec.inputs, entries.len())?;
    if !raw.is_empty() && raw.len() != entries.len() {
        return Err(RequestError::RawCount {
            found: raw.len(),
            wanted: entries.len(),
        });
    }
    let raw = raw.into_iter().map(Some).chain(std::iter::repeat(None));
    for (entry, raw) in entries.into_iter().zip(raw) {
        let name = entry.name.clone();
        inputs.fill(&name, |spec| parse_input(entry, raw, spec))?;
    }
    let inputs = inputs.finish()?;
    let mut selected = Outputs::new(&spec.outputs, outputs.len())?;
    for output in outputs {
        selected.select(&output.name, true)?;
        parse_parameters::<OutputParameters>(&output.parameters).map_err(|error| {
            RequestError::Output {
                name: output.name,
                reason: error.into(),
            }
        })?;
    }
    Ok(InferRequest {
        id: (!id.is_empty()).then_some(id),
        inputs,
        outputs: selected.finish(true)?,
        scheduling: parameters.scheduling,
    })
}

fn parse_parameters<P: Parameters>(
    entries: &BTreeMap<String, InferParameter>,
) -> Result<P, ParameterError> {
    let mut parameters = P::default();
    for (key, value) in entries {
        let value = match &value.parameter_choice {
            Some(ParameterChoice::BoolParam(value)) => Scalar::Bool(*value),
            Some(ParameterChoice::Int64Param(value)) => Scalar::Whole((*value).into()),
            Some(ParameterChoice::Uint64Param(value)) => Scalar::Whole((*value).into()),
            Some(ParameterChoice::DoubleParam(value)) => Scalar::Real(*value),
            Some(ParameterChoice::StringParam(value)) => Scalar::text(value),
            None => Scalar::Other("without a value"),
        };
        parameters.set(key, &value)?;
    }
    Ok(parameters)
}

fn parse_input(
    input: InferInputTensor,
    raw: Option<Bytes>,
    spec: &TensorSpec,
) -> Result<Tensor, InputError> {
    let InferInputTensor {
        datatype,
        shape,
        parameters,
        contents,
        ..
    } = input;
    let datatype: Datatype = datatype.parse()?;
    // Before it can get into a message.
    if shape.len() > MAX_RANK {
        return Err(InputError::Shape);
    }
    spec.check(datatype, &shape)?;
    // The size of binary data is that of the bytes: a parameter is not needed for it.
    parse_parameters::<InputParameters>(&parameters)?;
    let contents = contents.unwrap_or_default();
    match raw {
        Some(_) if !is_empty(&contents) => {
            Err(InputError::BothData("contents", "raw_input_contents"))
        }
        Some(raw) => Ok(binary::parse(raw, datatype, shape)?),
        None => {
            check_lists(datatype, &contents)?;
            Ok(binary::parse(
                values(datatype, contents)?.into(),
                datatype,
                shape,
            )?)
        }
    }
}

/// The lists of `contents` by name, and how many values each has.
fn lists(contents: &InferTensorContents) -> [(&'static str, usize); 8] {
    [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ]
}

fn is_empty(contents: &InferTensorContents) -> bool {
    lists(contents).iter().all(|(_, count)| *count == 0)
}

/// Whether there are values in the list of the datatype only.
fn check_lists(datatype: Datatype, contents: &InferTensorContents) -> Result<(), InputError> {
    let wanted = match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 => "uint_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        // The protocol has no list for them.
        Datatype::Fp16 | Datatype::Bf16 => "raw_input_contents",
    };
    let other = lists(contents)
        .into_iter()
        .find(|(name, count)| *name != wanted && *count > 0);
    let found = match other {
        Some((name, count)) => format!("{name} holds {count}"),
        None if !datatype.has_json_form() => "there are none".to_owned(),
        None => return Ok(()),
    };
    Err(InputError::Contents {
        datatype,
        wanted,
        found,
    })
}

/// The values as binary data.
fn values(datatype: Datatype, contents: InferTensorContents) -> Result<Vec<u8>, TensorError> {
    let ints = contents.int_contents;
    Ok(match datatype {
        Datatype::Bool => contents.bool_contents.into_iter().map(u8::from).collect(),
        Datatype::Int8 => narrow(datatype, ints, |value: i8| value.to_le_bytes())?,
        Datatype::Int16 => narrow(datatype, ints, |value: i16| value.to_le_bytes())?,
        Datatype::Int32 => narrow(datatype, ints, i32::to_le_bytes)?,
        Datatype::Int64 => narrow(datatype, contents.int64_contents, i64::to_le_bytes)?,
        Datatype::Uint8 => narrow(datatype, contents.uint_contents, |value: u8| [value])?,
        Datatype::Fp32 => narrow(datatype, contents.fp32_contents, f32::to_le_bytes)?,
        Datatype::Fp64 => narrow(datatype, contents.fp64_contents, f64::to_le_bytes)?,
        Datatype::Fp16 | Datatype::Bf16 => Vec::new(),
    })
}

/// Values of the protocol as those of a datatype that may hold fewer.
fn narrow<V: Copy + ToString, T: TryFrom<V>, const SIZE: usize>(
    datatype: Datatype,
    values: Vec<V>,
    encode: impl Fn(T) -> [u8; SIZE],
) -> Result<Vec<u8>, TensorError> {
    let mut bytes = Vec::with_capacity(values.len().saturating_mul(SIZE));
    for (index, value) in values.into_iter().enumerate() {
        let narrowed = T::try_from(value).map_err(|_| DataError::Range {
            index,
            value: value.to_string(),
            datatype,
        })?;
        bytes.extend_from_slice(&encode(narrowed));
    }
    Ok(bytes)
}

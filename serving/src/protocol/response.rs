//! Inference responses and metadata.

use serde::{Serialize, Serializer};

use crate::{
    protocol::request::RequestedOutput,
    spec::{ModelSpec, TensorSpec},
    tensor::{Tensor, json},
};

/// Bytes that an answer usually takes beside the values, and each of its outputs.
const HEAD: usize = 128;
/// Characters for each byte of a value: a float of four has eleven, and its comma.
const TEXT: usize = 3;

/// The body of an inference response.
#[derive(Serialize)]
pub struct InferResponse<'a> {
    /// Name of the model that answered.
    pub model_name: &'a str,
    /// Its version.
    pub model_version: String,
    /// The id of the request; left out when it had none (KServe's SDK fails on null).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The selected outputs.
    pub outputs: Vec<Output<'a>>,
}

/// One output tensor.
#[derive(Serialize)]
pub struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [i64],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<OutputParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<json::Values<'a>>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

/// A response as it goes out.
pub struct Encoded {
    /// JSON, and behind it the binary outputs in the order of the JSON.
    pub body: Vec<u8>,
    /// Bytes of the JSON, if there are binary outputs.
    pub json_length: Option<usize>,
}

/// The body of model metadata.
#[derive(Serialize)]
pub struct ModelMetadata<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// All loaded versions.
    pub versions: Vec<String>,
    /// What runs the model.
    pub platform: &'static str,
    /// The inputs as model.yaml declares them.
    #[serde(serialize_with = "tensors")]
    pub inputs: &'a [TensorSpec],
    /// The outputs as model.yaml declares them.
    #[serde(serialize_with = "tensors")]
    pub outputs: &'a [TensorSpec],
}

/// Why a result cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// A number without a JSON form.
    #[error(
        "its output '{0}' holds NaN or an infinity, which JSON cannot carry (binary data can, see \
         parameters.binary_data_output)"
    )]
    NotFinite(String),
    /// Something that was checked before.
    #[error("its answer could not be written")]
    Write,
}

impl<'a> InferResponse<'a> {
    /// Picks the selected outputs of `tensors`, which are in the order of model.yaml, and writes them.
    ///
    /// # Errors
    /// [`ResponseError`] if one of them has no JSON form and is not wanted as binary data.
    pub fn encode(
        model: (&'a str, u64),
        id: Option<String>,
        spec: &'a ModelSpec,
        tensors: &'a [Tensor],
        selected: &[RequestedOutput],
    ) -> Result<Encoded, ResponseError> {
        let mut outputs = Vec::with_capacity(selected.len());
        let mut binary: Vec<&[u8]> = Vec::new();
        let mut room = HEAD;
        for output in selected {
            let found = spec
                .outputs
                .get(output.index)
                .zip(tensors.get(output.index));
            let (spec, tensor) = found.ok_or(ResponseError::Write)?;
            if !output.binary && !json::is_representable(tensor) {
                return Err(ResponseError::NotFinite(spec.name.clone()));
            }
            let size = tensor.bytes().len();
            room += HEAD;
            if output.binary {
                binary.push(tensor.bytes());
                room += size;
            } else {
                room += size * TEXT;
            }
            outputs.push(Output {
                name: &spec.name,
                datatype: tensor.datatype().name(),
                shape: tensor.shape(),
                parameters: output.binary.then_some(OutputParameters {
                    binary_data_size: size,
                }),
                data: (!output.binary).then_some(json::Values(tensor)),
            });
        }
        let response = Self {
            model_name: model.0,
            model_version: model.1.to_string(),
            id,
            outputs,
        };
        let mut body = Vec::with_capacity(room);
        serde_json::to_writer(&mut body, &response).map_err(|_| ResponseError::Write)?;
        let json_length = (!binary.is_empty()).then_some(body.len());
        binary.iter().for_each(|data| body.extend_from_slice(data));
        Ok(Encoded { body, json_length })
    }
}

fn tensors<S: Serializer>(specs: &&[TensorSpec], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Declaration<'a> {
        name: &'a str,
        datatype: &'static str,
        shape: &'a [i64],
    }
    serializer.collect_seq(specs.iter().map(
        |TensorSpec {
             name,
             datatype,
             shape,
             ..
         }| Declaration {
            name,
            datatype: datatype.name(),
            shape,
        },
    ))
}

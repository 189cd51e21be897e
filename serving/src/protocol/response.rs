//! Inference responses and metadata.

use serde::{Serialize, Serializer};

use crate::{
    spec::{ModelSpec, TensorSpec},
    tensor::{Tensor, json},
};

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
    data: json::Values<'a>,
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
#[error("its output '{0}' holds NaN or an infinity, which JSON cannot carry")]
pub struct NotFinite(String);

impl<'a> InferResponse<'a> {
    /// Picks the selected outputs.
    ///
    /// # Errors
    /// [`NotFinite`] if one of them has no JSON form.
    pub fn new(
        model: (&'a str, u64),
        id: Option<String>,
        spec: &'a ModelSpec,
        tensors: &'a [Tensor],
        selected: &[usize],
    ) -> Result<Self, NotFinite> {
        let mut outputs = Vec::with_capacity(selected.len());
        for &place in selected {
            let (name, tensor) = (&spec.outputs[place].name, &tensors[place]);
            if !json::is_representable(tensor) {
                return Err(NotFinite(name.clone()));
            }
            let datatype = tensor.datatype().name();
            outputs.push(Output {
                name,
                datatype,
                shape: tensor.shape(),
                data: json::Values(tensor),
            });
        }
        Ok(Self {
            model_name: model.0,
            model_version: model.1.to_string(),
            id,
            outputs,
        })
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
         }| Declaration {
            name,
            datatype: datatype.name(),
            shape,
        },
    ))
}

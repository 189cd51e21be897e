//! Inference requests: from the bytes of a body to tensors that the model takes, or one sentence that says why not.
//!
//! While a body is read, a request takes at most six times its size: the text, whose buffer may be twice as long; the
//! strings and pieces of `id` and names, which are disjoint from the data; and four bytes of tensor for each byte of
//! text, which is what FP64 or INT64 written `1,1,...` comes to. Tensors are only filled if the text holds as many
//! values as the shape says, so a wrong count costs nothing. No list is kept beyond what a model can have.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    protocol::bounded::{Bounded, object},
    spec::{MAX_TENSORS, Mismatch, ModelSpec, TensorSpec},
    tensor::{Datatype, DatatypeError, MAX_RANK, Tensor, TensorError, clip, json, shorten},
};

/// The parser quotes what it did not expect, which may be the whole body: this many characters of it are enough.
const MAX_REASON: usize = 160;

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub struct InferRequest {
    /// To be given back.
    pub id: Option<String>,
    /// In the order of model.yaml.
    pub inputs: Vec<Tensor>,
    /// Indices of the outputs to answer with, in the order of the request.
    pub outputs: Vec<usize>,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not text.
    #[error("the request body is not UTF-8")]
    Utf8,
    /// Not JSON, or not an inference request.
    #[error("the request body is not a valid inference request: {0}")]
    Body(String),
    /// One entry of `inputs` or `outputs` is not an input or output.
    #[error("{role}s[{index}] is not a valid {role}: {reason}")]
    Entry {
        /// `input` or `output`.
        role: &'static str,
        /// Its index.
        index: usize,
        /// The reason in words.
        reason: String,
    },
    /// Another number of inputs than the model has, or more outputs.
    #[error("the request has {found} {role}s, but the model has {wanted}: {names}")]
    Count {
        /// `input` or `output`.
        role: &'static str,
        /// The number found.
        found: usize,
        /// The number of the model.
        wanted: usize,
        /// The names that the model has.
        names: String,
    },
    /// A name that the model does not have.
    #[error("the model has no {role} '{name}', it has: {names}")]
    Unknown {
        /// `input` or `output`.
        role: &'static str,
        /// The name found, shortened.
        name: String,
        /// The names of the model.
        names: String,
    },
    /// A name that comes twice.
    #[error("{role} '{name}' is given twice")]
    Twice {
        /// `input` or `output`.
        role: &'static str,
        /// The name.
        name: String,
    },
    /// An input is refused.
    #[error("input '{name}' is refused: {reason}")]
    Input {
        /// The name of the input.
        name: String,
        /// The reason.
        reason: InputError,
    },
}

/// Why one input is refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Its datatype is not served.
    #[error(transparent)]
    Datatype(#[from] DatatypeError),
    /// Its shape is not a list of whole numbers.
    #[error("shape must be an array of at most {MAX_RANK} whole numbers")]
    Shape,
    /// It is not what the model takes.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// Its shape or data is wrong.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// `inputs` or `outputs` as text.
type Entries<'a> = Bounded<&'a RawValue, MAX_TENSORS>;

#[derive(Deserialize)]
struct Body<'a> {
    id: Option<String>,
    #[serde(default, rename = "parameters")]
    _parameters: IgnoredAny,
    #[serde(borrow)]
    inputs: Entries<'a>,
    #[serde(borrow)]
    outputs: Option<Entries<'a>>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
}

/// `shape` and `data` wait as text until the name is known, so that a refusal can name the input.
#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    #[serde(borrow)]
    shape: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl InferRequest {
    /// Reads a body for a model of `spec`.
    ///
    /// # Errors
    /// [`RequestError`] with the first thing that is wrong.
    pub fn parse(body: &[u8], spec: &ModelSpec) -> Result<Self, RequestError> {
        let text = str::from_utf8(body).map_err(|_| RequestError::Utf8)?;
        let body: Body<'_> =
            object(text).map_err(|reason| RequestError::Body(clip(&reason, MAX_REASON)))?;
        let inputs = parse_inputs(&body.inputs, &spec.inputs)?;
        let outputs = select_outputs(body.outputs.as_ref(), &spec.outputs)?;
        Ok(Self {
            id: body.id,
            inputs,
            outputs,
        })
    }
}

fn parse_inputs(entries: &Entries<'_>, specs: &[TensorSpec]) -> Result<Vec<Tensor>, RequestError> {
    check_count("input", entries, specs)?;
    let mut inputs: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    for (index, entry) in entries.kept.iter().enumerate() {
        let input: Input<'_> = parse_entry("input", index, entry)?;
        let place = find("input", &input.name, specs)?;
        let name = &specs[place].name;
        if inputs[place].is_some() {
            return Err(RequestError::Twice {
                role: "input",
                name: name.clone(),
            });
        }
        let tensor = parse_input(&input, &specs[place]).map_err(|reason| RequestError::Input {
            name: name.clone(),
            reason,
        })?;
        inputs[place] = Some(tensor);
    }
    inputs
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| wrong_count("input", entries, specs))
}

fn check_count(
    role: &'static str,
    entries: &Entries<'_>,
    specs: &[TensorSpec],
) -> Result<(), RequestError> {
    if entries.count > specs.len().min(MAX_TENSORS) {
        return Err(wrong_count(role, entries, specs));
    }
    Ok(())
}

fn wrong_count(role: &'static str, entries: &Entries<'_>, specs: &[TensorSpec]) -> RequestError {
    RequestError::Count {
        role,
        found: entries.count,
        wanted: specs.len(),
        names: names(specs),
    }
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

fn parse_input(input: &Input<'_>, spec: &TensorSpec) -> Result<Tensor, InputError> {
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
    Ok(json::parse(input.data, datatype, shape)?)
}

fn select_outputs(
    entries: Option<&Entries<'_>>,
    specs: &[TensorSpec],
) -> Result<Vec<usize>, RequestError> {
    let Some(entries) = entries.filter(|entries| entries.count > 0) else {
        return Ok((0..specs.len()).collect());
    };
    check_count("output", entries, specs)?;
    let mut selected = Vec::new();
    for (index, entry) in entries.kept.iter().enumerate() {
        let output: Output = parse_entry("output", index, entry)?;
        let place = find("output", &output.name, specs)?;
        if selected.contains(&place) {
            return Err(RequestError::Twice {
                role: "output",
                name: output.name,
            });
        }
        selected.push(place);
    }
    Ok(selected)
}

fn find(role: &'static str, name: &str, specs: &[TensorSpec]) -> Result<usize, RequestError> {
    specs
        .iter()
        .position(|spec| spec.name == name)
        .ok_or_else(|| RequestError::Unknown {
            role,
            name: shorten(name),
            names: names(specs),
        })
}

fn names(specs: &[TensorSpec]) -> String {
    specs
        .iter()
        .map(|spec| format!("'{}'", spec.name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The entry was cut out of the body, so its line and column would mislead.
fn without_position(text: &str) -> String {
    let end = text.rfind(" at line ").unwrap_or(text.len());
    clip(&text[..end], MAX_REASON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake;

    fn parse(body: &str) -> InferRequest {
        InferRequest::parse(body.as_bytes(), &fake::spec()).unwrap()
    }

    #[test]
    fn fields_come_in_any_order_and_unknown_ones_are_passed_over() {
        let request = parse(
            r#"{"parameters": {"priority": 1}, "x-new": [1], "outputs": [{"name": "n", "parameters": {"binary_data": false}}],
                "inputs": [{"data": [1, 2], "parameters": {}, "shape": [1, 2], "datatype": "FP32", "name": "x"}], "id": "7"}"#,
        );
        assert_eq!(request.id.as_deref(), Some("7"));
        assert_eq!(request.outputs, [1]);
        assert_eq!(request.inputs[0].shape(), [1, 2]);
    }

    #[test]
    fn without_a_selection_all_outputs_are_answered() {
        for outputs in ["", r#", "outputs": []"#, r#", "outputs": null"#] {
            let body = format!(
                r#"{{"inputs": [{{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}}]{outputs}}}"#
            );
            assert_eq!(parse(&body).outputs, [0, 1], "{outputs}");
        }
    }

    #[test]
    fn inputs_are_put_into_the_order_of_the_model() {
        let mut spec = fake::spec();
        spec.inputs.push(TensorSpec {
            name: "k".to_owned(),
            datatype: Datatype::Int8,
            shape: vec![1],
        });
        let body = br#"{"inputs": [{"name":"k","datatype":"INT8","shape":[1],"data":[5]},
                                   {"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;
        let request = InferRequest::parse(body, &spec).unwrap();
        assert_eq!(
            request
                .inputs
                .iter()
                .map(Tensor::datatype)
                .collect::<Vec<_>>(),
            [Datatype::Fp32, Datatype::Int8]
        );
    }
}

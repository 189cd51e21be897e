//! Inference requests: tensors that the model takes, or one sentence that says why not. The same whichever way they
//! came.

pub mod grpc;
pub mod json;

use crate::{
    protocol::parameters::{ParameterError, Scheduling},
    spec::{MAX_TENSORS, Mismatch, OutOfRange, TensorSpec},
    tensor::{Datatype, DatatypeError, MAX_RANK, Tensor, TensorError, shorten},
};

/// A checked request.
#[derive(Debug, PartialEq, Eq)]
pub struct InferRequest {
    /// To be given back.
    pub id: Option<String>,
    /// In the order of model.yaml.
    pub inputs: Vec<Tensor>,
    /// The outputs to answer with, in the order of the request.
    pub outputs: Vec<RequestedOutput>,
    /// How urgent it is.
    pub scheduling: Scheduling,
}

/// An output to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its index in model.yaml.
    pub index: usize,
    /// Whether it is wanted as binary data; as JSON if not.
    pub binary: bool,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not text.
    #[error("the request body is not UTF-8")]
    Utf8,
    /// The header that says where the binary data begins is wrong.
    #[error(
        "the header Inference-Header-Content-Length is '{found}', but must be the length of the JSON in bytes: a whole \
         number that is at most the {body} of the body"
    )]
    HeaderLength {
        /// Its value, shortened.
        found: String,
        /// Bytes of the whole body.
        body: usize,
    },
    /// More data than the inputs ask for.
    #[error(
        "{0} bytes of the body belong to no input: check the header Inference-Header-Content-Length and the sum of binary_data_size"
    )]
    LeftOver(usize),
    /// A body without any JSON, for a model that needs some.
    #[error(
        "a request without JSON (Inference-Header-Content-Length is 0) is not possible for this model: {0}"
    )]
    Raw(&'static str),
    /// A parameter of the request.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Another number of binary tensors than of inputs.
    #[error(
        "the request has {found} raw_input_contents, but {wanted} inputs: give one for each, or none"
    )]
    RawCount {
        /// The number found.
        found: usize,
        /// The number of inputs.
        wanted: usize,
    },
    /// An output is refused.
    #[error("output '{name}' is refused: {reason}")]
    Output {
        /// The name of the output.
        name: String,
        /// The reason.
        reason: OutputError,
    },
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

/// Why one output is refused.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Its datatype has no JSON form.
    #[error(
        "it is {0}, which has no JSON form: ask for it as binary data (parameters.binary_data of the output, or \
         parameters.binary_data_output of the request, set to true)"
    )]
    BinaryOnly(Datatype),
    /// One of its parameters.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
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
    /// Its binary data is not there.
    #[error(
        "its binary_data_size is {wanted}, but only {left} bytes follow the JSON and the inputs before it"
    )]
    Truncated {
        /// Bytes that it asks for.
        wanted: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// It has two kinds of data.
    #[error("it has both {0} and {1}: give one of them")]
    BothData(&'static str, &'static str),
    /// Its values are in a list of another datatype.
    #[error("{datatype} takes its values from {wanted}, but {found}")]
    Contents {
        /// The datatype of the input.
        datatype: Datatype,
        /// The list of the protocol, or what to use instead.
        wanted: &'static str,
        /// What was found, in words.
        found: String,
    },
    /// One of its parameters.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// It is not what the model takes.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// Its shape or data is wrong.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A value that the model does not take.
    #[error(transparent)]
    Range(#[from] OutOfRange),
}

/// The inputs of a model, which a request fills in any order.
pub(super) struct Inputs<'s> {
    specs: &'s [TensorSpec],
    tensors: Vec<Option<Tensor>>,
    /// The number of inputs that the request has.
    count: usize,
}

impl<'s> Inputs<'s> {
    /// For a request of `count` inputs.
    fn new(specs: &'s [TensorSpec], count: usize) -> Result<Self, RequestError> {
        check_count("input", count, specs)?;
        let tensors = specs.iter().map(|_| None).collect();
        Ok(Self {
            specs,
            tensors,
            count,
        })
    }

    /// Takes the input called `name`, which `parse` makes once its spec is known.
    fn fill(
        &mut self,
        name: &str,
        parse: impl FnOnce(&TensorSpec) -> Result<Tensor, InputError>,
    ) -> Result<(), RequestError> {
        let (index, spec) = find("input", name, self.specs)?;
        let name = || spec.name.clone();
        match self.tensors.get_mut(index) {
            Some(place @ None) => {
                *place = Some(checked(spec, parse(spec))?);
                Ok(())
            }
            _ => Err(RequestError::Twice {
                role: "input",
                name: name(),
            }),
        }
    }

    /// The tensors in the order of model.yaml.
    fn finish(self) -> Result<Vec<Tensor>, RequestError> {
        let missing = || wrong_count("input", self.count, self.specs);
        let all: Option<Vec<_>> = self.tensors.into_iter().collect();
        all.ok_or_else(missing)
    }
}

/// The outputs that a request selects; all of them if it names none.
pub(super) struct Outputs<'s> {
    specs: &'s [TensorSpec],
    selected: Vec<RequestedOutput>,
}

impl<'s> Outputs<'s> {
    /// For a request that names `count` outputs.
    fn new(specs: &'s [TensorSpec], count: usize) -> Result<Self, RequestError> {
        check_count("output", count, specs)?;
        Ok(Self {
            specs,
            selected: Vec::new(),
        })
    }

    /// Takes the output called `name`.
    fn select(&mut self, name: &str, binary: bool) -> Result<(), RequestError> {
        let (index, spec) = find("output", name, self.specs)?;
        if self.selected.iter().any(|output| output.index == index) {
            return Err(RequestError::Twice {
                role: "output",
                name: spec.name.clone(),
            });
        }
        self.selected.push(RequestedOutput { index, binary });
        Ok(())
    }

    /// What was selected; `binary` is for outputs that were not named.
    fn finish(mut self, binary: bool) -> Result<Vec<RequestedOutput>, RequestError> {
        if self.selected.is_empty() {
            let all = (0..self.specs.len()).map(|index| RequestedOutput { index, binary });
            self.selected = all.collect();
        }
        for output in self.selected.iter().filter(|output| !output.binary) {
            if let Some(spec) = self.specs.get(output.index)
                && !spec.datatype.has_json_form()
            {
                return Err(RequestError::Output {
                    name: spec.name.clone(),
                    reason: OutputError::BinaryOnly(spec.datatype),
                });
            }
        }
        Ok(self.selected)
    }
}

/// An input of this spec, if it was read and the model takes its values.
fn checked(spec: &TensorSpec, read: Result<Tensor, InputError>) -> Result<Tensor, RequestError> {
    let taken = |tensor: Tensor| {
        spec.check_values(&tensor)?;
        Ok(tensor)
    };
    read.and_then(taken).map_err(|reason| RequestError::Input {
        name: spec.name.clone(),
        reason,
    })
}

fn check_count(role: &'static str, found: usize, specs: &[TensorSpec]) -> Result<(), RequestError> {
    if found > specs.len().min(MAX_TENSORS) {
        return Err(wrong_count(role, found, specs));
    }
    Ok(())
}

fn wrong_count(role: &'static str, found: usize, specs: &[TensorSpec]) -> RequestError {
    RequestError::Count {
        role,
        found,
        wanted: specs.len(),
        names: names(specs),
    }
}

fn find<'s>(
    role: &'static str,
    name: &str,
    specs: &'s [TensorSpec],
) -> Result<(usize, &'s TensorSpec), RequestError> {
    specs
        .iter()
        .enumerate()
        .find(|(_, spec)| spec.name == name)
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

#[cfg(test)]
mod tests;

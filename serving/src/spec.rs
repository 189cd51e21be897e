//! What a model takes and returns, as its model.yaml says.

mod range;
mod sample;

pub(crate) use self::sample::sized;
pub use self::{
    range::OutOfRange,
    sample::{MAX_SHAPES, Sample, WarmUp},
};

use std::{ops::RangeInclusive, time::Duration};

use crate::batch::Rules;
use crate::device::Device;
use crate::reference::Reference;
use crate::tensor::{Datatype, Tensor};

/// A model takes at most this many inputs and names at most this many outputs.
pub const MAX_TENSORS: usize = 64;

/// Bytes of the inputs that run together at the most: they are copied twice.
const MAX_BATCH_BYTES: usize = 256 << 20;

/// The server does not end because of a forward that is shorter.
pub const MIN_FORWARD: Duration = Duration::from_millis(100);

/// A dimension of this size may have any size in a request.
pub const DYNAMIC: i64 = -1;

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSpec {
    /// The name that requests and responses use.
    pub name: String,
    /// The datatype of the elements.
    pub datatype: Datatype,
    /// The dimensions; [`DYNAMIC`] for any size.
    pub shape: Vec<i64>,
    /// Whether `forward` takes a number in its place, not a tensor.
    pub number: bool,
    /// What a model is warmed up with.
    pub warm_up: WarmUp,
    /// The whole numbers that it may hold; `None`: all of its datatype.
    pub range: Option<RangeInclusive<i64>>,
    /// Where its values lay when the model was made, if those that are served are to be compared with that.
    pub reference: Option<Reference>,
}

/// The inputs (in the order of `forward`) and outputs of a model, and how it is served.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelSpec {
    /// The arguments of `forward`, in its order.
    pub inputs: Vec<TensorSpec>,
    /// What `forward` returns.
    pub outputs: Vec<TensorSpec>,
    /// How it is served.
    pub serving: Serving,
}

/// How a model is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Rows that run together at the most; `None`: every request runs alone, and its first dimension is the model's affair.
    pub max_batch_size: Option<usize>,
    /// How long a batch that is not full may wait for more.
    pub max_queue_delay: Duration,
    /// Requests that may wait; `None`: as many as the server says.
    pub queue_size: Option<usize>,
    /// How long each of them may wait and be computed, unless it wants less.
    pub timeout: Option<Duration>,
    /// How long a forward may take before the process ends because of it; `None`: as long as the server says.
    pub forward_timeout: Option<Duration>,
    /// Threads that each have the model, by the device that they compute on.
    pub instances: Vec<Device>,
    /// What the numbers of the model are made of; `None`: what they were saved as.
    pub dtype: Option<Datatype>,
    /// Answers that are given again.
    pub cache: Option<CacheSpec>,
    /// Whether it is loaded by its first request, and not at the start.
    pub lazy: bool,
    /// How long nobody has to ask for it before it is unloaded; `None`: it stays.
    pub unload_after: Option<Duration>,
    /// A method of the module that clears what the forward before has left in it.
    pub reset: Option<String>,
}

/// Which answers of a model are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSpec {
    /// Bytes of all of them, at the most.
    pub size: u64,
    /// How long each of them is; `None`: until there is no room.
    pub ttl: Option<Duration>,
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            max_batch_size: None,
            max_queue_delay: Duration::ZERO,
            queue_size: None,
            timeout: None,
            forward_timeout: None,
            instances: vec![Device::Cpu],
            dtype: None,
            cache: None,
            lazy: false,
            unload_after: None,
            reset: None,
        }
    }
}

impl Serving {
    /// What a batch may be.
    #[must_use]
    pub fn batching(&self) -> Rules {
        Rules {
            max_rows: self.max_batch_size.unwrap_or(1),
            max_bytes: MAX_BATCH_BYTES,
            max_delay: self.max_queue_delay,
        }
    }

    /// Requests that may be there at once, of which so many wait: the others are computed.
    #[must_use]
    pub fn places(&self, queue: usize) -> usize {
        let computed = self
            .batching()
            .max_rows
            .saturating_mul(self.instances.len());
        queue.saturating_add(computed)
    }

    /// Instances that compute on the processor.
    #[must_use]
    pub fn on_cpu(&self) -> usize {
        let on_cpu = |it: &&Device| **it == Device::Cpu;
        self.instances.iter().filter(on_cpu).count()
    }

    /// The GPUs of its instances, by CUDA's numbers.
    pub fn gpus(&self) -> impl Iterator<Item = u8> {
        self.instances.iter().filter_map(|it| match it {
            Device::Cuda(index) => Some(*index),
            Device::Cpu => None,
        })
    }

    /// Rows of every batch that a model is warmed up with: it compiles for a size when it first sees it.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        let most = self.max_batch_size.unwrap_or(1);
        let powers = std::iter::successors(Some(1_usize), |it| it.checked_mul(2));
        powers.take_while(move |it| *it < most).chain([most])
    }
}

/// Why inputs are no part of a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// Their first dimensions differ.
    #[error(
        "input '{name}' has {found} rows, but input '{first}' has {wanted}: all inputs of a request have the same first dimension"
    )]
    Differ {
        /// The input.
        name: String,
        /// Its first dimension.
        found: i64,
        /// The first input.
        first: String,
        /// The first input's first dimension.
        wanted: i64,
    },
    /// More than a batch may have.
    #[error(
        "the request has {found} rows, but the model takes at most {most} at once: send several requests"
    )]
    TooMany {
        /// Its rows.
        found: i64,
        /// Rows of a batch at the most.
        most: usize,
    },
}

/// How a tensor differs from its spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another datatype.
    #[error("datatype is {found}, but the model has {wanted}")]
    Datatype {
        /// The datatype found.
        found: Datatype,
        /// The datatype of the spec.
        wanted: Datatype,
    },
    /// Another rank, or another size of a fixed dimension.
    #[error("shape is {found:?}, but the model has {wanted:?} (-1 is any size)")]
    Shape {
        /// The shape found.
        found: Vec<i64>,
        /// The shape of the spec.
        wanted: Vec<i64>,
    },
}

/// How the outputs of a model differ from its spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Another number of outputs.
    #[error("it returned {found} outputs, but model.yaml declares {wanted}")]
    Count {
        /// The number returned.
        found: usize,
        /// The number declared.
        wanted: usize,
    },
    /// An output has another number of rows than the inputs.
    #[error("its output '{name}' has {found} rows, but the inputs had {wanted}")]
    Rows {
        /// The name of the output.
        name: String,
        /// Rows of the output.
        found: i64,
        /// Rows of the inputs.
        wanted: i64,
    },
    /// One output differs.
    #[error("its output '{name}' is not what model.yaml declares: {mismatch}")]
    Output {
        /// The name of the output.
        name: String,
        /// The difference.
        mismatch: Mismatch,
    },
}

impl TensorSpec {
    /// A tensor that a model is warmed up with zeros of.
    #[must_use]
    pub fn new(name: impl Into<String>, datatype: Datatype, shape: Vec<i64>) -> Self {
        Self {
            name: name.into(),
            datatype,
            shape,
            number: false,
            warm_up: WarmUp::default(),
            range: None,
            reference: None,
        }
    }

    /// Whether a tensor of this datatype and shape is what the model has here.
    ///
    /// # Errors
    /// [`Mismatch`] with the first difference.
    pub fn check(&self, datatype: Datatype, shape: &[i64]) -> Result<(), Mismatch> {
        if datatype != self.datatype {
            return Err(Mismatch::Datatype {
                found: datatype,
                wanted: self.datatype,
            });
        }
        let fits = |(&wanted, &found): (&i64, &i64)| wanted == DYNAMIC || wanted == found;
        if shape.len() != self.shape.len() || !self.shape.iter().zip(shape).all(fits) {
            return Err(Mismatch::Shape {
                found: shape.to_vec(),
                wanted: self.shape.clone(),
            });
        }
        Ok(())
    }
}

impl ModelSpec {
    /// Rows of a request, as a batch counts them.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn rows(&self, inputs: &[Tensor]) -> Result<usize, RowsError> {
        let Some(most) = self.serving.max_batch_size else {
            return Ok(1);
        };
        let rows = |input: &Tensor| input.rows().unwrap_or(1);
        let mut named = self.inputs.iter().zip(inputs);
        let Some((first, wanted)) = named.next().map(|(spec, input)| (spec, rows(input))) else {
            return Ok(1);
        };
        if let Some((spec, input)) = named.find(|(_, input)| rows(input) != wanted) {
            return Err(RowsError::Differ {
                name: spec.name.clone(),
                found: rows(input),
                first: first.name.clone(),
                wanted,
            });
        }
        let count = usize::try_from(wanted).ok().filter(|it| *it <= most);
        count.ok_or(RowsError::TooMany {
            found: wanted,
            most,
        })
    }

    /// What a request has in common with those that it may run together with.
    #[must_use]
    pub fn bucket(&self, inputs: &[Tensor]) -> Vec<i64> {
        if self.serving.max_batch_size.is_none() {
            return Vec::new();
        }
        let beyond = |input: &Tensor| input.shape().iter().skip(1).copied().collect::<Vec<_>>();
        inputs.iter().flat_map(beyond).collect()
    }

    /// Whether every output has a row for each row of the inputs, as a batch needs it.
    ///
    /// # Errors
    /// [`OutputError::Rows`] of the first that has not.
    pub fn check_rows(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), OutputError> {
        let Some(wanted) = inputs.first().and_then(Tensor::rows) else {
            return Ok(());
        };
        let mut named = self.outputs.iter().zip(outputs);
        match named.find(|(_, output)| output.rows() != Some(wanted)) {
            None => Ok(()),
            Some((spec, output)) => Err(OutputError::Rows {
                name: spec.name.clone(),
                found: output.rows().unwrap_or(0),
                wanted,
            }),
        }
    }

    /// Whether these are the outputs that the model promises.
    ///
    /// # Errors
    /// [`OutputError`] with the first difference.
    pub fn check_outputs(&self, outputs: &[Tensor]) -> Result<(), OutputError> {
        if outputs.len() != self.outputs.len() {
            return Err(OutputError::Count {
                found: outputs.len(),
                wanted: self.outputs.len(),
            });
        }
        for (spec, output) in self.outputs.iter().zip(outputs) {
            spec.check(output.datatype(), output.shape())
                .map_err(|mismatch| OutputError::Output {
                    name: spec.name.clone(),
                    mismatch,
                })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> TensorSpec {
        TensorSpec::new("x", Datatype::Fp32, vec![DYNAMIC, 7])
    }

    #[test]
    fn dynamic_dimensions_take_any_size_and_fixed_ones_only_their_own() {
        assert_eq!(spec().check(Datatype::Fp32, &[12, 7]), Ok(()));
        for shape in [&[12, 8][..], &[7], &[1, 1, 7], &[]] {
            assert!(
                matches!(
                    spec().check(Datatype::Fp32, shape),
                    Err(Mismatch::Shape { .. })
                ),
                "{shape:?}"
            );
        }
        assert!(matches!(
            spec().check(Datatype::Fp64, &[1, 7]),
            Err(Mismatch::Datatype { .. })
        ));
    }

    #[test]
    fn outputs_are_checked_by_number_and_by_shape() {
        let model = ModelSpec {
            inputs: vec![],
            outputs: vec![spec()],
            ..ModelSpec::default()
        };
        assert_eq!(model.check_outputs(&[spec().sample(1).unwrap()]), Ok(()));
        assert_eq!(
            model.check_outputs(&[]),
            Err(OutputError::Count {
                found: 0,
                wanted: 1
            })
        );
        let other = Tensor::zeros(Datatype::Fp32, vec![1, 8]).unwrap();
        assert!(matches!(
            model.check_outputs(&[other]),
            Err(OutputError::Output { .. })
        ));
    }
}

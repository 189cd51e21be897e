//! What a model takes and returns, as its model.yaml says.

use crate::tensor::{Datatype, Tensor, TensorError};

/// A model takes at most this many inputs and names at most this many outputs.
pub const MAX_TENSORS: usize = 64;

/// A dimension of this size may have any size in a request.
pub const DYNAMIC: i64 = -1;

/// One input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name that requests and responses use.
    pub name: String,
    /// The datatype of the elements.
    pub datatype: Datatype,
    /// The dimensions; [`DYNAMIC`] for any size.
    pub shape: Vec<i64>,
}

/// The inputs (in the order of `forward`) and outputs of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// The arguments of `forward`, in its order.
    pub inputs: Vec<TensorSpec>,
    /// What `forward` returns.
    pub outputs: Vec<TensorSpec>,
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

    /// Zeros of this spec, every dynamic dimension one: what a model is warmed up with.
    ///
    /// # Errors
    /// [`TensorError`] if the fixed dimensions are too large.
    pub fn zeros(&self) -> Result<Tensor, TensorError> {
        let shape = self
            .shape
            .iter()
            .map(|&size| if size == DYNAMIC { 1 } else { size })
            .collect();
        Tensor::zeros(self.datatype, shape)
    }
}

impl ModelSpec {
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
        TensorSpec {
            name: "x".to_owned(),
            datatype: Datatype::Fp32,
            shape: vec![DYNAMIC, 7],
        }
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
    fn zeros_have_one_row() {
        assert_eq!(spec().zeros().unwrap().shape(), [1, 7]);
    }

    #[test]
    fn outputs_are_checked_by_number_and_by_shape() {
        let model = ModelSpec {
            inputs: vec![],
            outputs: vec![spec()],
        };
        assert_eq!(model.check_outputs(&[spec().zeros().unwrap()]), Ok(()));
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

//! What runs a model. Everything above this trait compiles and is tested without an ML library.

#[cfg(test)]
pub(crate) mod fake;
pub mod torch;
mod trouble;

pub use trouble::{Trouble, classify};

use crate::{
    spec::{ModelSpec, OutputError, Sample},
    tensor::{Tensor, TensorError},
};

/// How many forwards a model does before it is ready.
///
/// TorchScript compiles on the first calls: the first was measured 6 000 times slower than the fourth
/// (44 ms, 0.6 ms, then 7 us), and a canary must not be judged on that.
pub const WARM_UP_RUNS: usize = 3;

/// A loaded model. It lives on one thread from load to drop, so it need not be `Send`.
pub trait Backend {
    /// One forward: `inputs` in the order of model.yaml, the outputs in its order too.
    ///
    /// # Errors
    /// [`BackendError`]; the backend must be able to go on with the next request.
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError>;
}

/// Loads a model on the thread that will own it.
pub type Load = Box<dyn FnOnce() -> Result<Box<dyn Backend>, BackendError> + Send>;

/// Why a model cannot be loaded or did not answer. Messages are safe to show to clients: no source, no paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The model does something this backend cannot serve.
    #[error("{0}")]
    Unsupported(String),
    /// The file is not a model.
    #[error("failed to read the model: {0}")]
    Load(String),
    /// The forward itself failed.
    #[error("{0}")]
    Forward(String),
    /// The forward failed, and it may not be the request's fault.
    #[error("{message}")]
    Device {
        /// What it says of the device.
        trouble: Trouble,
        /// What is shown.
        message: String,
    },
    /// The forward ran, but its result is not what model.yaml declares.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The thread of the model has died.
    #[error("its worker thread panicked")]
    Panicked,
}

impl BackendError {
    /// What it says of the device.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Device { trouble, .. } => Some(*trouble),
            _ => None,
        }
    }
}

/// One forward, its outputs checked against the spec.
///
/// # Errors
/// [`BackendError`] of the forward, or of an output that is not as declared.
pub fn infer_checked(
    backend: &mut dyn Backend,
    spec: &ModelSpec,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, BackendError> {
    let outputs = backend.infer(inputs)?;
    spec.check_outputs(&outputs)?;
    if spec.serving.max_batch_size.is_some() {
        spec.check_rows(inputs, &outputs)?;
    }
    Ok(outputs)
}

/// Runs the model [`WARM_UP_RUNS`] times on the same values, for each shape in batches of every power of two that there may
/// be. Other sizes run through what was compiled for these. Returns whether the last two runs of each gave the same.
///
/// # Errors
/// [`BackendError`] of the first run that fails: the model would fail its first client too.
pub fn warm_up(backend: &mut dyn Backend, spec: &ModelSpec) -> Result<bool, BackendError> {
    let mut steady = true;
    for sample in spec.samples() {
        let inputs = spec.inputs_of(sample)?;
        let mut last = Vec::new();
        let mut same = true;
        for _ in 0..WARM_UP_RUNS {
            let outputs = infer_checked(backend, spec, &inputs)?;
            same = outputs == last;
            last = outputs;
        }
        steady &= same;
    }
    Ok(steady)
}

/// One of the forwards that the model is warmed up with.
///
/// # Errors
/// [`BackendError`]
pub fn infer_sample(
    backend: &mut dyn Backend,
    spec: &ModelSpec,
    sample: Sample,
) -> Result<(), BackendError> {
    let inputs = spec.inputs_of(sample)?;
    infer_checked(backend, spec, &inputs).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spec::TensorSpec, tensor::Datatype};

    /// Fails below a size of 7, and keeps the shapes of all others.
    #[derive(Default)]
    struct Kernel(Vec<Vec<i64>>);

    impl Backend for Kernel {
        fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            let shape = inputs[0].shape();
            if shape[1] < 7 {
                let message = "Kernel size can't be greater than actual input size";
                return Err(BackendError::Forward(message.to_owned()));
            }
            self.0.push(shape.to_vec());
            Ok(vec![Tensor::zeros(Datatype::Fp32, vec![shape[0]])?])
        }
    }

    #[test]
    fn a_model_is_warmed_up_with_each_shape_in_each_size_of_batch_and_probed_with_the_largest() {
        let mut spec = ModelSpec {
            inputs: vec![TensorSpec::new("x", Datatype::Fp32, vec![-1, -1])],
            outputs: vec![TensorSpec::new("y", Datatype::Fp32, vec![-1])],
            ..ModelSpec::default()
        };
        spec.serving.max_batch_size = Some(2);
        let refused = warm_up(&mut Kernel::default(), &spec);
        assert!(matches!(refused, Err(BackendError::Forward(_))));
        spec.inputs[0].warm_up.shapes = vec![vec![-1, 9], vec![-1, 7]];
        let mut kernel = Kernel::default();
        assert_eq!(warm_up(&mut kernel, &spec), Ok(true));
        let each = [vec![1, 9], vec![2, 9], vec![1, 7], vec![2, 7]];
        let runs = each.map(|shape| vec![shape; WARM_UP_RUNS]);
        assert_eq!(kernel.0, runs.concat());
        infer_sample(&mut kernel, &spec, spec.largest_sample()).unwrap();
        assert_eq!(kernel.0.last(), Some(&vec![2, 9]));
    }
}

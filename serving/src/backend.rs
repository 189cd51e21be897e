//! What runs a model. Everything above this trait compiles and is tested without an ML library.

#[cfg(test)]
pub(crate) mod fake;
pub mod torch;
mod trouble;

pub use trouble::{Trouble, classify};

use crate::{
    spec::{ModelSpec, OutputError},
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

/// Runs the model [`WARM_UP_RUNS`] times on the same values, for batches of every power of two that there may be.
/// Other sizes run through what was compiled for these. Returns whether the last two runs of each gave the same.
///
/// # Errors
/// [`BackendError`] of the first run that fails: the model would fail its first client too.
pub fn warm_up(backend: &mut dyn Backend, spec: &ModelSpec) -> Result<bool, BackendError> {
    let mut steady = true;
    for rows in spec.serving.sizes() {
        let values = spec.inputs.iter().map(|input| input.sample(rows));
        let inputs = values.collect::<Result<Vec<_>, _>>()?;
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

/// One forward on what the model is warmed up with.
///
/// # Errors
/// [`BackendError`]
pub fn infer_sample(
    backend: &mut dyn Backend,
    spec: &ModelSpec,
    rows: usize,
) -> Result<(), BackendError> {
    let values = spec.inputs.iter().map(|input| input.sample(rows));
    let inputs = values.collect::<Result<Vec<_>, _>>()?;
    infer_checked(backend, spec, &inputs).map(drop)
}

//! A deterministic backend for tests of everything above [`Backend`].

use std::sync::{
    Mutex,
    mpsc::{Receiver, Sender, channel},
};

use super::{Backend, BackendError, Load, Trouble};
use crate::{
    spec::{ModelSpec, Serving, TensorSpec},
    tensor::{Datatype, Tensor},
};

/// What the fake model does with its one FP32 input `x` of shape [-1, 2]; the first value decides.
pub(crate) const FAIL: f32 = -1.0;
/// This first value panics.
pub(crate) const PANIC: f32 = -2.0;
/// This first value waits until the test lets it go on.
pub(crate) const WAIT: f32 = -3.0;
/// This first value answers NaN.
pub(crate) const NAN: f32 = -4.0;
/// This first value answers with a wrong shape.
pub(crate) const RESHAPE: f32 = -5.0;
/// This first value fails as a device does that is gone.
pub(crate) const LOST: f32 = -6.0;
/// This first value fails as a device does that has no memory.
pub(crate) const DOUBTFUL: f32 = -7.0;

/// `y` is `x` doubled, `n` the number of rows as INT64.
pub(crate) struct Fake {
    entered: Sender<()>,
    release: Receiver<()>,
}

/// The gate of a fake, where [`WAIT`] requests stop.
pub(crate) struct Gate {
    entered: Mutex<Receiver<()>>,
    release: Sender<()>,
}

impl Gate {
    /// Blocks until a request stands at the gate.
    pub(crate) fn wait_for_request(&self) {
        self.entered
            .lock()
            .unwrap()
            .recv_timeout(std::time::Duration::from_secs(10))
            .unwrap();
    }

    /// Lets one request through.
    pub(crate) fn release(&self) {
        self.release.send(()).unwrap();
    }
}

pub(crate) fn spec() -> ModelSpec {
    let tensor =
        |name: &str, datatype, shape: &[i64]| TensorSpec::new(name, datatype, shape.to_vec());
    ModelSpec {
        inputs: vec![tensor("x", Datatype::Fp32, &[-1, 2])],
        outputs: vec![
            tensor("y", Datatype::Fp32, &[-1, 2]),
            tensor("n", Datatype::Int64, &[1]),
        ],
        ..ModelSpec::default()
    }
}

pub(crate) fn load() -> (Gate, Load) {
    let (entered, at_gate) = channel();
    let (open, release) = channel();
    let gate = Gate {
        entered: Mutex::new(at_gate),
        release: open,
    };
    (
        gate,
        Box::new(move || Ok(Box::new(Fake { entered, release }) as Box<dyn Backend>)),
    )
}

impl Backend for Fake {
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
        let x = &inputs[0];
        let mut values: Vec<f32> = x
            .bytes()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_ne_bytes(*bytes))
            .collect();
        match values[0] {
            FAIL => {
                return Err(BackendError::Forward(
                    "index out of range in self".to_owned(),
                ));
            }
            LOST => return Err(device(Trouble::Lost)),
            DOUBTFUL => return Err(device(Trouble::Doubtful)),
            PANIC => panic!("asked to panic"),
            WAIT => {
                self.entered.send(()).unwrap();
                self.release.recv().unwrap();
            }
            RESHAPE => return Ok(vec![Tensor::zeros(Datatype::Fp32, vec![1, 3])?, rows(1)?]),
            _ => {}
        }
        let nan = values[0] == NAN;
        values
            .iter_mut()
            .for_each(|value| *value = if nan { f32::NAN } else { *value * 2.0 });
        let bytes = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        Ok(vec![
            Tensor::new(Datatype::Fp32, x.shape().to_vec(), bytes)?,
            rows(x.shape()[0])?,
        ])
    }
}

/// The same without the number of rows, which is one for all of a batch, and failing wherever a row says so.
pub(crate) struct Rows(pub(crate) Box<dyn Backend>);

impl Backend for Rows {
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
        let rows = inputs[0].bytes().as_chunks::<8>().0.iter();
        if rows.clone().any(|row| row[..4] == FAIL.to_ne_bytes()) {
            return Err(BackendError::Forward(
                "index out of range in self".to_owned(),
            ));
        }
        let mut outputs = self.0.infer(inputs)?;
        outputs.truncate(1);
        Ok(outputs)
    }
}

/// A fake that takes batches, see [`Rows`].
pub(crate) fn load_rows() -> (Gate, Load) {
    let (gate, load) = load();
    let load: Load = Box::new(move || Ok(Box::new(Rows(load()?)) as Box<dyn Backend>));
    (gate, load)
}

/// What that one is, served like this.
pub(crate) fn rows_spec(serving: Serving) -> ModelSpec {
    let mut spec = spec();
    spec.outputs.truncate(1);
    ModelSpec { serving, ..spec }
}

/// What a forward says that fails on its device.
pub(crate) fn device(trouble: Trouble) -> BackendError {
    let message = "CUDA error: of a test".to_owned();
    BackendError::Device { trouble, message }
}

fn rows(count: i64) -> Result<Tensor, BackendError> {
    Ok(Tensor::new(
        Datatype::Int64,
        vec![1],
        count.to_ne_bytes().to_vec(),
    )?)
}

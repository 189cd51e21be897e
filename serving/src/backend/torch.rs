//! TorchScript on libtorch through `tch`.
//!
//! Known bugs of `tch` 0.24 decide the shape of this file: its modules leak their inputs when a forward with several
//! outputs fails (so `module` is our own), `from_data_size` trusts its caller about lengths (so only a checked
//! [`Tensor`] gets there), and functions without `f_` panic on any error.

mod cuda;
mod module;
mod placement;

use std::{
    borrow::Cow,
    ffi::CString,
    path::{Path, PathBuf},
    sync::Arc,
};

use tch::{Kind, NoGradGuard, TchError};

use self::module::{Module, Returned, Value};
use self::placement::Placement;

use super::{Backend, BackendError, Load, Trouble, classify};
use crate::{
    device::Device,
    repository::Entry,
    spec::ModelSpec,
    tensor::{Datatype, Tensor, TensorError},
};

/// The name of this backend in the metadata of a model, as Triton calls it.
pub const PLATFORM: &str = "pytorch_libtorch";

/// The longest message of libtorch that a client gets.
const MAX_MESSAGE: usize = 200;

struct Torch {
    module: Module,
    placement: Placement,
    /// For each input, whether `forward` takes a number.
    numbers: Vec<bool>,
    /// Names and datatypes of the outputs, in the order of model.yaml.
    outputs: Vec<(String, Datatype)>,
    /// The method that is called before each forward.
    reset: Option<CString>,
    /// Grad mode belongs to the thread, so it is off from before the load until the module is dropped.
    _no_grad: NoGradGuard,
}

/// Finds CUDA, if libtorch has it, and sets the threads that one forward may use on the processor. Call it before any
/// model is loaded: a thread that has run once keeps the number it started with.
pub fn prepare(threads: usize) {
    cuda::load();
    tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
}

/// How to load `file`, a TorchScript module.
fn loader(file: PathBuf, spec: &Arc<ModelSpec>, device: Device) -> Load {
    let spec = Arc::clone(spec);
    Box::new(move || load(&file, &spec, device))
}

/// Bytes of a GPU that are taken, by whomever, and all of them, if CUDA says so.
#[must_use]
pub fn gpu_memory(index: u8) -> Option<(u64, u64)> {
    cuda::memory(index)
}

/// How to load each instance of a version of the repository.
#[must_use]
pub fn loaders(entry: &Entry) -> Vec<Load> {
    let instances = entry.spec.serving.instances.iter();
    let load = |device: &Device| loader(entry.file.clone(), &entry.spec, *device);
    instances.map(load).collect()
}

fn load(file: &Path, spec: &ModelSpec, device: Device) -> Result<Box<dyn Backend>, BackendError> {
    // Whoever is asked for their number takes over what was set for the process (at::internal::lazy_init_num_threads). Of
    // libtorch's own loops each asks first, but the library of linear algebra does not, and would take a thread for each core.
    tch::get_num_threads();
    let no_grad = tch::no_grad_guard();
    let read = |error: TchError| BackendError::Load(safe_message(&error));
    let placement = Placement::new(device, spec.serving.dtype).map_err(BackendError::Load)?;
    let module = placement.load(file).map_err(read)?;
    let reset = spec.serving.reset.as_deref().map(CString::new).transpose();
    let reset = reset.map_err(|_| BackendError::Load("'reset' has a zero byte".to_owned()))?;
    Ok(Box::new(Torch {
        module,
        placement,
        numbers: spec.inputs.iter().map(|it| it.number).collect(),
        outputs: (spec.outputs.iter())
            .map(|it| (it.name.clone(), it.datatype))
            .collect(),
        reset,
        _no_grad: no_grad,
    }))
}

impl Backend for Torch {
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
        if let Some(reset) = &self.reset {
            self.module.call(reset).map_err(failed)?;
        }
        let arguments = inputs.iter().zip(&self.numbers);
        let inputs = arguments
            .map(|(input, &number)| argument(input, number, &self.placement))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        match self.module.forward(&inputs).map_err(failed)? {
            Returned::Ordered(outputs) => {
                // Those that model.yaml does not have are missed by the check of their number.
                let more = std::iter::repeat(None);
                let declared = self.outputs.iter().map(|(_, it)| Some(*it)).chain(more);
                let outputs = outputs.iter().zip(declared);
                outputs
                    .map(|(it, declared)| self.output(it, declared))
                    .collect()
            }
            Returned::Named(found) => {
                let outputs = self.in_order(&found);
                outputs
                    .map(|(it, declared)| self.output(it, Some(declared)))
                    .collect()
            }
        }
    }
}

impl Torch {
    /// A dict has its own order, and may hold more than is served. One that is missing is missed by the check of the
    /// number of outputs.
    fn in_order<'a>(
        &'a self,
        found: &'a [(String, tch::Tensor)],
    ) -> impl Iterator<Item = (&'a tch::Tensor, Datatype)> {
        let named = |wanted: &String| found.iter().find(|(name, _)| name == wanted);
        self.outputs
            .iter()
            .filter_map(move |(name, declared)| Some((&named(name)?.1, *declared)))
    }

    fn output(
        &self,
        tensor: &tch::Tensor,
        declared: Option<Datatype>,
    ) -> Result<Tensor, BackendError> {
        let moved = self.placement.bring_back(tensor, declared);
        from_torch(moved.map_err(failed)?.as_ref().unwrap_or(tensor))
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the argument of map_err"
)]
fn failed(error: TchError) -> BackendError {
    // The whole text holds the model's source: it belongs in the operator's log, not in the answer.
    let text = text(&error);
    let Some(trouble) = classify(reason(&text)) else {
        tracing::debug!(%error, "forward failed");
        return BackendError::Forward(safe_message(&error));
    };
    tracing::warn!(%error, "forward failed on its device");
    // What follows is advice to who wrote the model.
    let first = reason(&text).split(". ").next().unwrap_or_default();
    let hidden = match trouble {
        Trouble::Lost => "its device has failed",
        Trouble::Doubtful => "it ran out of memory",
    };
    BackendError::Device {
        trouble,
        message: shown(first).unwrap_or_else(|| hidden.to_owned()),
    }
}

/// What `forward` is given for an input.
fn argument(input: &Tensor, number: bool, placement: &Placement) -> Result<Value, TchError> {
    let tensor = to_torch(input)?;
    if !number {
        return Value::tensor(&placement.bring(tensor)?);
    }
    match input.datatype() {
        Datatype::Bool => Value::truth(bool::try_from(&tensor)?),
        Datatype::Uint8 | Datatype::Int8 | Datatype::Int16 | Datatype::Int32 | Datatype::Int64 => {
            Value::whole(i64::try_from(&tensor)?)
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            Value::real(f64::try_from(&tensor)?)
        }
    }
}

fn to_torch(tensor: &Tensor) -> Result<tch::Tensor, TchError> {
    tch::Tensor::f_from_data_size(tensor.bytes(), tensor.shape(), kind(tensor.datatype()))
}

fn from_torch(tensor: &tch::Tensor) -> Result<Tensor, BackendError> {
    if !tensor.defined() {
        return Err(BackendError::Unsupported(
            "it returned an undefined tensor".to_owned(),
        ));
    }
    let kind = tensor.f_kind().map_err(failed)?;
    let datatype = datatype(kind).ok_or_else(|| {
        BackendError::Unsupported(format!(
            "it returned a tensor of {kind:?}, which is not served"
        ))
    })?;
    let shape = tensor.size();
    let too_large = || {
        BackendError::Tensor(TensorError::Elements {
            shape: shape.clone(),
        })
    };
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| {
            count.checked_mul(usize::try_from(size).ok()?)
        })
        .ok_or_else(too_large)?;
    let mut bytes = vec![0; count.checked_mul(datatype.size()).ok_or_else(too_large)?];
    // A lazily negated view copies its unnegated memory.
    let resolved = tensor.f_resolve_neg().map_err(failed)?;
    resolved.f_copy_data_u8(&mut bytes, count).map_err(failed)?;
    Ok(Tensor::new(datatype, shape, bytes)?)
}

fn kind(datatype: Datatype) -> Kind {
    match datatype {
        Datatype::Bool => Kind::Bool,
        Datatype::Uint8 => Kind::Uint8,
        Datatype::Int8 => Kind::Int8,
        Datatype::Int16 => Kind::Int16,
        Datatype::Int32 => Kind::Int,
        Datatype::Int64 => Kind::Int64,
        Datatype::Fp16 => Kind::Half,
        Datatype::Bf16 => Kind::BFloat16,
        Datatype::Fp32 => Kind::Float,
        Datatype::Fp64 => Kind::Double,
    }
}

fn datatype(kind: Kind) -> Option<Datatype> {
    match kind {
        Kind::Bool => Some(Datatype::Bool),
        Kind::Uint8 => Some(Datatype::Uint8),
        Kind::Int8 => Some(Datatype::Int8),
        Kind::Int16 => Some(Datatype::Int16),
        Kind::Int => Some(Datatype::Int32),
        Kind::Int64 => Some(Datatype::Int64),
        Kind::Half => Some(Datatype::Fp16),
        Kind::BFloat16 => Some(Datatype::Bf16),
        Kind::Float => Some(Datatype::Fp32),
        Kind::Double => Some(Datatype::Fp64),
        _ => None,
    }
}

/// What libtorch says of an error: no path, source or stack of it goes to a client as it is.
fn text(error: &TchError) -> Cow<'_, str> {
    match error {
        TchError::Torch(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// The one line of an error of libtorch that says what went wrong, without source, stack or paths.
fn safe_message(error: &TchError) -> String {
    let hidden = || "libtorch gave an error that only the server's debug log shows".to_owned();
    shown(reason(&text(error))).unwrap_or_else(hidden)
}

/// An error inside the interpreter begins with a traceback of the serialized source and ends with
/// `RuntimeError: <what>`; any other begins with `<what>` and goes on with a C++ stack.
fn reason(text: &str) -> &str {
    // A module's own exceptions are those of Python: "builtins.ValueError: <what>".
    let raised = |line: &&str| {
        ["RuntimeError: ", "torch.jit.Error: ", "builtins."]
            .iter()
            .any(|it| line.starts_with(it))
    };
    let line = match text.lines().rfind(raised) {
        Some(line) => line.split_once(": ").map_or("", |(_, what)| what),
        None => text.lines().next().unwrap_or_default(),
    };
    let line = line.split(" (Exception raised from ").next();
    line.unwrap_or_default().trim()
}

/// A line that reveals nothing of the server, not too long.
fn shown(line: &str) -> Option<String> {
    let reveals = ["/", "\\", "__torch__", "File \"", ".py", ".cpp"]
        .iter()
        .any(|mark| line.contains(mark));
    let safe = !line.is_empty() && !reveals;
    safe.then(|| line.chars().take(MAX_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, message: &str) {
        assert_eq!(safe_message(&TchError::Torch(text.to_owned())), message);
    }

    #[test]
    fn messages_keep_the_reason_and_lose_the_source() {
        check(
            "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, serialized \
             code (most recent call last):\n  File \"code/__torch__/m.py\", line 4, in forward\n    x = secret(x)\n\
             RuntimeError: index out of range in self\n",
            "index out of range in self",
        );
        check(
            "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, serialized \
             code (most recent call last):\n  File \"code/__torch__/m.py\", line 4, in forward\n    raise\n\
             builtins.ValueError: Supported sampling rates: [8000, 16000]\n",
            "Supported sampling rates: [8000, 16000]",
        );
        check(
            "mat1 and mat2 shapes cannot be multiplied (1x7 and 8x4)\nException raised from meta at ../aten/x.cpp:1",
            "mat1 and mat2 shapes cannot be multiplied (1x7 and 8x4)",
        );
    }

    #[track_caller]
    fn check_device(text: &str, trouble: Trouble, message: &str) {
        let message = message.to_owned();
        let wanted = BackendError::Device { trouble, message };
        assert_eq!(failed(TchError::Torch(text.to_owned())), wanted);
    }

    #[test]
    fn errors_of_the_device_are_told_from_those_of_the_request() {
        check_device(
            "The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript, serialized \
             code (most recent call last):\n  File \"code/__torch__/m.py\", line 4, in forward\n    x = secret(x)\n\
             RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously \
             reported at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider \
             passing CUDA_LAUNCH_BLOCKING=1\n",
            Trouble::Lost,
            "CUDA error: device-side assert triggered",
        );
        check_device(
            "CUDA out of memory. Tried to allocate 22.00 MiB. See documentation for Memory Management \
             (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)\nException raised from malloc",
            Trouble::Doubtful,
            "CUDA out of memory",
        );
        // A model's source is no reason.
        let quotes = "Traceback\n    raise_(\"CUDA error: unknown error\")\nRuntimeError: index out of range in self";
        let own = failed(TchError::Torch(quotes.to_owned()));
        assert_eq!(own.trouble(), None, "{own}");
    }

    #[test]
    fn memory_that_the_cpu_does_not_have_is_doubtful() {
        let error = tch::Tensor::f_zeros([1_i64 << 50], (Kind::Float, tch::Device::Cpu));
        let found = failed(error.unwrap_err());
        assert_eq!(found.trouble(), Some(Trouble::Doubtful), "{found}");
        assert_eq!(found.to_string(), "it ran out of memory");
    }

    #[test]
    fn messages_with_paths_or_source_are_withheld() {
        let withheld = "libtorch gave an error that only the server's debug log shows";
        check(
            "open file failed because of errno 2: /srv/models/fraud/1/model.pt",
            withheld,
        );
        check("RuntimeError: in __torch__.fraud.Model", withheld);
        check("", withheld);
    }

    #[test]
    fn datatypes_survive_the_way_there_and_back() {
        for name in Datatype::NAMES.split(", ") {
            let there: Datatype = name.parse().unwrap();
            assert_eq!(datatype(kind(there)), Some(there));
            assert_eq!(kind(there).elt_size_in_bytes(), there.size());
        }
    }

    #[test]
    fn no_gradients_are_recorded_while_a_model_lives() {
        let example = [tch::Tensor::from_slice(&[1_f32])];
        let module = tch::CModule::create_by_tracing(
            "Model",
            "forward",
            &example,
            &mut |inputs: &[tch::Tensor]| vec![&inputs[0] * 2.0],
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.pt");
        module.unwrap().save(&file).unwrap();
        let records =
            || (tch::Tensor::from_slice(&[1_f32]).set_requires_grad(true) * 2.0).requires_grad();
        assert!(records(), "this thread records gradients by itself");
        let model = load(&file, &ModelSpec::default(), Device::Cpu).ok();
        assert!(model.is_some() && !records());
        drop(model);
        assert!(records());
    }

    #[test]
    fn a_lazily_negated_or_transposed_view_is_copied_as_it_reads() {
        let matrix = tch::Tensor::from_slice(&[1_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).reshape([2, 3]);
        let values = |tensor: &tch::Tensor| -> Vec<f32> {
            from_torch(tensor)
                .unwrap()
                .bytes()
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_ne_bytes(*bytes))
                .collect()
        };
        assert_eq!(
            values(&matrix.transpose(0, 1)),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
        // One element, so that the view counts as contiguous and nothing else copies it.
        let one = tch::Tensor::from_slice(&[1_f32]);
        let complex = tch::Tensor::complex(&one, &one);
        assert_eq!(values(&complex.conj().imag()), [-1.0]);
    }
}

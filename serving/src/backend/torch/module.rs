//! A TorchScript module, held by us.
//!
//! `tch::CModule` returns several outputs only through `forward_is`, which leaks all inputs when the forward fails (100
//! failing calls with 4 MiB each: 396 MiB). Here every value that libtorch hands out has an owner that frees it.

#![allow(
    unsafe_code,
    reason = "the C functions of torch-sys, each behind a checked owner"
)]

use std::ffi::{CStr, CString, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use tch::{TchError, Tensor};
use torch_sys::{CIValue, CModule_};

/// Tags of `ati_tag` in torch_api.cpp.
mod tag {
    pub(super) const TENSOR: i32 = 1;
    pub(super) const TUPLE: i32 = 5;
    pub(super) const TENSOR_LIST: i32 = 10;
    pub(super) const DICT: i32 = 13;
}

/// A loaded module. It stays on the thread that loaded it.
pub(super) struct Module(NonNull<CModule_>);

/// What a forward returned.
#[derive(Debug)]
pub(super) enum Returned {
    /// One tensor, or several in an order of their own.
    Ordered(Vec<Tensor>),
    /// Tensors with names.
    Named(Vec<(String, Tensor)>),
}

/// A value of the interpreter.
pub(super) struct Value(NonNull<CIValue>);

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: `atm_load_on_device` made it, and nobody else has it.
        unsafe { torch_sys::atm_free(self.0.as_ptr()) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: libtorch handed it out with `new`, and nobody else has it.
        unsafe { torch_sys::ati_free(self.0.as_ptr()) }
    }
}

impl Module {
    /// Loads a file onto a device of [`tch::Device`]'s numbering, in evaluation mode: a module that was saved in training
    /// mode would answer with dropout, differently every time.
    pub(super) fn load(file: &Path, device: tch::Device) -> Result<Self, TchError> {
        let path = CString::new(file.as_os_str().as_bytes())
            .map_err(|_| TchError::Torch("the path has a zero byte".to_owned()))?;
        // SAFETY: the path is a C string that outlives the call.
        let module = unsafe { torch_sys::atm_load_on_device(path.as_ptr(), number(device)) };
        let module = Self(made(module)?);
        // SAFETY: the module is loaded.
        unsafe { torch_sys::atm_eval(module.0.as_ptr()) };
        check()?;
        Ok(module)
    }

    /// Turns all of its numbers, those of its buffers included and whole ones as well, into another kind.
    pub(super) fn turn_into(&self, device: tch::Device, kind: tch::Kind) -> Result<(), TchError> {
        // SAFETY: the module is loaded.
        unsafe { torch_sys::atm_to(self.0.as_ptr(), number(device), scalar_type(kind)?, false) };
        check()
    }

    /// Calls a method that takes nothing; what it returns is dropped.
    pub(super) fn call(&self, method: &CStr) -> Result<(), TchError> {
        // SAFETY: the module is loaded, the name a C string that outlives the call, and there are no values to read.
        let returned = unsafe {
            torch_sys::atm_method_(self.0.as_ptr(), method.as_ptr(), std::ptr::null(), 0)
        };
        made(returned).map(|it| drop(Value(it)))
    }

    /// One forward.
    pub(super) fn forward(&self, inputs: &[Value]) -> Result<Returned, TchError> {
        let pointers: Vec<_> = inputs.iter().map(|it| it.0.as_ptr()).collect();
        // SAFETY: so many values, each alive until after the call.
        let returned = unsafe {
            torch_sys::atm_forward_(self.0.as_ptr(), pointers.as_ptr(), length(pointers.len())?)
        };
        Value(made(returned)?).read()
    }
}

impl Value {
    pub(super) fn tensor(tensor: &Tensor) -> Result<Self, TchError> {
        // SAFETY: the tensor is alive; the value shares its memory by a count of its own.
        let value = unsafe { torch_sys::ati_tensor(tensor.as_ptr().cast_mut()) };
        Ok(Self(made(value)?))
    }

    pub(super) fn whole(number: i64) -> Result<Self, TchError> {
        // SAFETY: it takes a number.
        made(unsafe { torch_sys::ati_int(number) }).map(Self)
    }

    pub(super) fn real(number: f64) -> Result<Self, TchError> {
        // SAFETY: it takes a number.
        made(unsafe { torch_sys::ati_double(number) }).map(Self)
    }

    pub(super) fn truth(value: bool) -> Result<Self, TchError> {
        // SAFETY: it takes a number.
        made(unsafe { torch_sys::ati_bool(value.into()) }).map(Self)
    }

    fn read(&self) -> Result<Returned, TchError> {
        match self.tag()? {
            tag::TENSOR => Ok(Returned::Ordered(vec![self.to_tensor()?])),
            tag::TUPLE => {
                let parts = self.parts(1, |value, places, count| {
                    // SAFETY: `parts` gives room for so many.
                    unsafe { torch_sys::ati_to_tuple(value, places, count) }
                })?;
                tensors(&parts).map(Returned::Ordered)
            }
            tag::TENSOR_LIST => {
                let parts = self.parts(1, |value, places, count| {
                    // SAFETY: `parts` gives room for so many.
                    unsafe { torch_sys::ati_to_generic_list(value, places, count) }
                })?;
                tensors(&parts).map(Returned::Ordered)
            }
            tag::DICT => {
                let parts = self.parts(2, |value, places, count| {
                    // SAFETY: `parts` gives room for twice as many.
                    unsafe { torch_sys::ati_to_generic_dict(value, places, count) }
                })?;
                let (pairs, _) = parts.as_chunks::<2>();
                let named = pairs
                    .iter()
                    .map(|[key, value]| Ok((key.text()?, value.to_tensor()?)));
                named.collect::<Result<_, _>>().map(Returned::Named)
            }
            _ => Err(unsupported()),
        }
    }

    fn tag(&self) -> Result<c_int, TchError> {
        // SAFETY: the value is alive.
        let tag = unsafe { torch_sys::ati_tag(self.0.as_ptr()) };
        // A tag that the C functions do not know is an error of theirs.
        check().map_err(|_| unsupported())?;
        Ok(tag)
    }

    fn to_tensor(&self) -> Result<Tensor, TchError> {
        if self.tag()? != tag::TENSOR {
            return Err(unsupported());
        }
        // SAFETY: the value is a tensor.
        let tensor = unsafe { torch_sys::ati_to_tensor(self.0.as_ptr()) };
        check()?;
        // SAFETY: libtorch handed it out with `new`, and nobody else has it.
        Ok(unsafe { Tensor::from_ptr(tensor) })
    }

    fn text(&self) -> Result<String, TchError> {
        // SAFETY: the value is alive; for one that is no string there is an error and no text.
        let text = unsafe { torch_sys::ati_to_string(self.0.as_ptr()) };
        check().map_err(|_| unsupported())?;
        owned(text).ok_or_else(unsupported)
    }

    /// The values in it, of which `each` belong together.
    fn parts(
        &self,
        each: usize,
        fill: impl FnOnce(*mut CIValue, *mut *mut CIValue, c_int),
    ) -> Result<Vec<Self>, TchError> {
        // SAFETY: the value is alive.
        let count = unsafe { torch_sys::ati_length(self.0.as_ptr()) };
        check()?;
        let places = usize::try_from(count).unwrap_or(0) * each;
        let mut found = vec![std::ptr::null_mut(); places];
        fill(self.0.as_ptr(), found.as_mut_ptr(), count);
        // Those that are there have an owner before anything can go wrong.
        let parts: Vec<_> = found
            .into_iter()
            .filter_map(NonNull::new)
            .map(Self)
            .collect();
        check()?;
        Ok(parts)
    }
}

fn tensors(parts: &[Value]) -> Result<Vec<Tensor>, TchError> {
    parts.iter().map(Value::to_tensor).collect()
}

fn unsupported() -> TchError {
    TchError::Torch(
        "the model must return a tensor, a tuple or list of tensors, or a dict of tensors by name"
            .to_owned(),
    )
}

/// What the C functions call a device.
fn number(device: tch::Device) -> c_int {
    match device {
        tch::Device::Cuda(index) => c_int::try_from(index).unwrap_or(c_int::MAX),
        _ => -1,
    }
}

/// What the C functions call a kind of real numbers (c10/core/ScalarType.h).
fn scalar_type(kind: tch::Kind) -> Result<c_int, TchError> {
    match kind {
        tch::Kind::Half => Ok(5),
        tch::Kind::Float => Ok(6),
        tch::Kind::Double => Ok(7),
        tch::Kind::BFloat16 => Ok(15),
        _ => Err(TchError::Torch(format!("{kind:?} has no real numbers"))),
    }
}

fn length(count: usize) -> Result<c_int, TchError> {
    c_int::try_from(count).map_err(|_| TchError::Torch("too many inputs".to_owned()))
}

fn made<T>(pointer: *mut T) -> Result<NonNull<T>, TchError> {
    check()?;
    NonNull::new(pointer).ok_or_else(|| TchError::Torch("libtorch made nothing".to_owned()))
}

/// The error of the last call on this thread, if there is one.
fn check() -> Result<(), TchError> {
    // SAFETY: it takes nothing, and hands out a text of `malloc` or none.
    let text = unsafe { torch_sys::get_and_reset_last_err() };
    owned(text).map_or(Ok(()), |text| Err(TchError::Torch(text)))
}

/// Takes over a text of `malloc`.
fn owned(text: *mut std::ffi::c_char) -> Option<String> {
    let text = NonNull::new(text)?;
    // SAFETY: it is a C string of ours now.
    let copy = unsafe { CStr::from_ptr(text.as_ptr()) };
    let copy = copy.to_string_lossy().into_owned();
    // SAFETY: `malloc` made it, and nothing points to it any more.
    unsafe { libc::free(text.as_ptr().cast()) };
    Some(copy)
}

#[cfg(test)]
mod tests;

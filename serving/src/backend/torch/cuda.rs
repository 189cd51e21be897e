//! CUDA, where libtorch has it: found when the program runs, so that one binary serves with libtorch of either kind.
//!
//! `libtorch_cuda` registers its kernels when it is loaded, and nothing that is linked needs it. PyTorch's streams have
//! a C++ interface alone; its two functions take and return plain values, so they are called by their names in the
//! Itanium C++ ABI, with the layout of c10/core/Stream.h (PyTorch 2.11, x86-64 and AArch64).

#![allow(
    unsafe_code,
    reason = "libraries are loaded, and their functions called, by name"
)]

use std::{
    ffi::{CStr, c_int, c_void},
    sync::OnceLock,
};

/// Whoever has the kernels.
const LIBRARY: &CStr = c"libtorch_cuda.so";

/// `c10::cuda::CUDAStream`: a `c10::Stream`, of its device's type and number, and its own number.
#[repr(C)]
#[derive(Clone, Copy)]
struct Stream {
    kind: i8,
    index: i8,
    id: i64,
}

/// Of c10/cuda/CUDAStream.h. They throw where there is no such device.
type StreamFromPool = unsafe extern "C-unwind" fn(high_priority: bool, device: i8) -> Stream;
type SetCurrentStream = unsafe extern "C-unwind" fn(stream: Stream);
/// Of cuda_runtime_api.h; they return 0 when all is well.
type GetDevice = unsafe extern "C" fn(device: *mut c_int) -> c_int;
type SetDevice = unsafe extern "C" fn(device: c_int) -> c_int;
type MemGetInfo = unsafe extern "C" fn(free: *mut usize, total: *mut usize) -> c_int;

/// What is called by name.
struct Functions {
    stream_from_pool: StreamFromPool,
    set_current_stream: SetCurrentStream,
    get_device: GetDevice,
    set_device: SetDevice,
    mem_get_info: MemGetInfo,
}

/// What was found of it, or why it was not; the process keeps it.
static FOUND: OnceLock<Result<Functions, String>> = OnceLock::new();

/// Loads it, if it is there. libtorch asks once whether there are kernels for CUDA, and keeps the answer: call this
/// before anything else of libtorch.
pub(super) fn load() {
    if let Err(reason) = functions() {
        tracing::debug!(reason, "no CUDA");
    }
}

/// Devices that can be computed on.
fn count() -> u8 {
    u8::try_from(tch::Cuda::device_count()).unwrap_or_default()
}

/// Whether there is this device.
///
/// # Errors
/// Why there is none.
pub(super) fn check(index: u8) -> Result<(), String> {
    if let Err(reason) = functions() {
        tracing::warn!(reason, "CUDA cannot be used");
        return Err(format!(
            "'device' is cuda:{index}, and libtorch here is without CUDA: the log says what it lacks; run with libtorch \
             for CUDA, or write 'device: cpu'"
        ));
    }
    match count() {
        0 => Err(format!(
            "'device' is cuda:{index}, and CUDA sees no GPU: is its driver there, and is one given to this container?"
        )),
        count if index >= count => Err(format!(
            "'device' is cuda:{index}, and CUDA sees {count} of them, counted from 0"
        )),
        _ => Ok(()),
    }
}

/// Makes a device the current one of this thread, as 'cuda' in TorchScript means that one, and lets all that the thread
/// asks of it go into a stream of its own: the default one is shared by all threads, whose work would wait for each other's.
/// Call it before the thread asks for anything, of a device that is there.
///
/// # Errors
/// Why the device cannot be used: making it the current one is the first that asks for its memory.
pub(super) fn use_own_stream(index: u8) -> Result<(), String> {
    let (Ok(functions), Ok(device)) = (functions(), i8::try_from(index)) else {
        return Ok(());
    };
    // SAFETY: it has this type.
    let code = unsafe { (functions.set_device)(device.into()) };
    if code != 0 {
        return Err(format!(
            "'device' is cuda:{index}, and CUDA cannot use it (cudaSetDevice: error {code}): is its memory taken, or is it \
             another process's alone?"
        ));
    }
    // SAFETY: they have these types, and the device is this thread's own, so that none throws.
    unsafe {
        let stream = (functions.stream_from_pool)(false, device);
        (functions.set_current_stream)(stream);
    }
    Ok(())
}

/// Bytes of a device that are taken, by whomever, and all of them.
pub(super) fn memory(index: u8) -> Option<(u64, u64)> {
    let functions = functions().as_ref().ok()?;
    let (mut before, mut free, mut total) = (0, 0_usize, 0_usize);
    // SAFETY: they have these types, and all pointers are valid for the calls. The thread has its device again after.
    let told = unsafe {
        (functions.get_device)(&raw mut before) == 0
            && (functions.set_device)(index.into()) == 0
            && {
                let told = (functions.mem_get_info)(&raw mut free, &raw mut total) == 0;
                (functions.set_device)(before) == 0 && told
            }
    };
    let taken = total.checked_sub(free).filter(|_| told)?;
    Some((taken as u64, total as u64))
}

fn functions() -> &'static Result<Functions, String> {
    FOUND.get_or_init(|| {
        // SAFETY: the constructors of this library are PyTorch's, made to be run this way.
        let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if library.is_null() {
            return Err(last_error());
        }
        // SAFETY: these are their types, see above.
        unsafe {
            Ok(Functions {
                stream_from_pool: symbol(library, c"_ZN3c104cuda17getStreamFromPoolEba")?,
                set_current_stream: symbol(
                    library,
                    c"_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE",
                )?,
                get_device: symbol(library, c"cudaGetDevice")?,
                set_device: symbol(library, c"cudaSetDevice")?,
                mem_get_info: symbol(library, c"cudaMemGetInfo")?,
            })
        }
    })
}

/// A function of a library, or of those that it needs.
///
/// # Safety
/// `T` is the type of that function.
unsafe fn symbol<T>(library: *mut c_void, name: &CStr) -> Result<T, String> {
    const { assert!(size_of::<T>() == size_of::<*mut c_void>()) };
    // SAFETY: the library is loaded, and the name a C string.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    if found.is_null() {
        return Err(last_error());
    }
    // SAFETY: it is a function of this type, as the caller says, whose pointer has the size of this one.
    Ok(unsafe { std::mem::transmute_copy(&found) })
}

/// What the loader says of the last call that failed.
fn last_error() -> String {
    // SAFETY: it takes nothing, and what it returns is a C string until the thread's next call.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "the loader does not say why".to_owned();
    }
    // SAFETY: see above.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the headers lay it out: the number of the stream begins at the eighth byte.
    #[test]
    fn a_stream_has_the_layout_of_pytorch() {
        assert_eq!(size_of::<Stream>(), 16);
        assert_eq!(std::mem::offset_of!(Stream, index), 1);
        assert_eq!(std::mem::offset_of!(Stream, id), 8);
    }

    #[test]
    fn without_cuda_a_model_that_wants_it_is_refused_by_name() {
        if functions().is_ok() {
            return;
        }
        let error = check(1).unwrap_err();
        assert!(error.starts_with("'device' is cuda:1, and libtorch here is without CUDA"));
        assert_eq!(memory(0), None);
    }
}

//! Which errors of libtorch tell of the device, and not of the request.

/// What an error says of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It answers nothing any more in this process: CUDA says the same of every further call.
    Lost,
    /// It had no memory, or a library gave up on it: a request may have been too large, or all that follow fail too.
    Doubtful,
}

/// How errors of CUDA begin in PyTorch 1 and 2; the runtime's first, then the driver's.
const CUDA: [&str; 3] = [
    "CUDA error: ",
    "CUDA driver error: ",
    "cuda runtime error (",
];

/// What CUDA refuses without any harm to what comes after: a wrong or too large call, or one that this device cannot do.
/// Whatever else it says is taken for the end, as CUDA documents it of most, [`BROKEN`] included.
const HARMLESS: [&str; 12] = [
    "invalid argument",
    "invalid configuration argument",
    "invalid device function",
    "invalid device ordinal",
    "invalid resource handle",
    "no kernel image is available",
    "operation not supported",
    "peer access is not supported",
    "the provided PTX was compiled",
    "too many resources requested for launch",
    "CUBLAS_STATUS_INVALID_VALUE",
    "CUBLAS_STATUS_NOT_SUPPORTED",
];

/// Begins as something harmless does.
const BROKEN: &str = "operation not supported on global/shared address space";

/// No memory, or what a library says when it had none, or when the device has failed under it.
const DOUBTFUL: [&str; 14] = [
    "CUDA out of memory",
    "out of memory",
    "DefaultCPUAllocator: ",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_MAPPING_ERROR",
    "CUFFT_INTERNAL_ERROR",
    "CUFFT_ALLOC_FAILED",
];

/// What stands in the line when it was a library that failed, such as cuSPARSE.
const LIBRARIES: [&str; 2] = ["when calling `cu", "CUBLAS_STATUS_"];

/// Reads the line of an error that says what went wrong; not the whole text, which holds the model's source.
#[must_use]
pub fn classify(line: &str) -> Option<Trouble> {
    let says = |words: &[&str]| words.iter().any(|it| line.contains(it));
    if says(&DOUBTFUL) {
        // CUDA's own code for it is not sticky, either.
        return Some(Trouble::Doubtful);
    }
    let harmless = says(&HARMLESS) && !line.contains(BROKEN);
    // The codes of libraries are no sticky ones: what is broken shows in the next forward.
    let trouble = if says(&LIBRARIES) {
        Trouble::Doubtful
    } else {
        Trouble::Lost
    };
    (says(&CUDA) && !harmless).then_some(trouble)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: Option<Trouble>, lines: &[&str]) {
        for line in lines {
            assert_eq!(classify(line), wanted, "{line}");
        }
    }

    // The lines are those that people report of PyTorch 1.13 to 2.x.

    #[test]
    fn what_cuda_says_of_every_further_call_is_the_end() {
        check(
            Some(Trouble::Lost),
            &[
                "CUDA error: device-side assert triggered",
                "CUDA error: an illegal memory access was encountered",
                "CUDA error: an illegal instruction was encountered",
                "CUDA error: misaligned address",
                "CUDA error: unspecified launch failure",
                "CUDA error: the launch timed out and was terminated",
                "CUDA error: uncorrectable ECC error encountered",
                "CUDA error: uncorrectable NVLink error detected during the execution",
                "CUDA error: hardware stack error",
                "CUDA error: operation not supported on global/shared address space",
                "CUDA error: unknown error",
                "CUDA error: all CUDA-capable devices are busy or unavailable",
                "CUDA error: driver shutting down",
                "CUDA driver error: device not ready",
                "cuda runtime error (59) : device-side assert triggered at /pytorch/THCReduceAll.cuh:327",
            ],
        );
    }

    #[test]
    fn what_may_have_been_the_requests_size_is_doubtful() {
        check(
            Some(Trouble::Doubtful),
            &[
                "CUDA out of memory. Tried to allocate 22.00 MiB. GPU 0 has a total capacity of 23.65 GiB of which 11.06 MiB \
                 is free. Including non-PyTorch memory, this process has 23.60 GiB memory in use.",
                "CUDA out of memory. Tried to allocate 2.26 GiB (GPU 0; 6.00 GiB total capacity; 781.59 MiB already \
                 allocated; 3.03 GiB free; 1.24 GiB reserved in total by PyTorch)",
                "CUDA error: out of memory",
                "CUDA driver error: out of memory",
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
                "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k, &alpha, \
                 a, lda, b, ldb, &beta, c, ldc)`",
                "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
                "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
                "cuDNN error: CUDNN_STATUS_MAPPING_ERROR",
                "cuFFT error: CUFFT_INTERNAL_ERROR",
                "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate \
                 4398046511104 bytes.",
            ],
        );
    }

    #[test]
    fn the_requests_and_the_models_own_failures_say_nothing_of_the_device() {
        check(
            None,
            &[
                "index out of range in self",
                "mat1 and mat2 shapes cannot be multiplied (1x7 and 8x4)",
                "CUDA error: invalid argument",
                "CUDA error: invalid configuration argument",
                "CUDA error: too many resources requested for launch",
                "CUDA error: no kernel image is available for execution on the device",
                "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemmStridedBatched( handle, opa, opb)`",
                "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx(handle)`",
                "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
                "",
            ],
        );
    }
}

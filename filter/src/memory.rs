//! The memory of the VM.
#![allow(
    unsafe_code,
    reason = "an allocator is made by a promise that the compiler cannot check"
)]

use talc::TalckWasm;

/// 8 KiB of Wasm less than the one of the standard library, and as fast.
// SAFETY: a proxy runs each VM on one thread (the module has no threads and no shared memory), and this is the only
// allocator in it.
#[global_allocator]
static ALLOCATOR: TalckWasm = unsafe { TalckWasm::new_global() };

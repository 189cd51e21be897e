//! The host calls of every request, without the SDK: it makes vectors of what they return, and this reads it in
//! place, from memory that is used again and again. An allocation by the proxy costs more than the call.
#![allow(
    unsafe_code,
    reason = "host calls hand over pointers, and the proxy asks for memory through an exported name"
)]

use std::cell::Cell;
use std::ptr::null_mut;

use proxy_wasm::types::MapType;

/// Bytes that are kept for what the proxy returns; headers are rarely longer.
const SCRATCH: usize = 16 * 1024;

/// `CLOCK_MONOTONIC` of WASI.
const MONOTONIC: u32 = 1;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: MapType,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
}

thread_local! {
    /// The memory, while nobody reads from it.
    static FREE: Cell<Option<Box<[u8; SCRATCH]>>> = const { Cell::new(None) };
    /// What the proxy may be given instead of new memory, while one of our calls is under way; null otherwise.
    static OFFERED: Cell<*mut u8> = const { Cell::new(null_mut()) };
}

/// Memory for what the proxy returns. It belongs to whoever made the call, who takes it for a boxed slice.
#[unsafe(export_name = "serin_on_memory_allocate")]
extern "C" fn allocate(size: usize) -> *mut u8 {
    let offered = OFFERED.take();
    if !offered.is_null() && size <= SCRATCH {
        return offered;
    }
    Box::into_raw(vec![0_u8; size].into_boxed_slice()).cast()
}

/// Nanoseconds since some moment, by a clock that is never set. (The clock of the proxy's own call is: what is pending
/// would be overdue at once when it is put forward.)
pub(crate) fn monotonic_time() -> u64 {
    let mut time = 0;
    // SAFETY: the pointer is valid for the call, which fails for unknown clocks only.
    unsafe { clock_time_get(MONOTONIC, 1, &raw mut time) };
    time
}

/// All request headers in one piece, in the proxy's serialization (see [`serin_filter_core::pairs`]); in the request
/// phase. One call costs less than two single reads.
pub(crate) fn with_request_headers<T>(act: impl FnOnce(&[u8]) -> T) -> T {
    with(
        // SAFETY: both pointers are valid for the call.
        |data, size| unsafe { proxy_get_header_map_pairs(MapType::HttpRequestHeaders, data, size) },
        act,
    )
}

/// The first value of a response header, empty if there is none; in `on_log`, where a map that does not exist is empty.
pub(crate) fn with_response_header<T>(name: &str, act: impl FnOnce(&[u8]) -> T) -> T {
    with(
        // SAFETY: the name lives and all pointers are valid for the call.
        |data, size| unsafe {
            let map = MapType::HttpResponseHeaders;
            proxy_get_header_map_value(map, name.as_ptr(), name.len(), data, size)
        },
        act,
    )
}

fn with<T>(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32, act: impl FnOnce(&[u8]) -> T) -> T {
    let mut scratch = FREE.take().unwrap_or_else(|| Box::new([0; SCRATCH]));
    let offered = scratch.as_mut_ptr();
    let (mut data, mut size): (*mut u8, usize) = (null_mut(), 0);
    OFFERED.set(offered);
    let status = call(&raw mut data, &raw mut size);
    OFFERED.set(null_mut());
    let result = if status != 0 || data.is_null() {
        act(&[])
    } else if data == offered {
        act(scratch.get(..size).unwrap_or_default())
    } else {
        // SAFETY: on success `data` came from `allocate`, as a boxed slice of `size` bytes that nobody else owns.
        act(&unsafe { Vec::from_raw_parts(data, size, size) })
    };
    FREE.set(Some(scratch));
    result
}

//! A filter that does nothing: what a Proxy-Wasm filter costs before it has done anything, for `make bench-filter`.
//!
//! As it is built it is the usual filter on the Rust SDK, with all exports of the SDK and a context for each request.
//! Trimmed to the `serin_on_*` functions (filter/trim) it is the least that a filter with these entry points costs.
// Exports for the host need a fixed name, which the compiler cannot check for clashes.
#![allow(unsafe_code)]

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

struct Root;

struct Exchange;

impl Context for Root {}

impl Context for Exchange {}

impl HttpContext for Exchange {}

impl RootContext for Root {
    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Exchange))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// The answer of a callback that lets the request go on (`Action::Continue`).
const CONTINUE: u32 = 0;

/// Callbacks as the host calls them (Proxy-Wasm ABI 0.2.1), each with nothing in it.
macro_rules! nothing {
    ($($name:ident($($argument:ty),*) $(-> $result:ty = $value:expr)?;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($(_: $argument),*) $(-> $result)? { $($value)? }
        )*
    };
}

nothing! {
    serin_on_vm_start(u32, u32) -> u32 = 1;
    serin_on_configure(u32, u32) -> u32 = 1;
    serin_on_tick(u32);
    serin_on_context_create(u32, u32);
    serin_on_request_headers(u32, u32, u32) -> u32 = CONTINUE;
    serin_on_request_body(u32, u32, u32) -> u32 = CONTINUE;
    serin_on_request_trailers(u32, u32) -> u32 = CONTINUE;
    serin_on_response_headers(u32, u32, u32) -> u32 = CONTINUE;
    serin_on_response_body(u32, u32, u32) -> u32 = CONTINUE;
    serin_on_response_trailers(u32, u32) -> u32 = CONTINUE;
    serin_on_done(u32) -> u32 = 1;
    serin_on_log(u32);
    serin_on_delete(u32);
}

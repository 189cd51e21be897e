//! The controller: reads what the proxies counted, judges the canary, moves the weights.
//!
//! The core is pure: [`validate`] (file to plan), [`evidence`] (cells to evidence), [`rollout`] (state machine),
//! [`render`] (state to proxy config), [`report`] (state to status). No clock, no I/O, no randomness in them; a test
//! in `tests/purity.rs` keeps it so. [`simulate`] and [`replay`] run it on synthetic and on recorded cells; all they know of
//! it is in [`simulate::engine`]. [`standalone`] is the driver around them, [`cli`] what a person types.

pub mod api;
pub mod cells;
mod claims;
pub mod cli;
pub mod cluster;
pub mod crd;
pub mod driver;
pub mod endpoint;
pub mod evidence;
#[cfg(test)]
mod fixtures;
pub mod locate;
pub mod observation;
pub mod paths;
pub mod prometheus;
pub mod quantity;
pub mod render;
pub mod replay;
pub mod report;
pub mod rivals;
pub mod rollout;
pub mod simulate;
pub mod source;
pub mod standalone;
pub mod stats;
pub mod validate;

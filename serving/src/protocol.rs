//! The JSON of the Open Inference Protocol v2.

mod bounded;
pub mod parameters;
pub mod request;
pub mod response;
pub mod triton;

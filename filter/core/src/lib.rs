#![doc = include_str!("../README.md")]
// A panic in the filter takes down the VM of its worker, with all requests that it serves.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod attribute;
pub mod cluster;
pub mod config;
pub mod fuse;
mod hash;
pub mod outcome;
pub mod overriding;
pub mod pairs;
pub mod random;
pub mod route;
mod rule;
pub mod split;
pub mod stat;
pub mod table;

#[cfg(test)]
mod testing;

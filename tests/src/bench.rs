//! What all benches share: rounds that take turns, CPU time, and the table and the file that every bench leaves.

pub mod controller;
pub mod cpu;
pub mod filter;
pub mod program;
pub mod report;
pub mod rounds;
pub mod serving;
pub mod updates;

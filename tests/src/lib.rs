//! What tests and the demo share: the real peers (Envoy, Prometheus, our own programs) as values that end with their
//! owner, traffic to drive them, and the fraud models of the demo.

pub mod bench;
pub mod cluster;
pub mod demo;
pub mod discovery;
pub mod envoy;
pub mod exposition;
pub mod installation;
pub mod latency;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod tally;
pub mod tools;
pub mod traffic;
pub mod upstream;
pub mod wait;
pub mod world;

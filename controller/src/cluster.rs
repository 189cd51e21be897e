//! The controller in a cluster: `ModelRollout` resources instead of files, Istio's objects instead of Envoy's files, the
//! same engine and format.

pub mod apply;
pub mod conditions;
pub mod fleet;
pub mod foreign;
pub mod lease;
mod looks;
pub mod metrics;
pub mod names;
mod notes;
pub mod object;
mod perform;
pub mod plugin;
pub mod rbac;
pub mod resource;
pub mod routes;
pub mod run;
pub mod status;
pub mod watch;

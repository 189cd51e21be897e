//! The controller in a cluster: `ModelRollout` resources instead of files, Istio's objects instead of Envoy's files, the
//! same engine and format.

pub mod conditions;
pub mod names;
pub mod resource;
pub mod status;

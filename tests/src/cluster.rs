//! A real cluster's control plane and a real mesh on one machine, without containers: kube-apiserver, etcd and istiod as
//! child processes, and Envoys that istiod configures.
//!
//! There are no nodes and no kube-controller-manager: nothing runs pods, collects what an owner left behind, or finishes
//! the deletion of a namespace. What `make setup-cluster` fetched is used, or what the variables there name.

pub mod clock;
pub mod control_plane;
pub mod identity;
pub mod istio;
pub mod istiod;
pub mod mesh;
pub mod mesh_proxy;
pub mod model;
pub mod objects;
pub mod witness;

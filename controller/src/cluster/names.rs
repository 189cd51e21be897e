//! Names that others see: in objects, in RBAC, in the audit log.

/// API group of our resources.
pub const GROUP: &str = "serin.dev";
/// Version of it.
pub const VERSION: &str = "v1alpha1";
/// Resource, as in URLs and RBAC.
pub const PLURAL: &str = "modelrollouts";
/// Owner of the fields that the controller applies.
pub const FIELD_MANAGER: &str = "serin";
/// Annotation by which people ask for something: an [`Action`](crate::rollout::Action) as JSON.
pub const ACTION: &str = "serin.dev/action";
/// Keeps a deleted resource until everybody is on the live version.
pub const FINALIZER: &str = "serin.dev/cleanup";
/// Label and value of every object that the controller writes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "serin");
/// Namespace of the installation, where nothing else is said.
pub const NAMESPACE: &str = "serin-system";
/// Service of the read-only endpoint, and the name of its port.
pub const SERVICE: (&str, &str) = ("serin-controller", "http");

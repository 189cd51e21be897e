//! `ModelRollout` as the API server has it.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::TypeMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names;
use crate::api::status::RolloutStatus;
use crate::api::{self, KIND};

/// A resource whose `spec` may be anything: one that this version does not understand must not hide the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRollout {
    /// Kind and version.
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    /// Name, namespace, annotations.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: Value,
    /// What is.
    #[serde(
        default,
        deserialize_with = "RolloutStatus::lenient",
        skip_serializing_if = "Option::is_none"
    )]
    pub status: Option<RolloutStatus>,
}

impl Resource for ModelRollout {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        names::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        names::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        names::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl ModelRollout {
    /// As a rollout file has it.
    ///
    /// # Errors
    /// The field of `spec` that is not understood, and why.
    pub fn file(&self) -> Result<api::ModelRollout, (String, String)> {
        let spec = serde_path_to_error::deserialize(&self.spec).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." {
                "spec".to_owned()
            } else {
                format!("spec.{path}")
            };
            (path, error.inner().to_string())
        })?;
        Ok(api::ModelRollout {
            api_version: api::API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: api::Metadata {
                name: self.metadata.name.clone().unwrap_or_default(),
                namespace: self.metadata.namespace.clone().unwrap_or_default(),
            },
            spec,
        })
    }
}

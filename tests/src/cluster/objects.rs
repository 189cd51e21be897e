//! Objects of any kind, put into a cluster as `kubectl apply --server-side` does.

use std::path::Path;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::gvk::GroupVersion;
use kube::discovery::{self, Scope};
use kube::{Client, ResourceExt};
use serde_json::Value;

/// The field manager of what tests apply.
pub const MANAGER: &str = "serin-tests";

/// The documents of a YAML text; empty ones are left out.
///
/// # Errors
/// When it is no YAML.
pub fn read(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// [`read`] of a file.
///
/// # Errors
/// When it cannot be read or is no YAML.
pub fn read_file(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("failed to read {}", path.display()))?;
    read(&text).with_context(|| format!("failed to read {}", path.display()))
}

/// The interface to the objects of a kind, as in a manifest (`apiVersion` and `kind`). An object of a kind that has a
/// namespace is looked for in `default` when none is given.
///
/// # Errors
/// When the cluster does not know the kind, or does not answer.
pub async fn api(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Result<Api<DynamicObject>> {
    let (resource, scope) = resource(client, api_version, kind).await?;
    Ok(match scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = namespace.unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    })
}

async fn resource(client: &Client, api_version: &str, kind: &str) -> Result<(ApiResource, Scope)> {
    let version: GroupVersion = api_version.parse()?;
    let kind = version.with_kind(kind);
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("failed to find {} in the cluster", kind.kind))?;
    Ok((resource, capabilities.scope))
}

/// Applies one object and returns it as the API server keeps it.
///
/// # Errors
/// When the object has no name or kind, or the API server refuses it.
pub async fn apply(client: &Client, object: Value) -> Result<DynamicObject> {
    let object: DynamicObject =
        serde_json::from_value(object).context("failed to read an object")?;
    let types = object.types.as_ref().context("an object without a kind")?;
    let name = object.name_any();
    let namespace = object.namespace();
    let api = api(
        client,
        &types.api_version,
        &types.kind,
        namespace.as_deref(),
    )
    .await?;
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(&object))
        .await
        .with_context(|| format!("failed to apply {} '{name}'", types.kind))
}

/// Applies objects, one after the other: a later one may need an earlier.
///
/// # Errors
/// As [`apply`], with the first that fails.
pub async fn apply_all(client: &Client, objects: Vec<Value>) -> Result<()> {
    for object in objects {
        apply(client, object).await?;
    }
    Ok(())
}

/// Applies resource definitions, several at once, and waits until the API server serves them.
///
/// # Errors
/// As [`apply`], or when one does not come up.
pub(super) async fn define(client: &Client, definitions: Vec<Value>) -> Result<()> {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use kube::runtime::wait::{await_condition, conditions::is_crd_established};

    stream::iter(definitions)
        .map(async |definition| {
            let name = apply(client, definition).await?.name_any();
            let api = Api::<CustomResourceDefinition>::all(client.clone());
            await_condition(api, &name, is_crd_established())
                .await
                .with_context(|| format!("failed to wait for '{name}'"))?;
            anyhow::Ok(())
        })
        .buffer_unordered(8)
        .try_collect()
        .await
}

//! The resource definition `modelrollouts.serin.dev`: made of the Rust types, so that the API server and the controller
//! read the same fields. What people wrote is stored as it is: defaults stay in Rust.

mod rules;
mod structural;

use serde_json::{Value, json};

use crate::api::status::RolloutStatus;
use crate::api::{KIND, Spec};
use crate::cluster::names::{GROUP, PLURAL, VERSION};

/// How the command that writes the file is called.
const GENERATED: &str = "# Made by `make generate` of the Rust types; change those.\n";

/// The `CustomResourceDefinition`.
#[must_use]
pub fn definition() -> Value {
    let mut spec = structural::schema_of::<Spec>();
    structural::without_defaults(&mut spec);
    structural::nest_conditions(&mut spec);
    rules::bound(&mut spec);
    let status = structural::schema_of::<RolloutStatus>();
    let mut schema = json!({
        "description": "A release of a model in progress: which requests, which versions, how the weights go up, what is judged.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    });
    rules::add(&mut schema);
    let column = |name: &str, path: &str, description: &str| {
        json!({
            "name": name,
            "type": "string",
            "jsonPath": format!(".status.{path}"),
            "description": description,
        })
    };
    let mut message = column("Message", "message", "Why it stands there");
    message["priority"] = json!(1);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_ascii_lowercase(),
                "shortNames": ["mro"],
                "categories": ["serin"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    column("Phase", "phase", "Where the rollout stands"),
                    column("Step", "step", "Step in progress, and how many there are"),
                    column("Weight", "weight", "Weight of the new version as configured"),
                    column("Observed", "observed", "Its share of the requests seen last"),
                    column("Verdict", "verdict", "What the counts say"),
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    message,
                ],
            }],
        },
    })
}

/// Objects as YAML documents, the same on every machine.
///
/// # Errors
/// A value that YAML has no words for.
pub fn yaml(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    let mut text = GENERATED.to_owned();
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            text.push_str("---\n");
        }
        let mut object = object.clone();
        // Else the order would hang on what other crates want of serde_json.
        object.sort_all_objects();
        text.push_str(&serde_saphyr::to_string(&object)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;

//! From what schemars makes to what the API server takes: a structural schema.

use kube_core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Map, Value, json};

/// Levels of `any` and `all` whose fields the API server knows; the filter takes more, which the controller checks. Each
/// level is twice the one above.
const CONDITION_LEVELS: usize = 2;

/// The schema of a type, all in one piece.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    StructuralSchemaRewriter.transform(&mut schema);
    OptionalEnum.transform(&mut schema);
    RecursiveTransform(|schema: &mut schemars::Schema| {
        if let Some(object) = schema.as_object_mut() {
            plain(object);
        }
    })
    .transform(&mut schema);
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("title");
    }
    schema
}

/// Takes out what Kubernetes does not know or reads otherwise.
fn plain(schema: &mut Map<String, Value>) {
    // `null` is "not written"; where it is more, the rules say so.
    schema.remove("nullable");
    // Unknown fields are dropped or refused by the API server as its client wishes.
    if matches!(schema.get("additionalProperties"), Some(Value::Bool(_))) {
        schema.remove("additionalProperties");
    }
    let format = schema.get("format").and_then(Value::as_str);
    match format {
        Some("uint16" | "uint32" | "int32") => schema.insert("format".to_owned(), "int32".into()),
        Some("uint64" | "uint" | "int64") => schema.insert("format".to_owned(), "int64".into()),
        _ => None,
    };
    // One of several fields: the rule with words for it is among the rules.
    if schema.contains_key("properties") {
        schema.remove("oneOf");
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = words(text);
    }
}

/// A doc comment in one line and without links into the code.
fn words(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Defaults are the controller's.
pub(super) fn without_defaults(schema: &mut Value) {
    each(schema, &mut |object| {
        object.remove("default");
    });
}

/// Visits every schema within a schema, itself last.
pub(super) fn each(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(|it| each(it, visit));
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(field) {
            each(inner, visit);
        }
    }
    visit(object);
}

/// Conditions hold conditions, and a structural schema has no references.
pub(super) fn nest_conditions(spec: &mut Value) {
    let place = "/properties/assignment/properties/rules/items/properties/when/items";
    if let Some(condition) = spec.pointer_mut(place) {
        *condition = nested(condition, CONDITION_LEVELS);
    }
}

fn nested(condition: &Value, levels: usize) -> Value {
    let inner = if levels == 0 {
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    } else {
        let mut bare = condition.clone();
        each(&mut bare, &mut |object| {
            object.remove("description");
        });
        nested(&bare, levels - 1)
    };
    let mut condition = condition.clone();
    for field in ["any", "all"] {
        if let Some(list) = condition.pointer_mut(&format!("/properties/{field}")) {
            list["items"] = inner.clone();
        }
    }
    condition
}

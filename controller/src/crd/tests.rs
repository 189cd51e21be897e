use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Map;

use super::*;

fn schema() -> Value {
    definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Schemas of a schema with their paths.
fn all(schema: &Value, path: &str, found: &mut Vec<(String, Map<String, Value>)>) {
    let Value::Object(object) = schema else {
        panic!("{path} is no schema: {schema}")
    };
    found.push((path.to_owned(), object.clone()));
    let properties = object.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten() {
        all(inner, &format!("{path}.{name}"), found);
    }
    for (field, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = object.get(field) {
            all(inner, &format!("{path}{sign}"), found);
        }
    }
}

fn every_schema() -> Vec<(String, Map<String, Value>)> {
    let mut found = Vec::new();
    all(&schema(), "", &mut found);
    found
}

#[test]
fn the_schema_is_structural() {
    let foreign = ["$ref", "oneOf", "anyOf", "allOf", "default", "const"];
    for (path, schema) in every_schema() {
        let open = ["type", "x-kubernetes-int-or-string"]
            .iter()
            .all(|key| !schema.contains_key(*key));
        let claim = path.ends_with("wtClaim");
        assert_eq!(open, claim, "{path} has no type: {schema:?}");
        for key in foreign {
            assert!(!schema.contains_key(key), "{path} has {key}");
        }
    }
}

#[test]
fn every_rule_and_keyword_has_its_place() {
    assert_eq!(rules::lost(&mut schema()), Vec::<&str>::new());
}

#[test]
fn kubernetes_knows_every_keyword() {
    let definition = definition();
    let typed: CustomResourceDefinition = serde_json::from_value(definition.clone()).unwrap();
    let mut back = serde_json::to_value(typed).unwrap();
    // The type says it in other words: 0 and 0.0, and no status is null.
    normalize(&mut back);
    let mut definition = definition;
    normalize(&mut definition);
    assert_eq!(back, definition);
}

fn normalize(value: &mut Value) {
    match value {
        Value::Number(number) => *value = json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(normalize);
        }
        _ => {}
    }
}

#[test]
fn descriptions_speak_to_people_who_have_not_the_code() {
    for (path, schema) in every_schema() {
        let text = schema.get("description").and_then(Value::as_str);
        let text = text.unwrap_or_default();
        assert!(
            !text.contains("::") && !text.contains("[`"),
            "{path}: {text}"
        );
    }
}

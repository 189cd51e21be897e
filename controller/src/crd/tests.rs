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

/// What is in the repository is what the code says.
#[track_caller]
fn same(file: &str, made: &str) {
    let path = format!("{}/../manifests/{file}", env!("CARGO_MANIFEST_DIR"));
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "manifests/{file} is not what the code says: run `make generate`"
    );
}

#[test]
fn the_files_are_those_of_the_code() {
    use crate::cluster::rbac;
    same("base/crd.yaml", &file().unwrap());
    same("base/rbac.yaml", &rbac::file(&[]).unwrap());
    let namespaces = ["istio-system", "ml"].map(str::to_owned);
    same(
        "overlays/namespaced/rbac.yaml",
        &rbac::file(&namespaces).unwrap(),
    );
}

/// Texts of all manifests below a folder, with their paths.
fn manifests(folder: &str) -> Vec<(String, String)> {
    let root = format!("{}/../manifests/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            found.extend(manifests(&name));
        } else {
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

#[test]
fn every_example_is_a_rollout_of_the_mesh() {
    let examples = manifests("examples");
    assert_eq!(examples.len(), 7, "one for each strategy");
    for (name, text) in examples {
        let source = crate::source::parse(&name, &text).unwrap_or_else(|mistakes| {
            panic!(
                "{}",
                mistakes
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            )
        });
        assert!(source.plan.mesh.is_some(), "{name}");
    }
}

#[test]
fn the_controller_knows_every_setting_of_the_manifests() {
    use clap::CommandFactory;
    let cli = crate::cli::Cli::command();
    let run = cli.find_subcommand("run").unwrap();
    let known: Vec<_> = run
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut seen = 0;
    for (name, text) in [manifests("base"), manifests("overlays")].concat() {
        for setting in text.split("name: SERIN_").skip(1) {
            let setting = setting.split([',', '}', '\n']).next().unwrap().trim();
            assert!(
                known.contains(&format!("SERIN_{setting}").as_str()),
                "{name}: SERIN_{setting}"
            );
            seen += 1;
        }
    }
    assert!(seen > 5, "the manifests set {seen}");
}

#[test]
fn istio_is_told_of_every_label() {
    let (_, text) = manifests("istio").remove(0);
    let config: Value = serde_saphyr::from_str(&text).unwrap();
    let tags = &config["spec"]["meshConfig"]["defaultConfig"]["extraStatTags"];
    assert_eq!(tags, &json!(serin_filter_core::stat::LABELS));
}

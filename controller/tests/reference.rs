//! What the documentation says of rollout files is what the schema takes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use serin_controller::api::ModelRollout;
use serin_controller::source::parse;

/// A file with every field of the schema, each at another value than its default.
const EVERYTHING: &str = r"
apiVersion: serin.dev/v1alpha1
kind: ModelRollout
metadata: {name: fraud, namespace: ml}
spec:
  enabled: false
  scope: [shop]
  match: {hosts: [fraud.ml], pathPrefix: /a, path: /a, pathTemplate: /a}
  route: {manage: true, host: a, gateways: [mesh], trafficPolicy: {}}
  variants:
    - {name: stable, role: stable, version: '7', route: {cluster: fraud-v7, subset: v7, host: a, labels: {x: y}}, enabled: false}
  assignment:
    key: [{header: a}, {cookie: a}, {query: a}, {jwtClaim: a}, {unverifiedJwtClaim: a}, {grpcMetadata: a}, {source: principal}]
    cookie: {name: a, maxAge: 1d, sameSite: Strict, secure: false}
    salt: a
    rules:
      - variant: stable
        when:
          - {header: a, equals: a, cookie: a, in: [a], query: a, notIn: [a], jwtClaim: a, prefix: a}
          - {unverifiedJwtClaim: a, suffix: a, grpcMetadata: a, regex: a, source: principal, exists: true}
          - {request: path, range: {min: 1, max: 2}, any: [{header: a, exists: true}], all: [{header: a, exists: true}]}
    override: {header: a, trusted: {principals: [a], secret: {header: b, sha256: c}}}
  strategy:
    canary:
      steps: [{weight: 1, gate: {ratio: 2, absolute: 1pp}, pause: {approval: true, for: 1m}}]
      soak: 1m
      deadline: {after: 1h, then: promote}
  analysis:
    interval: 10s
    falseRollback: 0.02
    falsePromotion: 0.06
    metrics:
      - {name: a, errorRate: {}, tolerance: {ratio: 2, absolute: 1pp}, weight: 1, dispersion: 2, gates: [{ratio: 2, absolute: 1pp}]}
      - {name: b, latency: {above: 1s}}
      - {name: c, prometheus: {bad: b, total: t, versionLabel: v}}
    guards: [{name: a, errorRate: {above: 10%}, minRequests: 5, over: 10s}]
    onFail: hold
    onNoData: hold
    onError: hold
  fuse: {enabled: false, consecutiveErrors: 2, errorRatio: 10%, minRequests: 5, window: 2s, cooldown: 2s, pending: 2s, slow: 2s}
  shadow: {cluster: a, sample: 10%}
  quorum: 90%
  rollbackWindow: 1h
";

/// The other strategies, with every field.
const STRATEGIES: [&str; 7] = [
    "linear: {stepWeight: 10, maxWeight: 40, gate: {ratio: 2, absolute: 1pp}, every: 1m, soak: 1m, deadline: {after: 1h, then: promote}}",
    "blueGreen: {preview: {approval: true, for: 1m}, limit: {ratio: 2, absolute: 1pp}, soak: 1m, deadline: {after: 1h, then: promote}}",
    "rolling: {maxWeight: 40, gate: {ratio: 2, absolute: 1pp}, soak: 1m, deadline: {after: 1h, then: promote}}",
    "manual: {weight: 5, soak: 1m, deadline: {after: 1h, then: promote}}",
    "abTest: {weights: {a: 5}, difference: 1pp, for: 1h}",
    "abTest: {weights: {a: 5}, difference: 1pp, until: 2027-01-31T00:00:00Z}",
    "shadow: {sample: 10%, gate: {ratio: 2, absolute: 1pp}, for: 1m, deadline: {after: 1h, then: promote}}",
];

/// [`EVERYTHING`], once with each strategy.
fn everything() -> Vec<Value> {
    let (head, rest) = EVERYTHING.split_once("    canary:\n").unwrap();
    let (_, tail) = rest.split_once("  analysis:\n").unwrap();
    let others = STRATEGIES.map(|strategy| format!("{head}    {strategy}\n  analysis:\n{tail}"));
    let texts = [EVERYTHING.to_owned()].into_iter().chain(others);
    texts
        .map(|text| {
            let rollout: ModelRollout = serde_saphyr::from_str(&text).unwrap();
            serde_json::to_value(&rollout).unwrap()
        })
        .collect()
}

/// Sections of the reference whose fields are written without what they have in common.
const SECTIONS: [&str; 5] = [
    "spec.assignment.",
    "spec.strategy.canary.",
    "spec.strategy.",
    "spec.analysis.",
    "spec.fuse.",
];

fn text(path: &str) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(manifest.join(path)).unwrap()
}

/// Every field that holds a value, as the reference writes it.
fn fields(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields_here) if !fields_here.is_empty() => {
            for (name, value) in fields_here {
                let path = if path.is_empty() || path.ends_with(".when[]") {
                    // Attributes and tests have tables of their own.
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                fields(&path, value, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let path = match path {
                "spec.assignment.key" | "any" | "all" => format!("{path}.when[]"),
                _ => format!("{path}[]"),
            };
            items.iter().for_each(|item| fields(&path, item, found));
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn the_reference_names_every_field_of_the_schema() {
    let mut found = BTreeSet::new();
    for json in everything() {
        fields("", &json, &mut found);
    }
    // Their fields are names of variants, and of labels.
    found.remove("spec.strategy.abTest.weights.a");
    found.retain(|field| !field.ends_with(".labels.x"));
    assert!(found.len() > 70, "only {} fields", found.len());
    let reference = text("README.md");
    let missing: Vec<_> = found
        .iter()
        .filter(|field| {
            let short = SECTIONS
                .iter()
                .find_map(|section| field.strip_prefix(section))
                .unwrap_or(field);
            let last = short.rsplit('.').next().unwrap_or(short);
            let written = |name: &str| reference.contains(&format!("`{name}`"));
            // The bounds of a range are words of its own sentence.
            let there = written(short) || short.starts_with("range.") && written(last);
            !there
        })
        .collect();
    assert!(
        missing.is_empty(),
        "not in controller/README.md: {missing:?}"
    );
}

/// All objects within a value, as JSON pointers.
fn objects(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            for (name, value) in fields {
                objects(&format!("{at}/{name}"), value, found);
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                objects(&format!("{at}/{i}"), item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn everything_is_every_field_that_the_schema_knows() {
    let (mut known, mut used) = (BTreeSet::new(), BTreeSet::new());
    let files = everything();
    let places = files.iter().flat_map(|json| {
        let mut structs = Vec::new();
        objects("", json, &mut structs);
        structs.into_iter().map(move |at| (json, at))
    });
    for (json, at) in places {
        let mut odd = json.clone();
        let object = odd.pointer_mut(&at).and_then(Value::as_object_mut).unwrap();
        let names: Vec<_> = object.keys().cloned().collect();
        object.insert("zzz".to_owned(), Value::Null);
        // An unknown field is refused by a list of those that are known; labels and somebody else's settings have none.
        let Err(refusal) = serde_json::from_value::<ModelRollout>(odd) else {
            continue;
        };
        let refusal = refusal.to_string();
        let Some((_, list)) = refusal.split_once("unknown field `zzz`, expected") else {
            continue;
        };
        let list: BTreeSet<_> = list
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        // Conditions have one attribute and one test each; what one does not use another does.
        let kind = list.iter().cloned().collect::<Vec<_>>().join(" ");
        known.extend(list.iter().map(|name| format!("{name} of {kind}")));
        used.extend(names.iter().map(|name| format!("{name} of {kind}")));
    }
    assert!(known.len() > 80, "only {} fields", known.len());
    let missing: Vec<_> = known.difference(&used).collect();
    assert!(missing.is_empty(), "not in EVERYTHING: {missing:#?}");
}

#[test]
fn the_rollout_of_the_readme_is_valid() {
    let readme = text("../README.md");
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (rollout, _) = rest.split_once("```").unwrap();
    if let Err(mistakes) = parse("README.md", rollout) {
        let list: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", list.join("\n"));
    }
}

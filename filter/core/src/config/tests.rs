mod round_trip;

use super::{Attribute, Claim, ConfigError, FilterConfig, VERSION};
use crate::split::BucketTable;
use crate::table::RoutingTable;

/// The example of the documentation, so that it cannot rot.
fn documented() -> String {
    let lines = include_str!("../../README.md").lines();
    lines
        .skip_while(|line| *line != "```json")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect()
}

#[track_caller]
fn check_refused(json: &str, field: &str, reason: &str) {
    let ConfigError {
        field: actual,
        reason: said,
    } = FilterConfig::parse(json.as_bytes()).unwrap_err();
    assert_eq!(actual, field, "{said}");
    assert!(
        said.contains(reason),
        "\"{said}\" does not say \"{reason}\""
    );
}

#[test]
fn documented_example_parses_and_survives_a_round_trip() {
    let config = FilterConfig::parse(documented().as_bytes()).unwrap();
    assert_eq!(config.version, VERSION);
    assert_eq!(config.generation, 12);
    let rollout = &config.rollouts[0];
    assert_eq!(
        rollout.key,
        [
            Attribute::Header("x-user-id".to_owned()),
            Attribute::JwtClaim(Claim::Name("sub".to_owned())),
        ]
    );
    assert_eq!(
        rollout.table,
        BucketTable::new(vec![(9_500, 0), (10_000, 1)]).unwrap()
    );
    assert!(rollout.variants[0].live && !rollout.variants[1].live && rollout.progressing);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(FilterConfig::parse(json.as_bytes()).unwrap(), config);
    let written: serde_json::Value = serde_json::from_str(&json).unwrap();
    let documented: serde_json::Value = serde_json::from_str(&documented()).unwrap();
    assert_eq!(written, documented);
    RoutingTable::new(config).unwrap();
}

#[test]
fn fields_left_out_have_their_defaults() {
    let json = r#"{"version": 1, "generation": 1, "rollouts": [{"name": "ml/fraud", "hosts": ["fraud"],
        "variants": [{"name": "stable", "version": "7", "route": "v7"}], "salt": "s", "table": [[10000, 0]]}]}"#;
    let config = FilterConfig::parse(json.as_bytes()).unwrap();
    assert_eq!(config.route_header, "x-serin-route");
    let rollout = &config.rollouts[0];
    assert_eq!(config.shadow_header, "x-serin-shadow");
    assert_eq!(rollout.path_prefix, None);
    assert!(rollout.enabled && rollout.variants[0].enabled);
    assert!(rollout.key.is_empty() && !rollout.progressing && !rollout.variants[0].live);
    assert_eq!(rollout.variants[0].cluster, None);
}

#[test]
fn unknown_fields_are_ignored() {
    let json = r#"{"version": 1, "generation": 3, "rollouts": [], "later": {"window": "1s"}}"#;
    assert_eq!(FilterConfig::parse(json.as_bytes()).unwrap().generation, 3);
}

#[test]
fn newer_version_is_refused_by_name_even_if_the_rest_does_not_fit() {
    for newer in [
        r#"{"version": 2, "rollouts": "elsewhere"}"#,
        r#"{"rollouts": {"in": "order"}, "version": 2}"#,
    ] {
        check_refused(
            newer,
            "version",
            "version 2 is newer than this filter reads",
        );
    }
    check_refused(
        r#"{"version": 0, "generation": 1, "rollouts": []}"#,
        "version",
        "version 0 was never published",
    );
}

#[test]
fn broken_json_is_refused_with_its_line() {
    check_refused("", "config", "EOF while parsing");
    check_refused("{\"version\": 1,\n\"generation\": }", "config", "line 2");
    check_refused(
        r#"{"version": 1, "generation": 1, "rollouts": []} x"#,
        "config",
        "trailing characters",
    );
    assert!(
        FilterConfig::parse(b"{\"version\": 1, \"generation\": 1, \"routeHeader\": \"\xff\"}")
            .is_err()
    );
}

#[test]
fn wrong_field_is_named_by_its_path() {
    let with = |from: &str, to: &str| {
        let json = documented();
        assert!(json.contains(from), "the example lacks {from}");
        json.replace(from, to)
    };
    for (from, to, field, reason) in [
        ("\"version\": 1,", "", "config", "missing field `version`"),
        (
            "\"version\": 1,",
            "\"version\": \"1\",",
            "version",
            "must be a whole number",
        ),
        (
            "\"generation\": 12,",
            "",
            "config",
            "missing field `generation`",
        ),
        (
            "\"generation\": 12,",
            "\"generation\": -12,",
            "generation",
            "must be a whole number",
        ),
        ("\"x-serin-route\"", "7", "routeHeader", "must be a text"),
        (
            "\"rollouts\"",
            "\"other\"",
            "config",
            "missing field `rollouts`",
        ),
        (
            "\"name\": \"ml/fraud\",",
            "",
            "rollouts[0]",
            "missing field `name`",
        ),
        (
            "\"live\": true",
            "\"live\": 1",
            "rollouts[0].variants[0].live",
            "must be true or false, but is 1",
        ),
        (
            "\"aboveMicros\": 250000",
            "\"aboveMicros\": 0.25",
            "rollouts[0].slow[0].aboveMicros",
            "must be a whole number",
        ),
        (
            "[10000, 1]",
            "[9999, 1]",
            "rollouts[0].table",
            "must end at 10000",
        ),
        (
            "[10000, 1]",
            "[100, 1]",
            "rollouts[0].table",
            "runs must rise",
        ),
        (
            "[10000, 1]",
            "[10000]",
            "rollouts[0].table[1]",
            "a run is [upto, variant]",
        ),
        (
            "{\"header\": \"x-user-id\"}",
            "{\"moonPhase\": \"full\"}",
            "rollouts[0].key[0]",
            "attribute that this filter knows: header",
        ),
        (
            "\"principals\": [",
            "\"principals\": [7, ",
            "rollouts[0].override.principals[0]",
            "must be a text, but is 7",
        ),
        (
            "\"errorRatio\": 0.5",
            "\"errorRatio\": \"half\"",
            "rollouts[0].fuse.errorRatio",
            "must be a number",
        ),
        (
            "\"sample\": 100",
            "\"sample\": 65536",
            "rollouts[0].shadow.sample",
            "must be",
        ),
        (
            "\"min\": 0.5",
            "\"min\": \"0.5\"",
            "rollouts[0].rules[0].when[1].any[1].range.min",
            "must be a number",
        ),
        (
            "\"Lax\"",
            "\"lax\"",
            "rollouts[0].cookie.sameSite",
            "\"lax\" is not known: this filter knows Strict, Lax, None",
        ),
    ] {
        check_refused(&with(from, to), field, reason);
    }
    // Numbers that a table cannot hold are refused by its own rules, at the latest when it is compiled.
    for run in ["[70000, 1]", "[10000, 256]"] {
        let config = FilterConfig::parse(with("[10000, 1]", run).as_bytes());
        let error = config.and_then(RoutingTable::new).unwrap_err();
        assert!(error.field.starts_with("rollouts[0].table"), "{error}");
    }
}

#[test]
fn a_choice_that_is_not_known_is_refused() {
    let with = |from: &str, to: &str| {
        let json = documented();
        assert!(json.contains(from), "the example lacks {from}");
        json.replace(from, to)
    };
    for (from, to, field) in [
        (
            "\"generation\"",
            "\"stats\": \"labels\", \"generation\"",
            "stats",
        ),
        (
            "{\"header\": \"x-user-id\"}",
            "{\"source\": \"address\"}",
            "rollouts[0].key[0].source",
        ),
        (
            "{\"header\": \"x-user-id\"}",
            "{\"request\": \"body\"}",
            "rollouts[0].key[0].request",
        ),
    ] {
        check_refused(&with(from, to), field, "");
    }
}

#[test]
fn a_key_is_one_attribute() {
    let two = documented().replace(
        "{\"header\": \"x-user-id\"}",
        "{\"header\": \"x-user-id\", \"cookie\": \"uid\"}",
    );
    check_refused(&two, "rollouts[0].key[0]", "attribute");
}

/// Every path of field names in a value: those of list elements are those of the list with `[]`.
fn paths(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let path = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                found.push(path.clone());
                paths(&path, value, found);
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                paths(at, value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn documentation_has_a_row_for_each_field() {
    let json = include_str!("tests/every_field.json");
    let config = FilterConfig::parse(json.as_bytes()).unwrap();
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(
        written,
        serde_json::from_str::<serde_json::Value>(json).unwrap(),
        "a field of the file is none"
    );
    let mut found = Vec::new();
    paths("", &written, &mut found);
    let rows: Vec<_> = include_str!("../../README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(|row| row.replace("[]", ""))
        .collect();
    for path in found {
        let path = path.strip_prefix("rollouts.").unwrap_or(&path);
        // Attributes and tests have rows (or a sentence) of their own; an object has those of its fields.
        if path.starts_with("rules.when.") || path.starts_with("key.") {
            continue;
        }
        let within = format!("{path}.");
        assert!(
            rows.iter()
                .any(|row| row == path || row.starts_with(&within)),
            "the README has no row for {path}"
        );
    }
}

#[test]
fn error_is_one_sentence_that_names_the_field() {
    let error = ConfigError::new("rollouts[0].salt", "it is empty");
    assert_eq!(
        error.to_string(),
        "invalid filter configuration: rollouts[0].salt: it is empty"
    );
}

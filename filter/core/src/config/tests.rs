use super::{ConfigError, FilterConfig, KeySource, VERSION};
use crate::split::BucketTable;

/// The example of the crate documentation, so that it cannot rot.
fn documented() -> String {
    let source = include_str!("../lib.rs");
    let lines = source
        .lines()
        .filter_map(|line| line.strip_prefix("//!").map(str::trim_start));
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
    assert_eq!(rollout.key, [KeySource::Header("x-user-id".to_owned())]);
    assert_eq!(
        rollout.table,
        BucketTable::new(vec![(9_500, 0), (10_000, 1)]).unwrap()
    );
    assert!(rollout.variants[0].live && !rollout.variants[1].live && rollout.progressing);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(FilterConfig::parse(json.as_bytes()).unwrap(), config);
    let written: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        written,
        serde_json::from_str::<serde_json::Value>(&documented()).unwrap()
    );
}

#[test]
fn fields_left_out_have_their_defaults() {
    let json = r#"{"version": 1, "generation": 1, "rollouts": [{"name": "ml/fraud", "hosts": ["fraud"],
        "variants": [{"name": "stable", "version": "7", "route": "v7"}], "salt": "s", "table": [[10000, 0]]}]}"#;
    let config = FilterConfig::parse(json.as_bytes()).unwrap();
    assert_eq!(config.route_header, "x-serin-route");
    let rollout = &config.rollouts[0];
    assert_eq!(rollout.path_prefix, "/");
    assert!(rollout.key.is_empty() && !rollout.progressing && !rollout.variants[0].live);
    assert_eq!(rollout.variants[0].cluster, None);
}

#[test]
fn unknown_fields_are_ignored() {
    let json = r#"{"version": 1, "generation": 3, "rollouts": [], "fuse": {"window": "1s"}}"#;
    assert_eq!(FilterConfig::parse(json.as_bytes()).unwrap().generation, 3);
}

#[test]
fn newer_version_is_refused_by_name_even_if_the_rest_does_not_fit() {
    check_refused(
        r#"{"version": 2, "rollouts": "elsewhere"}"#,
        "version",
        "version 2 is newer than this filter reads",
    );
    check_refused(
        r#"{"version": 0, "generation": 1, "rollouts": []}"#,
        "version",
        "version 0 was never published",
    );
}

#[test]
fn broken_json_is_refused_with_its_line() {
    check_refused("", "config", "EOF while parsing");
    check_refused(
        "{\"version\": 1,\n\"generation\": }",
        "generation",
        "line 2",
    );
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
    check_refused(
        &with("\"generation\": 12,", ""),
        "config",
        "missing field `generation`",
    );
    check_refused(
        &with("\"live\": false", "\"live\": 0"),
        "rollouts[0].variants[1].live",
        "invalid type",
    );
    check_refused(
        &with("[10000, 1]", "[9999, 1]"),
        "rollouts[0].table",
        "must end at 10000",
    );
    check_refused(
        &with("[10000, 1]", "[100, 1]"),
        "rollouts[0].table",
        "runs must rise",
    );
    check_refused(
        &with("[10000, 1]", "[70000, 1]"),
        "rollouts[0].table[1][0]",
        "invalid value",
    );
    check_refused(
        &with("{\"header\"", "{\"cookie\""),
        "rollouts[0].key[0]",
        "unknown variant `cookie`",
    );
}

#[test]
fn error_is_one_sentence_that_names_the_field() {
    let error = ConfigError::new("rollouts[0].salt", "it is empty");
    assert_eq!(
        error.to_string(),
        "invalid filter configuration: rollouts[0].salt: it is empty"
    );
}

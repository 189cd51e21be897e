mod choice;
mod course;
mod mesh;
mod metrics;

use crate::fixtures::edited;
use crate::source::parse;

/// One mistake at a path, whose reason holds a text.
#[track_caller]
fn check(from: &str, to: &str, path: &str, reason: &str) {
    check_text(&edited(from, to), path, reason);
}

#[track_caller]
fn check_text(text: &str, path: &str, reason: &str) {
    let mistakes = parse("fraud.yaml", text).expect_err("must be refused");
    let found = mistakes.iter().find(|mistake| mistake.problem.path == path);
    let Some(found) = found else {
        panic!("no mistake at {path}: {mistakes:?}")
    };
    assert!(
        found.problem.reason.contains(reason),
        "{}",
        found.problem.reason
    );
    assert!(found.place.is_some(), "the mistake has no line");
}

#[test]
fn another_api_version_is_refused() {
    check(
        "serin.dev/v1alpha1",
        "serin.dev/v9",
        "apiVersion",
        "this version reads serin.dev/v1alpha1",
    );
}

#[test]
fn another_kind_is_refused() {
    check(
        "kind: ModelRollout",
        "kind: Canary",
        "kind",
        "must be ModelRollout",
    );
}

#[test]
fn a_name_that_is_no_object_name_is_refused() {
    check(
        "name: fraud,",
        "name: Fraud_1,",
        "metadata.name",
        "lower-case letters",
    );
}

#[test]
fn hosts_are_needed_and_carry_no_port() {
    check("[fraud.ml]", "[]", "spec.match.hosts", "at least one");
    check(
        "[fraud.ml]",
        "['fraud.ml:8080']",
        "spec.match.hosts[0]",
        "without port",
    );
    check(
        "[fraud.ml]",
        "[fraud.ml, FRAUD.ml]",
        "spec.match.hosts[1]",
        "twice",
    );
}

#[test]
fn a_path_prefix_is_absolute_and_plain() {
    check(
        "/v2/models/fraud",
        "v2",
        "spec.match.pathPrefix",
        "must begin with '/'",
    );
    check(
        "/v2/models/fraud",
        "/v2/",
        "spec.match.pathPrefix",
        "not end with it",
    );
    check(
        "/v2/models/fraud",
        "'/v2?x'",
        "spec.match.pathPrefix",
        "no query",
    );
}

#[test]
fn exactly_one_variant_is_stable() {
    check(
        "role: stable, ",
        "",
        "spec.variants",
        "exactly one variant must have 'role: stable', but 0 have it",
    );
    check(
        "{name: canary,",
        "{name: canary, role: stable,",
        "spec.variants",
        "but 2 have it",
    );
}

#[test]
fn variants_do_not_share_name_version_or_route() {
    check(
        "name: canary",
        "name: stable",
        "spec.variants[1].name",
        "variants[0]",
    );
    check(
        r#"version: "8""#,
        r#"version: "7""#,
        "spec.variants[1].version",
        "could not be told apart",
    );
    check(
        "fraud-v8",
        "fraud-v7",
        "spec.variants[1].route.cluster",
        "belongs to one version",
    );
}

#[test]
fn a_label_that_would_break_the_metrics_is_refused() {
    check(
        r#"version: "8""#,
        r#"version: "8;.;x""#,
        "spec.variants[1].version",
        "characters",
    );
}

#[test]
fn a_canary_release_has_one_canary() {
    let third = r#"{name: canary, version: "8", route: {cluster: fraud-v8}}"#;
    let both =
        format!("{third}\n    - {{name: third, version: \"9\", route: {{cluster: fraud-v9}}}}");
    check(third, &both, "spec.variants", "here are 2");
}

#[test]
fn a_key_names_a_header() {
    check(
        "header: x-user-id",
        "header: 'x user'",
        "spec.assignment.key[0].header",
        "not a header name",
    );
}

#[test]
fn weights_have_two_decimals() {
    check(
        "weight: 25",
        "weight: 25.005",
        "spec.strategy.canary.steps[1].weight",
        "finest weight is 0.01",
    );
}

#[test]
fn margins_are_bounded() {
    check(
        "ratio: 1.5",
        "ratio: 0.5",
        "spec.strategy.canary.steps[1].gate.ratio",
        "1 to 100",
    );
    check(
        "0.3pp",
        "300pp",
        "spec.strategy.canary.steps[1].gate.absolute",
        "0 to 100pp",
    );
}

#[test]
fn a_deadline_lies_in_the_future() {
    check(
        "soak: 10s",
        "soak: 10s\n      deadline: {after: 0s}",
        "spec.strategy.canary.deadline.after",
        "longer than 0s",
    );
}

#[test]
fn error_probabilities_are_probabilities() {
    check(
        "falseRollback: 0.01",
        "falseRollback: 0",
        "spec.analysis.falseRollback",
        "probability",
    );
}

#[test]
fn something_is_judged() {
    check(
        "falseRollback: 0.01",
        "metrics: []",
        "spec.analysis.metrics",
        "at least one metric",
    );
}

#[test]
fn guards_have_limits_that_can_act() {
    let guard =
        |fields: &str| format!("falseRollback: 0.01\n    guards: [{{name: outage, {fields}}}]");
    let base = "spec.analysis.guards[0]";
    check(
        "falseRollback: 0.01",
        &guard("errorRate: {above: 100%}"),
        &format!("{base}.errorRate.above"),
        "between 0% and 100%",
    );
    check(
        "falseRollback: 0.01",
        &guard("errorRate: {above: 50%}, over: 0s"),
        &format!("{base}.over"),
        "1s to 1h",
    );
    check(
        "falseRollback: 0.01",
        &guard("errorRate: {above: 50%}, minRequests: 0"),
        &format!("{base}.minRequests"),
        "at least 1",
    );
}

#[test]
fn waits_are_bounded() {
    check(
        "soak: 10s",
        "soak: 9000y",
        "spec.strategy.canary.soak",
        "at most a year",
    );
    check(
        "soak: 10s",
        "soak: 10s\n      deadline: {after: 400d}",
        "spec.strategy.canary.deadline.after",
        "at most a year",
    );
}

#[test]
fn what_the_filter_would_refuse_is_refused_here() {
    let refused = "the filter refuses it";
    check(
        "header: x-user-id",
        "header: x-serin-route",
        "spec.assignment.key[0].header",
        refused,
    );
    check(
        "/v2/models/fraud",
        "/v2//fraud",
        "spec.match.pathPrefix",
        refused,
    );
}

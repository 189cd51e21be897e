use super::*;
use crate::fixtures::{edited, text};

#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    let mistakes = parse("fraud.yaml", &edited(from, to)).expect_err("the file must be refused");
    let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [expected]);
}

#[test]
fn the_fixture_is_valid() {
    let source = parse("fraud.yaml", &text()).unwrap();
    assert_eq!(
        source
            .plan
            .steps
            .iter()
            .map(|step| step.weight())
            .collect::<Vec<_>>(),
        [1000, 2500, 5000]
    );
    assert_eq!(source.plan.name.to_string(), "ml/fraud");
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    check(
        "soak: 10s",
        "soack: 10s",
        "fraud.yaml:21:7: spec.strategy.canary.soack: unknown field `soack`, expected one of steps, soak, deadline",
    );
}

#[test]
fn a_field_of_a_later_version_is_refused_not_ignored() {
    let mistakes = parse(
        "fraud.yaml",
        &edited("  analysis:", "  notify: [{slack: {}}]\n  analysis:"),
    )
    .unwrap_err();
    assert!(
        mistakes[0]
            .to_string()
            .starts_with("fraud.yaml:22:3: spec.notify: unknown field `notify`"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn a_missing_field_is_named() {
    let mistakes = parse("fraud.yaml", &edited("    salt: fraud-8\n", "")).unwrap_err();
    assert!(mistakes[0].to_string().contains("salt"), "{}", mistakes[0]);
    assert!(mistakes[0].place.is_some());
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_its_field() {
    let mistakes = parse("fraud.yaml", &edited("weight: 25", "weight: many")).unwrap_err();
    let shown = mistakes[0].to_string();
    assert!(shown.starts_with("fraud.yaml:19:"), "{shown}");
    assert!(
        shown.contains("spec.strategy.canary.steps[1].weight"),
        "{shown}"
    );
}

#[test]
fn a_value_that_is_no_number_is_quoted() {
    check(
        "weight: 25",
        "weight: 25%",
        "fraud.yaml:19:20: spec.strategy.canary.steps[1].weight: '25%' is not a number",
    );
}

#[test]
fn weights_that_do_not_rise_are_refused() {
    check(
        "weight: 25",
        "weight: 5",
        "fraud.yaml:19:12: spec.strategy.canary.steps[1].weight: must be larger than the step before (10), but is 5",
    );
}

#[test]
fn a_weight_beyond_the_whole_is_refused() {
    check(
        "weight: 50",
        "weight: 150",
        "fraud.yaml:20:12: spec.strategy.canary.steps[2].weight: must be more than 0 and less than 100 per cent, but is 150 (100 % comes after the last step)",
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = edited("weight: 25", "weight: 0")
        .replace("salt: fraud-8", "salt: ''")
        .replace("0.01", "7");
    let mistakes = parse("fraud.yaml", &text).unwrap_err();
    let paths: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.problem.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "spec.assignment.salt",
            "spec.strategy.canary.steps[1].weight",
            "spec.analysis.falseRollback"
        ]
    );
}

#[test]
fn text_that_is_no_yaml_has_a_line() {
    let mistakes = parse("fraud.yaml", "apiVersion: [").unwrap_err();
    assert!(
        mistakes[0].to_string().starts_with("fraud.yaml:1"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn a_file_may_use_every_field_of_this_version() {
    let text = edited(
        "    falsePromotion: 0.05\n",
        "    falsePromotion: 0.05\n    interval: 10s\n    metrics:\n      - {name: errors, errorRate: {}, tolerance: {ratio: 1.1, absolute: 0.05pp}}\n    guards:\n      - {name: outage, errorRate: {above: 50%}, minRequests: 20, over: 15s}\n    onFail: hold\n    onNoData: hold\n    onError: hold\n",
    )
    .replace("soak: 10s", "soak: 10s\n      deadline: {after: 24h, then: rollback}")
    .replace("{ratio: 1.25, absolute: 0.2pp}}", "{ratio: 1.25, absolute: 0.2pp}, pause: {approval: true, for: 5m}}");
    let source = crate::fixtures::source(&text);
    assert_eq!(source.plan.guards.len(), 1);
    assert!(source.plan.steps[2].pause.approval);
}

#[test]
fn a_written_rollout_reads_back_the_same() {
    let source = parse("fraud.yaml", &text()).unwrap();
    let json = serde_json::to_string(&source.rollout).unwrap();
    assert_eq!(
        serde_json::from_str::<ModelRollout>(&json).unwrap(),
        source.rollout
    );
}

#[test]
fn what_the_parser_says_is_said_in_the_words_of_the_file() {
    let at = |field: &str, reason: &str| format!("fraud.yaml:{field}: {reason}");
    let source = "a source of the key is one attribute, such as {header: x-user-id}, and an item of the list for each";
    let cases = [
        (
            "hosts: [fraud.ml]",
            "hosts: fraud.ml",
            at("6:12: spec.match.hosts", "must be a list, such as [a, b]"),
        ),
        (
            "soak: 10s",
            "soak:",
            at(
                "21:11: spec.strategy.canary.soak",
                "has no value: write one, or remove the field",
            ),
        ),
        (
            "salt: fraud-8",
            "salt: a\n    salt: b",
            at("15:5", "'salt' is there twice: remove one"),
        ),
        (
            "{header: x-user-id}",
            "{header: x-user-id, cookie: uid}",
            at(
                "13:29: spec.assignment.key[0].cookie",
                &format!("one is there already: {source}"),
            ),
        ),
        (
            "{header: x-user-id}",
            "{}",
            at(
                "13:10: spec.assignment.key[0]",
                &format!("is empty: {source}"),
            ),
        ),
        (
            "  analysis:\n",
            "  fuse: {minRequests: -1}\n  analysis:\n",
            at(
                "22:23: spec.fuse.minRequests",
                "'-1' is not a whole number from 0 up",
            ),
        ),
        (
            "  analysis:\n",
            "  fuse: off\n  analysis:\n",
            at("22:9: spec.fuse", "must have fields, such as {name: value}"),
        ),
        (
            "  analysis:\n",
            "  fuse: null\n  analysis:\n",
            at(
                "22:9: spec.fuse",
                "null is no fuse: say enabled: false to switch it off, or leave the field out for the default one",
            ),
        ),
        (
            "    salt: fraud-8\n",
            "    salt: fraud-8\n    cookie: {name: a, secure: maybe}\n",
            at(
                "15:31: spec.assignment.cookie.secure",
                "'maybe' is neither true nor false",
            ),
        ),
    ];
    for (from, to, expected) in cases {
        check(from, to, &expected);
    }
    let scalar = parse("fraud.yaml", &edited("{header: x-user-id}", "x-user-id")).unwrap_err();
    assert!(scalar[0].to_string().ends_with(source), "{}", scalar[0]);
    for (text, expected) in [
        ("# nothing\n\n".to_owned(), "the file is empty"),
        (
            text().replace("hosts: [fraud.ml]", "hosts: [*.fraud.ml]"),
            "a text that begins with * wants quotes",
        ),
        (
            text().replace("salt: fraud-8", r#"salt: "\d+""#),
            r"between single quotes a \ is a \",
        ),
        (
            text().replace("salt: fraud-8", "salt: [0-9]+"),
            "a text that begins with [ or { wants quotes",
        ),
        (
            text().replace("role: stable", "role: canary"),
            "unknown value `canary`, expected one of stable",
        ),
        (
            format!("{}---\nkind: ModelRollout\n", text()),
            "a file holds one rollout: put what follows '---' into a file of its own",
        ),
    ] {
        let mistakes = parse("fraud.yaml", &text).unwrap_err();
        assert!(
            mistakes[0].to_string().ends_with(expected),
            "{}",
            mistakes[0]
        );
    }
}

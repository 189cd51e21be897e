//! What is refused before any request sees it.

use serde_json::{Value, json};

use crate::testing::{rollout_accepted, rollout_refused, rule};

/// One condition is refused for a field below it.
#[track_caller]
fn check(condition: Value, field: &str, reason: &str) {
    rollout_refused(
        |it| it.rules = vec![rule(1, Value::Array(vec![condition]))],
        &format!("rules[0].when[0]{field}"),
        reason,
    );
}

fn exists() -> Value {
    json!({"header": "x", "exists": true})
}

#[test]
fn rule_has_a_condition() {
    rollout_refused(
        |it| it.rules = vec![rule(1, json!([exists()])), rule(1, json!([]))],
        "rules[1].when",
        "would take every request: name one, or move the weights",
    );
}

#[test]
fn condition_names_exactly_one_attribute() {
    let reason = "must name exactly one attribute: header, cookie, query, jwtClaim";
    check(json!({"equals": "1"}), "", reason);
    check(
        json!({"header": "a", "cookie": "b", "equals": "1"}),
        "",
        reason,
    );
    check(json!({"moonPhase": "full", "equals": "1"}), "", reason);
}

#[test]
fn condition_names_exactly_one_test_that_is_known() {
    let reason = "must name exactly one test that this filter knows: equals, in";
    check(json!({"header": "a"}), "", reason);
    check(
        json!({"header": "a", "prefix": "b", "suffix": "c"}),
        "",
        reason,
    );
    check(json!({"header": "a", "soundsLike": "b"}), "", reason);
}

#[test]
fn attribute_is_one_that_can_be_sent() {
    check(
        json!({"header": ":path", "equals": "1"}),
        ".header",
        "ordinary header",
    );
    check(
        json!({"cookie": "a b", "equals": "1"}),
        ".cookie",
        "name of a cookie",
    );
    check(
        json!({"jwtClaim": [], "equals": "1"}),
        "",
        "a claim has a name",
    );
}

#[test]
fn any_and_all_stand_alone_and_are_not_empty() {
    let reason = "any and all stand alone and hold at least one condition";
    check(json!({"any": []}), "", reason);
    check(json!({"all": []}), "", reason);
    check(json!({"any": [exists()], "all": [exists()]}), "", reason);
    check(json!({"any": [exists()], "header": "x"}), "", reason);
    check(json!({"all": [exists()], "exists": true}), "", reason);
}

#[test]
fn nested_condition_is_named_by_its_path() {
    check(
        json!({"any": [exists(), {"all": [{"header": "x"}]}]}),
        ".any[1].all[0]",
        "exactly one test",
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| (0..depth).fold(exists(), |inner, _| json!({"all": [inner]}));
    rollout_accepted(|it| it.rules = vec![rule(1, json!([nested(8)]))]);
    check(nested(9), &".all[0]".repeat(8), "nested deeper than 8");
}

#[test]
fn conditions_of_a_rollout_are_bounded() {
    let rules = |count: usize| vec![rule(1, json!([exists()])); count];
    rollout_accepted(|it| it.rules = rules(256));
    rollout_refused(
        |it| it.rules = rules(257),
        "rules[256].when[0]",
        "more than 256 conditions: join values with \"in\"",
    );
    let within = json!({"any": vec![exists(); 256]});
    check(within, ".any[255]", "more than 256 conditions");
}

#[test]
fn expression_is_refused_with_what_is_wrong() {
    for bad in ["(", "a{2,1}", "[", "\\p{Greek}", "(?=a)", "a\\1"] {
        check(
            json!({"header": "x", "regex": bad}),
            ".regex",
            &format!("\"{bad}\": "),
        );
    }
}

#[test]
fn expression_cannot_leave_the_group_that_anchors_it() {
    check(
        json!({"header": "x", "regex": "a)|(b"}),
        ".regex",
        "\"a)|(b\": ",
    );
}

#[test]
fn expression_that_would_grow_large_is_refused() {
    check(
        json!({"header": "x", "regex": "(a{100}){100}"}),
        ".regex",
        "size limit",
    );
    check(
        json!({"header": "x", "regex": "x".repeat(100_000)}),
        ".regex",
        "size limit",
    );
    check(
        json!({"header": "x", "regex": "(((a{9}){9}){9}){9}"}),
        ".regex",
        "size limit",
    );
}

#[test]
fn range_has_a_bound_and_is_not_empty() {
    let reason = "must have min, max or both, and min must not be above max";
    check(json!({"header": "x", "range": {}}), ".range", reason);
    check(
        json!({"header": "x", "range": {"min": 2, "max": 1}}),
        ".range",
        reason,
    );
    rollout_accepted(|it| {
        let one = json!([{"header": "x", "range": {"min": 1, "max": 1}}]);
        it.rules = vec![rule(1, one)];
    });
}

mod refused;

use serde_json::{Value, json};

use crate::route::{Reason, decide};
use crate::testing::{Fake, rollout_accepted, rule};

const PAYLOAD: &str = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload";

/// Whether a rule with these conditions matches.
#[track_caller]
fn matches(when: Value, request: Fake) -> bool {
    let table = rollout_accepted(|it| it.rules = vec![rule(1, when)]);
    let decision = decide(&table, &request.with("x-user-id", "42")).unwrap();
    let matched = decision.reason == Reason::Rule;
    assert_eq!(
        (decision.rule, decision.variant),
        (matched.then_some(0), usize::from(matched))
    );
    matched
}

/// Whether one test accepts the value of a header; none: the header is absent.
#[track_caller]
fn accepts<'v>(test: Value, value: impl Into<Option<&'v [u8]>>) -> bool {
    let Value::Object(mut condition) = test else {
        panic!("a test is an object");
    };
    condition.insert("header".to_owned(), "X-Value".into());
    let request = match value.into() {
        Some(value) => Fake::to("fraud").with("x-value", value),
        None => Fake::to("fraud"),
    };
    matches(json!([condition]), request)
}

#[test]
fn equals_compares_bytes() {
    let test = || json!({"equals": "Müller"});
    assert!(accepts(test(), "Müller".as_bytes()));
    for other in ["müller", "Müller ", "Mülle", ""] {
        assert!(!accepts(test(), other.as_bytes()), "{other}");
    }
    assert!(!accepts(test(), None));
    assert!(
        accepts(json!({"equals": ""}), b"".as_slice()),
        "an empty value is a value"
    );
    assert!(!accepts(json!({"equals": ""}), None));
}

#[test]
fn in_is_one_of_the_values() {
    let test = || json!({"in": ["de", "fr"]});
    assert!(accepts(test(), b"fr".as_slice()));
    assert!(!accepts(test(), b"de,fr".as_slice()));
    assert!(!accepts(test(), None));
    assert!(
        !accepts(json!({"in": []}), b"de".as_slice()),
        "nothing is one of none"
    );
}

#[test]
fn not_in_is_none_of_the_values_or_no_value() {
    let test = || json!({"notIn": ["de", "fr"]});
    assert!(accepts(test(), b"it".as_slice()));
    assert!(!accepts(test(), b"fr".as_slice()));
    assert!(accepts(test(), None), "what is absent is not in the list");
}

#[test]
fn prefix_and_suffix_compare_bytes() {
    assert!(accepts(json!({"prefix": "gold"}), b"gold-1\xff".as_slice()));
    assert!(!accepts(json!({"prefix": "gold"}), b"gol".as_slice()));
    assert!(!accepts(json!({"prefix": "gold"}), b"Gold".as_slice()));
    assert!(accepts(
        json!({"suffix": "@example.com"}),
        b"\xffa@example.com".as_slice()
    ));
    assert!(!accepts(
        json!({"suffix": "@example.com"}),
        b"a@example.com.evil".as_slice()
    ));
    for test in [json!({"prefix": ""}), json!({"suffix": ""})] {
        assert!(
            !accepts(test, None),
            "what is absent begins and ends with nothing"
        );
    }
}

#[test]
fn exists_asks_for_any_value_or_none() {
    for (wanted, value) in [(true, Some("1")), (true, Some("")), (false, None)] {
        assert!(
            accepts(json!({"exists": wanted}), value.map(str::as_bytes)),
            "{value:?}"
        );
        assert!(
            !accepts(json!({"exists": !wanted}), value.map(str::as_bytes)),
            "{value:?}"
        );
    }
}

#[test]
fn range_holds_numbers_between_its_bounds() {
    let both = || json!({"range": {"min": -1.5, "max": 10}});
    for within in ["-1.5", "0", "-0", "9.999", "10", "1e1", "10.0", "0.1E2"] {
        assert!(accepts(both(), within.as_bytes()), "{within}");
    }
    for outside in ["-1.6", "10.0001", "1e2", "-1e300"] {
        assert!(!accepts(both(), outside.as_bytes()), "{outside}");
    }
    assert!(accepts(json!({"range": {"min": 18}}), b"120".as_slice()));
    assert!(!accepts(json!({"range": {"max": 18}}), b"120".as_slice()));
}

#[test]
fn range_holds_nothing_that_is_no_number() {
    let all = || json!({"range": {"min": -1e300, "max": 1e300}});
    let long = "1".repeat(65);
    for other in [
        "",
        "-",
        "e",
        ".",
        "inf",
        "-Infinity",
        "NaN",
        "0x10",
        "1_000",
        "1,5",
        "5 kg",
        "[1]",
        "true",
        "null",
        "\"1\"",
        &long,
    ] {
        assert!(!accepts(all(), other.as_bytes()), "{other}");
    }
    assert!(!accepts(all(), b"1\xff".as_slice()));
    assert!(!accepts(all(), None));
}

#[test]
fn regex_matches_the_whole_value() {
    let test = || json!({"regex": "gold|silver-[0-9]+"});
    for within in ["gold", "silver-42"] {
        assert!(accepts(test(), within.as_bytes()), "{within}");
    }
    for other in ["golden", "a gold", "silver-", "gold\n", ""] {
        assert!(!accepts(test(), other.as_bytes()), "{other}");
    }
    assert!(!accepts(json!({"regex": ".*"}), None));
}

#[test]
fn regex_matches_text_of_up_to_1_kib() {
    let any = || json!({"regex": "(?s).*"});
    assert!(accepts(any(), "ü".repeat(512).as_bytes()));
    assert!(!accepts(any(), "x".repeat(1_025).as_bytes()));
    assert!(!accepts(any(), b"\xff".as_slice()), "not UTF-8");
}

#[test]
fn regex_takes_linear_time() {
    // A backtracking engine would need some 2^1000 steps for each of these.
    let value = "a".repeat(1_023) + "b";
    for catastrophe in ["(a+)+$", "(a|aa)+", "(a*)*c", "(.*a){20}c"] {
        assert!(
            !accepts(json!({"regex": catastrophe}), value.as_bytes()),
            "{catastrophe}"
        );
    }
}

#[test]
fn every_attribute_can_be_tested() {
    // {"plan":"enterprise"}
    let token = "Bearer e30.eyJwbGFuIjoiZW50ZXJwcmlzZSJ9.x";
    let request = || {
        Fake::default()
            .with(":authority", "fraud")
            .with(":method", "POST")
            .with(":path", "/v2/models/fraud/infer?debug=on#x")
            .with("x-country", "DE")
            .with("cookie", "beta=yes")
            .with("authorization", token)
            .by_principal("spiffe://mesh/ci")
            .with_property(&format!("{PAYLOAD}.org.name"), "acme")
    };
    for (attribute, right) in [
        (json!({"header": "X-Country"}), "DE"),
        (json!({"cookie": "beta"}), "yes"),
        (json!({"query": "debug"}), "on"),
        (json!({"jwtClaim": ["org", "name"]}), "acme"),
        (json!({"unverifiedJwtClaim": "plan"}), "enterprise"),
        (json!({"grpcMetadata": "X-Country"}), "DE"),
        (json!({"source": "principal"}), "spiffe://mesh/ci"),
        (json!({"request": "method"}), "POST"),
        (json!({"request": "path"}), "/v2/models/fraud/infer"),
    ] {
        let with = |test: &str, value: Value| {
            let mut condition = attribute.clone();
            condition[test] = value;
            json!([condition])
        };
        assert!(
            matches(with("equals", right.into()), request()),
            "{attribute}"
        );
        assert!(
            !matches(with("equals", "other".into()), request()),
            "{attribute}"
        );
        // No request is without a path that has a rollout with one; the method can be absent.
        let bare = || Fake::default().with(":authority", "fraud");
        assert!(
            !matches(with("equals", right.into()), bare()),
            "{attribute}"
        );
        assert!(matches(with("exists", false.into()), bare()), "{attribute}");
        assert!(
            matches(with("notIn", json!([right])), bare()),
            "{attribute}"
        );
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let when = || json!([{"header": "a", "equals": "1"}, {"header": "b", "equals": "2"}]);
    let request = Fake::to("fraud").with("a", "1");
    assert!(!matches(when(), request));
    let request = Fake::to("fraud").with("a", "1").with("b", "2");
    assert!(matches(when(), request));
}

#[test]
fn any_and_all_nest() {
    // a = 1 and (b = 2 or (c = 3 and d = 4))
    let when = || {
        json!([
            {"header": "a", "equals": "1"},
            {"any": [
                {"header": "b", "equals": "2"},
                {"all": [{"header": "c", "equals": "3"}, {"header": "d", "equals": "4"}]}
            ]}
        ])
    };
    for bits in 0..16_u8 {
        let [a, b, c, d] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let mut request = Fake::to("fraud");
        for (there, name, value) in [(a, "a", "1"), (b, "b", "2"), (c, "c", "3"), (d, "d", "4")] {
            request = request.with(name, if there { value } else { "other" });
        }
        assert_eq!(
            matches(when(), request),
            a && (b || c && d),
            "{a} {b} {c} {d}"
        );
    }
}

#[test]
fn conditions_are_asked_only_until_the_answer_is_known() {
    let table = rollout_accepted(|it| {
        let when = json!([
            {"any": [{"header": "a", "exists": true}, {"header": "b", "exists": true}]},
            {"header": "c", "exists": true},
            {"source": "principal", "exists": true}
        ]);
        it.rules = vec![rule(1, when)];
    });
    let request = Fake::to("fraud").with("a", "").with("x-user-id", "42");
    decide(&table, &request).unwrap();
    assert_eq!(request.asked(), [":authority", "a", "c", "x-user-id"]);
}

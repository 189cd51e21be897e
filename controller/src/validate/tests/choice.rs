//! Rules, overrides, cookies, fuses, shadows and switches of a rollout file.

use serin_filter_core::config::{Attribute, Claim};

use super::check;
use crate::fixtures::{edited, source, text};
use crate::paths::Paths;

const SALT: &str = "    salt: fraud-8\n";
const ANALYSIS: &str = "  analysis:\n";

fn assignment(fields: &str) -> String {
    format!("{SALT}    {fields}\n")
}

fn spec(fields: &str) -> String {
    format!("  {fields}\n{ANALYSIS}")
}

#[test]
fn the_example_of_the_product_is_taken_as_written() {
    let plan = source(&edited(
        "      - {header: x-user-id}\n    salt: fraud-8\n",
        r#"      - {header: X-User-Id}
      - {cookie: uid}
      - {query: user}
      - {jwtClaim: sub}
      - {unverifiedJwtClaim: [realm, sub]}
      - {grpcMetadata: tenant}
      - {source: principal}
    cookie: {name: serin-id, maxAge: 30d}
    salt: fraud-8
    rules:
      - {variant: canary, when: [{header: x-beta, equals: "1"}]}
      - {variant: stable, when: [{jwtClaim: plan, in: [enterprise]}, {header: x-country, notIn: [DE, FR]}]}
"#,
    ))
    .plan;
    let claim = Claim::Path(vec!["realm".to_owned(), "sub".to_owned()]);
    assert_eq!(plan.key[0], Attribute::Header("x-user-id".to_owned()));
    assert_eq!(
        plan.key[3],
        Attribute::JwtClaim(Claim::Name("sub".to_owned()))
    );
    assert_eq!(plan.key[4], Attribute::UnverifiedJwtClaim(claim));
    assert_eq!(plan.key.len(), 7);
    let rules = &plan.choice.rules;
    assert_eq!((rules[0].variant, rules[1].variant), (1, 0));
    assert_eq!(
        rules[1].when[1].not_in,
        Some(vec!["DE".to_owned(), "FR".to_owned()])
    );
    let cookie = plan.choice.cookie.unwrap();
    assert_eq!((cookie.max_age, cookie.secure), (Some(2_592_000), true));
}

#[test]
fn positions_are_the_plans_whatever_the_order_of_the_file() {
    let swapped = edited(&assignment("")[..SALT.len()], &assignment("rules: [{variant: canary, when: [{header: x, exists: true}]}]"))
        .replace(
            "    - {name: stable, role: stable, version: \"7\", route: {cluster: fraud-v7}}\n    - {name: canary, version: \"8\", route: {cluster: fraud-v8}}\n",
            "    - {name: canary, version: \"8\", route: {cluster: fraud-v8}}\n    - {name: stable, role: stable, version: \"7\", route: {cluster: fraud-v7}}\n",
        );
    assert!(swapped.find("name: canary") < swapped.find("name: stable"));
    assert_eq!(source(&swapped).plan.choice.rules[0].variant, 1);
}

#[test]
fn a_fuse_is_there_unless_it_is_switched_off() {
    let fuse = |text: &str| source(text).plan.choice.fuse;
    let default = fuse(&text()).unwrap();
    assert_eq!(default.consecutive_errors, Some(5));
    assert_eq!(default.error_ratio, Some(0.5));
    assert_eq!(
        (default.min_requests, default.window_ms, default.cooldown_ms),
        (20, 1_000, 30_000)
    );
    assert_eq!((default.pending_ms, default.slow_ms), (None, None));
    assert_eq!(fuse(&edited(ANALYSIS, &spec("fuse: {}"))), Some(default));
    assert_eq!(
        fuse(&edited(ANALYSIS, &spec("fuse: {enabled: false}"))),
        None
    );
    let own = "fuse: {consecutiveErrors: null, errorRatio: 20%, pending: 10s, slow: 1500ms}";
    let own = fuse(&edited(ANALYSIS, &spec(own))).unwrap();
    assert_eq!((own.consecutive_errors, own.error_ratio), (None, Some(0.2)));
    assert_eq!((own.pending_ms, own.slow_ms), (Some(10_000), Some(1_500)));
}

#[test]
fn switches_and_shadows_are_handed_on() {
    let choice = |text: &str| source(text).plan.choice;
    assert!(choice(&text()).enabled && choice(&text()).arms_enabled[0]);
    assert!(!choice(&edited(ANALYSIS, &spec("enabled: false"))).enabled);
    let off = "route: {cluster: fraud-v8}, enabled: false}";
    assert!(!choice(&edited("route: {cluster: fraud-v8}}", off)).arms_enabled[0]);
    let shadow = choice(&edited(
        ANALYSIS,
        &spec("shadow: {cluster: fraud-v9, sample: 2.5%}"),
    ));
    assert_eq!(shadow.shadow.unwrap().sample, 250);
}

#[test]
fn a_rollout_has_one_kind_of_path() {
    let paths = |field: &str| {
        source(&edited("pathPrefix: /v2/models/fraud", field))
            .plan
            .paths
    };
    assert_eq!(paths("path: /a"), Paths::Exact("/a".to_owned()));
    let template = "/v2/models/{name}/infer";
    assert_eq!(
        paths(&format!("pathTemplate: '{template}'")),
        Paths::Template(template.to_owned())
    );
    assert_eq!(
        source(&edited("    pathPrefix: /v2/models/fraud\n", ""))
            .plan
            .paths,
        Paths::all()
    );
    check(
        "pathPrefix: /v2/models/fraud",
        "pathPrefix: /v2\n    path: /v2/x",
        "spec.match.path",
        "pathPrefix is given as well",
    );
    check(
        "pathPrefix: /v2/models/fraud",
        "pathTemplate: '/v2/{a}x'",
        "spec.match.pathTemplate",
        "neither text nor",
    );
}

#[test]
fn hosts_may_have_a_star_for_whole_labels() {
    let hosts = source(&edited("[fraud.ml]", "['*', '*.ML', fraud.ml]"))
        .plan
        .hosts;
    assert_eq!(hosts, ["*", "*.ml", "fraud.ml"]);
    for bad in ["'*ml'", "'*.'", "'a.*.b'", "'**'"] {
        check(
            "[fraud.ml]",
            &format!("[{bad}]"),
            "spec.match.hosts[0]",
            "host name",
        );
    }
}

#[test]
fn a_rule_names_a_variant_of_the_rollout() {
    check(
        SALT,
        &assignment("rules: [{variant: canari, when: [{header: x, exists: true}]}]"),
        "spec.assignment.rules[0].variant",
        "there is no variant 'canari': the names are stable, canary",
    );
}

#[test]
fn an_unknown_field_is_an_error_wherever_it_stands() {
    let cases = [
        (
            SALT,
            assignment("rules: [{variant: canary, when: [{heder: x, exists: true}]}]"),
            "heder",
        ),
        (
            SALT,
            assignment("rules: [{variant: canary, when: [{header: x, range: {low: 1}}]}]"),
            "low",
        ),
        (SALT, assignment("cookie: {name: a, path: /}"), "path"),
        (
            SALT,
            assignment("override: {header: x, principals: [a]}"),
            "principals",
        ),
        (
            SALT,
            assignment("override: {header: x, trusted: {secret: {value: a}}}"),
            "value",
        ),
        (ANALYSIS, spec("fuse: {consecutive: 5}"), "consecutive"),
        (
            ANALYSIS,
            spec("shadow: {cluster: a, sample: 1%, mirror: b}"),
            "mirror",
        ),
        ("header: x-user-id", "claim: sub".to_owned(), "claim"),
    ];
    for (from, to, field) in cases {
        let mistakes = crate::source::parse("fraud.yaml", &edited(from, &to)).unwrap_err();
        let shown = mistakes[0].to_string();
        assert!(
            shown.contains("unknown") && shown.contains(field),
            "{shown}"
        );
    }
}

#[test]
fn what_only_the_filter_refuses_is_found_in_the_file() {
    let refused = "the filter refuses it";
    let rule = |when: &str| assignment(&format!("rules: [{{variant: canary, when: [{when}]}}]"));
    let secret = "override: {header: x, trusted: {secret: {header: y, sha256: abc}}}";
    let cases = [
        (SALT, rule(""), "spec.assignment.rules[0].when"),
        (
            SALT,
            rule("{header: x}"),
            "spec.assignment.rules[0].when[0]",
        ),
        (
            SALT,
            rule("{header: x, regex: '('}"),
            "spec.assignment.rules[0].when[0].regex",
        ),
        (
            SALT,
            rule("{any: [{header: x, exists: true}, {query: y, range: {min: 2, max: 1}}]}"),
            "spec.assignment.rules[0].when[0].any[1].range",
        ),
        (
            SALT,
            assignment("cookie: {name: 'a b'}"),
            "spec.assignment.cookie",
        ),
        (
            SALT,
            assignment("cookie: {name: a, sameSite: None, secure: false}"),
            "spec.assignment.cookie",
        ),
        (
            SALT,
            assignment("override: {header: x}"),
            "spec.assignment.override.trusted",
        ),
        (
            SALT,
            assignment("override: {header: 'x y', trusted: {principals: [a]}}"),
            "spec.assignment.override.header",
        ),
        (
            SALT,
            assignment(secret),
            "spec.assignment.override.trusted.secret.sha256",
        ),
        (ANALYSIS, spec("fuse: {window: 0s}"), "spec.fuse.window"),
        (
            ANALYSIS,
            spec("fuse: {errorRatio: 50}"),
            "spec.fuse.errorRatio",
        ),
        (
            ANALYSIS,
            spec("fuse: {consecutiveErrors: 0}"),
            "spec.fuse.consecutiveErrors",
        ),
        (ANALYSIS, spec("fuse: {pending: 0s}"), "spec.fuse.pending"),
        (
            "header: x-user-id",
            "jwtClaim: []".to_owned(),
            "spec.assignment.key[0]",
        ),
    ];
    for (from, to, path) in cases {
        check(from, &to, path, refused);
    }
}

#[test]
fn values_that_would_do_nothing_are_refused() {
    check(
        SALT,
        &assignment("cookie: {name: a, maxAge: 500ms}"),
        "spec.assignment.cookie.maxAge",
        "at least 1s",
    );
    check(
        ANALYSIS,
        &spec("shadow: {cluster: a, sample: 0%}"),
        "spec.shadow.sample",
        "0.01% to 100%",
    );
    check(
        ANALYSIS,
        &spec("shadow: {cluster: a, sample: 10}"),
        "spec.shadow.sample",
        "is 1000%",
    );
    check(
        "role: stable, ",
        "role: stable, enabled: false, ",
        "spec.variants[0].enabled",
        "lead home",
    );
}

#[test]
fn a_claim_that_is_no_name_is_explained() {
    let mistakes = crate::source::parse(
        "fraud.yaml",
        &edited("header: x-user-id", "jwtClaim: {sub: 1}"),
    )
    .unwrap_err();
    let shown = mistakes[0].to_string();
    assert!(shown.contains("name of a claim"), "{shown}");
}

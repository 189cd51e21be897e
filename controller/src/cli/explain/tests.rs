use std::fs;

use serde_json::json;
use serin_filter_core::config::VariantConfig;
use serin_filter_core::split::bucket;

use super::*;
use crate::fixtures::{edited, text};

/// [`text`] with everything that can decide, and a salt under which user 42 is in bucket 3057, user 1 in 745.
fn rich() -> String {
    edited(
        "      - {header: x-user-id}\n    salt: fraud-8\n",
        r#"      - {header: x-user-id}
      - {cookie: uid}
      - {query: user}
      - {jwtClaim: [realm, sub]}
      - {unverifiedJwtClaim: sub}
      - {grpcMetadata: tenant}
      - {source: principal}
    cookie: {name: serin-id}
    salt: fraud-8
    rules:
      - {variant: canary, when: [{header: x-beta, equals: "1"}, {request: method, in: [POST]}]}
      - {variant: stable, when: [{jwtClaim: plan, in: [enterprise]}]}
    override: {header: x-serin-variant, trusted: {principals: [spiffe://a/tester]}}
"#,
    )
    .replace(
        "  analysis:\n",
        "  shadow: {cluster: fraud-v9, sample: 10%}\n  analysis:\n",
    )
}

/// What `serin explain --file` says, line by line.
#[allow(clippy::needless_pass_by_value, reason = "the calls read better")]
fn said(file: &str, request: RequestArgs, weight: Option<u16>) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fraud.yaml");
    fs::write(&path, file).unwrap();
    let mut question = of_rollout_file(&path, None).unwrap();
    if let Some(weight) = weight {
        question.future = Future::Steps(vec![weight]);
    }
    let request = Typed::new(&request, question.asked_about()).unwrap();
    answer(&question, &request).unwrap()
}

fn pair(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

fn header(name: &str, value: &str) -> RequestArgs {
    RequestArgs {
        headers: pair(name, value),
        ..RequestArgs::default()
    }
}

#[track_caller]
fn holds(lines: &[String], line: &str) {
    assert!(
        lines.iter().any(|it| it == line),
        "no line {line:?} in\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_user_is_explained_whole() {
    let lines = said(&text(), header("X-User-Id", "42"), None);
    assert_eq!(bucket("fraud-8", b"42"), 3057);
    assert_eq!(
        lines,
        [
            "request   fraud.ml/v2/models/fraud",
            "rollout   ml/fraud (as its release would begin, at 10 %)",
            "          matches host fraud.ml, path /v2/models/fraud and below",
            "key       header x-user-id = 42",
            "bucket    3057 of 10000, group 1",
            "variant   stable, version 7 (weight)",
            "route     the default route: the variant is live, no header is set",
            "next      at 25 % this user stays on stable",
            "          at 50 % this user stays on stable",
            "          at 100 % this user moves to canary",
        ]
    );
}

#[test]
fn a_weight_that_moves_the_user_says_so() {
    // The canary owns the highest buckets: at 70 % it begins at 3000.
    let lines = said(&text(), header("x-user-id", "42"), Some(7_000));
    holds(&lines, "next      at 70 % this user moves to canary");
    let lines = said(&text(), header("x-user-id", "42"), Some(6_900));
    holds(&lines, "next      at 69 % this user stays on stable");
}

#[test]
fn weights_of_several_arms_are_asked_about_by_name() {
    let plan = crate::fixtures::source(&text()).plan;
    let table = rebalance(&BucketTable::whole(0), &[6_000, 4_000]).unwrap();
    let mut section = render::in_progress(&Arms::of_plan(&plan), &table);
    let third = section.variants[1].clone();
    section.variants.push(VariantConfig {
        name: "third".to_owned(),
        version: "9".to_owned(),
        route: "fraud-v9".to_owned(),
        cluster: None,
        ..third
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plugin.json");
    let config = render::filter_config(vec![section], 1);
    fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    let next = |weights: &[&str]| {
        let weights: Vec<_> = weights.iter().map(|text| weight(text).unwrap()).collect();
        let mut question = of_config(&path, None).unwrap();
        question.future = asked(&weights).unwrap();
        let request = Typed::new(&header("x-user-id", "42"), question.asked_about()).unwrap();
        answer(&question, &request).unwrap().pop().unwrap()
    };
    // User 42 is in bucket 3057 of stable's 0 to 5999, of whom the highest go first.
    assert_eq!(
        next(&["third=20"]),
        "next      at third 20 % this user stays on stable"
    );
    assert_eq!(
        next(&["canary=0", "third=70"]),
        "next      at canary 0 %, third 70 % this user moves to third"
    );
    assert_eq!(
        next(&["70"]),
        "next      say which weight is meant, as NAME=PERCENT; the names are canary, third"
    );
    assert_eq!(
        next(&["third=70"]),
        "next      the weights are more than the whole: give less"
    );
    assert_eq!(
        next(&["stable=10"]),
        "next      there is no variant 'stable' beside the live one to give a weight to"
    );
}

#[test]
fn every_source_of_a_key_can_be_typed_and_the_one_that_won_is_named() {
    let none = RequestArgs::default;
    let cases = [
        (header("x-user-id", "42"), "header x-user-id"),
        (
            RequestArgs {
                cookies: pair("uid", "42"),
                ..none()
            },
            "cookie uid",
        ),
        (header("cookie", "a=b; uid=42"), "cookie uid"),
        (
            RequestArgs {
                query: pair("user", "42"),
                ..none()
            },
            "query parameter user",
        ),
        (
            RequestArgs {
                path: Some("/v2/models/fraud/infer?x=1&user=42".to_owned()),
                ..none()
            },
            "query parameter user",
        ),
        (
            RequestArgs {
                jwt_claims: pair("realm.sub", "42"),
                ..none()
            },
            "verified JWT claim realm.sub",
        ),
        (
            RequestArgs {
                unverified_jwt_claims: pair("sub", "42"),
                ..none()
            },
            "unverified JWT claim sub",
        ),
        (header("tenant", "42"), "gRPC metadata tenant"),
        (
            RequestArgs {
                principal: Some("42".to_owned()),
                ..none()
            },
            "principal of the caller",
        ),
    ];
    for (request, source) in cases {
        let lines = said(&rich(), request, None);
        holds(&lines, &format!("key       {source} = 42"));
        holds(&lines, "bucket    3057 of 10000, group 1");
        holds(&lines, "rule      none of 2 matches");
    }
}

#[test]
fn a_claim_whose_name_has_dots_is_typed_as_it_is() {
    for (field, request) in [
        (
            "jwtClaim",
            RequestArgs {
                jwt_claims: pair("https://example.com/plan", "42"),
                ..RequestArgs::default()
            },
        ),
        (
            "unverifiedJwtClaim",
            RequestArgs {
                unverified_jwt_claims: pair("https://example.com/plan", "42"),
                ..RequestArgs::default()
            },
        ),
    ] {
        let file = edited(
            "header: x-user-id",
            &format!("{field}: 'https://example.com/plan'"),
        );
        holds(
            &said(&file, request, None),
            "bucket    3057 of 10000, group 1",
        );
    }
}

#[test]
fn what_needs_escapes_in_a_query_arrives_as_typed() {
    let request = RequestArgs {
        query: pair("user", "a&b=c d/é"),
        ..RequestArgs::default()
    };
    holds(
        &said(&rich(), request, None),
        "key       query parameter user = a&b=c d/é",
    );
}

#[test]
fn the_first_source_that_is_present_wins() {
    let request = RequestArgs {
        headers: pair("x-user-id", ""),
        cookies: pair("uid", "1"),
        query: pair("user", "2"),
        ..RequestArgs::default()
    };
    holds(&said(&rich(), request, None), "key       cookie uid = 1");
}

#[test]
fn a_rule_is_shown_with_its_conditions_and_no_weight_matters() {
    let request = RequestArgs {
        method: "post".to_owned(),
        ..header("x-beta", "1")
    };
    let lines = said(&rich(), request, None);
    holds(
        &lines,
        r#"rule      rules[0]: [{"header":"x-beta","equals":"1"},{"request":"method","in":["POST"]}]"#,
    );
    holds(&lines, "variant   canary, version 8 (rule)");
    holds(&lines, "route     x-serin-route: fraud-v8");
    holds(
        &lines,
        "next      weights change nothing for this user: a rule decides",
    );
    // The same header with another method.
    holds(
        &said(&rich(), header("x-beta", "1"), None),
        "rule      none of 2 matches",
    );
}

#[test]
fn an_override_is_heeded_for_trusted_callers_and_else_says_why_not() {
    let asked = |variant: &str, principal: Option<&str>| {
        let request = RequestArgs {
            principal: principal.map(str::to_owned),
            ..header("x-serin-variant", variant)
        };
        said(&rich(), request, None)
    };
    let lines = asked("canary", Some("spiffe://a/tester"));
    holds(
        &lines,
        "override  x-serin-variant: canary, of a trusted caller",
    );
    holds(&lines, "variant   canary, version 8 (override)");
    holds(
        &lines,
        "fuse      stable instead, in a worker whose fuse for canary is open (metric serin_fuse_open_workers)",
    );
    holds(
        &asked("canary", None),
        "override  x-serin-variant: canary is not heeded and removed: the caller is not trusted (neither principal nor secret)",
    );
    holds(
        &asked("canari", Some("spiffe://a/tester")),
        "override  x-serin-variant: canari is not heeded and removed: no variant has this name",
    );
}

#[test]
fn a_client_without_a_key_is_given_a_cookie_or_drawn_anew() {
    let lines = said(&rich(), RequestArgs::default(), None);
    let key = lines.iter().find(|line| line.starts_with("key ")).unwrap();
    assert!(
        key.contains("none of [header x-user-id, cookie uid,")
            && key.contains("cookie serin-id is issued"),
        "{key}"
    );
    holds(
        &lines,
        "next      it is for the cookie to say: ask again with --cookie",
    );
    let request = RequestArgs {
        cookies: pair("serin-id", "42"),
        ..RequestArgs::default()
    };
    let lines = said(&rich(), request, None);
    holds(&lines, "bucket    3057 of 10000, group 1");
    holds(&lines, "variant   stable, version 7 (cookie)");
    let lines = said(&text(), RequestArgs::default(), None);
    holds(
        &lines,
        "key       none of [header x-user-id] is present: every such request draws anew; below is one draw",
    );
}

#[test]
fn copies_are_said() {
    holds(
        &said(&rich(), header("x-user-id", "42"), None),
        "shadow    10 % of the requests are copied to fraud-v9, drawn for each",
    );
}

#[test]
fn a_request_of_nobody_says_what_the_rollout_wants() {
    let request = RequestArgs {
        path: Some("/elsewhere".to_owned()),
        ..RequestArgs::default()
    };
    let lines = said(&text(), request, None);
    holds(
        &lines,
        "rollout   none matches: the request passes untouched, and goes where Envoy's other routes lead",
    );
    holds(
        &lines,
        "          ml/fraud wants fraud.ml, path /v2/models/fraud and below",
    );
}

#[test]
fn what_is_switched_off_says_so() {
    let off = edited("  match:\n", "  enabled: false\n  match:\n");
    holds(
        &said(&off, header("x-user-id", "42"), None),
        "          ml/fraud is switched off (enabled: false)",
    );
    let off = edited(
        "route: {cluster: fraud-v8}}",
        "route: {cluster: fraud-v8}, enabled: false}",
    )
    .replace("weight: 10,", "weight: 80,")
    .replace("weight: 25,", "weight: 85,")
    .replace("weight: 50,", "weight: 90,");
    let lines = said(&off, header("x-user-id", "42"), None);
    holds(&lines, "variant   stable, version 7 (weight)");
    holds(
        &lines,
        "          the bucket belongs to canary, which is switched off",
    );
}

#[test]
fn the_pattern_that_matched_is_the_most_specific_one() {
    let file = edited("[fraud.ml]", "['*', '*.ml', '*.eu.ml']").replace(
        "pathPrefix: /v2/models/fraud",
        "pathTemplate: '/v2/{any}/**'",
    );
    let request = RequestArgs {
        host: Some("Fraud.EU.ml:8080".to_owned()),
        path: Some("/v2/x/y/z".to_owned()),
        ..header("x-user-id", "42")
    };
    holds(
        &said(&file, request, None),
        "          matches host *.eu.ml, paths like /v2/{any}/**",
    );
    // What is not typed is made of the patterns.
    let lines = said(&file, header("x-user-id", "42"), None);
    holds(&lines, "request   any/v2/any");
    holds(&lines, "          matches host *, paths like /v2/{any}/**");
}

#[test]
fn a_plugin_config_is_read_bare_and_from_what_holds_it_for_envoy_or_istio() {
    let plan = crate::fixtures::source(&text()).plan;
    let section = render::in_progress(&Arms::of_plan(&plan), &BucketTable::whole(0));
    let config = serde_json::to_string(&render::filter_config(vec![section], 7)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bare = dir.path().join("plugin.json");
    fs::write(&bare, &config).unwrap();
    let ecds = dir.path().join("ecds.json");
    fs::write(
        &ecds,
        render::ecds(&config, Path::new("/x.wasm")).to_string(),
    )
    .unwrap();
    let inner: Value = serde_json::from_str(&config).unwrap();
    let object = |name: &str, spec: Value| {
        let path = dir.path().join(name);
        fs::write(&path, json!({"spec": spec}).to_string()).unwrap();
        path
    };
    let plugin = object("wasmplugin.json", json!({"pluginConfig": inner}));
    let extension = object("extension.json", json!({"wasm": {"pluginConfig": inner}}));
    for path in [&bare, &ecds, &plugin, &extension] {
        let question = of_config(path, Some(&"fraud".parse().unwrap())).unwrap();
        let request = Typed::new(&header("x-user-id", "42"), question.asked_about()).unwrap();
        let lines = answer(&question, &request).unwrap();
        holds(&lines, "rollout   ml/fraud (generation 7)");
        holds(
            &lines,
            "next      a plugin config knows no steps: say --weight PERCENT",
        );
    }
    let unknown = of_config(&bare, Some(&"spam".parse().unwrap()))
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("'spam' names none") && unknown.ends_with("say one of ml/fraud"),
        "{unknown}"
    );
    fs::write(&bare, "kind: ModelRollout").unwrap();
    let yaml = of_config(&bare, None).unwrap_err().to_string();
    assert!(yaml.contains("--file reads rollout files"), "{yaml}");
    fs::write(&bare, "{}").unwrap();
    let other = of_config(&bare, None).unwrap_err().to_string();
    assert!(other.contains("is no plugin config"), "{other}");
}

#[test]
fn mistakes_of_the_rollout_file_are_all_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fraud.yaml");
    fs::write(
        &path,
        text()
            .replace("0.01", "7")
            .replace("weight: 25", "weight: 0"),
    )
    .unwrap();
    let error = of_rollout_file(&path, None).unwrap_err().to_string();
    assert!(
        error.contains("falseRollback") && error.contains("steps[1].weight"),
        "{error}"
    );
}

#[tokio::test]
async fn without_an_installation_the_other_ways_are_named() {
    let args = ExplainArgs {
        installation: InstallationArgs {
            kubeconfig: Some("/no/kubeconfig".into()),
            ..InstallationArgs::default()
        },
        ..ExplainArgs::default()
    };
    let error = format!("{:#}", explain(&args).await.unwrap_err());
    for way in ["no kubeconfig", "--config FILE", "--file ROLLOUT.yaml"] {
        assert!(error.contains(way), "{error}");
    }
}

#[test]
fn options_are_read_with_advice() {
    assert_eq!(
        assignment("x-user-id=a=b"),
        Ok(("x-user-id".to_owned(), "a=b".to_owned()))
    );
    assert!(assignment("x-user-id").unwrap_err().contains("NAME=VALUE"));
    assert!(assignment("=5").is_err());
    assert_eq!(percent("25"), Ok(2_500));
    assert_eq!(percent("0.5 %"), Ok(50));
    let named = Weight {
        variant: Some("canary".to_owned()),
        weight: 2_500,
    };
    assert_eq!(weight("canary=25"), Ok(named));
    assert!(percent("101").is_err() && percent("NaN").is_err());
}

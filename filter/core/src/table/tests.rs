mod reference;

use crate::config::{Attribute, RolloutConfig};
use crate::split::BucketTable;
use crate::table::RoutingTable;
use crate::testing::{below, config, refused, rollout, rollout_accepted, table};

/// Name of the rollout of a request.
fn find<'a>(table: &'a RoutingTable, host: &str, path: &str) -> Option<&'a str> {
    let index = table.find(host.as_bytes(), || Some(path.as_bytes()))?;
    table.rollout(index).map(|rollout| rollout.name())
}

fn disabled(rollout: RolloutConfig) -> RolloutConfig {
    RolloutConfig {
        enabled: false,
        ..rollout
    }
}

#[test]
fn host_is_found_with_any_port_and_in_any_case() {
    let table = table(vec![
        rollout("ml/fraud", "Fraud.ml.svc"),
        rollout("ml/six", "[2001:db8::1]"),
    ]);
    for host in [
        "fraud.ml.svc",
        "FRAUD.ML.SVC",
        "fraud.ml.svc:8080",
        "fraud.ml.svc:",
    ] {
        assert_eq!(find(&table, host, "/"), Some("ml/fraud"), "{host}");
    }
    for host in ["[2001:db8::1]", "[2001:DB8::1]:8080"] {
        assert_eq!(find(&table, host, "/"), Some("ml/six"), "{host}");
    }
    for host in [
        "fraud.ml",
        "fraud.ml.svc.cluster.local",
        "x.fraud.ml.svc",
        "2001:db8::1",
        "[2001:db8::1",
        "",
        ":80",
    ] {
        assert_eq!(find(&table, host, "/"), None, "{host}");
    }
}

#[test]
fn each_host_of_a_rollout_leads_to_it() {
    let mut it = rollout("ml/fraud", "fraud.ml.svc");
    it.hosts
        .extend(["fraud.ml".to_owned(), "*.fraud.example".to_owned()]);
    let table = table(vec![it]);
    for host in ["fraud.ml.svc", "fraud.ml", "eu.fraud.example"] {
        assert_eq!(find(&table, host, "/"), Some("ml/fraud"), "{host}");
    }
}

#[test]
fn most_specific_path_wins_whatever_the_order() {
    let exact = RolloutConfig {
        path: Some("/a/b".to_owned()),
        ..rollout("ml/exact", "h")
    };
    let template = RolloutConfig {
        path_template: Some("/a/{x}".to_owned()),
        ..rollout("ml/template", "h")
    };
    let mut rollouts = vec![
        rollout("ml/all", "h"),
        below("ml/abc", "h", "/a/b/c"),
        below("ml/a", "h", "/a"),
        exact,
        template,
    ];
    for _ in 0..rollouts.len() {
        rollouts.rotate_left(1);
        let table = table(rollouts.clone());
        for (path, name) in [
            ("/", "ml/all"),
            ("", "ml/all"),
            ("*", "ml/all"),
            ("/ab", "ml/all"),
            ("/a", "ml/a"),
            ("/a/b", "ml/exact"),
            ("/a/x?y", "ml/template"),
            ("/a/x/y", "ml/a"),
            ("/a/b/cd", "ml/a"),
            ("/a/b/c?x", "ml/abc"),
            ("/a/b/c/d", "ml/abc"),
        ] {
            assert_eq!(find(&table, "h", path), Some(name), "{path}");
        }
    }
}

#[test]
fn path_is_not_asked_for_where_the_host_alone_decides() {
    let table = table(vec![rollout("ml/all", "h")]);
    let unasked = || -> Option<&[u8]> { panic!("the path was read for nothing") };
    assert_eq!(table.find(b"h", unasked), Some(0));
    assert_eq!(table.find(b"other", unasked), None);
}

#[test]
fn names_of_headers_are_compiled_in_lower_case() {
    let mut it = rollout("ml/fraud", "h");
    it.key = vec![
        Attribute::Header("X-User-Id".to_owned()),
        Attribute::GrpcMetadata("User".to_owned()),
        Attribute::Cookie("Uid".to_owned()),
    ];
    let table = table(vec![it]);
    assert_eq!(table.route_header(), "x-serin-route");
    assert_eq!(
        table.rollouts()[0].keys(),
        [
            Attribute::Header("x-user-id".to_owned()),
            Attribute::GrpcMetadata("user".to_owned()),
            Attribute::Cookie("Uid".to_owned()),
        ]
    );
}

#[test]
fn pass_through_has_the_default_headers_and_claims_nothing() {
    let table = RoutingTable::default();
    assert_eq!(table.route_header(), "x-serin-route");
    assert_eq!(table.shadow_header(), "x-serin-shadow");
    assert_eq!(table.generation(), 0);
    assert_eq!(find(&table, "", "/"), None);
}

#[test]
fn two_rollouts_may_not_claim_the_same_requests() {
    let both = config(vec![
        below("ml/a", "Host", "/v2"),
        below("ml/b", "hosT", "/v2/"),
    ]);
    refused(
        both,
        "rollouts[1].hosts[0]",
        "rollouts \"ml/a\" and \"ml/b\" both claim host \"hosT\" with pathPrefix \"/v2/\": \
         give one of them another host or path",
    );
    let template = |name: &str, template: &str| RolloutConfig {
        path_template: Some(template.to_owned()),
        ..rollout(name, "h")
    };
    refused(
        config(vec![template("ml/a", "/{x}/v"), template("ml/b", "/{y}/v")]),
        "rollouts[1].hosts[0]",
        "with pathTemplate \"/{y}/v\"",
    );
    refused(
        config(vec![rollout("ml/a", "*"), rollout("ml/b", "*")]),
        "rollouts[1].hosts[0]",
        "both claim host \"*\" with every path",
    );
    let mut twice = rollout("ml/a", "host");
    twice.hosts.push("HOST".to_owned());
    assert!(
        RoutingTable::new(config(vec![twice])).is_ok(),
        "a rollout does not collide with itself"
    );
}

#[test]
fn disabled_rollout_claims_nothing_and_conflicts_with_nobody() {
    let table = table(vec![
        disabled(rollout("ml/old", "h")),
        rollout("ml/new", "h"),
        disabled(rollout("ml/off", "other")),
        disabled(below("ml/below", "h", "/v2")),
    ]);
    assert_eq!(find(&table, "h", "/"), Some("ml/new"));
    assert_eq!(find(&table, "h", "/v2/x"), Some("ml/new"));
    assert_eq!(find(&table, "other", "/"), None);
    let off = table.by_name("ml/off").unwrap();
    assert!(!off.is_enabled(), "it is still there to be asked about");
}

#[test]
fn disabled_rollout_keeps_its_name_and_must_be_right() {
    refused(
        config(vec![rollout("ml/a", "a"), disabled(rollout("ml/a", "b"))]),
        "rollouts[1].name",
        "used twice",
    );
    let mut bad = disabled(rollout("ml/a", "a"));
    bad.salt.clear();
    refused(config(vec![bad]), "rollouts[0].salt", "it is empty");
}

#[test]
fn users_of_a_disabled_variant_are_live() {
    let table = rollout_accepted(|it| {
        it.table = BucketTable::new(vec![(5_000, 0), (10_000, 1)]).unwrap();
        it.variants[1].enabled = false;
    });
    let rollout = table.rollout(0).unwrap();
    assert_eq!(rollout.owner(9_999), rollout.live());
    assert!(!rollout.enabled(1) && rollout.enabled(0) && !rollout.enabled(2));
    assert_eq!(rollout.named(b"canary"), None);
    assert_eq!(rollout.named(b"stable"), Some(0));
}

#[test]
fn rollout_is_found_by_its_name() {
    let table = table(vec![rollout("ml/a", "a"), rollout("ml/b", "b")]);
    assert_eq!(table.by_name("ml/b").map(|it| it.name()), Some("ml/b"));
    assert!(table.by_name("ml/c").is_none());
}

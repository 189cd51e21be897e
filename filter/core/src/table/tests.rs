use proptest::prelude::*;

use super::{RoutingTable, without_port};
use crate::config::{ConfigError, FilterConfig, KeySource, RolloutConfig, VERSION, VariantConfig};
use crate::split::BucketTable;

pub(super) fn variant(name: &str, live: bool) -> VariantConfig {
    VariantConfig {
        name: name.to_owned(),
        version: "1".to_owned(),
        live,
        route: format!("{name}-route"),
        cluster: None,
    }
}

pub(super) fn rollout(name: &str, host: &str, prefix: &str) -> RolloutConfig {
    RolloutConfig {
        name: name.to_owned(),
        hosts: vec![host.to_owned()],
        path_prefix: prefix.to_owned(),
        variants: vec![variant("stable", true), variant("canary", false)],
        key: vec![KeySource::Header("x-user-id".to_owned())],
        salt: "salt".to_owned(),
        table: BucketTable::whole(0),
        progressing: true,
    }
}

pub(super) fn config(rollouts: Vec<RolloutConfig>) -> FilterConfig {
    FilterConfig {
        version: VERSION,
        generation: 1,
        route_header: "X-Serin-Route".to_owned(),
        rollouts,
    }
}

fn find<'a>(table: &'a RoutingTable, host: &str, path: &str) -> Option<&'a str> {
    let index = table.find(host.as_bytes().to_vec(), || Some(path.as_bytes().to_vec()))?;
    table.rollout(index).map(|rollout| rollout.name())
}

#[track_caller]
pub(super) fn check_config_refused(config: FilterConfig, field: &str, reason: &str) {
    let ConfigError {
        field: actual,
        reason: said,
    } = RoutingTable::new(config).unwrap_err();
    assert_eq!(actual, field, "{said}");
    assert!(
        said.contains(reason),
        "\"{said}\" does not say \"{reason}\""
    );
}

#[test]
fn host_is_found_with_any_port_and_in_any_case() {
    let table = RoutingTable::new(config(vec![
        rollout("ml/fraud", "Fraud.ml.svc", "/"),
        rollout("ml/six", "[2001:db8::1]", "/"),
    ]))
    .unwrap();
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
fn port_is_cut_only_where_one_can_stand() {
    for (host, name) in [
        ("a:80", "a"),
        ("a", "a"),
        ("a:b", "a:b"),
        ("::1", "::1"),
        ("2001:db8::80", "2001:db8::80"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1]x:80", "[::1]x:80"),
        ("[", "["),
        (":", ""),
        ("", ""),
    ] {
        assert_eq!(without_port(host.as_bytes()), name.as_bytes(), "{host}");
    }
}

#[test]
fn prefix_ends_at_a_segment() {
    let table = RoutingTable::new(config(vec![rollout("ml/ab", "h", "/a/b")])).unwrap();
    for path in [
        "/a/b",
        "/a/b/",
        "/a/b/c",
        "/a/b?x",
        "/a/b#x",
        "/a/b/c/d/e?x=/y",
    ] {
        assert_eq!(find(&table, "h", path), Some("ml/ab"), "{path}");
    }
    for path in [
        "/a/bc", "/a", "/a/", "/", "", "/a?/b", "/A/b", "/x/a/b", "*", "//a/b",
    ] {
        assert_eq!(find(&table, "h", path), None, "{path}");
    }
}

#[test]
fn trailing_slash_of_a_prefix_means_nothing() {
    let table = RoutingTable::new(config(vec![rollout("ml/ab", "h", "/a/b/")])).unwrap();
    assert_eq!(find(&table, "h", "/a/b"), Some("ml/ab"));
    assert_eq!(find(&table, "h", "/a/bc"), None);
}

#[test]
fn longest_prefix_wins_whatever_the_order() {
    let mut rollouts = vec![
        rollout("ml/all", "h", "/"),
        rollout("ml/abc", "h", "/a/b/c"),
        rollout("ml/a", "h", "/a"),
    ];
    for _ in 0..rollouts.len() {
        rollouts.rotate_left(1);
        let table = RoutingTable::new(config(rollouts.clone())).unwrap();
        for (path, name) in [
            ("/", "ml/all"),
            ("", "ml/all"),
            ("*", "ml/all"),
            ("/ab", "ml/all"),
            ("/a", "ml/a"),
            ("/a/b", "ml/a"),
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
    let table = RoutingTable::new(config(vec![rollout("ml/all", "h", "/")])).unwrap();
    let unasked = || -> Option<Vec<u8>> { panic!("the path was read for nothing") };
    assert_eq!(table.find(b"h".to_vec(), unasked), Some(0));
    assert_eq!(table.find(b"other".to_vec(), unasked), None);
}

#[test]
fn names_of_headers_are_compiled_in_lower_case() {
    let mut it = rollout("ml/fraud", "h", "/");
    it.key = vec![KeySource::Header("X-User-Id".to_owned())];
    let table = RoutingTable::new(config(vec![it])).unwrap();
    assert_eq!(table.route_header(), "x-serin-route");
    assert_eq!(
        table.rollouts()[0].keys(),
        [KeySource::Header("x-user-id".to_owned())]
    );
}

#[test]
fn pass_through_has_the_default_header_and_claims_nothing() {
    let table = RoutingTable::default();
    assert_eq!(table.route_header(), "x-serin-route");
    assert_eq!(find(&table, "", "/"), None);
}

#[test]
fn two_rollouts_may_not_claim_the_same_requests() {
    let both = config(vec![
        rollout("ml/a", "Host", "/v2"),
        rollout("ml/b", "hosT", "/v2/"),
    ]);
    check_config_refused(
        both,
        "rollouts[1].hosts[0]",
        "rollouts \"ml/a\" and \"ml/b\" both claim host \"hosT\" with pathPrefix \"/v2/\"",
    );
    let mut twice = rollout("ml/a", "host", "/");
    twice.hosts.push("HOST".to_owned());
    assert!(
        RoutingTable::new(config(vec![twice])).is_ok(),
        "a rollout does not collide with itself"
    );
}

/// The rule of the documentation in its plainest form, over all claims.
fn longest_by_search<'a>(prefixes: &'a [String], path: &str) -> Option<&'a String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let claims = |prefix: &&String| {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    prefixes
        .iter()
        .filter(claims)
        .max_by_key(|prefix| prefix.trim_end_matches('/').len())
}

proptest! {
    #[test]
    fn look_up_agrees_with_a_search_through_all_claims(
        prefixes in prop::collection::hash_set("(/[ab]{1,2}){0,3}", 1..12),
        path in "(/?[ab]{0,2}){0,5}[?#/]?(/[ab])?",
    ) {
        let prefixes: Vec<String> =
            prefixes.into_iter().map(|prefix| if prefix.is_empty() { "/".to_owned() } else { prefix }).collect();
        let rollouts = prefixes.iter().map(|prefix| rollout(&format!("ml{prefix}."), "h", prefix)).collect();
        let table = RoutingTable::new(config(rollouts)).unwrap();
        let expected = longest_by_search(&prefixes, &path).map(|prefix| format!("ml{prefix}."));
        prop_assert_eq!(find(&table, "h", &path), expected.as_deref());
    }

    #[test]
    fn no_bytes_make_the_look_up_panic(host: Vec<u8>, path: Vec<u8>) {
        let table = RoutingTable::new(config(vec![rollout("ml/a", "h", "/a/b")])).unwrap();
        prop_assert_eq!(table.find(host, || Some(path.clone())), None);
        let found = table.find(b"h".to_vec(), || Some(path.clone()));
        prop_assert_eq!(found.is_some(), path.starts_with(b"/a/b") && matches!(path.get(4), None | Some(b'/' | b'?' | b'#')));
    }
}

use crate::config::{FilterConfig, KeySource, RolloutConfig};
use crate::split::BucketTable;
use crate::table::RoutingTable;
use crate::table::tests::{check_config_refused, config, rollout, variant};

/// Breaks a good rollout and expects the complaint.
#[track_caller]
fn check_refused(spoil: impl FnOnce(&mut RolloutConfig), field: &str, reason: &str) {
    let mut bad = rollout("ml/bad", "bad", "/");
    spoil(&mut bad);
    check_config_refused(
        config(vec![rollout("ml/good", "good", "/"), bad]),
        &format!("rollouts[1].{field}"),
        reason,
    );
}

#[test]
fn configuration_of_another_version_is_refused() {
    let newer = FilterConfig {
        version: 2,
        ..config(vec![])
    };
    check_config_refused(newer, "version", "version 2 is newer");
}

#[test]
fn generation_0_is_kept_for_having_no_rollouts() {
    let generation_0 = |rollouts| FilterConfig {
        generation: 0,
        ..config(rollouts)
    };
    assert!(RoutingTable::new(generation_0(vec![])).is_ok());
    let some = generation_0(vec![rollout("ml/good", "good", "/")]);
    check_config_refused(some, "generation", "count from 1");
}

#[test]
fn route_header_must_be_an_ordinary_header() {
    for name in [
        "",
        "host",
        "Host",
        ":path",
        "x route",
        "x-route\r\n",
        "x-röute",
    ] {
        let bad = FilterConfig {
            route_header: name.to_owned(),
            ..config(vec![])
        };
        check_config_refused(bad, "routeHeader", "not the name of an ordinary header");
    }
}

#[test]
fn rollout_needs_a_qualified_unique_name() {
    check_refused(|it| it.name = "fraud".to_owned(), "name", "namespace/name");
    check_refused(|it| it.name = "/fraud".to_owned(), "name", "namespace/name");
    check_refused(|it| it.name = "ml/".to_owned(), "name", "namespace/name");
    check_refused(|it| it.name = "ml/good".to_owned(), "name", "used twice");
}

#[test]
fn labels_must_survive_the_encoding_in_stat_names() {
    for bad in ["", "a;b", "a=b", "a\nb", "ä", &"x".repeat(129)] {
        check_refused(
            |it| it.variants[0].name = bad.to_owned(),
            "variants[0].name",
            "no metric label",
        );
        check_refused(
            |it| it.variants[1].version = bad.to_owned(),
            "variants[1].version",
            "no metric label",
        );
        check_refused(
            |it| it.name = format!("ml/{bad};"),
            "name",
            "no metric label",
        );
    }
}

#[test]
fn hosts_are_plain_names() {
    check_refused(|it| it.hosts.clear(), "hosts", "no host is named");
    for (host, reason) in [
        ("", "is empty"),
        ("*.ml", "has a wildcard"),
        ("fraud:8080", "leave the port out"),
        ("::1", "bare IPv6"),
        ("a b", "not a host name"),
        ("a/b", "not a host name"),
        ("müller.example", "punycode"),
    ] {
        check_refused(|it| it.hosts.push(host.to_owned()), "hosts[1]", reason);
    }
}

#[test]
fn path_prefix_is_an_absolute_path() {
    for prefix in ["", "v2", "/a?b", "/a#b", "/a b", "//a", "/a//b", "/ä"] {
        check_refused(
            |it| it.path_prefix = prefix.to_owned(),
            "pathPrefix",
            "must begin with",
        );
    }
}

#[test]
fn exactly_one_variant_is_live() {
    check_refused(
        |it| it.variants[0].live = false,
        "variants",
        "0 variants are live",
    );
    check_refused(
        |it| it.variants[1].live = true,
        "variants",
        "2 variants are live",
    );
}

#[test]
fn variants_are_few_and_have_names_of_their_own() {
    check_refused(|it| it.variants.clear(), "variants", "0 variants are given");
    check_refused(
        |it| {
            let more = (0..15).map(|index| variant(&format!("arm-{index}"), false));
            it.variants.extend(more);
        },
        "variants",
        "17 variants are given",
    );
    check_refused(
        |it| it.variants[1].name = "stable".to_owned(),
        "variants[1].name",
        "used twice",
    );
}

#[test]
fn route_must_be_fit_for_a_header() {
    for route in ["", "v 8", "v8\r\nx: y", "vä", "v8\0", &"x".repeat(257)] {
        check_refused(
            |it| it.variants[1].route = route.to_owned(),
            "variants[1].route",
            "no header value",
        );
    }
}

#[test]
fn cluster_is_left_out_rather_than_empty() {
    check_refused(
        |it| it.variants[1].cluster = Some(String::new()),
        "variants[1].cluster",
        "leave it out",
    );
}

#[test]
fn key_is_an_ordinary_header_other_than_the_route_header() {
    let header = |name: &str| vec![KeySource::Header(name.to_owned())];
    check_refused(
        |it| it.key = header("x user"),
        "key[0].header",
        "ordinary header",
    );
    check_refused(
        |it| it.key = header("x-serin-route"),
        "key[0].header",
        "it is the route header",
    );
    check_refused(
        |it| it.key = vec![KeySource::Header("x".to_owned()); 9],
        "key",
        "9 sources",
    );
}

#[test]
fn salt_is_not_empty() {
    check_refused(|it| it.salt.clear(), "salt", "it is empty");
}

#[test]
fn bucket_table_names_only_variants_that_exist() {
    check_refused(
        |it| it.table = BucketTable::whole(2),
        "table",
        "there are only 2 variants",
    );
}

mod paths;

use crate::attribute::cookie::SameSite;
use crate::config::{
    Attribute, Claim, CookieConfig, FilterConfig, FuseConfig, RequestPart, ShadowConfig,
    SlowConfig, SourcePart,
};
use crate::split::BucketTable;
use crate::table::RoutingTable;
use crate::testing::{config, refused, rollout, rollout_accepted, rollout_refused, rule, variant};

#[test]
fn configuration_of_another_version_is_refused() {
    let newer = FilterConfig {
        version: 2,
        ..config(vec![])
    };
    refused(newer, "version", "version 2 is newer");
}

#[test]
fn generation_0_is_kept_for_having_no_rollouts() {
    let generation_0 = |rollouts| FilterConfig {
        generation: 0,
        ..config(rollouts)
    };
    assert!(RoutingTable::new(generation_0(vec![])).is_ok());
    let some = generation_0(vec![rollout("ml/good", "good")]);
    refused(some, "generation", "count from 1");
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
        refused(bad, "routeHeader", "not the name of an ordinary header");
    }
}

#[test]
fn rollout_needs_a_qualified_unique_name() {
    rollout_refused(|it| it.name = "fraud".to_owned(), "name", "namespace/name");
    rollout_refused(|it| it.name = "/fraud".to_owned(), "name", "namespace/name");
    rollout_refused(|it| it.name = "ml/".to_owned(), "name", "namespace/name");
    rollout_refused(|it| it.name = "ml/good".to_owned(), "name", "used twice");
}

#[test]
fn labels_must_survive_the_encoding_in_stat_names() {
    for bad in ["", "a;b", "a=b", "a\nb", "ä", &"x".repeat(129)] {
        rollout_refused(
            |it| it.variants[0].name = bad.to_owned(),
            "variants[0].name",
            "no metric label",
        );
        rollout_refused(
            |it| it.variants[1].version = bad.to_owned(),
            "variants[1].version",
            "no metric label",
        );
        rollout_refused(
            |it| it.name = format!("ml/{bad};"),
            "name",
            "no metric label",
        );
    }
}

#[test]
fn hosts_are_names_or_stars_before_whole_labels() {
    rollout_refused(
        |it| it.hosts.clear(),
        "hosts",
        "no host is named: name those",
    );
    for (host, reason) in [
        ("", "is empty: name a host"),
        ("*ml", "write \"*.suffix\""),
        ("*.", "write \"*.suffix\""),
        ("**", "write \"*.suffix\""),
        ("a.*.ml", "only \"*.suffix\" and \"*\" are possible"),
        ("*.*.ml", "only \"*.suffix\" and \"*\" are possible"),
        ("fraud:8080", "leave the port out"),
        ("*.ml:8080", "leave the port out"),
        ("::1", "write IPv6 as \"[::1]\""),
        ("a b", "not a host name: write it as clients send it"),
        ("a/b", "not a host name"),
        ("user@ml", "not a host name"),
        ("müller.example", "punycode"),
        (&"x".repeat(254), "not a host name"),
    ] {
        rollout_refused(|it| it.hosts.push(host.to_owned()), "hosts[1]", reason);
    }
    for host in ["*", "*.ml", "[::1]", "a_b.ml", "10.0.0.1", &"x".repeat(253)] {
        rollout_accepted(|it| it.hosts.push(host.to_owned()));
    }
}

#[test]
fn exactly_one_variant_is_live() {
    rollout_refused(
        |it| it.variants[0].live = false,
        "variants",
        "0 variants are live",
    );
    rollout_refused(
        |it| it.variants[1].live = true,
        "variants",
        "2 variants are live",
    );
}

#[test]
fn variants_are_few_and_have_names_of_their_own() {
    rollout_refused(|it| it.variants.clear(), "variants", "0 variants are given");
    rollout_refused(
        |it| {
            let more = (0..15).map(|index| variant(&format!("arm-{index}"), false));
            it.variants.extend(more);
        },
        "variants",
        "17 variants are given",
    );
    rollout_refused(
        |it| it.variants[1].name = "stable".to_owned(),
        "variants[1].name",
        "used twice",
    );
}

#[test]
fn route_must_be_fit_for_a_header() {
    for route in ["", "v 8", "v8\r\nx: y", "vä", "v8\0", &"x".repeat(257)] {
        rollout_refused(
            |it| it.variants[1].route = route.to_owned(),
            "variants[1].route",
            "no header value",
        );
    }
}

#[test]
fn cluster_is_left_out_rather_than_empty() {
    rollout_refused(
        |it| it.variants[1].cluster = Some(String::new()),
        "variants[1].cluster",
        "leave it out",
    );
}

#[test]
fn live_variant_is_enabled() {
    rollout_refused(
        |it| it.variants[0].enabled = false,
        "variants[0].enabled",
        "make another one live first",
    );
}

#[test]
fn key_is_made_of_attributes_that_tell_users_apart() {
    let header = |name: &str| vec![Attribute::Header(name.to_owned())];
    rollout_refused(
        |it| it.key = header("x user"),
        "key[0].header",
        "ordinary header",
    );
    for own in ["X-Serin-Route", "x-serin-shadow"] {
        rollout_refused(
            |it| it.key = header(own),
            "key[0].header",
            "the filter sets and removes it itself: name another header",
        );
    }
    rollout_refused(
        |it| it.key = vec![Attribute::Header("x".to_owned()); 9],
        "key",
        "9 sources are given: at most 8",
    );
    for part in [RequestPart::Method, RequestPart::Path] {
        rollout_refused(
            |it| it.key = vec![Attribute::Request(part)],
            "key[0].request",
            "method and path make no user: they are for rules",
        );
    }
}

#[test]
fn names_of_attributes_can_be_sent() {
    let claim = |names: &[&str]| Claim::Path(names.iter().map(|&it| it.to_owned()).collect());
    let named = "a claim has a name, such as \"sub\"";
    for (attribute, field, reason) in [
        (
            Attribute::GrpcMetadata("a b".to_owned()),
            "key[0].grpcMetadata",
            "ordinary header",
        ),
        (
            Attribute::Cookie("a=b".to_owned()),
            "key[0].cookie",
            "such as \"uid\"",
        ),
        (
            Attribute::Query(String::new()),
            "key[0].query",
            "it is empty",
        ),
        (
            Attribute::JwtClaim(Claim::Name(String::new())),
            "key[0]",
            named,
        ),
        (Attribute::JwtClaim(claim(&[])), "key[0]", named),
        (
            Attribute::UnverifiedJwtClaim(claim(&["a", ""])),
            "key[0]",
            named,
        ),
    ] {
        rollout_refused(|it| it.key = vec![attribute], field, reason);
    }
    rollout_accepted(|it| {
        it.key = vec![
            Attribute::GrpcMetadata("user-bin".to_owned()),
            Attribute::Cookie("uid".to_owned()),
            Attribute::Query("Benutzer id".to_owned()),
            Attribute::JwtClaim(claim(&["realm_access", "roles"])),
            Attribute::UnverifiedJwtClaim(Claim::Name("sub".to_owned())),
            Attribute::Source(SourcePart::Principal),
        ];
    });
}

#[test]
fn issued_cookie_is_one_that_browsers_return() {
    let cookie = |name: &str, same_site, secure, max_age| {
        Some(CookieConfig {
            name: name.to_owned(),
            max_age,
            same_site,
            secure,
        })
    };
    for (bad, reason) in [
        (
            cookie("a b", SameSite::Lax, true, None),
            "\"a b\": a cookie name is",
        ),
        (
            cookie("uid", SameSite::None, false, None),
            "SameSite=None needs secure",
        ),
        (
            cookie("__Host-uid", SameSite::Lax, false, None),
            "set secure",
        ),
        (
            cookie("uid", SameSite::Lax, true, Some(0)),
            "give at least 1 second",
        ),
    ] {
        rollout_refused(|it| it.cookie = bad, "cookie", reason);
    }
    rollout_accepted(|it| it.cookie = cookie("__Host-uid", SameSite::None, true, Some(1)));
}

#[test]
fn salt_is_not_empty() {
    rollout_refused(|it| it.salt.clear(), "salt", "it is empty");
}

#[test]
fn bucket_table_names_only_variants_that_exist() {
    rollout_refused(
        |it| it.table = BucketTable::whole(2),
        "table",
        "there are only 2 variants",
    );
}

#[test]
fn shadow_header_is_an_ordinary_header_of_its_own() {
    let named = |name: &str| FilterConfig {
        shadow_header: name.to_owned(),
        ..config(vec![])
    };
    refused(named(":authority"), "shadowHeader", "such as \"x-user-id\"");
    refused(
        named("x-serin-ROUTE"),
        "shadowHeader",
        "it is the route header as well: name another header",
    );
}

#[test]
fn header_names_are_at_most_256_bytes() {
    let named = |length| FilterConfig {
        route_header: "x".repeat(length),
        ..config(vec![])
    };
    assert!(RoutingTable::new(named(256)).is_ok());
    refused(
        named(257),
        "routeHeader",
        "not the name of an ordinary header",
    );
}

#[test]
fn rules_name_only_variants_that_exist() {
    let when = serde_json::json!([{"header": "x", "exists": true}]);
    rollout_refused(
        |it| it.rules = vec![rule(2, when)],
        "rules[0].variant",
        "there is no variant 2 (counted from 0) among 2",
    );
}

#[test]
fn latency_limits_are_few_and_have_names_of_their_own() {
    let limit = |name: &str| SlowConfig {
        name: name.to_owned(),
        above_micros: 1_000,
    };
    rollout_refused(
        |it| it.slow = vec![limit("a,b")],
        "slow[0].name",
        "no metric label",
    );
    rollout_refused(
        |it| it.slow = vec![limit("p99"), limit("p99")],
        "slow[1].name",
        "the name \"p99\" is used twice",
    );
    let many = |count: usize| (0..count).map(|index| limit(&index.to_string())).collect();
    rollout_refused(
        |it| it.slow = many(5),
        "slow",
        "5 limits are given: at most 4",
    );
    rollout_accepted(|it| it.slow = many(4));
}

#[test]
fn fuse_is_refused_by_the_name_that_its_field_has_in_the_configuration() {
    const DAY: u64 = 86_400_000;
    let good = || FuseConfig {
        consecutive_errors: Some(5),
        error_ratio: Some(0.5),
        min_requests: 20,
        window_ms: DAY,
        cooldown_ms: DAY,
        pending_ms: Some(DAY),
        slow_ms: Some(DAY),
    };
    rollout_accepted(|it| it.fuse = Some(good()));
    let spoil = |change: fn(&mut FuseConfig), field: &str, reason: &str| {
        let mut bad = good();
        change(&mut bad);
        rollout_refused(|it| it.fuse = Some(bad), &format!("fuse.{field}"), reason);
    };
    let time = "must be 1 ms to a day, in milliseconds";
    spoil(|it| it.window_ms = 0, "windowMs", time);
    spoil(|it| it.window_ms = DAY + 1, "windowMs", time);
    spoil(|it| it.cooldown_ms = 0, "cooldownMs", time);
    spoil(|it| it.pending_ms = Some(0), "pendingMs", time);
    spoil(|it| it.slow_ms = Some(u64::MAX), "slowMs", time);
    spoil(
        |it| it.consecutive_errors = Some(0),
        "consecutiveErrors",
        "say 1 or more",
    );
    spoil(
        |it| it.error_ratio = Some(1.5),
        "errorRatio",
        "0.5 means one half",
    );
    spoil(
        |it| it.error_ratio = Some(f64::NAN),
        "errorRatio",
        "0.5 means one half",
    );
    spoil(|it| it.min_requests = 0, "minRequests", "say 1 or more");
}

#[test]
fn shadow_is_a_cluster_and_a_share() {
    let shadow = |cluster: &str, sample| {
        Some(ShadowConfig {
            cluster: cluster.to_owned(),
            sample,
        })
    };
    rollout_refused(
        |it| it.shadow = shadow("", 1),
        "shadow.cluster",
        "no header value",
    );
    rollout_refused(
        |it| it.shadow = shadow("a\r\nb", 1),
        "shadow.cluster",
        "visible ASCII",
    );
    rollout_refused(
        |it| it.shadow = shadow("v9", 10_001),
        "shadow.sample",
        "10001 is more than all: give 0 to 10000",
    );
    rollout_accepted(|it| it.shadow = shadow("v9", 10_000));
}

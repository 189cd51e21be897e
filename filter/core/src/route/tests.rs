mod properties;

use super::{Cohort, Decision, Reason, decide};
use crate::attribute::cookie;
use crate::config::{
    Attribute, Claim, CookieConfig, FilterConfig, OverrideConfig, RolloutConfig, ShadowConfig,
    SourcePart,
};
use crate::random::{SplitMix64, Token};
use crate::split::{BUCKETS, BucketTable, bucket, group};
use crate::table::RoutingTable;
use crate::testing::{Fake, rollout, rollout_accepted, rule, table};

/// Two rollouts: `fraud` with two keys and 10 % canary, `spam` by random draw with a prefix.
fn two() -> RoutingTable {
    let json = r#"{"version": 1, "generation": 1, "rollouts": [
        {"name": "ml/fraud", "hosts": ["fraud"], "salt": "fraud-8", "table": [[9000, 0], [10000, 1]],
         "key": [{"header": "X-User-Id"}, {"header": "x-session"}],
         "variants": [{"name": "stable", "version": "7", "live": true, "route": "v7"},
                      {"name": "canary", "version": "8", "route": "v8"}]},
        {"name": "ml/spam", "hosts": ["spam"], "pathPrefix": "/v2", "salt": "spam-2", "table": [[5000, 1], [10000, 0]],
         "variants": [{"name": "stable", "version": "1", "live": true, "route": "v1"},
                      {"name": "canary", "version": "2", "route": "v2"}]}]}"#;
    RoutingTable::new(FilterConfig::parse(json.as_bytes()).unwrap()).unwrap()
}

/// The decision for a key, by the definition of bucket and group.
fn keyed(salt: &str, key: &[u8], variant: usize, reason: Reason) -> Decision {
    Decision {
        rollout: 0,
        variant,
        reason,
        rule: None,
        bucket: Some(bucket(salt, key)),
        group: Some(group(salt, key)),
        issue: None,
        shadow: false,
    }
}

fn cookie_config() -> CookieConfig {
    CookieConfig {
        name: "serin".to_owned(),
        max_age: Some(3_600),
        same_site: cookie::SameSite::Lax,
        secure: true,
    }
}

/// Half of the users each, told apart by these sources.
fn by(key: Vec<Attribute>) -> RoutingTable {
    rollout_accepted(|it| {
        it.key = key;
        it.table = BucketTable::new(vec![(5_000, 0), (BUCKETS, 1)]).unwrap();
    })
}

/// The bucket of a request among [`by`].
#[track_caller]
fn bucket_by(key: Attribute, request: &Fake) -> Option<u16> {
    let decision = decide(&by(vec![key]), request).unwrap();
    assert_eq!(decision.reason, Reason::Weight);
    decision.bucket
}

#[test]
fn same_key_gets_the_same_variant_without_a_draw() {
    let request = Fake::to("fraud").with("x-user-id", "42");
    let expected = keyed("fraud-8", b"42", 0, Reason::Weight);
    assert_eq!(decide(&two(), &request), Some(expected));
}

#[test]
fn variant_is_the_owner_of_the_bucket() {
    let table = two();
    let mut seen = [0; 2];
    for user in 0..100 {
        let request = Fake::to("fraud").with("x-user-id", user.to_string());
        let decision = decide(&table, &request).unwrap();
        let expected = usize::from(decision.bucket.unwrap() >= 9_000);
        assert_eq!(decision.variant, expected, "{user}");
        seen[decision.variant] += 1;
    }
    assert!(
        seen[0] > 0 && seen[1] > 0,
        "the sample of users shows only one variant: {seen:?}"
    );
}

#[test]
fn first_key_that_is_present_and_not_empty_wins() {
    let bucket_of = |request: Fake| decide(&two(), &request).unwrap().bucket;
    let both = Fake::to("fraud")
        .with("x-session", "s")
        .with("x-user-id", "u");
    assert_eq!(bucket_of(both), Some(bucket("fraud-8", b"u")));
    let second = Fake::to("fraud").with("x-session", "s");
    assert_eq!(bucket_of(second), Some(bucket("fraud-8", b"s")));
    let empty = Fake::to("fraud")
        .with("x-user-id", "")
        .with("x-session", "s");
    assert_eq!(bucket_of(empty), Some(bucket("fraud-8", b"s")));
}

#[test]
fn key_is_bytes_and_need_not_be_text() {
    let request = Fake::to("fraud").with("x-user-id", b"\xff\xfe");
    let decision = decide(&two(), &request).unwrap();
    assert_eq!((decision.bucket, decision.group), (Some(2074), Some(11)));
}

#[test]
fn key_can_be_any_attribute_of_a_user() {
    let expected = Some(bucket("salt", b"alice"));
    let cookie = Fake::to("fraud")
        .with("cookie", "theme=dark")
        .with("cookie", "a=1; uid=alice");
    assert_eq!(
        bucket_by(Attribute::Cookie("uid".to_owned()), &cookie),
        expected
    );
    let query = Fake::default()
        .with(":authority", "fraud")
        .with(":path", "/x?a=1&user=al%69ce");
    assert_eq!(
        bucket_by(Attribute::Query("user".to_owned()), &query),
        expected
    );
    let metadata = Fake::to("fraud").with("user-bin", "alice");
    let key = Attribute::GrpcMetadata("User-Bin".to_owned());
    assert_eq!(bucket_by(key, &metadata), expected);
    let principal = Fake::to("fraud").by_principal("alice");
    let key = Attribute::Source(SourcePart::Principal);
    assert_eq!(bucket_by(key, &principal), expected);
}

#[test]
fn verified_claim_is_read_from_metadata_and_the_unverified_one_from_the_token() {
    let path = "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload";
    // {"sub":"mallory"}
    let token = "Bearer e30.eyJzdWIiOiJtYWxsb3J5In0.x";
    let request = Fake::to("fraud")
        .with("authorization", token)
        .with_property(&format!("{path}.sub"), "alice")
        .with_property(&format!("{path}.org.id"), "acme");
    let sub = || Claim::Name("sub".to_owned());
    let nested = Claim::Path(vec!["org".to_owned(), "id".to_owned()]);
    for (key, user) in [
        (Attribute::JwtClaim(sub()), "alice"),
        (Attribute::JwtClaim(nested), "acme"),
        (Attribute::UnverifiedJwtClaim(sub()), "mallory"),
    ] {
        let expected = Some(bucket("salt", user.as_bytes()));
        assert_eq!(bucket_by(key, &request), expected, "{user}");
    }
    let unverified = Fake::to("fraud").with("authorization", token).drawing(&[0]);
    let decision = decide(&by(vec![Attribute::JwtClaim(sub())]), &unverified).unwrap();
    assert_eq!(
        decision.reason,
        Reason::Random,
        "a token that nobody verified is no verified claim"
    );
}

#[test]
fn request_without_a_key_is_drawn_at_random_and_has_no_group() {
    let drawn = |host, draw| {
        let request = Fake::to(host).drawing(&[draw]);
        decide(&two(), &request).unwrap()
    };
    let random = |rollout, variant, bucket| Decision {
        rollout,
        bucket: Some(bucket),
        group: None,
        ..keyed("", b"", variant, Reason::Random)
    };
    assert_eq!(drawn("spam", 4_999), random(1, 1, 4_999));
    assert_eq!(drawn("spam", 5_000), random(1, 0, 5_000));
    assert_eq!(drawn("fraud", 30_000 + 9_000), random(0, 1, 9_000));
}

#[test]
fn issued_cookie_gives_the_bucket_that_the_returned_one_gives() {
    let table = rollout_accepted(|it| {
        it.cookie = Some(cookie_config());
        it.table = BucketTable::new(vec![(5_000, 0), (BUCKETS, 1)]).unwrap();
    });
    let mut random = SplitMix64::new(7);
    let mut seen = [0; 2];
    for _ in 0..64 {
        let request = Fake::to("fraud").drawing(&[random.draw(), random.draw()]);
        let first = decide(&table, &request).unwrap();
        let token = first.issue.expect("a client without a key gets a cookie");
        let config = table.rollout(0).unwrap().cookie().unwrap().config();
        let header = cookie::set_cookie(&config.name, token.as_str(), &config.attributes());
        let (pair, _) = header.split_once(';').unwrap();
        let second = decide(&table, &Fake::to("fraud").with("cookie", pair)).unwrap();
        assert_eq!(
            second,
            Decision {
                issue: None,
                ..first
            }
        );
        assert_eq!(
            second,
            keyed("salt", token.as_bytes(), second.variant, Reason::Cookie)
        );
        seen[second.variant] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn key_wins_over_the_issued_cookie_and_an_empty_cookie_is_none() {
    let table = rollout_accepted(|it| it.cookie = Some(cookie_config()));
    let both = Fake::to("fraud")
        .with("x-user-id", "alice")
        .with("cookie", "serin=abc");
    let expected = keyed("salt", b"alice", 0, Reason::Weight);
    assert_eq!(decide(&table, &both), Some(expected));
    let empty = Fake::to("fraud").with("cookie", "serin=").drawing(&[1, 2]);
    let decision = decide(&table, &empty).unwrap();
    assert_eq!(decision.issue, Some(Token::new(1, 2)));
}

#[test]
fn request_of_another_host_or_none_is_nobodys() {
    let requests = [Fake::to("other"), Fake::to(""), Fake::default()];
    for request in requests {
        let request = request.with("x-user-id", "42");
        assert_eq!(decide(&two(), &request), None);
        assert_eq!(
            request.asked(),
            [":authority"],
            "a request of nobody costs one question"
        );
    }
}

#[test]
fn request_without_a_path_lies_below_the_root_only() {
    let request = || Fake::default().with(":authority", "spam");
    assert_eq!(decide(&two(), &request()), None);
    let request = Fake::default()
        .with(":authority", "fraud")
        .with("x-user-id", "42");
    assert_eq!(decide(&two(), &request).unwrap().rollout, 0);
}

#[test]
fn nothing_is_asked_that_is_not_needed() {
    let keyed = Fake::to("fraud").with("x-user-id", "42");
    decide(&two(), &keyed).unwrap();
    assert_eq!(keyed.asked(), [":authority", "x-user-id"]);
    let drawn = Fake::to("spam").drawing(&[0]);
    decide(&two(), &drawn).unwrap();
    assert_eq!(drawn.asked(), [":authority", ":path", "draw"]);
}

/// Everything at once: an override for `ci`, a rule for beta testers, weights by `x-user-id`.
fn all(change: impl FnOnce(&mut RolloutConfig)) -> RoutingTable {
    rollout_accepted(|it| {
        it.variants.push(crate::testing::variant("third", false));
        it.table = BucketTable::whole(0);
        it.rules = vec![
            rule(1, serde_json::json!([{"header": "x-beta", "exists": true}])),
            rule(2, serde_json::json!([{"header": "x-beta", "equals": "3"}])),
            rule(
                2,
                serde_json::json!([{"header": "x-third", "exists": true}]),
            ),
        ];
        it.overriding = Some(OverrideConfig {
            header: "x-variant".to_owned(),
            principals: vec!["spiffe://mesh/ci".to_owned()],
            secret: None,
        });
        change(it);
    })
}

fn outcome(table: &RoutingTable, request: &Fake) -> (usize, Reason, Option<usize>) {
    let decision = decide(table, request).unwrap();
    (decision.variant, decision.reason, decision.rule)
}

/// A user; what would be drawn is nobody's business here.
fn user() -> Fake {
    Fake::to("fraud").with("x-user-id", "42")
}

#[test]
fn override_comes_before_rules_and_rules_before_weights() {
    let table = all(|_| {});
    let trusted = || {
        user()
            .with("x-variant", "third")
            .by_principal("spiffe://mesh/ci")
    };
    assert_eq!(outcome(&table, &user()), (0, Reason::Weight, None));
    assert_eq!(
        outcome(&table, &user().with("x-beta", "")),
        (1, Reason::Rule, Some(0))
    );
    assert_eq!(
        outcome(&table, &trusted().with("x-beta", "1")),
        (2, Reason::Override, None)
    );
    let stranger = user().with("x-variant", "third").with("x-beta", "1");
    assert_eq!(outcome(&table, &stranger), (1, Reason::Rule, Some(0)));
}

#[test]
fn first_rule_that_matches_wins() {
    let table = all(|_| {});
    let both = user().with("x-beta", "3");
    assert_eq!(outcome(&table, &both), (1, Reason::Rule, Some(0)));
    let last = user().with("x-third", "");
    assert_eq!(outcome(&table, &last), (2, Reason::Rule, Some(2)));
}

#[test]
fn forced_request_has_neither_bucket_nor_group_nor_cookie() {
    let table = all(|it| it.cookie = Some(cookie_config()));
    let request = Fake::to("fraud").with("x-beta", "");
    let expected = Decision {
        rule: Some(0),
        bucket: None,
        group: None,
        ..keyed("", b"", 1, Reason::Rule)
    };
    assert_eq!(decide(&table, &request), Some(expected));
}

#[test]
fn rules_and_overrides_to_a_disabled_variant_do_not_match() {
    let table = all(|it| it.variants[1].enabled = false);
    assert_eq!(
        outcome(&table, &user().with("x-beta", "1")),
        (0, Reason::Weight, None)
    );
    assert_eq!(
        outcome(&table, &user().with("x-beta", "3")),
        (2, Reason::Rule, Some(1)),
        "the next rule is asked"
    );
    let overridden = user()
        .with("x-variant", "canary")
        .by_principal("spiffe://mesh/ci");
    assert_eq!(outcome(&table, &overridden), (0, Reason::Weight, None));
}

#[test]
fn users_of_a_disabled_variant_are_live_with_the_bucket_they_have() {
    let whole = |enabled| {
        rollout_accepted(|it| {
            it.table = BucketTable::whole(1);
            it.variants[1].enabled = enabled;
        })
    };
    let (on, off) = (
        decide(&whole(true), &user()),
        decide(&whole(false), &user()),
    );
    assert_eq!(on, Some(keyed("salt", b"42", 1, Reason::Weight)));
    assert_eq!(off, Some(keyed("salt", b"42", 0, Reason::Weight)));
}

#[test]
fn request_of_a_disabled_rollout_is_nobodys() {
    let table = rollout_accepted(|it| it.enabled = false);
    assert_eq!(decide(&table, &user()), None);
}

#[test]
fn copies_are_asked_for_by_a_draw_of_their_own() {
    let shadowed = |sample, draw| {
        let table = rollout_accepted(|it| {
            it.shadow = Some(ShadowConfig {
                cluster: "fraud-v9".to_owned(),
                sample,
            });
        });
        decide(&table, &user().drawing(&[draw])).unwrap().shadow
    };
    assert!(!shadowed(0, 0), "none of 10 000");
    assert!(shadowed(1, 10_000), "the draw counts modulo 10 000");
    assert!(shadowed(250, 249) && !shadowed(250, 250));
    assert!(shadowed(10_000, 9_999), "all of 10 000");
}

#[test]
fn requests_of_rules_are_copied_as_well() {
    let table = all(|it| {
        it.shadow = Some(ShadowConfig {
            cluster: "fraud-v9".to_owned(),
            sample: 10_000,
        });
    });
    let decision = decide(&table, &user().with("x-beta", "").drawing(&[0])).unwrap();
    assert!(decision.shadow && decision.reason == Reason::Rule);
}

#[test]
fn another_salt_gives_another_bucket() {
    let of = |salt: &str| {
        let mut it = rollout("ml/fraud", "fraud");
        it.salt = salt.to_owned();
        decide(&table(vec![it]), &user()).unwrap().bucket
    };
    assert_eq!(of("fraud-8"), Some(3057));
    assert_eq!(of("fraud-9"), Some(2421));
}

#[test]
fn reasons_and_cohorts_are_numbered_as_they_are_listed() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.as_str());
    }
    for (index, cohort) in Cohort::ALL.into_iter().enumerate() {
        assert_eq!(cohort as usize, index, "{}", cohort.as_str());
    }
}

#[test]
fn only_weights_make_a_request_of_the_split() {
    let split = Reason::ALL
        .into_iter()
        .filter(|it| it.cohort() == Cohort::Split);
    let split: Vec<_> = split.map(Reason::as_str).collect();
    assert_eq!(split, ["weight", "cookie", "random"]);
    assert_eq!(Reason::Rule.cohort(), Cohort::Forced);
    assert_eq!(Reason::Override.cohort(), Cohort::Forced);
    assert_eq!(Reason::Fuse.cohort(), Cohort::Fused);
}

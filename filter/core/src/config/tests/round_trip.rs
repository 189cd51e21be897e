//! Any configuration survives its JSON, whatever a newer controller adds to it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use crate::attribute::cookie::SameSite;
use crate::config::{
    Attribute, Claim, ConditionConfig, CookieConfig, FilterConfig, FuseConfig, OverrideConfig,
    RangeConfig, RequestPart, RolloutConfig, RuleConfig, SecretConfig, ShadowConfig, SlowConfig,
    SourcePart, VERSION, VariantConfig,
};
use crate::split::{BUCKETS, BucketTable};
use crate::stat::Encoding;

/// Quotes, backslashes, control characters and what is not ASCII are all for JSON to escape.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-z/{}*.-]{0,12}", 1 => "\\PC{0,6}", 1 => Just("\"\\\n\0\u{2028}".to_owned())]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![text().prop_map(Claim::Name), texts().prop_map(Claim::Path)]
}

fn source() -> impl Strategy<Value = SourcePart> {
    Just(SourcePart::Principal)
}

fn request() -> impl Strategy<Value = RequestPart> {
    prop_oneof![Just(RequestPart::Path), Just(RequestPart::Method)]
}

fn attribute() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        text().prop_map(Attribute::Header),
        text().prop_map(Attribute::Cookie),
        text().prop_map(Attribute::Query),
        claim().prop_map(Attribute::JwtClaim),
        claim().prop_map(Attribute::UnverifiedJwtClaim),
        text().prop_map(Attribute::GrpcMetadata),
        source().prop_map(Attribute::Source),
        request().prop_map(Attribute::Request),
    ]
}

/// What people write: up to 15 digits, which a double holds and any reader of JSON reads the same.
fn number() -> impl Strategy<Value = f64> {
    const DIGITS: i64 = 1_000_000_000_000_000;
    (-DIGITS..DIGITS, 0..=9).prop_map(|(digits, places)| digits as f64 / 10_f64.powi(places))
}

fn condition() -> impl Strategy<Value = ConditionConfig> {
    let attributes = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(claim()),
        option::of(claim()),
        option::of(text()),
        option::of(source()),
        option::of(request()),
    );
    let range = (option::of(number()), option::of(number()))
        .prop_map(|(min, max)| RangeConfig { min, max });
    let tests = (
        option::of(text()),
        option::of(texts()),
        option::of(texts()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(any::<bool>()),
        option::of(range),
    );
    let plain = (attributes, tests).prop_map(|(attribute, test)| ConditionConfig {
        header: attribute.0,
        cookie: attribute.1,
        query: attribute.2,
        jwt_claim: attribute.3,
        unverified_jwt_claim: attribute.4,
        grpc_metadata: attribute.5,
        source: attribute.6,
        request: attribute.7,
        equals: test.0,
        within: test.1,
        not_in: test.2,
        prefix: test.3,
        suffix: test.4,
        regex: test.5,
        exists: test.6,
        range: test.7,
        any: None,
        all: None,
    });
    plain.prop_recursive(3, 8, 3, |inner| {
        let inner = vec(inner, 0..3);
        prop_oneof![
            inner.clone().prop_map(|any| ConditionConfig {
                any: Some(any),
                ..ConditionConfig::default()
            }),
            inner.prop_map(|all| ConditionConfig {
                all: Some(all),
                ..ConditionConfig::default()
            }),
        ]
    })
}

fn rule() -> impl Strategy<Value = RuleConfig> {
    (any::<u8>(), vec(condition(), 0..3)).prop_map(|(variant, when)| RuleConfig { variant, when })
}

fn variant() -> impl Strategy<Value = VariantConfig> {
    let flags = (any::<bool>(), any::<bool>());
    (text(), text(), text(), option::of(text()), flags).prop_map(
        |(name, version, route, cluster, (enabled, live))| VariantConfig {
            name,
            version,
            enabled,
            live,
            route,
            cluster,
        },
    )
}

fn cookie() -> impl Strategy<Value = CookieConfig> {
    let same_site = prop_oneof![
        Just(SameSite::Strict),
        Just(SameSite::Lax),
        Just(SameSite::None)
    ];
    (text(), option::of(any::<u64>()), same_site, any::<bool>()).prop_map(
        |(name, max_age, same_site, secure)| CookieConfig {
            name,
            max_age,
            same_site,
            secure,
        },
    )
}

fn overriding() -> impl Strategy<Value = OverrideConfig> {
    let secret = (text(), text()).prop_map(|(header, sha256)| SecretConfig { header, sha256 });
    (text(), texts(), option::of(secret)).prop_map(|(header, principals, secret)| OverrideConfig {
        header,
        principals,
        secret,
    })
}

fn table() -> impl Strategy<Value = BucketTable> {
    let cuts = prop::collection::btree_set(1..BUCKETS, 0..6);
    (cuts, vec(any::<u8>(), 7)).prop_map(|(cuts, owners)| {
        let ends = cuts.into_iter().chain([BUCKETS]);
        BucketTable::new(ends.zip(owners).collect()).unwrap()
    })
}

fn fuse() -> impl Strategy<Value = FuseConfig> {
    let rules = (option::of(any::<u32>()), option::of(number()), any::<u32>());
    let times = (
        any::<u64>(),
        any::<u64>(),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
    );
    (rules, times).prop_map(|(rules, times)| FuseConfig {
        consecutive_errors: rules.0,
        error_ratio: rules.1,
        min_requests: rules.2,
        window_ms: times.0,
        cooldown_ms: times.1,
        pending_ms: times.2,
        slow_ms: times.3,
    })
}

fn rollout() -> impl Strategy<Value = RolloutConfig> {
    let slow =
        (text(), any::<u64>()).prop_map(|(name, above_micros)| SlowConfig { name, above_micros });
    let shadow =
        (text(), any::<u16>()).prop_map(|(cluster, sample)| ShadowConfig { cluster, sample });
    let paths = (option::of(text()), option::of(text()), option::of(text()));
    let choice = (
        vec(attribute(), 0..4),
        option::of(cookie()),
        vec(rule(), 0..3),
        option::of(overriding()),
    );
    let rest = (
        vec(slow, 0..3),
        option::of(fuse()),
        option::of(shadow),
        any::<bool>(),
        any::<bool>(),
    );
    let named = (text(), texts(), vec(variant(), 0..4), text(), table());
    (named, paths, choice, rest).prop_map(|(named, paths, choice, rest)| RolloutConfig {
        name: named.0,
        hosts: named.1,
        variants: named.2,
        salt: named.3,
        table: named.4,
        path_prefix: paths.0,
        path: paths.1,
        path_template: paths.2,
        key: choice.0,
        cookie: choice.1,
        rules: choice.2,
        overriding: choice.3,
        slow: rest.0,
        fuse: rest.1,
        shadow: rest.2,
        enabled: rest.3,
        progressing: rest.4,
    })
}

fn config() -> impl Strategy<Value = FilterConfig> {
    let stats = prop_oneof![
        Just(Encoding::Istio),
        Just(Encoding::Builtin),
        Just(Encoding::Plain)
    ];
    (any::<u64>(), text(), text(), stats, vec(rollout(), 0..3)).prop_map(
        |(generation, route_header, shadow_header, stats, rollouts)| FilterConfig {
            version: VERSION,
            generation,
            route_header,
            shadow_header,
            stats,
            rollouts,
        },
    )
}

/// Adds a field to every object, as a newer minor version would. Attributes (of a key) are choices, not objects with
/// optional fields, so they are left alone.
fn grow(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if name != "key" {
                    grow(value);
                }
            }
            let added = serde_json::json!({"unit": "ms", "list": [1, null]});
            fields.insert("fieldOfTheFuture".to_owned(), added);
        }
        Value::Array(values) => values.iter_mut().for_each(grow),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_configuration_survives_json(config in config()) {
        let json = serde_json::to_vec(&config).unwrap();
        prop_assert_eq!(FilterConfig::parse(&json).unwrap(), config);
    }

    #[test]
    fn optional_fields_of_a_newer_minor_version_are_ignored(config in config()) {
        let mut json = serde_json::to_value(&config).unwrap();
        grow(&mut json);
        let json = serde_json::to_vec(&json).unwrap();
        prop_assert_eq!(FilterConfig::parse(&json).unwrap(), config);
    }

    #[test]
    fn a_newer_major_version_is_refused_by_name(config in config(), version in VERSION + 1..) {
        let mut json = serde_json::to_value(&config).unwrap();
        json["version"] = version.into();
        grow(&mut json);
        let error = FilterConfig::parse(&serde_json::to_vec(&json).unwrap()).unwrap_err();
        prop_assert_eq!(&error.field, "version");
        let said = format!("version {version} is newer than this filter reads");
        prop_assert!(error.reason.starts_with(&said), "{}", error);
    }

    #[test]
    fn any_bytes_can_be_read(bytes: Vec<u8>) {
        prop_assert!(FilterConfig::parse(&bytes).is_err());
    }
}

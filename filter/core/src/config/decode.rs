//! The types of the wire format from a JSON tree.

use super::json::{At, Json, Object};
use super::{
    Attribute, Claim, ConditionConfig, CookieConfig, FuseConfig, OverrideConfig, RangeConfig,
    RequestPart, RolloutConfig, RuleConfig, SecretConfig, ShadowConfig, SlowConfig, SourcePart,
    VariantConfig,
};
use crate::attribute::cookie::SameSite;
use crate::split::BucketTable;
use crate::stat::Encoding;

impl RolloutConfig {
    pub(super) fn decode(at: At) -> Self {
        let mut it = at.object();
        Self {
            name: it.must("name").text(),
            enabled: it.maybe("enabled").is_none_or(At::flag),
            hosts: texts(it.must("hosts")),
            path_prefix: it.maybe("pathPrefix").map(At::text),
            path: it.maybe("path").map(At::text),
            path_template: it.maybe("pathTemplate").map(At::text),
            variants: it.must("variants").list(variant),
            key: list(&mut it, "key", attribute),
            cookie: it.maybe("cookie").map(cookie),
            rules: list(&mut it, "rules", rule),
            overriding: it.maybe("override").map(overriding),
            salt: it.must("salt").text(),
            table: table(it.must("table")),
            progressing: it.maybe("progressing").is_some_and(At::flag),
            slow: list(&mut it, "slow", slow),
            fuse: it.maybe("fuse").map(fuse),
            shadow: it.maybe("shadow").map(shadow),
        }
    }
}

fn list<'p, T>(it: &mut Object<'p>, name: &str, decode: fn(At<'p>) -> T) -> Vec<T> {
    it.maybe(name).map_or_else(Vec::new, |at| at.list(decode))
}

fn texts(at: At) -> Vec<String> {
    at.list(At::text)
}

fn variant(at: At) -> VariantConfig {
    let mut it = at.object();
    VariantConfig {
        name: it.must("name").text(),
        version: it.must("version").text(),
        enabled: it.maybe("enabled").is_none_or(At::flag),
        live: it.maybe("live").is_some_and(At::flag),
        route: it.must("route").text(),
        cluster: it.maybe("cluster").map(At::text),
    }
}

fn table(at: At) -> BucketTable {
    let (path, problem) = (at.path.clone(), at.problem);
    let runs = at.list(|at| {
        let (path, problem) = (at.path.clone(), at.problem);
        match at.list(At::natural).as_slice() {
            [upto, variant] => (
                u16::try_from(*upto).unwrap_or(u16::MAX),
                u8::try_from(*variant).unwrap_or(u8::MAX),
            ),
            _ => {
                problem.report(&path, "a run is [upto, variant]".to_owned());
                (0, 0)
            }
        }
    });
    BucketTable::new(runs).unwrap_or_else(|error| {
        problem.report(&path, error.to_string());
        BucketTable::whole(0)
    })
}

type Decode = fn(At) -> Attribute;

/// The one field of an object that names an attribute. What another filter may know is refused: to skip it would split
/// users by another key than the one that was asked for.
fn attribute(at: At) -> Attribute {
    let (path, problem) = (at.path.clone(), at.problem);
    let mut it = at.object();
    let named: [(&str, Decode); 8] = [
        ("header", |at| Attribute::Header(at.text())),
        ("cookie", |at| Attribute::Cookie(at.text())),
        ("query", |at| Attribute::Query(at.text())),
        ("jwtClaim", |at| Attribute::JwtClaim(claim(at))),
        ("unverifiedJwtClaim", |at| {
            Attribute::UnverifiedJwtClaim(claim(at))
        }),
        ("grpcMetadata", |at| Attribute::GrpcMetadata(at.text())),
        ("source", |at| Attribute::Source(source(at))),
        ("request", |at| Attribute::Request(request(at))),
    ];
    let mut found = named
        .into_iter()
        .filter_map(|(name, decode)| it.maybe(name).map(decode));
    if let (Some(attribute), None) = (found.next(), found.next()) {
        return attribute;
    }
    let reason = "must name exactly one attribute that this filter knows: header, cookie, query, jwtClaim, \
                  unverifiedJwtClaim, grpcMetadata, source or request";
    problem.report(&path, reason.to_owned());
    Attribute::Source(SourcePart::Principal)
}

fn claim(at: At) -> Claim {
    match at.json {
        Json::List(_) => Claim::Path(texts(at)),
        _ => Claim::Name(at.text()),
    }
}

fn source(at: At) -> SourcePart {
    one_of(at, [], ("principal", SourcePart::Principal))
}

fn request(at: At) -> RequestPart {
    let method = ("method", RequestPart::Method);
    one_of(at, [("path", RequestPart::Path)], method)
}

/// The value of one of these names; the last, with a problem, where there is another name.
fn one_of<T: Copy, const N: usize>(at: At, known: [(&str, T); N], last: (&str, T)) -> T {
    let (path, problem) = (at.path.clone(), at.problem);
    let text = at.text();
    let mut named = known
        .iter()
        .chain([&last])
        .filter(|(name, _)| *name == text);
    let Some((_, value)) = named.next() else {
        let names = known.iter().chain([&last]).map(|(name, _)| *name);
        let names: Vec<&str> = names.collect();
        let reason = format!(
            "\"{text}\" is not known: this filter knows {}",
            names.join(", ")
        );
        problem.report(&path, reason);
        return last.1;
    };
    *value
}

fn cookie(at: At) -> CookieConfig {
    let mut it = at.object();
    CookieConfig {
        name: it.must("name").text(),
        max_age: it.maybe("maxAge").map(At::natural),
        same_site: it.maybe("sameSite").map_or(SameSite::Lax, same_site),
        secure: it.maybe("secure").is_none_or(At::flag),
    }
}

fn rule(at: At) -> RuleConfig {
    let mut it = at.object();
    RuleConfig {
        variant: it.must("variant").small(),
        when: it.must("when").list(condition),
    }
}

fn condition(at: At) -> ConditionConfig {
    let mut it = at.object();
    ConditionConfig {
        header: it.maybe("header").map(At::text),
        cookie: it.maybe("cookie").map(At::text),
        query: it.maybe("query").map(At::text),
        jwt_claim: it.maybe("jwtClaim").map(claim),
        unverified_jwt_claim: it.maybe("unverifiedJwtClaim").map(claim),
        grpc_metadata: it.maybe("grpcMetadata").map(At::text),
        source: it.maybe("source").map(source),
        request: it.maybe("request").map(request),
        equals: it.maybe("equals").map(At::text),
        within: it.maybe("in").map(texts),
        not_in: it.maybe("notIn").map(texts),
        prefix: it.maybe("prefix").map(At::text),
        suffix: it.maybe("suffix").map(At::text),
        regex: it.maybe("regex").map(At::text),
        exists: it.maybe("exists").map(At::flag),
        range: it.maybe("range").map(range),
        // Recursion is bounded: JSON is not read deeper than 128 levels.
        any: it.maybe("any").map(|at| at.list(condition)),
        all: it.maybe("all").map(|at| at.list(condition)),
    }
}

fn range(at: At) -> RangeConfig {
    let mut it = at.object();
    RangeConfig {
        min: it.maybe("min").map(At::number),
        max: it.maybe("max").map(At::number),
    }
}

fn overriding(at: At) -> OverrideConfig {
    let mut it = at.object();
    OverrideConfig {
        header: it.must("header").text(),
        principals: list(&mut it, "principals", At::text),
        secret: it.maybe("secret").map(secret),
    }
}

fn secret(at: At) -> SecretConfig {
    let mut it = at.object();
    SecretConfig {
        header: it.must("header").text(),
        sha256: it.must("sha256").text(),
    }
}

fn slow(at: At) -> SlowConfig {
    let mut it = at.object();
    SlowConfig {
        name: it.must("name").text(),
        above_micros: it.must("aboveMicros").natural(),
    }
}

fn fuse(at: At) -> FuseConfig {
    let mut it = at.object();
    FuseConfig {
        consecutive_errors: it.maybe("consecutiveErrors").map(At::small),
        error_ratio: it.maybe("errorRatio").map(At::number),
        min_requests: it
            .maybe("minRequests")
            .map_or_else(super::default_min_requests, At::small),
        window_ms: it
            .maybe("windowMs")
            .map_or_else(super::default_window_ms, At::natural),
        cooldown_ms: it
            .maybe("cooldownMs")
            .map_or_else(super::default_cooldown_ms, At::natural),
        pending_ms: it.maybe("pendingMs").map(At::natural),
        slow_ms: it.maybe("slowMs").map(At::natural),
    }
}

fn shadow(at: At) -> ShadowConfig {
    let mut it = at.object();
    ShadowConfig {
        cluster: it.must("cluster").text(),
        sample: it.must("sample").small(),
    }
}

fn same_site(at: At) -> SameSite {
    let named = |it: SameSite| (it.as_str(), it);
    let known = [SameSite::Strict, SameSite::Lax].map(named);
    one_of(at, known, named(SameSite::None))
}

pub(super) fn encoding(at: At) -> Encoding {
    let known = [("istio", Encoding::Istio), ("builtin", Encoding::Builtin)];
    one_of(at, known, ("plain", Encoding::Plain))
}

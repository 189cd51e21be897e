//! Who gets what: rules and keys on every attribute, and the rollout whose request it is.

use hyper::Method;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use serin_filter_core::stat;

use super::claims::{ALICE_TOKEN, BOB_TOKEN, FORGED_TOKEN, verify_tokens};
use super::{CANARY, Header, ROUTE, Rig, STABLE, Seen, name, rendered, rollout};

/// A user and the bucket that `filter/core/README.md` publishes for it, reckoned by another implementation of the hash.
const ALICE: (&str, u16) = ("alice@example.com", 5369);
const BOB: &str = "bob@example.com";

/// A request as a test sees it: method, path, and headers.
type Case = (Method, &'static str, &'static [Header]);

const fn get(path: &'static str, headers: &'static [Header]) -> Case {
    (Method::GET, path, headers)
}

impl Rig {
    /// The answer to a request.
    async fn serves(&self, host: &str, (method, path, headers): &Case) -> Seen {
        let url = format!("http://{}{path}", self.envoy.address());
        let request = self.client.request(method.clone(), url);
        let request = request.header("host", host);
        let with = |request: RequestBuilder, (name, value): &Header| request.header(*name, *value);
        Seen::of(headers.iter().fold(request, with)).await
    }
}

#[tokio::test]
async fn a_rule_on_any_attribute_forces_its_variant_and_stays_out_of_the_split() {
    // The condition, a request that it holds for, and one for which it does not.
    let rules: [(&str, Value, Case, Case); 12] = [
        (
            "equals.ml",
            json!({"header": "x-country", "equals": "DE"}),
            get("/", &[("x-country", "DE")]),
            get("/", &[("x-country", "de")]),
        ),
        (
            "in.ml",
            json!({"cookie": "plan", "in": ["pro", "enterprise"]}),
            get("/", &[("cookie", "a=1; plan=pro; b=2")]),
            get("/", &[("cookie", "plan2=pro; plan=free")]),
        ),
        (
            "not-in.ml",
            json!({"header": "x-country", "notIn": ["DE", "FR"]}),
            get("/", &[]),
            get("/", &[("x-country", "FR")]),
        ),
        (
            "prefix.ml",
            json!({"query": "tenant", "prefix": "a b"}),
            get("/x?a=1&tenant=a+b%2Fc", &[]),
            get("/x?a=1&tenant=A+b", &[]),
        ),
        (
            "suffix.ml",
            json!({"request": "path", "suffix": "/infer"}),
            get("/v2/models/x/infer?debug", &[]),
            get("/v2/models/x?y=/infer", &[]),
        ),
        (
            "method.ml",
            json!({"request": "method", "equals": "PUT"}),
            (Method::PUT, "/", &[]),
            (Method::POST, "/", &[]),
        ),
        (
            "regex.ml",
            json!({"header": "user-agent", "regex": "fraud-client/[3-9]\\.[0-9]+"}),
            get("/", &[("user-agent", "fraud-client/4.12")]),
            get("/", &[("user-agent", "fraud-client/4.12-rc1")]),
        ),
        (
            "exists.ml",
            json!({"header": "x-debug", "exists": true}),
            get("/", &[("x-debug", "")]),
            get("/", &[]),
        ),
        (
            "range.ml",
            json!({"query": "score", "range": {"min": 0.5, "max": 1}}),
            get("/?score=0.75", &[]),
            get("/?score=1.01", &[]),
        ),
        (
            "any.ml",
            json!({"any": [
                {"header": "x-a", "equals": "1"},
                {"unverifiedJwtClaim": "sub", "equals": ALICE.0},
            ]}),
            get("/", &[ALICE_TOKEN]),
            get("/", &[("x-a", "2"), BOB_TOKEN]),
        ),
        (
            "all.ml",
            json!({"all": [{"header": "x-a", "equals": "1"}, {"cookie": "b", "exists": false}]}),
            get("/", &[("x-a", "1")]),
            get("/", &[("x-a", "1"), ("cookie", "b=")]),
        ),
        (
            "metadata.ml",
            json!({"grpcMetadata": "x-tenant", "equals": "acme"}),
            (Method::POST, "/ml.Fraud/Score", &[("x-tenant", "acme")]),
            (Method::POST, "/ml.Fraud/Score", &[("x-tenant", "other")]),
        ),
    ];
    let rollouts: Vec<Value> = rules
        .iter()
        .map(|(host, when, _, _)| rollout(host, json!({"rules": [{"variant": 1, "when": [when]}]})))
        .collect();
    let rig = Rig::start_rollouts(&rollouts).await;
    for (host, _, yes, no) in &rules {
        assert_eq!(rig.serves(host, yes).await.version, "8", "{host} {yes:?}");
        assert_eq!(rig.serves(host, no).await.version, "7", "{host} {no:?}");
    }

    for (host, ..) in &rules {
        let name = name(host);
        let of = |variant| [(stat::ROLLOUT, name.as_str()), (stat::VARIANT, variant)];
        let (canary, stable) = (of("canary"), of("stable"));
        let with = |labels: [_; 2], more| [labels[0], labels[1], more];
        for labels in [
            with(canary, (stat::COHORT, "forced")),
            with(stable, (stat::COHORT, "split")),
        ] {
            rig.reads(stat::REQUESTS_TOTAL, &labels, 1).await;
        }
        rig.reads(stat::REQUESTS_TOTAL, &canary, 1).await;
        rig.reads(stat::REQUESTS_TOTAL, &stable, 1).await;
        rig.reads(
            stat::ASSIGNMENTS_TOTAL,
            &with(canary, (stat::REASON, "rule")),
            1,
        )
        .await;
        // Of the two, the split has but the one that no rule took.
        rig.reads(stat::SPLIT_TOTAL, &[(stat::ROLLOUT, &name)], 1)
            .await;
    }
}

#[tokio::test]
async fn every_kind_of_key_leads_the_same_user_to_the_same_bucket() {
    // Only the bucket of Alice is the canary's.
    let (user, bucket) = ALICE;
    let table = json!([[bucket, 0], [bucket + 1, 1], [10_000, 0]]);
    let keyed = |host: &str, key: Value| rollout(host, json!({"key": key, "table": table}));
    let rollouts = [
        keyed("header.ml", json!([{"header": "x-user-id"}])),
        keyed("cookie.ml", json!([{"cookie": "uid"}])),
        keyed("query.ml", json!([{"query": "user"}])),
        keyed("metadata.ml", json!([{"grpcMetadata": "user"}])),
        keyed("unverified.ml", json!([{"unverifiedJwtClaim": "sub"}])),
        keyed("verified.ml", json!([{"jwtClaim": "sub"}])),
        keyed(
            "chain.ml",
            json!([{"jwtClaim": "sub"}, {"header": "x-user-id"}, {"cookie": "uid"}, {"query": "user"}]),
        ),
    ];
    let rig = Rig::start_altered(&rendered(1, &rollouts), verify_tokens).await;
    rig.settle(1).await;

    let cases: [(&str, Case, Case); 6] = [
        (
            "header.ml",
            get("/", &[("x-user-id", ALICE.0)]),
            get("/", &[("x-user-id", BOB)]),
        ),
        (
            "cookie.ml",
            get("/", &[("cookie", "a=b; uid=\"alice@example.com\"; c=d")]),
            get("/", &[("cookie", "uid=bob@example.com")]),
        ),
        (
            "query.ml",
            get("/x?a=b&user=alice%40example.com", &[]),
            get("/x?a=b&user=bob%40example.com", &[]),
        ),
        (
            "metadata.ml",
            get("/", &[("user", ALICE.0)]),
            get("/", &[("user", BOB)]),
        ),
        (
            "unverified.ml",
            get("/", &[FORGED_TOKEN]),
            get("/", &[BOB_TOKEN]),
        ),
        (
            "verified.ml",
            get("/", &[ALICE_TOKEN]),
            get("/", &[BOB_TOKEN]),
        ),
    ];
    for (host, alice, bob) in &cases {
        assert_eq!(rig.serves(host, alice).await.version, "8", "{host}: {user}");
        assert_eq!(rig.serves(host, bob).await.version, "7", "{host}: {BOB}");
        let name = name(host);
        let weight = [(stat::ROLLOUT, name.as_str()), (stat::REASON, "weight")];
        rig.reads(stat::ASSIGNMENTS_TOTAL, &weight, 2).await;
    }
    // A claim that nobody signed is no verified one, and the request has no other key.
    rig.serves("verified.ml", &get("/", &[FORGED_TOKEN])).await;
    let random = [(stat::ROLLOUT, "ml/verified.ml"), (stat::REASON, "random")];
    rig.reads(stat::ASSIGNMENTS_TOTAL, &random, 1).await;

    // The first that is there and not empty wins.
    let chain: [(Case, &str); 6] = [
        (get("/?user=bob", &[ALICE_TOKEN, ("x-user-id", BOB)]), "8"),
        (get("/", &[BOB_TOKEN, ("x-user-id", ALICE.0)]), "7"),
        (get("/", &[FORGED_TOKEN, ("x-user-id", BOB)]), "7"),
        (
            get(
                "/?user=bob",
                &[("x-user-id", ALICE.0), ("cookie", "uid=bob")],
            ),
            "8",
        ),
        (
            get(
                "/?user=bob",
                &[("x-user-id", ""), ("cookie", "uid=alice@example.com")],
            ),
            "8",
        ),
        (
            get("/?user=alice%40example.com", &[("cookie", "uid=")]),
            "8",
        ),
    ];
    for (case, version) in &chain {
        assert_eq!(
            rig.serves("chain.ml", case).await.version,
            *version,
            "{case:?}"
        );
    }
}

#[tokio::test]
async fn the_most_specific_host_and_then_the_most_specific_path_own_a_request() {
    // Each sends everybody to its canary, whose route is the rollout's name.
    let rollouts = [
        ("exact", json!({"hosts": ["fraud.ml.example"]})),
        ("short", json!({"hosts": ["*.example"]})),
        ("long", json!({"hosts": ["*.ml.example"]})),
        ("any", json!({"hosts": ["*"], "pathPrefix": "/any"})),
        (
            "path",
            json!({"hosts": ["paths.ml"], "path": "/v2/models/fraud/infer"}),
        ),
        (
            "prefix",
            json!({"hosts": ["paths.ml"], "pathPrefix": "/v2/models/fraud"}),
        ),
        (
            "longer",
            json!({"hosts": ["paths.ml"], "pathPrefix": "/v2/models/fraud/versions"}),
        ),
        (
            "template",
            json!({"hosts": ["paths.ml"], "pathTemplate": "/v2/models/{name}/infer"}),
        ),
        (
            "below",
            json!({"hosts": ["paths.ml"], "pathTemplate": "/v2/models/{name}/**"}),
        ),
    ];
    let rollouts: Vec<Value> = rollouts
        .into_iter()
        .map(|(name, claim)| {
            let mut rollout = rollout(name, claim);
            rollout["table"] = json!([[10_000, 1]]);
            rollout["variants"][1]["route"] = name.into();
            rollout
        })
        .collect();
    let rig = Rig::start_rollouts(&rollouts).await;
    rig.route_all_with_header().await;

    let cases = [
        ("fraud.ml.example", "/", "exact"),
        ("FRAUD.ml.example:8080", "/x", "exact"),
        ("a.fraud.ml.example", "/", "long"),
        ("ml.example", "/", "short"),
        ("a.b.example", "/", "short"),
        ("example", "/any/x", "any"),
        ("example", "/", ""),
        ("paths.ml", "/v2/models/fraud/infer", "path"),
        ("paths.ml", "/v2/models/fraud/infer?a=/b", "path"),
        ("paths.ml", "/v2/models/fraud", "prefix"),
        ("paths.ml", "/v2/models/fraud/infer/x", "prefix"),
        ("paths.ml", "/v2/models/fraud/versionsx", "prefix"),
        ("paths.ml", "/v2/models/fraud/versions/8/infer", "longer"),
        ("paths.ml", "/v2/models/frauds/infer", "template"),
        ("paths.ml", "/v2/models/frauds/ready", "below"),
        ("paths.ml", "/v2/models//infer", ""),
        ("paths.ml", "/v2", ""),
        // A host of its own is asked alone, whatever `*` would say.
        ("paths.ml", "/any", ""),
    ];
    for (host, path, owner) in cases {
        let seen = rig.serves(host, &get(path, &[])).await;
        let route = seen.upstream[ROUTE][0].as_str().unwrap_or_default();
        assert_eq!(route, owner, "{host}{path}");
        let version = if owner.is_empty() { "7" } else { "8" };
        assert_eq!(seen.version, version, "{host}{path}");
    }
}

impl Rig {
    /// Leads requests to the canary whatever their route header says, and waits until that is so.
    async fn route_all_with_header(&self) {
        let routes = [
            json!({
                "match": {"prefix": "/", "headers": [{"name": ROUTE, "present_match": true}]},
                "route": {"cluster": CANARY},
            }),
            json!({"match": {"prefix": "/"}, "route": {"cluster": STABLE}}),
        ];
        self.reroute_raw(&routes).await;
    }
}

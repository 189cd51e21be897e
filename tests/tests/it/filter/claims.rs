//! Claims of tokens: those that Envoy's own filter has verified, and those that anybody can write.

use serde_json::{Value, json};
use serin_filter_core::split::bucket;
use serin_filter_core::stat;

use super::{Header, Rig, Seen, name, rendered, rollout};

/// Tokens of two users (HS256 with [`JWK`], no expiry), signed by a script that shares nothing with this project.
pub(super) const ALICE_TOKEN: Header = (
    "authorization",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJpc3MiOiJzZXJpbi10ZXN0Iiwic3ViIjoiYWxpY2VAZXhhbXBsZS5jb20ifQ.\
     YIWQWLZ5ytg1nQX1NNfHwylbywL1-w1nhdomCGglHMQ",
);
pub(super) const BOB_TOKEN: Header = (
    "authorization",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJpc3MiOiJzZXJpbi10ZXN0Iiwic3ViIjoiYm9iQGV4YW1wbGUuY29tIn0.\
     I2Iw68yG-edlTTYUmplef5aQGxYAm6rjXeboqkIVagU",
);
/// What Alice claims, under Bob's signature.
pub(super) const FORGED_TOKEN: Header = (
    "authorization",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJpc3MiOiJzZXJpbi10ZXN0Iiwic3ViIjoiYWxpY2VAZXhhbXBsZS5jb20ifQ.\
     I2Iw68yG-edlTTYUmplef5aQGxYAm6rjXeboqkIVagU",
);
const JWK: &str = "c2VyaW4tdGVzdC1rZXktb2YtdGhpcnR5LXR3by1ieXRl";

/// A token with a claim of every type, and the same under a signature of another key:
/// `{"iss":"serin-test","sub":"alice@example.com","uid":4217,"score":0.75,"beta":true,"groups":["ml","fraud"],
/// "realm":{"tenant":"acme","seat":12}}`.
const RICH_TOKEN: Header = (
    "authorization",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJpc3MiOiJzZXJpbi10ZXN0Iiwic3ViIjoiYWxpY2VAZXhhbXBsZS5jb20iLCJ1aWQiOjQyMTcsInNjb3JlIjowLjc1LCJiZXRhIjp0cnVlLCJn\
     cm91cHMiOlsibWwiLCJmcmF1ZCJdLCJyZWFsbSI6eyJ0ZW5hbnQiOiJhY21lIiwic2VhdCI6MTJ9fQ.\
     Vo6dtgWifi0cBmJ6hNCre2zPQyIjw1g6lCoujropuW4",
);
const FORGED_RICH_TOKEN: Header = (
    "authorization",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
     eyJpc3MiOiJzZXJpbi10ZXN0Iiwic3ViIjoiYWxpY2VAZXhhbXBsZS5jb20iLCJ1aWQiOjQyMTcsInNjb3JlIjowLjc1LCJiZXRhIjp0cnVlLCJn\
     cm91cHMiOlsibWwiLCJmcmF1ZCJdLCJyZWFsbSI6eyJ0ZW5hbnQiOiJhY21lIiwic2VhdCI6MTJ9fQ.\
     0g56dSOlKH5ExpRWh2RQmPMT_Fd1aJA-FKZbVzBr0ng",
);

/// Its claims, and the text that `filter/core` says each of them is.
fn claims() -> [(&'static str, Value, &'static str); 7] {
    [
        ("text", json!("sub"), "alice@example.com"),
        ("whole", json!("uid"), "4217"),
        ("fraction", json!("score"), "0.75"),
        ("flag", json!("beta"), "true"),
        ("list", json!("groups"), "ml,fraud"),
        ("nested", json!(["realm", "tenant"]), "acme"),
        ("deep-number", json!(["realm", "seat"]), "12"),
    ]
}

impl Rig {
    /// The version that answers a request to a host with this header, or without any.
    async fn version_for(&self, host: &str, header: Option<Header>) -> String {
        let request = self.request(host, "/");
        let request = match header {
            Some((name, value)) => request.header(name, value),
            None => request,
        };
        Seen::of(request).await.version
    }
}

#[tokio::test]
async fn only_a_verified_token_satisfies_a_rule_on_a_claim() {
    let mut rollouts = Vec::new();
    for (kind, claim, value) in claims() {
        for attribute in ["jwtClaim", "unverifiedJwtClaim"] {
            let when = json!([{attribute: claim, "equals": value}]);
            let rule = json!({"rules": [{"variant": 1, "when": when}]});
            rollouts.push(rollout(
                &format!("{kind}.{attribute}.ml").to_lowercase(),
                rule,
            ));
        }
    }
    let when = json!([{"jwtClaim": "uid", "range": {"min": 4217, "max": 4217}}]);
    rollouts.push(rollout(
        "range.jwtclaim.ml",
        json!({"rules": [{"variant": 1, "when": when}]}),
    ));
    let rig = Rig::start_altered(&rendered(1, &rollouts), verify_tokens).await;
    rig.settle(1).await;

    let kinds = claims().map(|(kind, ..)| kind);
    for kind in kinds.into_iter().chain(["range"]) {
        let host = format!("{kind}.jwtclaim.ml");
        assert_eq!(
            rig.version_for(&host, Some(RICH_TOKEN)).await,
            "8",
            "{kind}"
        );
        for nothing in [Some(FORGED_RICH_TOKEN), Some(BOB_TOKEN), None] {
            assert_eq!(rig.version_for(&host, nothing).await, "7", "{kind}");
        }
        // Of these four, the one with a right to it was forced, and nobody else.
        let name = name(&host);
        let forced = [(stat::ROLLOUT, name.as_str()), (stat::COHORT, "forced")];
        rig.reads(stat::REQUESTS_TOTAL, &forced, 1).await;
    }
    // What is called unverified is, and that is all that the other kind is good for.
    for kind in kinds {
        let host = format!("{kind}.unverifiedjwtclaim.ml");
        for token in [RICH_TOKEN, FORGED_RICH_TOKEN] {
            assert_eq!(rig.version_for(&host, Some(token)).await, "8", "{kind}");
        }
        assert_eq!(rig.version_for(&host, None).await, "7", "{kind}");
    }
}

#[tokio::test]
async fn a_claim_of_any_type_is_the_same_key_verified_or_not() {
    let mut rollouts = Vec::new();
    for (kind, claim, value) in claims() {
        // Only the bucket of this text is the canary's.
        let bucket = bucket("fraud-8", value.as_bytes());
        let table = json!([[bucket, 0], [bucket + 1, 1], [10_000, 0]]);
        for attribute in ["jwtClaim", "unverifiedJwtClaim"] {
            let fields = json!({"key": [{attribute: claim}], "table": table});
            rollouts.push(rollout(
                &format!("{kind}.{attribute}.ml").to_lowercase(),
                fields,
            ));
        }
    }
    let rig = Rig::start_altered(&rendered(1, &rollouts), verify_tokens).await;
    rig.settle(1).await;
    for (kind, ..) in claims() {
        for attribute in ["jwtclaim", "unverifiedjwtclaim"] {
            let host = format!("{kind}.{attribute}.ml");
            assert_eq!(
                rig.version_for(&host, Some(RICH_TOKEN)).await,
                "8",
                "{host}"
            );
            let name = name(&host);
            let weight = [(stat::ROLLOUT, name.as_str()), (stat::REASON, "weight")];
            rig.reads(stat::ASSIGNMENTS_TOTAL, &weight, 1).await;
        }
    }
}

/// Puts Envoy's own filter for tokens before ours; what it verified it leaves as Istio has it do.
pub(super) fn verify_tokens(bootstrap: &mut Value) {
    let jwks = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": JWK}]}).to_string();
    let filter = json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"test": {
                "issuer": "serin-test",
                "local_jwks": {"inline_string": jwks},
                "forward": true,
                "payload_in_metadata": "payload",
            }},
            "rules": [{
                "match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [
                    {"provider_name": "test"},
                    {"allow_missing_or_failed": {}},
                ]}},
            }],
        },
    });
    let manager =
        &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0];
    let filters = manager["typed_config"]["http_filters"].as_array_mut();
    filters.unwrap().insert(0, filter);
}

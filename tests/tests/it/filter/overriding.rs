//! The override header: heeded from trusted callers, and never passed on from others.

use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use serin_filter_core::stat;

use super::{CANARY, ROUTE, Rig, Seen, rollout};

const HOST: &str = "override.ml";
const ROLLOUT: &str = "ml/override.ml";
const HEADER: &str = "x-serin-variant";
const SECRET: &str = "x-serin-secret";
const RIGHT: &str = "s3cret";
/// `printf %s s3cret | sha256sum`
const DIGEST: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";

type Headers<'a> = &'a [(&'a str, &'a [u8])];

#[tokio::test]
async fn the_override_header_is_heeded_with_the_right_secret_and_stripped_without() {
    let fields = json!({"override": {
        "header": HEADER,
        "secret": {"header": SECRET, "sha256": DIGEST},
    }});
    let rig = Rig::start_rollouts(&[rollout(HOST, fields)]).await;
    // Headers, the version that answers, and whether the upstream sees the override.
    let cases: [(Headers, &str, bool); 10] = [
        (
            &[(HEADER, b"canary"), (SECRET, RIGHT.as_bytes())],
            "8",
            true,
        ),
        (
            &[(HEADER, b"stable"), (SECRET, RIGHT.as_bytes())],
            "7",
            true,
        ),
        (&[(HEADER, b"canary"), (SECRET, b"s3cret ")], "8", true),
        (&[(HEADER, b"canary"), (SECRET, b"s3cres")], "7", false),
        (&[(HEADER, b"canary"), (SECRET, b"")], "7", false),
        (&[(HEADER, b"canary"), (SECRET, b"\xff\xfe")], "7", false),
        (&[(HEADER, b"canary")], "7", false),
        (&[(SECRET, RIGHT.as_bytes())], "7", false),
        (
            &[(HEADER, b"nobody"), (SECRET, RIGHT.as_bytes())],
            "7",
            false,
        ),
        (&[(HEADER, b"\xff"), (SECRET, RIGHT.as_bytes())], "7", false),
    ];
    for (headers, version, heeded) in cases {
        let mut request = rig.request(HOST, "/");
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let seen = Seen::of(request).await;
        assert_eq!(seen.version, version, "{headers:?}");
        assert_eq!(seen.upstream[HEADER] != Value::Null, heeded, "{headers:?}");
        assert_eq!(seen.upstream[SECRET], Value::Null, "{headers:?}");
        let route = if version == "8" {
            json!([CANARY])
        } else {
            Value::Null
        };
        assert_eq!(seen.upstream[ROUTE], route, "{headers:?}");
    }

    let forced = [(stat::ROLLOUT, ROLLOUT), (stat::COHORT, "forced")];
    rig.reads(stat::REQUESTS_TOTAL, &forced, 3).await;
    let by_override = [(stat::ROLLOUT, ROLLOUT), (stat::REASON, "override")];
    rig.reads(stat::ASSIGNMENTS_TOTAL, &by_override, 3).await;
    rig.reads(stat::SPLIT_TOTAL, &[(stat::ROLLOUT, ROLLOUT)], 7)
        .await;
}

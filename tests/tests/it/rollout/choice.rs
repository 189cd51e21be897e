//! A rollout file with everything that can decide, from `serin run` into Envoy.

use std::time::Duration;

use reqwest::header::{HeaderMap, SET_COOKIE};
use serde_json::Value;
use serin_controller::rollout::Phase;
use serin_tests::wait;

use super::{Bench, FILE, canary_requests, rollout};

const SECRET: &str = "s3cret";
/// `printf %s s3cret | sha256sum`
const DIGEST: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
const INFER: &str = "/v2/models/fraud/infer";

/// A tenth at the canary for as long as nobody approves more.
fn everything() -> String {
    let steps = "        - {weight: 10, gate: {ratio: 3, absolute: 5pp}, pause: {approval: true}}";
    let choice = format!(
        "    cookie: {{name: serin-id, maxAge: 30d, sameSite: Strict, secure: false}}
    rules:
      - variant: canary
        when: [{{header: x-beta, equals: \"1\"}}, {{any: [{{request: path, suffix: /infer}}, {{query: try, exists: true}}]}}]
      - {{variant: stable, when: [{{request: method, in: [PUT]}}]}}
    override:
      header: x-serin-variant
      trusted: {{secret: {{header: x-serin-secret, sha256: {DIGEST}}}}}
  shadow: {{cluster: fraud-v9, sample: 100%}}
"
    );
    rollout(steps, "1s")
        .replace("hosts: [fraud.ml]", "hosts: [\"*.ml\"]")
        .replace(
            "pathPrefix: /v2/models/fraud",
            "pathTemplate: \"/v2/models/{name}/infer\"",
        )
        .replace(
            "[{header: x-user-id}]",
            "[{header: x-user-id}, {query: user}]",
        )
        .replace(
            "    salt: fraud-8\n",
            &format!("    salt: fraud-8\n{choice}"),
        )
}

/// What came back, and what the model server saw.
struct Seen {
    version: String,
    headers: HeaderMap,
    upstream: Value,
}

impl Bench {
    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> Seen {
        let url = format!("http://{}{path}", self.installation.envoy.address());
        let mut request = reqwest::Client::new().get(url).header("host", "fraud.ml");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        let version = headers.get("x-serin-model-version");
        Seen {
            version: version.map_or("", |it| it.to_str().unwrap()).to_owned(),
            headers,
            upstream: answer.json().await.unwrap_or_default(),
        }
    }

    /// Waits until requests with these headers reach a version.
    async fn reaches(&self, version: &str, headers: &[(&str, &str)]) {
        let found = async || self.ask(INFER, headers).await.version == version;
        let what = format!("{headers:?} to reach version {version}");
        wait::until_true(Duration::from_secs(30), &what, found)
            .await
            .unwrap();
    }

    /// What `serin explain` says of a request.
    async fn explained(&self, arguments: &[&str]) -> String {
        let arguments: Vec<_> = ["explain", "fraud"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let (done, said, error) = self.serin(&arguments).await;
        assert!(done, "{error}");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_keys_cookie_override_and_shadow_of_a_file_do_in_envoy_what_explain_says() {
    let bench = Bench::start("choice", &everything()).await;
    bench
        .until("both versions", |status| canary_requests(status) > 20)
        .await;
    let assignment = bench.traffic.snapshot();
    let assignment = assignment.assignment().unwrap();
    let user_of = |version: &str| {
        let mut users = assignment.iter();
        users
            .find(|(_, seen)| **seen == version)
            .unwrap()
            .0
            .to_string()
    };
    let (stable, canary) = (user_of("7"), user_of("8"));

    // The second source of the key decides as the first one does.
    for (user, version) in [(&stable, "7"), (&canary, "8")] {
        let seen = bench.ask(&format!("{INFER}?user={user}"), &[]).await;
        assert_eq!(seen.version, version);
        assert_eq!(seen.headers.get(SET_COOKIE), None);
        let said = bench.explained(&["--query", &format!("user={user}")]).await;
        assert!(
            said.contains(&format!("version {version} (weight)")),
            "{said}"
        );
    }

    // A rule goes before the weight, with all of its conditions.
    let beta = [("x-user-id", stable.as_str()), ("x-beta", "1")];
    assert_eq!(bench.ask(INFER, &beta).await.version, "8");
    let user = format!("x-user-id={stable}");
    let said = bench
        .explained(&["--header", &user, "--header", "x-beta=1"])
        .await;
    assert!(
        said.contains("rules[0]") && said.contains("version 8 (rule)"),
        "{said}"
    );
    let said = bench
        .explained(&[
            "--header",
            &format!("x-user-id={canary}"),
            "--method",
            "PUT",
        ])
        .await;
    assert!(
        said.contains("rules[1]") && said.contains("version 7 (rule)"),
        "{said}"
    );

    // An override goes before the rule for those who know the secret; neither header reaches a model server.
    let wanted = ("x-serin-variant", "stable");
    for (secret, version) in [(SECRET, "7"), ("guess", "8")] {
        let asked = [beta.as_slice(), &[wanted, ("x-serin-secret", secret)]].concat();
        let seen = bench.ask(INFER, &asked).await;
        assert_eq!(seen.version, version, "secret {secret}");
        assert_eq!(seen.upstream["x-serin-secret"], Value::Null);
        if secret != SECRET {
            assert_eq!(seen.upstream["x-serin-variant"], Value::Null);
        }
    }
    let said = bench
        .explained(&[
            "--header",
            "x-beta=1",
            "--header",
            "x-serin-variant=stable",
            "--header",
            "x-serin-secret=s3cret",
        ])
        .await;
    assert!(said.contains("version 7 (override)"), "{said}");

    // A client without a key is given one, and stays where it was.
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let first = bench.ask(INFER, &[]).await;
        let issued = first.headers[SET_COOKIE].to_str().unwrap();
        assert!(
            issued.starts_with("serin-id=")
                && issued.contains("Max-Age=2592000")
                && issued.contains("SameSite=Strict")
                && !issued.contains("Secure"),
            "{issued}"
        );
        let cookie = issued.split(';').next().unwrap();
        let again = bench.ask(INFER, &[("cookie", cookie)]).await;
        assert_eq!(again.version, first.version, "{cookie}");
        assert_eq!(again.headers.get(SET_COOKIE), None);
        if met.insert(first.version.clone()) {
            let said = bench.explained(&["--cookie", cookie]).await;
            assert!(
                said.contains(&format!("version {} (cookie)", first.version)),
                "{said}"
            );
        }
    }
    assert_eq!(met.len(), 2, "60 clients of whom a tenth are on the canary");

    // Copies of all of it went to the shadow, and nobody got its answers.
    let sent = bench.traffic.snapshot().total().requests;
    wait::until_true(Duration::from_secs(30), "the copies", async || {
        bench.shadow.requests() >= sent
    })
    .await
    .unwrap();
    assert_eq!(bench.traffic.snapshot().version("9").requests, 0);

    // Switched off, the canary is as if it were not there; switched on, everybody is where they were.
    let off = everything().replace(
        "route: {cluster: fraud-v8}}",
        "route: {cluster: fraud-v8}, enabled: false}",
    );
    bench.installation.write_rollout(FILE, &off).unwrap();
    bench.reaches("7", &beta).await;
    bench.reaches("7", &[("x-user-id", &canary)]).await;
    let said = bench
        .explained(&["--header", &format!("x-user-id={canary}")])
        .await;
    assert!(
        said.contains("the bucket belongs to canary, which is switched off"),
        "{said}"
    );
    bench
        .installation
        .write_rollout(FILE, &everything())
        .unwrap();
    bench.reaches("8", &beta).await;
    bench.reaches("8", &[("x-user-id", &canary)]).await;

    // After a rollback nobody reaches the canary, whatever they say.
    assert!(bench.serin(&["abort", "fraud"]).await.0);
    bench
        .until("the rollback", |status| status.phase == Phase::RolledBack)
        .await;
    bench.reaches("7", &beta).await;
    let trusted = [("x-serin-variant", "canary"), ("x-serin-secret", SECRET)];
    bench.reaches("7", &trusted).await;
    assert_eq!(bench.stop().await.total().bad, 0, "somebody noticed");
}

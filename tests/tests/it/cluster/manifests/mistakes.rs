//! What the schema refuses, and in which words.

use serde_json::{Value, json};

/// What must be refused: where, what is put there, and what the answer names.
pub(super) fn mistakes() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let canary = "canary.yaml";
    let third = json!([
        {"name": "stable", "role": "stable", "version": "7", "route": {"subset": "v7"}},
        {"name": "canary", "version": "8", "route": {"subset": "v8"}},
        {"name": "other", "version": "9", "route": {"subset": "v9"}},
    ]);
    let steps = |first: f64, second: f64| {
        json!([
            {"weight": first, "gate": {"ratio": 2.0}},
            {"weight": second, "gate": {"ratio": 2.0}},
        ])
    };
    vec![
        (
            canary,
            "/spec/variants/1/role",
            json!("stable"),
            "spec.variants: Invalid value: exactly one has 'role: stable'",
        ),
        (
            canary,
            "/spec/variants/0/role",
            json!("canary"),
            "spec.variants[0].role: Unsupported value",
        ),
        (
            canary,
            "/spec/variants/1/version",
            json!("7"),
            "spec.variants: Invalid value: two have the same version",
        ),
        (
            canary,
            "/spec/variants/1/version",
            json!("7;8"),
            "spec.variants[1].version",
        ),
        (
            canary,
            "/spec/variants/1/name",
            json!("stable"),
            "duplicate",
        ),
        (
            canary,
            "/spec/variants/1/route",
            json!({"subset": "v7"}),
            "two have the same route.subset",
        ),
        (
            canary,
            "/spec/variants/1/route",
            json!({"cluster": "fraud-v8"}),
            "spec.variants[1].route: Invalid value: cluster is for standalone",
        ),
        (
            canary,
            "/spec/variants/1/route",
            json!({}),
            "spec.variants[1].route: Invalid value: must say 'subset', or 'host'",
        ),
        (
            canary,
            "/spec/variants/1/route",
            json!({"host": "a.ml.svc.cluster.local", "labels": {"a": "b"}}),
            "labels are those of a subset's pods",
        ),
        (
            canary,
            "/spec/variants/0/enabled",
            json!(false),
            "spec.variants[0]: Invalid value: enabled: the stable variant",
        ),
        (
            canary,
            "/spec/variants",
            third,
            "variants: this strategy wants one beside the stable one",
        ),
        (
            canary,
            "/spec/variants",
            json!([{"name": "stable", "role": "stable", "version": "7", "route": {"subset": "v7"}}]),
            "spec.variants",
        ),
        (canary, "/spec/match/hosts", json!([]), "spec.match.hosts"),
        (
            canary,
            "/spec/match/hosts/0",
            json!("fraud:80"),
            "spec.match.hosts[0]",
        ),
        (
            canary,
            "/spec/match/hosts",
            json!(["*.ml"]),
            "route.host: must name the service",
        ),
        (
            canary,
            "/spec/match/path",
            json!("/a"),
            "spec.match: Invalid value: has at most one of pathPrefix, path and pathTemplate",
        ),
        (
            canary,
            "/spec/match/pathPrefix",
            json!("v2"),
            "spec.match.pathPrefix",
        ),
        (
            canary,
            "/spec/route/gateways/0",
            json!("a/b/c"),
            "spec.route.gateways[0]",
        ),
        (
            canary,
            "/spec/route",
            json!({"manage": false, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}),
            "spec.route: Invalid value: trafficPolicy belongs to the DestinationRule",
        ),
        (
            canary,
            "/spec/shadow",
            json!({"cluster": "a", "sample": "1%"}),
            "spec.shadow: Invalid value: is for standalone",
        ),
        (canary, "/spec/scope/0", json!("Ml"), "spec.scope[0]"),
        (canary, "/spec/quorum", json!("most"), "spec.quorum"),
        (
            canary,
            "/spec/rollbackWindow",
            json!("soon"),
            "spec.rollbackWindow",
        ),
        (
            canary,
            "/spec/assignment/salt",
            json!(""),
            "spec.assignment.salt",
        ),
        (
            canary,
            "/spec/assignment/key/0",
            json!({"header": "a", "cookie": "b"}),
            "spec.assignment.key[0]: Invalid value: has exactly one of header, cookie",
        ),
        (
            canary,
            "/spec/assignment/key/0",
            json!({"source": "address"}),
            "spec.assignment.key[0].source: Unsupported value",
        ),
        (
            canary,
            "/spec/assignment/rules/0/variant",
            json!("nobody"),
            "assignment.rules[].variant: a rule leads to a name that no variant has",
        ),
        (
            canary,
            "/spec/assignment/rules/0/when/0",
            json!({"header": "a", "query": "b", "equals": "1"}),
            "spec.assignment.rules[0].when[0]: Invalid value: has exactly one attribute",
        ),
        (
            canary,
            "/spec/assignment/rules/0/when/0",
            json!({"header": "a"}),
            "spec.assignment.rules[0].when[0]: Invalid value: has exactly one test",
        ),
        (
            canary,
            "/spec/assignment/override",
            json!({"header": "x"}),
            "spec.assignment.override: Invalid value: trusted: nobody could use it",
        ),
        (
            canary,
            "/spec/strategy/manual",
            json!({}),
            "spec.strategy: Invalid value: is exactly one of canary, linear",
        ),
        (
            canary,
            "/spec/strategy/canary/steps",
            json!([]),
            "spec.strategy.canary.steps",
        ),
        (
            canary,
            "/spec/strategy/canary/steps",
            steps(5.0, 1.0),
            "spec.strategy.canary.steps: Invalid value: weights must rise",
        ),
        (
            canary,
            "/spec/strategy/canary/steps",
            steps(5.0, 5.0),
            "spec.strategy.canary.steps: Invalid value: weights must rise",
        ),
        (
            canary,
            "/spec/strategy/canary/steps",
            steps(5.0, 100.0),
            "spec.strategy.canary.steps[1].weight",
        ),
        (
            canary,
            "/spec/strategy/canary/steps",
            steps(0.0, 10.0),
            "spec.strategy.canary.steps[0].weight",
        ),
        (
            canary,
            "/spec/strategy/canary/steps/0/gate",
            json!({"ratio": 0.5}),
            "spec.strategy.canary.steps[0].gate: Invalid value: ratio must be 1 to 100",
        ),
        (
            canary,
            "/spec/strategy/canary/deadline",
            json!({"after": "1h", "then": "pray"}),
            "spec.strategy.canary.deadline.then: Unsupported value",
        ),
        (
            canary,
            "/spec/analysis/falseRollback",
            json!(0.9),
            "spec.analysis.falseRollback",
        ),
        (
            canary,
            "/spec/analysis/metrics/0/weight",
            Value::Null,
            "spec.analysis.metrics: Invalid value: either every metric has a weight, or none",
        ),
        (
            canary,
            "/spec/analysis/metrics/0/latency",
            json!({"above": "1s"}),
            "spec.analysis.metrics[0]: Invalid value: has exactly one of errorRate, latency and prometheus",
        ),
        (
            canary,
            "/spec/analysis/metrics/0/name",
            json!("slow"),
            "duplicate",
        ),
        (
            canary,
            "/spec/analysis/guards/0/minRequests",
            json!(0),
            "spec.analysis.guards[0].minRequests",
        ),
        (
            canary,
            "/spec/analysis/onFail",
            json!("ignore"),
            "spec.analysis.onFail: Unsupported value",
        ),
        (
            canary,
            "/metadata/name",
            json!("a.b"),
            "metadata.name becomes part of other names",
        ),
        (
            "linear.yaml",
            "/spec/strategy/linear/stepWeight",
            json!(60),
            "spec.strategy.linear: Invalid value: stepWeight is more than maxWeight",
        ),
        (
            "blue-green.yaml",
            "/spec/strategy/blueGreen/preview",
            json!({"approval": false}),
            "spec.strategy.blueGreen.preview: Invalid value: ends at once",
        ),
        (
            "ab-test.yaml",
            "/spec/strategy/abTest/until",
            json!("2027-01-31T00:00:00Z"),
            "spec.strategy.abTest: Invalid value: must say how long it lasts",
        ),
        (
            "ab-test.yaml",
            "/spec/strategy/abTest/weights",
            json!({"deep": 60, "wide": 50}),
            "spec.strategy.abTest.weights: Invalid value: leave nothing for the stable variant",
        ),
        (
            "ab-test.yaml",
            "/spec/strategy/abTest/weights",
            json!({"deep": 20}),
            "strategy.abTest.weights: must name every variant",
        ),
        (
            "ab-test.yaml",
            "/spec/strategy/abTest/weights",
            json!({"deep": 20, "wide": 20, "high": 5}),
            "strategy.abTest.weights: names what is no variant",
        ),
        (
            "shadow.yaml",
            "/spec/strategy/shadow/deadline/then",
            json!("promote"),
            "spec.strategy.shadow: Invalid value: deadline.then: this strategy promotes nobody",
        ),
        (
            "shadow.yaml",
            "/spec/analysis",
            json!({"metrics": [{"name": "slow", "latency": {"above": "1s"}}]}),
            "analysis.metrics[].latency: nobody waits for the answer",
        ),
    ]
}

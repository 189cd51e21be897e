//! What a schema can say beyond types: bounds, patterns, and rules in CEL whose messages say what to do.
//!
//! The API server refuses a definition whose rules could cost too much on the largest resource that it lets in, so every
//! list and every text has a bound. Rules do not see claims, which have no type: what is wrong with them the controller
//! says.

use serde_json::{Map, Value, json};

use super::structural::each;

/// A rule in CEL.
struct Rule {
    /// Where, as `a.b[].c`; empty: the whole resource.
    at: &'static str,
    /// What holds.
    rule: &'static str,
    /// What to do where it does not.
    message: &'static str,
}

/// Bounds of what has none of its own.
const LONGEST_LIST: u64 = 64;
const LONGEST_TEXT: u64 = 1024;

const NAME: &str = "^[A-Za-z0-9._|/:+-]+$";
const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const GATEWAY: &str = "^(mesh|[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?)$";
const HOST: &str = r"^(\*|\*\.[A-Za-z0-9.-]+|[A-Za-z0-9.-]+)$";
const PREFIX: &str = "^/([^?#]*[^?#/])?$";
const LABEL_NAME: &str = "^[a-zA-Z_][a-zA-Z0-9_]*$";
const HEADER: &str = "^[A-Za-z0-9_.-]+$";
const SHA256: &str = "^[0-9a-fA-F]{64}$";

/// Keywords of single fields.
fn keywords() -> Vec<(&'static str, Value)> {
    let list = |least: u64, most: u64| json!({"minItems": least, "maxItems": most});
    let set = |least: u64, most: u64| json!({"minItems": least, "maxItems": most, "x-kubernetes-list-type": "set"});
    let by_name = |least: u64, most: u64| json!({"minItems": least, "maxItems": most, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
    let text =
        |most: u64, pattern: &str| json!({"minLength": 1, "maxLength": most, "pattern": pattern});
    let weight =
        json!({"minimum": 0, "exclusiveMinimum": true, "maximum": 100, "exclusiveMaximum": true});
    let chance = json!({"minimum": 0.000_001, "maximum": 0.5});
    let nullable = json!({"nullable": true});
    vec![
        ("spec.match.hosts", set(1, 64)),
        ("spec.match.hosts[]", text(253, HOST)),
        ("spec.match.pathPrefix", text(1024, PREFIX)),
        ("spec.match.path", text(1024, "^/")),
        ("spec.match.pathTemplate", text(1024, "^/")),
        ("spec.scope", set(0, 256)),
        ("spec.scope[]", text(63, DNS_LABEL)),
        ("spec.route.host", text(253, NAME)),
        ("spec.route.gateways", set(0, 32)),
        ("spec.route.gateways[]", text(127, GATEWAY)),
        ("spec.variants", by_name(2, 16)),
        ("spec.variants[].name", text(100, NAME)),
        ("spec.variants[].version", text(100, NAME)),
        ("spec.variants[].route.subset", text(63, DNS_LABEL)),
        ("spec.variants[].route.host", text(253, NAME)),
        ("spec.variants[].route.labels", json!({"maxProperties": 16})),
        ("spec.assignment.key", list(0, 8)),
        ("spec.assignment.key[]", json!({"minProperties": 1})),
        ("spec.assignment.key[].header", text(253, HEADER)),
        ("spec.assignment.key[].grpcMetadata", text(253, HEADER)),
        (
            "spec.assignment.key[].source",
            json!({"enum": ["principal"]}),
        ),
        (
            "spec.assignment.cookie.sameSite",
            json!({"enum": ["Strict", "Lax", "None"]}),
        ),
        (
            "spec.assignment.salt",
            json!({"minLength": 1, "maxLength": 253}),
        ),
        ("spec.assignment.rules", list(0, 64)),
        ("spec.assignment.rules[].variant", text(100, NAME)),
        ("spec.assignment.rules[].when", list(1, 32)),
        (
            "spec.assignment.rules[].when[]",
            json!({"minProperties": 1}),
        ),
        (
            "spec.assignment.rules[].when[].source",
            json!({"enum": ["principal"]}),
        ),
        (
            "spec.assignment.rules[].when[].request",
            json!({"enum": ["path", "method"]}),
        ),
        ("spec.assignment.rules[].when[].in", list(1, 1024)),
        ("spec.assignment.rules[].when[].notIn", list(1, 1024)),
        ("spec.assignment.override.header", text(253, HEADER)),
        (
            "spec.assignment.override.trusted.secret.header",
            text(253, HEADER),
        ),
        (
            "spec.assignment.override.trusted.secret.sha256",
            text(64, SHA256),
        ),
        ("spec.strategy.canary.steps", list(1, 100)),
        ("spec.strategy.canary.steps[].weight", weight.clone()),
        ("spec.strategy.linear.stepWeight", weight.clone()),
        ("spec.strategy.linear.maxWeight", weight.clone()),
        ("spec.strategy.rolling.maxWeight", weight.clone()),
        (
            "spec.strategy.manual.weight",
            json!({"minimum": 0, "maximum": 100, "exclusiveMaximum": true}),
        ),
        ("spec.strategy.abTest.weights", json!({"maxProperties": 15})),
        ("spec.strategy.abTest.weights{}", weight),
        ("spec.analysis.falseRollback", chance.clone()),
        ("spec.analysis.falsePromotion", chance),
        ("spec.analysis.metrics", by_name(1, 16)),
        ("spec.analysis.metrics[].name", text(100, NAME)),
        (
            "spec.analysis.metrics[].weight",
            json!({"minimum": 0, "exclusiveMinimum": true, "maximum": 1_000_000}),
        ),
        (
            "spec.analysis.metrics[].dispersion",
            json!({"minimum": 1, "maximum": 1000}),
        ),
        ("spec.analysis.metrics[].gates", list(0, 100)),
        (
            "spec.analysis.metrics[].prometheus.versionLabel",
            text(128, LABEL_NAME),
        ),
        ("spec.analysis.guards", list(0, 16)),
        ("spec.analysis.guards[].name", text(100, NAME)),
        ("spec.analysis.guards[].minRequests", json!({"minimum": 1})),
        ("spec.fuse.consecutiveErrors", nullable.clone()),
        ("spec.fuse.errorRatio", nullable),
    ]
}

/// Lines that compare two rates.
const MARGINS: [&str; 6] = [
    "spec.strategy.canary.steps[].gate",
    "spec.strategy.linear.gate",
    "spec.strategy.blueGreen.limit",
    "spec.strategy.rolling.gate",
    "spec.strategy.shadow.gate",
    "spec.analysis.metrics[].tolerance",
];

const RULES: &[Rule] = &[
    Rule {
        at: "",
        rule: "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
        message: "metadata.name becomes part of other names: at most 63 lower-case letters, digits and '-'",
    },
    Rule {
        at: "spec",
        rule: "self.variants.size() == 2 || has(self.strategy.abTest)",
        message: "variants: this strategy wants one beside the stable one; only abTest takes more",
    },
    Rule {
        at: "spec",
        rule: "!has(self.assignment.rules) || self.assignment.rules.all(r, self.variants.exists(v, v.name == r.variant))",
        message: "assignment.rules[].variant: a rule leads to a name that no variant has",
    },
    Rule {
        at: "spec",
        rule: "(has(self.route) && has(self.route.host)) || self.match.hosts.exists(h, !h.startsWith('*'))",
        message: "route.host: must name the service that serves the versions, because no host of match is one",
    },
    Rule {
        at: "spec",
        rule: "!has(self.strategy.abTest) || self.variants.all(v, has(v.role) != (v.name in self.strategy.abTest.weights))",
        message: "strategy.abTest.weights: must name every variant but the stable one, which has what the others leave",
    },
    Rule {
        at: "spec",
        rule: "!has(self.strategy.abTest) || self.strategy.abTest.weights.size() == self.variants.size() - 1",
        message: "strategy.abTest.weights: names what is no variant",
    },
    Rule {
        at: "spec",
        rule: "!has(self.strategy.shadow) || !has(self.analysis) || !has(self.analysis.metrics) || !self.analysis.metrics.exists(m, has(m.latency))",
        message: "analysis.metrics[].latency: nobody waits for the answer to a copy, so nobody knows how long it took: leave this metric out",
    },
    Rule {
        at: "spec.match",
        rule: "[has(self.pathPrefix), has(self.path), has(self.pathTemplate)].filter(x, x).size() <= 1",
        message: "has at most one of pathPrefix, path and pathTemplate",
    },
    Rule {
        at: "spec.shadow",
        rule: "false",
        message: "is for standalone: in the mesh copies are a strategy (strategy.shadow)",
    },
    Rule {
        at: "spec.route",
        rule: "!has(self.trafficPolicy) || !has(self.manage) || self.manage",
        message: "trafficPolicy belongs to the DestinationRule, which is yours with 'manage: false': write it there",
    },
    Rule {
        at: "spec.variants",
        rule: "self.exists_one(v, has(v.role))",
        message: "exactly one has 'role: stable': the version that is live now",
    },
    Rule {
        at: "spec.variants",
        rule: "self.all(v, self.exists_one(w, w.version == v.version))",
        message: "two have the same version: their counts could not be told apart",
    },
    Rule {
        at: "spec.variants",
        rule: "self.all(v, !has(v.route.subset) || self.exists_one(w, has(w.route.subset) && w.route.subset == v.route.subset))",
        message: "two have the same route.subset: a route belongs to one version for ever",
    },
    Rule {
        at: "spec.variants[]",
        rule: "!has(self.role) || !has(self.enabled) || self.enabled",
        message: "enabled: the stable variant is where all others lead home to: switch the other one off, or the rollout (spec.enabled)",
    },
    Rule {
        at: "spec.variants[].route",
        rule: "!has(self.cluster)",
        message: "cluster is for standalone: in the mesh a variant has a 'subset', or a 'host' of its own",
    },
    Rule {
        at: "spec.variants[].route",
        rule: "has(self.cluster) || has(self.subset) || has(self.host)",
        message: "must say 'subset', or 'host' for a service of its own",
    },
    Rule {
        at: "spec.variants[].route",
        rule: "has(self.subset) || !has(self.labels)",
        message: "labels are those of a subset's pods: name the 'subset' as well",
    },
    Rule {
        at: "spec.assignment.key[]",
        // A claim is a text or a list of texts, which has no type that a rule could ask for.
        rule: "[has(self.header), has(self.cookie), has(self.query), has(self.grpcMetadata), has(self.source)].filter(x, x).size() <= 1",
        message: "has exactly one of header, cookie, query, jwtClaim, unverifiedJwtClaim, grpcMetadata and source",
    },
    Rule {
        at: "spec.assignment.rules[].when[]",
        rule: "[has(self.header), has(self.cookie), has(self.query), has(self.grpcMetadata), has(self.source), has(self.request), has(self.any), has(self.all)].filter(x, x).size() <= 1",
        message: "has exactly one attribute (header, cookie, query, jwtClaim, unverifiedJwtClaim, grpcMetadata, source or request), or any, or all",
    },
    Rule {
        at: "spec.assignment.rules[].when[]",
        rule: "[has(self.equals), has(self.__in__), has(self.notIn), has(self.prefix), has(self.suffix), has(self.regex), has(self.exists), has(self.range)].filter(x, x).size() == (has(self.any) || has(self.all) ? 0 : 1)",
        message: "has exactly one test (equals, in, notIn, prefix, suffix, regex, exists or range); any and all have none of their own",
    },
    Rule {
        at: "spec.assignment.override",
        rule: "has(self.trusted) && (has(self.trusted.principals) || has(self.trusted.secret))",
        message: "trusted: nobody could use it: name principals, or a secret",
    },
    Rule {
        at: "spec.strategy",
        rule: "[has(self.canary), has(self.linear), has(self.blueGreen), has(self.rolling), has(self.abTest), has(self.shadow), has(self.manual)].exists_one(x, x)",
        message: "is exactly one of canary, linear, blueGreen, rolling, abTest, shadow and manual",
    },
    Rule {
        at: "spec.strategy.canary.steps",
        rule: "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(t, t.weight == s.weight))",
        message: "weights must rise from step to step",
    },
    Rule {
        at: "spec.strategy.linear",
        rule: "self.stepWeight <= (has(self.maxWeight) ? self.maxWeight : 50.0)",
        message: "stepWeight is more than maxWeight (50 when not written): there would be no step",
    },
    Rule {
        at: "spec.strategy.blueGreen.preview",
        rule: "(has(self.approval) && self.approval) || has(self.__for__)",
        message: "ends at once: give it 'approval: true' or 'for: 10m'",
    },
    Rule {
        at: "spec.strategy.abTest",
        rule: "has(self.__for__) != has(self.until)",
        message: "must say how long it lasts: either 'for: 14d' or 'until: 2027-01-31T00:00:00Z'",
    },
    Rule {
        at: "spec.strategy.abTest.weights",
        rule: "self.map(k, self[k]).sum() < 100.0",
        message: "leave nothing for the stable variant: they must sum to less than 100",
    },
    Rule {
        at: "spec.strategy.shadow",
        rule: "!has(self.deadline) || !has(self.deadline.then) || self.deadline.then != 'promote'",
        message: "deadline.then: this strategy promotes nobody: take hold or rollback",
    },
    Rule {
        at: "spec.analysis.metrics",
        rule: "self.all(m, has(m.weight)) || !self.exists(m, has(m.weight))",
        message: "either every metric has a weight, or none",
    },
    Rule {
        at: "spec.analysis.metrics[]",
        rule: "[has(self.errorRate), has(self.latency), has(self.prometheus)].exists_one(x, x)",
        message: "has exactly one of errorRate, latency and prometheus",
    },
];

/// Bounds lists and texts that have no bound of their own.
pub(super) fn bound(spec: &mut Value) {
    each(spec, &mut |object| {
        let bounds = match object.get("type").and_then(Value::as_str) {
            Some("array") => ("maxItems", LONGEST_LIST),
            Some("string") => ("maxLength", LONGEST_TEXT),
            Some("object") if object.contains_key("additionalProperties") => {
                ("maxProperties", LONGEST_LIST)
            }
            _ => return,
        };
        let fixed = object.contains_key("enum") || object.contains_key("format");
        if !fixed {
            let entry = object.entry(bounds.0);
            entry.or_insert_with(|| bounds.1.into());
        }
    });
}

/// Puts keywords and rules where they belong.
pub(super) fn add(schema: &mut Value) {
    for (at, keywords) in keywords() {
        if let (Some(place), Value::Object(keywords)) = (place(schema, at), keywords) {
            place.extend(keywords);
        }
    }
    let margins = MARGINS.iter().map(|at| Rule {
        at,
        rule: "(self.ratio >= 1.0 && self.ratio <= 100.0) || (self.ratio == 0.0 && has(self.absolute))",
        message: "ratio must be 1 to 100, or 0 to compare with an 'absolute' alone",
    });
    for rule in margins {
        add_rule(schema, &rule);
    }
    for rule in RULES {
        add_rule(schema, rule);
    }
}

fn add_rule(schema: &mut Value, rule: &Rule) {
    let Some(object) = place(schema, rule.at) else {
        return;
    };
    let rules = object.entry("x-kubernetes-validations");
    if let Value::Array(rules) = rules.or_insert_with(|| json!([])) {
        rules.push(json!({"rule": rule.rule, "message": rule.message}));
    }
}

/// The schema at a path.
fn place<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    let mut place = schema;
    for field in path.split('.').filter(|field| !field.is_empty()) {
        let name = field.trim_end_matches("[]").trim_end_matches("{}");
        place = place.get_mut("properties")?.get_mut(name)?;
        if field.ends_with("[]") {
            place = place.get_mut("items")?;
        } else if field.ends_with("{}") {
            place = place.get_mut("additionalProperties")?;
        }
    }
    place.as_object_mut()
}

/// Paths of keywords and rules that lead nowhere.
#[cfg(test)]
pub(super) fn lost(schema: &mut Value) -> Vec<&'static str> {
    let keywords = keywords().into_iter().map(|(at, _)| at);
    let rules = RULES.iter().map(|rule| rule.at);
    let all: Vec<_> = keywords.chain(rules).chain(MARGINS).collect();
    all.into_iter()
        .filter(|at| place(schema, at).is_none())
        .collect()
}

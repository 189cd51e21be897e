//! What is allowed, and seldom what was meant. Pure.

use serin_filter_core::config::SourcePart;

use crate::api::{ClaimName, Condition, Key, ModelRollout};
use crate::validate::Problem;

/// Everything worth a warning in a valid rollout file, in the order of the schema. Each says what to do.
pub(super) fn warnings(rollout: &ModelRollout) -> Vec<Problem> {
    let assignment = &rollout.spec.assignment;
    let mut found = Vec::new();
    let mut warn = |path: String, reason: &str| {
        found.push(Problem {
            path,
            reason: reason.to_owned(),
        });
    };
    for (i, key) in assignment.key.iter().enumerate() {
        if let Some((field, reason)) = key_warning(key) {
            warn(format!("spec.assignment.key[{i}].{field}"), reason);
        }
    }
    if assignment.key.is_empty() && assignment.cookie.is_none() {
        warn(
            "spec.assignment.key".to_owned(),
            "without a key and without a cookie every request draws its version anew, so that nobody stays with one: \
             name what makes a user, or have a cookie issued",
        );
    }
    for (i, rule) in assignment.rules.iter().enumerate() {
        for (j, condition) in rule.when.iter().enumerate() {
            let must_exist = |other: &Condition| {
                let here = attribute(condition);
                other.exists == Some(true) && here != (None, None, None) && attribute(other) == here
            };
            if holds_without(condition) && !rule.when.iter().any(must_exist) {
                warn(
                    format!("spec.assignment.rules[{i}].when[{j}]"),
                    "notIn and exists: false hold for every request that does not show this attribute, and in a sidecar \
                     or a standalone Envoy that is often every request: add a condition {exists: true} on it if that is \
                     not meant",
                );
            }
            if forgeable(condition) {
                warn(
                    format!("spec.assignment.rules[{i}].when[{j}]"),
                    "an unverified claim is whatever the sender writes: whoever knows this rule can choose the variant; \
                     use jwtClaim where the proxy verifies tokens, or be sure that everybody may see both versions",
                );
            }
        }
    }
    if let Some(overriding) = &assignment.overriding
        && !overriding.trusted.principals.is_empty()
        && overriding.trusted.secret.is_none()
    {
        warn(
            "spec.assignment.override.trusted".to_owned(),
            "only principals are trusted, and a standalone Envoy knows none unless its listener asks for client \
             certificates: nobody could override; add a secret (trusted.secret)",
        );
    }
    let fuse = &rollout.spec.fuse;
    if fuse.enabled && fuse.consecutive_errors.is_none() && fuse.error_ratio.is_none() {
        warn(
            "spec.fuse".to_owned(),
            "the fuse can never trip, for both of its rules are off: set consecutiveErrors or errorRatio, or say \
             enabled: false",
        );
    }
    found
}

fn key_warning(key: &Key) -> Option<(&'static str, &'static str)> {
    match key {
        Key::JwtClaim(_) => Some((
            "jwtClaim",
            "verified claims are often absent in a sidecar on the way out, where no RequestAuthentication applies, and \
             in a standalone Envoy without jwt_authn: the next key decides then; put a header after it, or have the \
             callers' proxies verify tokens",
        )),
        Key::Cookie(_) => Some((
            "cookie",
            "cookies are seldom passed on from service to service, so that one is often absent in a sidecar: the next \
             key decides then; have the services pass it on, or put a header after it",
        )),
        Key::UnverifiedJwtClaim(_) => Some((
            "unverifiedJwtClaim",
            "nobody has verified it: a sender can choose a variant by trying claims, and can look like many users; use \
             jwtClaim where the proxy verifies tokens, or be sure that this harms nobody",
        )),
        Key::Source(_) => Some((
            "source",
            "the principal is the calling workload and not a person, and without mutual TLS (as in a standalone Envoy) \
             it is absent: a few callers make a coarse split; put a key of the users before it",
        )),
        Key::Header(_) | Key::Query(_) | Key::GrpcMetadata(_) => None,
    }
}

/// Whether the condition holds where an attribute is absent that often is.
fn holds_without(condition: &Condition) -> bool {
    let nested = condition.any.iter().chain(&condition.all).flatten();
    let often_absent =
        condition.jwt_claim.is_some() || condition.cookie.is_some() || condition.source.is_some();
    let holds = condition.not_in.is_some() || condition.exists == Some(false);
    (often_absent && holds) || nested.into_iter().any(holds_without)
}

/// The attributes that lint knows to be absent at times, of a condition.
fn attribute(it: &Condition) -> (Option<&ClaimName>, Option<&String>, Option<SourcePart>) {
    (it.jwt_claim.as_ref(), it.cookie.as_ref(), it.source)
}

fn forgeable(condition: &Condition) -> bool {
    let nested = condition.any.iter().chain(&condition.all).flatten();
    condition.unverified_jwt_claim.is_some() || nested.into_iter().any(forgeable)
}

#[cfg(test)]
mod tests {
    use super::warnings;
    use crate::fixtures::{edited, source, text};

    #[track_caller]
    fn check(from: &str, to: &str, expected: &[(&str, &str)]) {
        let found = warnings(&source(&edited(from, to)).rollout);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, (path, words)) in found.iter().zip(expected) {
            assert_eq!(problem.path, *path);
            assert!(problem.reason.contains(words), "{}", problem.reason);
        }
    }

    #[test]
    fn a_plain_rollout_has_none() {
        assert_eq!(warnings(&source(&text()).rollout), []);
    }

    #[test]
    fn keys_that_are_often_absent_or_can_be_forged() {
        check(
            "      - {header: x-user-id}\n",
            "      - {cookie: uid}\n      - {jwtClaim: sub}\n      - {unverifiedJwtClaim: sub}\n      - {source: principal}\n      - {query: user}\n",
            &[
                ("spec.assignment.key[0].cookie", "pass it on"),
                ("spec.assignment.key[1].jwtClaim", "RequestAuthentication"),
                ("spec.assignment.key[2].unverifiedJwtClaim", "verified"),
                ("spec.assignment.key[3].source", "mutual TLS"),
            ],
        );
    }

    #[test]
    fn a_rule_on_a_claim_that_anybody_can_write_however_deep() {
        check(
            "    salt: fraud-8\n",
            "    salt: fraud-8\n    rules:\n      - variant: canary\n        when: [{header: x, equals: a}, {any: [{all: [{unverifiedJwtClaim: plan, equals: beta}]}]}]\n",
            &[(
                "spec.assignment.rules[0].when[1]",
                "whatever the sender writes",
            )],
        );
    }

    #[test]
    fn a_rule_that_holds_for_everybody_where_the_proxy_verifies_nothing() {
        let rule = |when: &str| {
            format!(
                "    salt: fraud-8\n    rules: [{{variant: canary, when: [{{header: x, exists: true}}, {when}]}}]\n"
            )
        };
        let expected = [("spec.assignment.rules[0].when[1]", "exists: true")];
        for when in [
            "{jwtClaim: plan, notIn: [free]}",
            "{any: [{cookie: optout, exists: false}]}",
            "{source: principal, notIn: [spiffe://a/b]}",
        ] {
            check("    salt: fraud-8\n", &rule(when), &expected);
        }
        check(
            "    salt: fraud-8\n",
            &rule("{header: x-country, notIn: [DE]}"),
            &[],
        );
        check(
            "    salt: fraud-8\n",
            &rule("{jwtClaim: plan, notIn: [free]}, {jwtClaim: plan, exists: true}"),
            &[],
        );
    }

    #[test]
    fn users_that_nothing_makes() {
        let expected = [("spec.assignment.key", "draws its version anew")];
        check("    key:\n      - {header: x-user-id}\n", "", &expected);
        check(
            "    key:\n      - {header: x-user-id}\n",
            "    cookie: {name: serin-id}\n",
            &[],
        );
    }

    #[test]
    fn an_override_that_nobody_could_use_in_standalone() {
        let with = |trusted: &str| {
            format!(
                "    salt: fraud-8\n    override: {{header: x-serin-variant, trusted: {{{trusted}}}}}\n"
            )
        };
        let secret = format!("secret: {{header: x-secret, sha256: {}}}", "0".repeat(64));
        check(
            "    salt: fraud-8\n",
            &with("principals: ['spiffe://a/b']"),
            &[("spec.assignment.override.trusted", "add a secret")],
        );
        check(
            "    salt: fraud-8\n",
            &with(&format!("principals: ['spiffe://a/b'], {secret}")),
            &[],
        );
    }

    #[test]
    fn a_fuse_that_can_never_trip() {
        check(
            "  analysis:\n",
            "  fuse: {consecutiveErrors: null, errorRatio: null, slow: 2s}\n  analysis:\n",
            &[("spec.fuse", "never trip")],
        );
        check(
            "  analysis:\n",
            "  fuse: {enabled: false, consecutiveErrors: null, errorRatio: null}\n  analysis:\n",
            &[],
        );
        check(
            "  analysis:\n",
            "  fuse: {consecutiveErrors: null}\n  analysis:\n",
            &[],
        );
    }
}

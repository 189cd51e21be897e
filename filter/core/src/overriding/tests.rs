use crate::config::{OverrideConfig, SecretConfig};
use crate::route::{Reason, decide};
use crate::table::RoutingTable;
use crate::testing::{Fake, rollout_accepted, rollout_refused};

/// SHA-256 of `open sesame`.
const SHA256: &str = "41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb";
const CI: &str = "spiffe://mesh/ns/ml/sa/ci";

fn secret() -> Option<SecretConfig> {
    Some(SecretConfig {
        header: "X-Secret".to_owned(),
        sha256: SHA256.to_owned(),
    })
}

fn overriding(principals: &[&str], secret: Option<SecretConfig>) -> OverrideConfig {
    OverrideConfig {
        header: "X-Variant".to_owned(),
        principals: principals.iter().map(|&it| it.to_owned()).collect(),
        secret,
    }
}

fn table(principals: &[&str], secret: Option<SecretConfig>) -> RoutingTable {
    rollout_accepted(|it| it.overriding = Some(overriding(principals, secret)))
}

/// A request that asks for the canary.
fn asking() -> Fake {
    Fake::to("fraud")
        .with("x-user-id", "42")
        .with("x-variant", "canary")
}

#[track_caller]
fn heeded(table: &RoutingTable, request: &Fake) -> bool {
    let decision = decide(table, request).unwrap();
    assert_eq!(
        decision.variant == 1,
        decision.reason == Reason::Override,
        "the weights give the canary nobody"
    );
    decision.variant == 1
}

#[test]
fn caller_is_trusted_by_principal() {
    let table = table(&["spiffe://mesh/other", CI], None);
    assert!(heeded(&table, &asking().by_principal(CI)));
    for stranger in ["spiffe://mesh/ns/ml/sa/c", "spiffe://mesh/ns/ml/sa/ci2", ""] {
        assert!(
            !heeded(&table, &asking().by_principal(stranger)),
            "{stranger}"
        );
    }
    assert!(!heeded(&table, &asking()), "without mutual TLS");
}

#[test]
fn caller_is_trusted_by_secret() {
    let table = table(&[], secret());
    assert!(heeded(&table, &asking().with("x-secret", "open sesame")));
    for wrong in ["", "open sesam", "open sesame ", SHA256] {
        assert!(
            !heeded(&table, &asking().with("x-secret", wrong)),
            "{wrong}"
        );
    }
    assert!(!heeded(&table, &asking()), "without the header");
}

#[test]
fn either_is_enough() {
    let table = table(&[CI], secret());
    let right = || asking().with("x-secret", "open sesame");
    assert!(heeded(&table, &right()));
    assert!(heeded(&table, &right().by_principal("spiffe://mesh/other")));
    assert!(heeded(&table, &asking().by_principal(CI)));
    let wrong = asking().with("x-secret", "wrong").by_principal(CI);
    assert!(heeded(&table, &wrong));
}

#[test]
fn hexadecimal_digits_are_read_in_any_case() {
    let upper = secret().map(|it| SecretConfig {
        sha256: it.sha256.to_ascii_uppercase(),
        ..it
    });
    let table = table(&[], upper);
    assert!(heeded(&table, &asking().with("x-secret", "open sesame")));
}

#[test]
fn variant_that_is_not_there_is_not_heeded() {
    let table = table(&[CI], None);
    for unknown in ["", "Canary", "canary ", "7"] {
        let request = Fake::to("fraud")
            .with("x-user-id", "42")
            .with("x-variant", unknown)
            .by_principal(CI);
        assert!(!heeded(&table, &request), "{unknown}");
    }
}

#[test]
fn the_live_variant_can_be_asked_for() {
    let table = table(&[CI], None);
    let request = Fake::to("fraud")
        .with("x-variant", "stable")
        .by_principal(CI);
    let decision = decide(&table, &request).unwrap();
    assert_eq!((decision.variant, decision.reason), (0, Reason::Override));
}

#[test]
fn nobody_is_asked_for_a_principal_without_the_header() {
    let request = Fake::to("fraud").with("x-user-id", "42").by_principal(CI);
    decide(&table(&[CI], secret()), &request).unwrap();
    assert_eq!(request.asked(), [":authority", "x-variant", "x-user-id"]);
    let request = asking().with("x-secret", "open sesame").by_principal(CI);
    decide(&table(&[CI], secret()), &request).unwrap();
    assert_eq!(
        request.asked(),
        [":authority", "x-variant", "x-secret"],
        "the secret is enough"
    );
}

#[test]
fn headers_that_the_filter_is_to_remove_are_known_in_lower_case() {
    let header = |secret| {
        let table = table(&[CI], secret);
        let it = table.rollout(0).unwrap().overriding().unwrap();
        (
            it.header().to_owned(),
            it.secret_header().map(str::to_owned),
        )
    };
    assert_eq!(
        header(secret()),
        ("x-variant".to_owned(), Some("x-secret".to_owned()))
    );
    assert_eq!(header(None), ("x-variant".to_owned(), None));
}

#[test]
fn override_that_nobody_may_use_is_refused() {
    rollout_refused(
        |it| it.overriding = Some(overriding(&[], None)),
        "override",
        "nobody is trusted, so that the header would never be heeded: name principals or a secret",
    );
}

#[test]
fn names_of_headers_are_refused_by_field() {
    let refused = |change: fn(&mut OverrideConfig), field: &str, reason: &str| {
        let mut bad = overriding(&[CI], secret());
        change(&mut bad);
        rollout_refused(|it| it.overriding = Some(bad), field, reason);
    };
    refused(
        |it| it.header = ":path".to_owned(),
        "override.header",
        "not the name of an ordinary header",
    );
    refused(
        |it| {
            it.secret = secret().map(|secret| SecretConfig {
                header: "a b".to_owned(),
                ..secret
            });
        },
        "override.secret.header",
        "not the name of an ordinary header",
    );
}

#[test]
fn digest_is_64_hexadecimal_digits() {
    for bad in [
        "",
        "open sesame",
        &SHA256[1..],
        &SHA256.replace('4', "g"),
        &SHA256.replace("41", "+1"),
    ] {
        let secret = Some(SecretConfig {
            header: "x-secret".to_owned(),
            sha256: bad.to_owned(),
        });
        rollout_refused(
            |it| it.overriding = Some(overriding(&[], secret)),
            "override.secret.sha256",
            "`printf %s \"$SECRET\" | sha256sum` prints one",
        );
    }
}

#[test]
fn digest_of_nothing_is_refused() {
    let secret = Some(SecretConfig {
        header: "x-secret".to_owned(),
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
    });
    rollout_refused(
        |it| it.overriding = Some(overriding(&[], secret)),
        "override.secret.sha256",
        "an empty header would be trusted: set the secret first",
    );
}

#[test]
fn each_header_has_one_meaning() {
    for own in ["X-Serin-Route", "x-serin-shadow"] {
        let it = OverrideConfig {
            header: own.to_owned(),
            ..overriding(&[CI], None)
        };
        rollout_refused(
            |rollout| rollout.overriding = Some(it),
            "override.header",
            "the filter sets and removes it itself: name another header",
        );
    }
    for taken in ["x-serin-route", "X-Serin-Shadow", "x-variant"] {
        let secret = SecretConfig {
            header: taken.to_owned(),
            sha256: SHA256.to_owned(),
        };
        rollout_refused(
            |rollout| rollout.overriding = Some(overriding(&[], Some(secret))),
            "override.secret.header",
            "it has another meaning already: name another header",
        );
    }
}

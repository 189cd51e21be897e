use std::cell::RefCell;

use super::{Decision, Reason, Request, decide};
use crate::config::FilterConfig;
use crate::split::{bucket, group};
use crate::table::RoutingTable;

/// A request that remembers what it was asked.
#[derive(Default)]
struct Fake {
    host: Option<&'static str>,
    headers: Vec<(&'static str, &'static [u8])>,
    draw: u64,
    asked: RefCell<Vec<String>>,
}

impl Fake {
    fn to(host: &'static str) -> Self {
        Self {
            host: Some(host),
            ..Self::default()
        }
    }

    fn with(mut self, name: &'static str, value: &'static [u8]) -> Self {
        self.headers.push((name, value));
        self
    }

    fn asked(&self, what: &str) {
        self.asked.borrow_mut().push(what.to_owned());
    }
}

impl Request for Fake {
    fn host(&self) -> Option<Vec<u8>> {
        self.asked("host");
        self.host.map(|host| host.as_bytes().to_vec())
    }

    fn path(&self) -> Option<Vec<u8>> {
        self.asked("path");
        Some(b"/v2/models/fraud/infer".to_vec())
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.asked(name);
        self.headers
            .iter()
            .find(|header| header.0 == name)
            .map(|header| header.1.to_vec())
    }

    fn draw(&self) -> u64 {
        self.asked("draw");
        self.draw
    }
}

/// Two rollouts: `fraud` with two keys and 10 % canary, `spam` by random draw with a prefix.
fn table() -> RoutingTable {
    let json = r#"{"version": 1, "generation": 1, "rollouts": [
        {"name": "ml/fraud", "hosts": ["fraud"], "salt": "fraud-8", "table": [[9000, 0], [10000, 1]],
         "key": [{"header": "X-User-Id"}, {"header": "x-session"}],
         "variants": [{"name": "stable", "version": "7", "live": true, "route": "v7"},
                      {"name": "canary", "version": "8", "route": "v8"}]},
        {"name": "ml/spam", "hosts": ["spam"], "pathPrefix": "/v2", "salt": "spam-2", "table": [[5000, 1], [10000, 0]],
         "variants": [{"name": "stable", "version": "1", "live": true, "route": "v1"},
                      {"name": "canary", "version": "2", "route": "v2"}]}]}"#;
    RoutingTable::new(FilterConfig::parse(json.as_bytes()).unwrap()).unwrap()
}

#[test]
fn same_key_gets_the_same_variant_whatever_the_draw() {
    let (bucket, group) = (bucket("fraud-8", b"42"), group("fraud-8", b"42"));
    for draw in [0, 9_999, u64::MAX] {
        let request = Fake {
            draw,
            ..Fake::to("fraud").with("x-user-id", b"42")
        };
        let expected = Decision {
            rollout: 0,
            variant: 0,
            reason: Reason::Weight,
            bucket,
            group: Some(group),
        };
        assert_eq!(decide(&table(), &request), Some(expected));
    }
}

#[test]
fn variant_is_the_owner_of_the_bucket() {
    let table = table();
    let users = [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
        "17", "18",
    ];
    let mut seen = [0; 2];
    for user in users {
        let decision = decide(
            &table,
            &Fake::to("fraud").with("x-user-id", user.as_bytes()),
        )
        .unwrap();
        assert_eq!(
            decision.variant,
            usize::from(decision.bucket >= 9_000),
            "{user}"
        );
        seen[decision.variant] += 1;
    }
    assert!(
        seen[0] > 0 && seen[1] > 0,
        "the sample of users shows only one variant: {seen:?}"
    );
}

#[test]
fn first_key_that_is_present_and_not_empty_wins() {
    let bucket_of = |request: Fake| decide(&table(), &request).unwrap().bucket;
    let both = Fake::to("fraud")
        .with("x-session", b"s")
        .with("x-user-id", b"u");
    assert_eq!(bucket_of(both), bucket("fraud-8", b"u"));
    assert_eq!(
        bucket_of(Fake::to("fraud").with("x-session", b"s")),
        bucket("fraud-8", b"s")
    );
    let empty = Fake::to("fraud")
        .with("x-user-id", b"")
        .with("x-session", b"s");
    assert_eq!(bucket_of(empty), bucket("fraud-8", b"s"));
}

#[test]
fn key_is_bytes_and_need_not_be_text() {
    let decision = decide(&table(), &Fake::to("fraud").with("x-user-id", b"\xff\xfe")).unwrap();
    assert_eq!((decision.bucket, decision.group), (2074, Some(11)));
}

#[test]
fn request_without_a_key_is_drawn_at_random_and_has_no_group() {
    let drawn = |host, draw| {
        decide(
            &table(),
            &Fake {
                draw,
                ..Fake::to(host)
            },
        )
        .unwrap()
    };
    let random = |rollout, variant, bucket| Decision {
        rollout,
        variant,
        reason: Reason::Random,
        bucket,
        group: None,
    };
    assert_eq!(drawn("spam", 4_999), random(1, 1, 4_999));
    assert_eq!(drawn("spam", 5_000), random(1, 0, 5_000));
    assert_eq!(drawn("fraud", 30_000 + 9_000), random(0, 1, 9_000));
}

#[test]
fn request_of_another_host_or_none_is_nobodys() {
    for host in [Some("other"), Some(""), None] {
        let request = Fake {
            host,
            ..Fake::default()
        }
        .with("x-user-id", b"42");
        assert_eq!(decide(&table(), &request), None);
        assert_eq!(
            *request.asked.borrow(),
            ["host"],
            "a request of nobody costs one question"
        );
    }
}

#[test]
fn nothing_is_asked_that_is_not_needed() {
    let keyed = Fake::to("fraud").with("x-user-id", b"42");
    decide(&table(), &keyed).unwrap();
    assert_eq!(*keyed.asked.borrow(), ["host", "x-user-id"]);
    let drawn = Fake::to("spam");
    decide(&table(), &drawn).unwrap();
    assert_eq!(*drawn.asked.borrow(), ["host", "path", "draw"]);
}

#[test]
fn reasons_are_numbered_as_they_are_listed() {
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.as_str());
    }
}

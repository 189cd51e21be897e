//! What requests count while others are in flight: told together by a tick, and never lost.

use super::super::{HOST, config};
use super::proxy::{Headers, Proxy};
use super::{proxy, request, warm_up};

const ASSIGNED: &str = "serin_assignments_total";
const FINISHED: &str = "serin_requests_total";

fn text(generation: u64) -> String {
    serde_json::to_string(&config(generation, 0)).unwrap()
}

/// A proxy that has served one request of the live variant, and such a request.
fn served() -> (Proxy, Headers) {
    let (mut proxy, request) = (proxy(0), request(HOST, "user"));
    warm_up(&mut proxy, &request);
    assert_eq!(totals(&proxy), (1, 1));
    (proxy, request)
}

fn totals(proxy: &Proxy) -> (i64, i64) {
    let total = |name| proxy.metric(name).unwrap();
    (total(ASSIGNED), total(FINISHED))
}

fn counts(journal: &[String]) -> Vec<String> {
    let counts = journal.iter();
    let counts = counts.filter(|line| line.starts_with("increment_metric"));
    counts.cloned().collect()
}

#[test]
fn a_tick_tells_what_they_count_and_no_further_one_comes() {
    let (mut proxy, request) = served();
    let root = proxy.root();
    proxy.begin(100, root, &request);
    assert_eq!(totals(&proxy), (2, 1), "it is alone");
    assert!(proxy.timers().is_empty());
    proxy.crossed();
    for stream in 101..=110 {
        proxy.begin(stream, root, &request);
        proxy.end(stream, 200);
    }
    assert!(counts(&proxy.crossed()).is_empty());
    assert_eq!(totals(&proxy), (2, 1));
    assert_eq!(proxy.timers(), [100]);
    let told = [ASSIGNED, FINISHED, "serin_split_total"];
    let told = told.map(|it| format!("increment_metric {it}"));
    assert_eq!(counts(&proxy.tick()), told);
    assert_eq!(totals(&proxy), (12, 11));
    assert!(proxy.timers().is_empty());
    // The next one asks for a tick again.
    proxy.begin(111, root, &request);
    assert_eq!(proxy.timers(), [100]);
    proxy.tick();
    assert_eq!(totals(&proxy), (13, 11));
}

#[test]
fn the_last_one_leaves_nothing_untold() {
    let (mut proxy, request) = served();
    let root = proxy.root();
    for stream in 100..110 {
        proxy.begin(stream, root, &request);
    }
    for stream in 100..110 {
        proxy.end(stream, 200);
    }
    assert_eq!(totals(&proxy), (11, 11));
}

#[test]
fn a_configuration_that_follows_leaves_no_timer_behind() {
    let (mut proxy, request) = served();
    let old = proxy.root();
    proxy.begin(100, old, &request);
    proxy.begin(101, old, &request);
    assert_eq!(proxy.timers(), [100]);
    let new = proxy.configure("serin", &text(2));
    assert_eq!(totals(&proxy), (3, 1), "told before their tick goes");
    assert!(proxy.timers().is_empty());
    // A request of the old one asks for the timer of the new one, which stays.
    proxy.end(100, 200);
    proxy.begin(102, new, &request);
    assert_eq!(proxy.timers(), [100]);
    proxy.end(101, 200);
    proxy.forget(old);
    proxy.tick();
    assert_eq!(totals(&proxy), (4, 3));
    assert!(proxy.timers().is_empty());
}

#[test]
fn a_timer_that_was_lost_with_its_plugin_is_replaced() {
    let (mut proxy, request) = served();
    let root = proxy.root();
    let other = proxy.configure("other", &text(2));
    proxy.begin(100, root, &request);
    proxy.begin(101, root, &request);
    assert_eq!(proxy.timers(), [100]);
    proxy.forget(other);
    proxy.tick();
    assert_eq!(totals(&proxy), (2, 1), "nobody is there to be told of it");
    proxy.pass(250_000_000);
    proxy.begin(102, root, &request);
    proxy.tick();
    assert_eq!(totals(&proxy), (4, 1));
}

#[test]
fn a_fuse_that_trips_is_told_at_once() {
    let (mut proxy, request) = (proxy(10_000), request(HOST, "user"));
    let root = proxy.root();
    proxy.begin(100, root, &request);
    for stream in 101..=105 {
        proxy.begin(stream, root, &request);
        proxy.end(stream, 503);
    }
    assert_eq!(proxy.metric("serin_fuse_trips_total"), Some(1));
}

//! What happens to configurations and fuses while another configuration comes: each moment of it, which in Envoy
//! cannot be held.

use serde_json::{Value, json};

use super::super::{HOST, config};
use super::{FUSE, proxy, request, wasm};
use crate::filter::calls::proxy::Proxy;

/// As long as a piece of work may take, so that each look at the clock ends one.
const PIECE: u64 = 8_000_000;

fn text(generation: u64, canary: u16) -> Value {
    let mut config = config(generation, canary);
    config.rollouts[0].fuse = Some(FUSE);
    serde_json::to_value(config).unwrap()
}

/// So many rollouts that compiling them takes several pieces when each look at the clock ends a piece.
fn long(generation: u64) -> Value {
    let mut config = text(generation, 10_000);
    let first = config["rollouts"][0].clone();
    for number in 0..99 {
        let mut other = first.clone();
        other["name"] = json!(format!("ml/other-{number}"));
        other["hosts"] = json!([format!("other-{number}.ml")]);
        config["rollouts"].as_array_mut().unwrap().push(other);
    }
    config
}

fn with_mistake_at_the_end(mut config: Value) -> Value {
    config["rollouts"][99]["hosts"] = json!([]);
    config
}

/// A proxy with generation 1 in use.
fn slow() -> Proxy {
    let mut proxy = proxy(0);
    proxy.slow_down(PIECE);
    proxy
}

fn generation(proxy: &Proxy) -> Option<i64> {
    proxy.metric("serin_config_generation")
}

/// Ticks until no timer runs.
fn run_out(proxy: &mut Proxy) -> usize {
    (0..1000).take_while(|_| !proxy.tick().is_empty()).count()
}

#[test]
fn a_long_configuration_is_taken_in_by_pieces_and_the_ticks_end_with_it() {
    let mut proxy = slow();
    proxy.configure("serin", &long(2).to_string());
    assert_eq!((generation(&proxy), proxy.timers()), (Some(1), vec![1]));
    let ticks = run_out(&mut proxy);
    assert!((5..100).contains(&ticks), "{ticks} ticks");
    assert_eq!(generation(&proxy), Some(2));
}

#[test]
fn the_ticks_of_a_long_configuration_that_was_overtaken_end() {
    for gone in [false, true] {
        let mut proxy = slow();
        let long = proxy.configure("serin", &long(2).to_string());
        proxy.configure("serin", &text(3, 0).to_string());
        assert_eq!(generation(&proxy), Some(3));
        if gone {
            proxy.forget(long);
        }
        run_out(&mut proxy);
        assert!(proxy.timers().is_empty());
        assert_eq!(generation(&proxy), Some(3));
    }
}

#[test]
fn a_long_configuration_that_a_bad_one_overtook_is_finished() {
    // A worker that was idle has it in use by then, and keeps it.
    let text = |config: Value| config.to_string();
    for bad in [text(with_mistake_at_the_end(long(3))), "{".to_owned()] {
        let mut proxy = slow();
        proxy.configure("serin", &text(long(2)));
        proxy.tick();
        proxy.configure("serin", &bad);
        assert_eq!(generation(&proxy), Some(1));
        run_out(&mut proxy);
        assert_eq!(generation(&proxy), Some(2));
        assert_eq!(proxy.metric("serin_config_invalid"), Some(1));
        // The next good one is in use at once, and nothing bad is left.
        proxy.slow_down(0);
        proxy.configure("serin", &text(self::text(4, 0)));
        assert_eq!(generation(&proxy), Some(4));
        assert_eq!(proxy.metric("serin_config_invalid"), Some(0));
    }
}

#[test]
fn after_a_bad_first_configuration_a_long_one_comes_by_pieces_too() {
    let mut proxy = Proxy::start(&wasm(), "{");
    proxy.slow_down(PIECE);
    proxy.configure("serin", &long(2).to_string());
    assert_eq!(proxy.timers(), [1]);
    run_out(&mut proxy);
    assert_eq!(generation(&proxy), Some(2));
}

#[test]
fn a_fuse_that_was_forgotten_or_switched_off_is_not_reported_open() {
    let user = request(HOST, "user");
    let off = |what: &str| {
        let mut config = text(2, 10_000);
        match what {
            "rollout" => config["rollouts"][0]["enabled"] = json!(false),
            "variant" => config["rollouts"][0]["variants"][1]["enabled"] = json!(false),
            _ => config["rollouts"][0]["variants"][1]["version"] = json!("9"),
        }
        config.to_string()
    };
    let open = |proxy: &Proxy| proxy.metric("serin_fuse_open_workers").unwrap_or_default();
    for what in ["rollout", "variant", "version"] {
        // Open, then switched off.
        let mut proxy = proxy(10_000);
        for _ in 0..5 {
            proxy.serve(&user, 503);
        }
        assert_eq!(open(&proxy), 1);
        proxy.configure("serin", &off(what));
        assert_eq!(open(&proxy), 0, "{what}");

        // Switched off with bad calls in flight.
        let mut proxy = super::proxy(10_000);
        for stream in 0..5 {
            proxy.begin(10 + 2 * stream, 1, &user);
        }
        proxy.configure("serin", &off(what));
        for stream in 0..5 {
            proxy.end(10 + 2 * stream, 503);
        }
        assert_eq!(open(&proxy), 0, "{what}");
    }
}

#[test]
fn plugins_of_one_vm_know_nothing_of_each_other() {
    let user = request(HOST, "user");
    let mut proxy = Proxy::start(&wasm(), &text(1, 10_000).to_string());
    for _ in 0..5 {
        proxy.serve(&user, 503);
    }
    let open = |proxy: &Proxy| proxy.metric("serin_fuse_open_workers");
    assert_eq!(open(&proxy), Some(1));
    let other = proxy.configure("other", "{");
    assert_eq!(open(&proxy), Some(1), "the fuse is the first one's");
    // The second has no good configuration, and none of the first one's: its requests pass.
    proxy.begin(10, other, &user);
    proxy.end(10, 200);
    proxy.begin(12, 1, &user);
    proxy.end(12, 200);
    assert_eq!(proxy.metric("serin_assignments_total"), Some(5));
    assert_eq!(proxy.metric("serin_split_fused_total"), Some(1));
}

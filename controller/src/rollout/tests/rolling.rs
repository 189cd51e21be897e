//! The weight that follows the endpoints.

use super::*;
use crate::fixtures::with_strategy;

const STRATEGY: &str = "rolling: {maxWeight: 50, gate: {ratio: 1.5, absolute: 0.3pp}, soak: 10s}";

fn ready(canary: u64, stable: u64) -> Option<Ready> {
    Some(Ready { canary, stable })
}

#[test]
fn the_weight_follows_the_endpoints_up_to_the_limit_until_the_gate_has_passed() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    assert_eq!(bench.weight(), 0.0);
    bench.ready = ready(3, 7);
    bench.tick((0, 0), (2000, 1));
    assert_eq!((bench.weight(), bench.writes), (30.0, Writes::Up));
    assert_eq!(
        bench.last(),
        "3 of 10 ready endpoints are version 8's: on to 30 %"
    );
    bench.ready = ready(8, 2);
    bench.tick((600, 0), (1400, 1));
    assert_eq!(bench.weight(), 50.0);
    assert!(
        bench
            .last()
            .ends_with(", and no further before the gate has passed"),
        "{}",
        bench.last()
    );
    bench.healthy_until(|bench| bench.weight() > 50.0);
    assert_eq!(bench.weight(), 80.0);
}

#[test]
fn the_weight_falls_with_the_endpoints_at_once_whatever_holds_the_release() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    bench.ready = ready(4, 6);
    bench.tick((0, 0), (2000, 1));
    bench.act(Do::Pause);
    bench.reported = 0;
    bench.ready = ready(1, 9);
    bench.run(&[], &[]);
    assert_eq!((bench.weight(), bench.writes), (10.0, Writes::Down));
    assert_eq!(
        bench.last(),
        "1 of 10 ready endpoints are version 8's: down to 10 %"
    );
}

#[test]
fn without_any_number_of_endpoints_the_weight_stays() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    bench.ready = ready(4, 6);
    bench.tick((0, 0), (2000, 1));
    for (unknown, why) in [(None, "nobody knows"), (ready(0, 0), "no endpoint")] {
        bench.ready = unknown;
        bench.ticks(3, (800, 0), (1200, 1));
        assert_eq!(bench.weight(), 40.0);
        assert!(
            bench
                .waiting_for
                .as_ref()
                .is_some_and(|it| it.starts_with(why)),
            "{:?}",
            bench.waiting_for
        );
    }
}

#[test]
fn everybody_is_there_only_with_the_gate_all_endpoints_and_a_request_that_was_looked_at() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    bench.ready = ready(10, 0);
    bench.sampled = (0, 0);
    bench.ticks(100, (1000, 0), (1000, 1));
    assert_eq!(bench.release().stage, Stage::Step(0));
    assert!(
        bench
            .waiting_for
            .as_ref()
            .is_some_and(|it| it.contains("whose route was looked at")),
        "{:?}",
        bench.waiting_for
    );
    bench.sampled = (10, 0);
    bench.ticks(3, (1000, 0), (1000, 1));
    assert_eq!(bench.release().stage, Stage::Soak);
}

#[test]
fn a_resumed_release_follows_the_endpoints_again() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    bench.ready = ready(4, 6);
    bench.tick((0, 0), (2000, 1));
    let set = Action {
        weight: Some(90.0),
        ..action("w", Do::SetWeight)
    };
    bench.run(&[], &[set]);
    bench.ticks(3, (0, 0), (0, 0));
    assert_eq!(bench.weight(), 90.0, "people may do that");
    bench.act(Do::Resume);
    assert_eq!((bench.weight(), bench.writes), (40.0, Writes::Down));
}

#[test]
fn an_edit_that_lowers_the_limit_is_obeyed_before_the_gate_has_passed() {
    let mut bench = Bench::new(&with_strategy(STRATEGY));
    bench.ready = ready(8, 2);
    bench.tick((0, 0), (2000, 1));
    assert_eq!(bench.weight(), 50.0);
    bench.source = source(&with_strategy(&STRATEGY.replace("50", "20")));
    bench.accept().unwrap();
    bench.run(&[], &[]);
    assert_eq!((bench.weight(), bench.writes), (20.0, Writes::Down));
    assert_eq!(bench.last(), "down to 20 % until the gate has passed");
}

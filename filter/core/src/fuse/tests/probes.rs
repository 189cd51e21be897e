//! What happens from a trip to the end of the last probe.

use std::time::Duration;

use super::{COOLDOWN, PENDING, call, home, in_a_row, ms, ratio, secs, through, watching};
use crate::fuse::{Admission, Fuse, FuseSettings, MAX_PROBES, State, Ticket};

/// A fuse that tripped at time 0.
fn tripped(settings: FuseSettings) -> Fuse {
    let mut fuse = Fuse::new(settings);
    for _ in 0..3 {
        call(&mut fuse, Duration::ZERO, true);
    }
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 1));
    fuse
}

#[test]
fn an_open_fuse_sends_everybody_home_until_the_cooldown_is_over() {
    let mut fuse = tripped(in_a_row());
    for at in [ms(0), secs(1), COOLDOWN - Duration::from_nanos(1)] {
        home(&mut fuse, at);
        assert_eq!(fuse.state(), State::Open);
    }
    let _probe = through(&mut fuse, COOLDOWN);
    assert_eq!((fuse.state(), fuse.trips()), (State::HalfOpen, 1));
}

#[test]
fn probes_grow_until_the_fuse_closes() {
    let mut fuse = tripped(in_a_row());
    let mut stages = Vec::new();
    let mut now = COOLDOWN;
    loop {
        let mut probes = Vec::new();
        while let Admission::Through(probe) = fuse.admit(now) {
            assert_eq!(fuse.state(), State::HalfOpen);
            probes.push(probe);
        }
        stages.push(probes.len());
        // The stage lasts until its last probe is back.
        let last = probes.pop().unwrap();
        for probe in probes {
            now += ms(1);
            fuse.finish(probe, now, false, ms(1));
            home(&mut fuse, now);
        }
        fuse.finish(last, now, false, ms(1));
        if fuse.state() == State::Closed {
            break;
        }
    }
    assert_eq!(stages, [1, 2, 4, 8, MAX_PROBES as usize]);
    assert_eq!(fuse.trips(), 1);
    let _many: Vec<Ticket> = (0..1_000).map(|_| through(&mut fuse, now)).collect();
}

#[test]
fn a_bad_probe_reopens_for_a_full_cooldown_and_the_stages_begin_anew() {
    let mut fuse = tripped(in_a_row());
    call(&mut fuse, COOLDOWN, false);
    let good = through(&mut fuse, COOLDOWN);
    let bad = through(&mut fuse, COOLDOWN);
    let again = COOLDOWN + secs(5);
    fuse.finish(bad, again, true, secs(5));
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 2));
    fuse.finish(good, again, false, secs(5));
    home(&mut fuse, again + COOLDOWN - ms(1));
    let _probe = through(&mut fuse, again + COOLDOWN);
    home(&mut fuse, again + COOLDOWN);
}

#[test]
fn a_slow_probe_is_bad() {
    let mut fuse = tripped(FuseSettings {
        slow_limit: Some(ms(200)),
        ..in_a_row()
    });
    let probe = through(&mut fuse, COOLDOWN);
    fuse.finish(probe, COOLDOWN + ms(300), false, ms(300));
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 2));
}

#[test]
fn an_abandoned_probe_frees_its_place() {
    let mut fuse = tripped(in_a_row());
    for _ in 0..100 {
        let probe = through(&mut fuse, COOLDOWN);
        home(&mut fuse, COOLDOWN);
        fuse.abandon(probe, COOLDOWN);
        assert_eq!(fuse.state(), State::HalfOpen);
    }
    call(&mut fuse, COOLDOWN, false);
    let (one, _other) = (through(&mut fuse, COOLDOWN), through(&mut fuse, COOLDOWN));
    home(&mut fuse, COOLDOWN);
    fuse.abandon(one, COOLDOWN);
    let _third = through(&mut fuse, COOLDOWN);
    home(&mut fuse, COOLDOWN);
}

#[test]
fn a_probe_that_never_ends_is_bad_after_the_pending_limit_or_else_the_cooldown() {
    for (settings, limit) in [(watching(), PENDING), (in_a_row(), COOLDOWN)] {
        let mut fuse = tripped(settings);
        let probe = through(&mut fuse, COOLDOWN);
        home(&mut fuse, COOLDOWN + limit - ms(1));
        assert_eq!(fuse.state(), State::HalfOpen);
        home(&mut fuse, COOLDOWN + limit);
        assert_eq!((fuse.state(), fuse.trips()), (State::Open, 2));
        fuse.finish(probe, COOLDOWN + limit, false, limit);
        assert_eq!(fuse.state(), State::Open);
    }
}

#[test]
fn a_probe_that_begins_to_answer_makes_place_and_counts_when_it_ends() {
    let mut fuse = tripped(watching());
    let mut probe = through(&mut fuse, COOLDOWN);
    home(&mut fuse, COOLDOWN);
    fuse.answered(&mut probe, COOLDOWN + ms(1), ms(1));
    let _next = through(&mut fuse, COOLDOWN + ms(1));
    assert_eq!(fuse.state(), State::HalfOpen);
    fuse.finish(probe, COOLDOWN + secs(30), true, secs(30));
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 2));
}

#[test]
fn results_of_calls_admitted_before_the_last_trip_are_ignored() {
    for settings in [in_a_row(), watching()] {
        let mut fuse = Fuse::new(settings);
        let mut old: Vec<Ticket> = (0..40).map(|_| through(&mut fuse, ms(0))).collect();
        for _ in 0..3 {
            call(&mut fuse, ms(1), true);
        }
        let mut finish_old = |fuse: &mut Fuse, now, bad| {
            let ticket = old.pop().unwrap();
            fuse.finish(ticket, now, bad, now);
        };
        // While it is open, of a probe, and after it has closed.
        finish_old(&mut fuse, ms(2), true);
        assert_eq!((fuse.state(), fuse.trips()), (State::Open, 1));
        let now = ms(1) + COOLDOWN;
        let probe = through(&mut fuse, now);
        for bad in [false, true] {
            finish_old(&mut fuse, now, bad);
            assert_eq!((fuse.state(), fuse.trips()), (State::HalfOpen, 1));
        }
        home(&mut fuse, now);
        fuse.finish(probe, now, false, ms(0));
        for _ in 0..2 + 4 + 8 + 16 {
            call(&mut fuse, now, false);
        }
        for _ in 0..10 {
            finish_old(&mut fuse, now, true);
        }
        assert_eq!((fuse.state(), fuse.trips()), (State::Closed, 1));
    }
}

#[test]
fn counts_start_empty_after_closing() {
    let mut fuse = Fuse::new(FuseSettings {
        consecutive_errors: Some(3),
        cooldown: ms(1),
        window: secs(3_600),
        ..ratio()
    });
    for _ in 0..3 {
        call(&mut fuse, ms(0), true);
    }
    for _ in 0..31 {
        call(&mut fuse, ms(1), false);
    }
    assert_eq!(fuse.state(), State::Closed);
    // Nine results, six of them bad, and never three in a row: it takes the tenth to trip.
    for n in 0..9 {
        call(&mut fuse, ms(2), n % 3 != 2);
        assert_eq!(fuse.state(), State::Closed);
    }
    call(&mut fuse, ms(2), true);
    assert_eq!(fuse.state(), State::Open);
}

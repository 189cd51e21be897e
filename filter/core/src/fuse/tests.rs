mod probes;
mod properties;

use std::time::Duration;

use super::{Admission, Fuse, FuseSettings, MAX_WATCHED, SettingsError, State, Ticket};

const COOLDOWN: Duration = Duration::from_secs(30);
const PENDING: Duration = Duration::from_secs(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Three in a row, and nothing else.
fn in_a_row() -> FuseSettings {
    FuseSettings {
        consecutive_errors: Some(3),
        cooldown: COOLDOWN,
        ..FuseSettings::default()
    }
}

/// Half of at least ten within a second, and nothing else.
fn ratio() -> FuseSettings {
    FuseSettings {
        error_ratio: Some(0.5),
        min_requests: 10,
        window: secs(1),
        cooldown: COOLDOWN,
        ..FuseSettings::default()
    }
}

/// Three in a row, where a call that is pending too long is bad.
fn watching() -> FuseSettings {
    FuseSettings {
        pending_limit: Some(PENDING),
        ..in_a_row()
    }
}

#[track_caller]
fn through(fuse: &mut Fuse, now: Duration) -> Ticket {
    match fuse.admit(now) {
        Admission::Through(ticket) => ticket,
        Admission::Home => panic!("sent home at {now:?} by a fuse that is {:?}", fuse.state()),
    }
}

#[track_caller]
fn home(fuse: &mut Fuse, now: Duration) {
    assert!(
        matches!(fuse.admit(now), Admission::Home),
        "let through at {now:?}"
    );
}

/// A request that takes no time.
#[track_caller]
fn call(fuse: &mut Fuse, now: Duration, bad: bool) {
    let ticket = through(fuse, now);
    fuse.finish(ticket, now, bad, Duration::ZERO);
}

#[test]
fn consecutive_errors_trip_and_one_fewer_do_not() {
    let mut fuse = Fuse::new(in_a_row());
    call(&mut fuse, ms(0), true);
    call(&mut fuse, ms(1), true);
    assert_eq!((fuse.state(), fuse.trips()), (State::Closed, 0));
    call(&mut fuse, ms(2), true);
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 1));
}

#[test]
fn a_success_resets_the_consecutive_count() {
    let mut fuse = Fuse::new(in_a_row());
    for bad in [true, true, false, true, true, false] {
        call(&mut fuse, ms(0), bad);
    }
    assert_eq!(fuse.state(), State::Closed);
}

#[test]
fn a_client_that_hangs_up_neither_counts_nor_resets() {
    for settings in [in_a_row(), watching()] {
        let mut fuse = Fuse::new(settings);
        for _ in 0..10 {
            let ticket = through(&mut fuse, ms(0));
            fuse.abandon(ticket, ms(1));
        }
        call(&mut fuse, ms(2), true);
        call(&mut fuse, ms(2), true);
        let ticket = through(&mut fuse, ms(3));
        fuse.abandon(ticket, ms(4));
        assert_eq!(fuse.state(), State::Closed);
        call(&mut fuse, ms(5), true);
        assert_eq!(fuse.state(), State::Open);
    }
}

#[test]
fn a_ratio_needs_its_minimum_count() {
    let mut fuse = Fuse::new(ratio());
    for _ in 0..9 {
        call(&mut fuse, ms(0), true);
    }
    assert_eq!(fuse.state(), State::Closed);
    // A good result can be the one that completes the evidence.
    call(&mut fuse, ms(0), false);
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn a_ratio_trips_when_it_is_reached_and_not_below() {
    let trips = |good: u32, bad: u32, ratio| {
        let mut fuse = Fuse::new(FuseSettings {
            error_ratio: Some(ratio),
            min_requests: good + bad,
            ..self::ratio()
        });
        for n in 0..good + bad {
            call(&mut fuse, ms(0), n < bad);
        }
        fuse.state() == State::Open
    };
    assert!(!trips(11, 9, 0.5));
    assert!(trips(10, 10, 0.5));
    // 30 * 0.1 is more than 3 in floating point.
    assert!(trips(27, 3, 0.1));
    assert!(!trips(28, 2, 0.1));
    assert!(trips(0, 10, 1.0));
    assert!(!trips(1, 99, 1.0));
    assert!(trips(9, 1, 0.0));
    assert!(!trips(10, 0, 0.0), "without an error there is no ratio");
}

#[test]
fn the_window_forgets() {
    // Nine bad results at 0; the tenth comes while they count, or when they are forgotten.
    for (later, state) in [
        (ms(899), State::Open),
        (ms(1_000), State::Closed),
        (secs(3_600), State::Closed),
    ] {
        let mut fuse = Fuse::new(ratio());
        for _ in 0..9 {
            call(&mut fuse, ms(0), true);
        }
        call(&mut fuse, later, true);
        assert_eq!(fuse.state(), state, "after {later:?}");
    }
}

#[test]
fn the_window_slides_a_part_at_a_time() {
    let mut fuse = Fuse::new(ratio());
    // One bad result each 120 ms: never more than nine within a second.
    for n in 0..1_000 {
        call(&mut fuse, ms(120 * n), true);
    }
    assert_eq!(fuse.state(), State::Closed);
    // One each 100 ms: ten.
    let start = 120 * 1_000 + 2_000;
    for n in 0..9 {
        call(&mut fuse, ms(start + 100 * n), true);
    }
    assert_eq!(fuse.state(), State::Closed);
    call(&mut fuse, ms(start + 900), true);
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn a_slow_call_is_bad() {
    let mut fuse = Fuse::new(FuseSettings {
        slow_limit: Some(ms(200)),
        ..in_a_row()
    });
    for took in [200, 201, 201, 200, 201, 201] {
        let ticket = through(&mut fuse, ms(0));
        fuse.finish(ticket, ms(took), false, ms(took));
    }
    assert_eq!(
        fuse.state(),
        State::Closed,
        "200 ms is not longer than the limit"
    );
    let ticket = through(&mut fuse, ms(0));
    fuse.finish(ticket, ms(201), false, ms(201));
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn an_overdue_call_counts_once() {
    let mut fuse = Fuse::new(watching());
    let hanging = through(&mut fuse, secs(0));
    // The second bad result is the overdue one; its own end adds nothing, however bad.
    call(&mut fuse, secs(1), true);
    for later in [10, 11, 12] {
        let ticket = through(&mut fuse, secs(later));
        fuse.abandon(ticket, secs(later));
    }
    fuse.finish(hanging, secs(13), true, secs(13));
    assert_eq!(fuse.state(), State::Closed);
    call(&mut fuse, secs(13), true);
    assert_eq!(fuse.state(), State::Open, "the overdue call counted");
}

#[test]
fn a_late_good_end_of_an_overdue_call_resets_nothing() {
    let mut fuse = Fuse::new(watching());
    let hanging = through(&mut fuse, secs(0));
    call(&mut fuse, secs(10), true);
    call(&mut fuse, secs(10), false);
    call(&mut fuse, secs(10), true);
    call(&mut fuse, secs(10), true);
    fuse.finish(hanging, secs(11), false, secs(11));
    call(&mut fuse, secs(12), true);
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn a_stream_that_began_in_time_may_last_and_one_that_began_late_is_bad() {
    let in_time = PENDING - ms(1);
    let mut fuse = Fuse::new(watching());
    for n in 0..9 {
        let mut ticket = through(&mut fuse, secs(100 * n));
        fuse.answered(&mut ticket, secs(100 * n) + in_time, in_time);
        fuse.finish(ticket, secs(100 * n + 90), false, secs(90));
    }
    assert_eq!(fuse.trips(), 0);
    for n in 10..13 {
        let mut ticket = through(&mut fuse, secs(100 * n));
        fuse.answered(&mut ticket, secs(100 * n) + PENDING, PENDING);
        fuse.finish(ticket, secs(100 * n + 90), false, secs(90));
    }
    assert_eq!(fuse.trips(), 1);
}

#[test]
fn a_stream_that_breaks_is_bad_although_it_began_in_time() {
    let mut fuse = Fuse::new(watching());
    for n in 0..3 {
        let mut ticket = through(&mut fuse, secs(n));
        fuse.answered(&mut ticket, secs(n), ms(1));
        fuse.finish(ticket, secs(n + 90), true, secs(90));
    }
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn a_call_that_ends_late_is_bad_even_if_nobody_looked_meanwhile() {
    let mut fuse = Fuse::new(watching());
    for n in 0..3 {
        let ticket = through(&mut fuse, secs(20 * n));
        fuse.finish(ticket, secs(20 * n) + PENDING, false, PENDING);
    }
    assert_eq!(fuse.state(), State::Open);

    let mut fuse = Fuse::new(watching());
    for n in 0..9 {
        let ticket = through(&mut fuse, secs(20 * n));
        let took = PENDING - Duration::from_nanos(1);
        fuse.finish(ticket, secs(20 * n) + took, false, took);
    }
    assert_eq!(fuse.state(), State::Closed, "it ended within the limit");
}

#[test]
fn a_client_that_gives_up_on_an_overdue_call_does_not_hide_it() {
    let mut fuse = Fuse::new(watching());
    for n in 0..3 {
        let ticket = through(&mut fuse, secs(20 * n));
        fuse.abandon(ticket, secs(20 * n + 15));
    }
    assert_eq!(fuse.state(), State::Open);
}

#[test]
fn a_hang_of_everything_trips_at_the_limit_even_at_one_request_a_second() {
    let mut fuse = Fuse::new(watching());
    let mut hanging = Vec::new();
    for second in 0..12 {
        hanging.push(through(&mut fuse, secs(second)));
        assert_eq!(fuse.state(), State::Closed, "after {second} s");
    }
    // Those of seconds 0, 1 and 2 are overdue.
    home(&mut fuse, secs(12));
    assert_eq!((fuse.state(), fuse.trips()), (State::Open, 1));
    for ticket in hanging {
        fuse.finish(ticket, secs(13), true, secs(13));
    }
    assert_eq!(fuse.trips(), 1);
}

#[test]
fn overdue_calls_trip_by_ratio_as_of_the_moment_when_they_became_overdue() {
    let settings = FuseSettings {
        pending_limit: Some(PENDING),
        ..ratio()
    };
    // Ten calls within a second are found overdue together.
    let mut fuse = Fuse::new(settings);
    let _hanging: Vec<Ticket> = (0..10).map(|n| through(&mut fuse, ms(90 * n))).collect();
    home(&mut fuse, secs(15));

    // Ten calls over twenty seconds are found at the same time as well, but were never ten within a second.
    let mut fuse = Fuse::new(FuseSettings {
        pending_limit: Some(secs(60)),
        ..settings
    });
    let _hanging: Vec<Ticket> = (0..10).map(|n| through(&mut fuse, secs(2 * n))).collect();
    let _ticket = through(&mut fuse, secs(100));
    assert_eq!(fuse.trips(), 0);
}

#[test]
fn the_cooldown_of_a_hang_begins_when_the_calls_became_overdue() {
    let mut fuse = Fuse::new(watching());
    let _hanging: Vec<Ticket> = (0..3).map(|_| through(&mut fuse, secs(0))).collect();
    let moment = PENDING + COOLDOWN;
    let _probe = through(&mut fuse, moment);
    assert_eq!((fuse.state(), fuse.trips()), (State::HalfOpen, 1));

    let mut fuse = Fuse::new(watching());
    let _hanging: Vec<Ticket> = (0..3).map(|_| through(&mut fuse, secs(0))).collect();
    home(&mut fuse, moment - ms(1));
}

#[test]
fn calls_beyond_the_cap_count_when_they_end() {
    let mut fuse = Fuse::new(FuseSettings {
        consecutive_errors: Some(MAX_WATCHED + 2),
        ..watching()
    });
    let watched: Vec<Ticket> = (0..MAX_WATCHED)
        .map(|_| through(&mut fuse, secs(0)))
        .collect();
    let late = through(&mut fuse, secs(0));
    let bad = through(&mut fuse, secs(0));
    let mut streams = [through(&mut fuse, secs(0)), through(&mut fuse, secs(0))];
    assert_eq!(fuse.pending.high_water(), MAX_WATCHED as usize);
    assert_eq!((late.slot, bad.slot), (None, None));
    // Those beyond the cap that began to answer in time may take long.
    for stream in &mut streams {
        fuse.answered(stream, ms(1), ms(1));
    }

    // The watched ones become overdue, and those beyond say so themselves.
    fuse.finish(late, PENDING, false, PENDING);
    assert_eq!(fuse.state(), State::Closed);
    for stream in streams {
        assert!(stream.answered);
    }
    fuse.finish(bad, PENDING, true, ms(1));
    assert_eq!(fuse.state(), State::Open);
    drop(watched);
}

#[test]
fn a_steady_load_takes_no_more_memory_than_its_calls_in_flight() {
    let mut fuse = Fuse::new(watching());
    let mut flight = std::collections::VecDeque::new();
    // One call hangs until it is overdue, and 10 000 others come and go behind it.
    let hanging = through(&mut fuse, ms(0));
    for n in 0..10_000 {
        flight.push_back(through(&mut fuse, ms(n)));
        if flight.len() > 20 {
            let ticket = flight.pop_front().unwrap();
            fuse.finish(ticket, ms(n), false, ms(20));
        }
    }
    assert_eq!(fuse.pending.high_water(), 22);
    fuse.finish(hanging, secs(11), false, secs(11));
    assert_eq!(fuse.trips(), 0);
}

#[test]
fn a_fuse_without_a_rule_never_trips_and_watches_nothing() {
    let mut fuse = Fuse::new(FuseSettings {
        pending_limit: Some(ms(1)),
        slow_limit: Some(ms(1)),
        cooldown: COOLDOWN,
        ..FuseSettings::default()
    });
    for n in 0..1_000 {
        let _hanging = through(&mut fuse, secs(n));
        let ticket = through(&mut fuse, secs(n));
        fuse.finish(ticket, secs(n + 1), true, secs(1));
    }
    assert_eq!((fuse.state(), fuse.trips()), (State::Closed, 0));
    assert_eq!(fuse.pending.high_water(), 0);
}

#[test]
fn a_clock_that_goes_back_undoes_nothing_and_is_not_waited_for() {
    // An hour back in the cooldown: the rest of it passes by the new reading.
    let day = secs(86_400);
    let mut fuse = Fuse::new(in_a_row());
    for _ in 0..3 {
        call(&mut fuse, day, true);
    }
    home(&mut fuse, day + secs(10));
    let back = day - secs(3_600);
    home(&mut fuse, back);
    home(&mut fuse, back + secs(19));
    let _probe = through(&mut fuse, back + secs(20));

    // An hour back while calls are pending: none is overdue at once, and each is in time.
    let mut fuse = Fuse::new(watching());
    let _hanging: Vec<Ticket> = (0..3).map(|_| through(&mut fuse, day)).collect();
    let _other = through(&mut fuse, back);
    assert_eq!(fuse.state(), State::Closed);
    let _other = through(&mut fuse, back + PENDING - ms(1));
    home(&mut fuse, back + PENDING);
}

#[test]
fn a_clock_that_leaps_leaves_the_fuse_working() {
    let mut fuse = Fuse::new(watching());
    for now in [Duration::MAX, Duration::ZERO, Duration::MAX, secs(5)] {
        call(&mut fuse, now, false);
    }
    for _ in 0..3 {
        call(&mut fuse, secs(5), true);
    }
    home(&mut fuse, secs(6));
    let _probe = through(&mut fuse, secs(5) + COOLDOWN);
}

#[test]
fn settings_that_mean_nothing_are_refused_by_field() {
    let whole = FuseSettings {
        consecutive_errors: Some(5),
        pending_limit: Some(PENDING),
        slow_limit: Some(secs(1)),
        ..ratio()
    };
    let zero = Some(Duration::ZERO);
    let refused = |settings: FuseSettings| settings.check().map_err(|error| error.field);
    assert_eq!(refused(whole), Ok(()));
    assert_eq!(refused(FuseSettings::default()), Ok(()));
    #[rustfmt::skip]
    let table = [
        ("consecutiveErrors", FuseSettings { consecutive_errors: Some(0), ..whole }),
        ("errorRatio", FuseSettings { error_ratio: Some(1.01), ..whole }),
        ("errorRatio", FuseSettings { error_ratio: Some(-0.1), ..whole }),
        ("errorRatio", FuseSettings { error_ratio: Some(f64::NAN), ..whole }),
        ("minRequests", FuseSettings { min_requests: 0, ..whole }),
        ("window", FuseSettings { window: Duration::ZERO, ..whole }),
        ("pendingLimit", FuseSettings { pending_limit: zero, ..whole }),
        ("slowLimit", FuseSettings { slow_limit: zero, ..whole }),
        ("cooldown", FuseSettings { cooldown: Duration::ZERO, ..whole }),
    ];
    for (field, settings) in table {
        assert_eq!(refused(settings), Err(field), "{settings:?}");
    }
    let error = SettingsError {
        field: "window",
        reason: "too short",
    };
    assert_eq!(error.to_string(), "window: too short");
}

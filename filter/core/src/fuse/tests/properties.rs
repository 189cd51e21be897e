//! Random sequences of operations against invariants, and against a model.

mod model;

use std::time::Duration;

use proptest::prelude::*;

use crate::fuse::{Admission, Fuse, FuseSettings, MAX_PROBES, State, Ticket};

#[derive(Clone, Copy, Debug)]
enum Op {
    Admit,
    /// Which of the calls in flight, and whether it was bad.
    Finish(prop::sample::Index, bool),
    Answer(prop::sample::Index),
    Abandon(prop::sample::Index),
    /// Milliseconds forward.
    Wait(u64),
    /// Milliseconds back, on the clock only.
    Back(u64),
}

/// Anything, with few or many bad results, so that some fuses close again and others do not.
fn ops() -> impl Strategy<Value = Vec<Op>> {
    let share = prop::sample::select(vec![0.0, 0.02, 0.4, 0.9]);
    share.prop_flat_map(|share| prop::collection::vec(op(share), 0..400))
}

fn op(share: f64) -> impl Strategy<Value = Op> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        6 => Just(Op::Admit),
        4 => (which(), prop::bool::weighted(share)).prop_map(|(which, bad)| Op::Finish(which, bad)),
        1 => which().prop_map(Op::Answer),
        1 => which().prop_map(Op::Abandon),
        3 => (0_u64..40).prop_map(Op::Wait),
        1 => (0_u64..1_500).prop_map(Op::Wait),
        1 => (0_u64..100_000).prop_map(Op::Back),
    ]
}

fn settings() -> impl Strategy<Value = FuseSettings> {
    let ms = |range| prop::option::of(range).prop_map(|it| it.map(Duration::from_millis));
    (
        prop::option::of(1_u32..6),
        prop::option::of(0.0..=1.0),
        1_u32..8,
        1_u64..300,
        ms(1_u64..400),
        ms(1_u64..200),
        1_u64..1_000,
    )
        .prop_map(
            |(
                consecutive_errors,
                error_ratio,
                min_requests,
                window,
                pending_limit,
                slow_limit,
                cooldown,
            )| {
                FuseSettings {
                    consecutive_errors,
                    error_ratio,
                    min_requests,
                    window: Duration::from_millis(window),
                    pending_limit,
                    slow_limit,
                    cooldown: Duration::from_millis(cooldown),
                }
            },
        )
}

/// A fuse, the clock that it is shown, and the time that really passed.
struct Rig {
    fuse: Fuse,
    clock: Duration,
    time: Duration,
    /// Calls are numbered from 0.
    calls: usize,
    flight: Vec<Flying>,
}

#[derive(Debug)]
struct Flying {
    call: usize,
    ticket: Ticket,
    admitted: Duration,
    answered: bool,
    /// The trips of the fuse when it was admitted.
    trips: u64,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Through { call: usize },
    Home,
    Finished { call: usize, bad: bool },
    Answered { call: usize },
    Abandoned { call: usize },
    Nothing,
}

impl Rig {
    fn new(settings: FuseSettings) -> Self {
        Self {
            fuse: Fuse::new(settings),
            clock: Duration::from_secs(1_000_000),
            time: Duration::ZERO,
            calls: 0,
            flight: Vec::new(),
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.clock += wait;
        self.time += wait;
    }

    /// Does one thing. The fuse hears of the time with each but [`Op::Wait`].
    fn apply(&mut self, op: Op) -> Event {
        match op {
            Op::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Op::Back(ms) => {
                // A step back hides what passed since the last reading, so there is one right before.
                self.tell_time();
                self.clock -= Duration::from_millis(ms);
                self.tell_time();
            }
            Op::Admit => return self.admit(),
            Op::Finish(which, bad) => {
                if let Some(it) = self.take(which) {
                    let took = self.time - it.admitted;
                    self.fuse.finish(it.ticket, self.clock, bad, took);
                    let slow = self.fuse.settings().slow_limit;
                    let bad = bad || slow.is_some_and(|limit| took > limit);
                    return Event::Finished { call: it.call, bad };
                }
                self.tell_time();
            }
            Op::Answer(which) => {
                if !self.flight.is_empty() {
                    let at = which.index(self.flight.len());
                    let it = &mut self.flight[at];
                    it.answered = true;
                    let took = self.time - it.admitted;
                    self.fuse.answered(&mut it.ticket, self.clock, took);
                    return Event::Answered { call: it.call };
                }
                self.tell_time();
            }
            Op::Abandon(which) => {
                if let Some(it) = self.take(which) {
                    self.fuse.abandon(it.ticket, self.clock);
                    return Event::Abandoned { call: it.call };
                }
                self.tell_time();
            }
        }
        Event::Nothing
    }

    fn admit(&mut self) -> Event {
        let Admission::Through(ticket) = self.fuse.admit(self.clock) else {
            return Event::Home;
        };
        let call = self.calls;
        self.calls += 1;
        self.flight.push(Flying {
            call,
            ticket,
            admitted: self.time,
            answered: false,
            trips: self.fuse.trips(),
        });
        Event::Through { call }
    }

    /// Shows the fuse the clock, and nothing else.
    fn tell_time(&mut self) {
        if let Admission::Through(ticket) = self.fuse.admit(self.clock) {
            self.fuse.abandon(ticket, self.clock);
        }
    }

    fn take(&mut self, which: prop::sample::Index) -> Option<Flying> {
        let flight = &mut self.flight;
        (!flight.is_empty()).then(|| flight.swap_remove(which.index(flight.len())))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn invariants_hold_under_any_sequence(settings in settings(), ops in ops()) {
        let mut rig = Rig::new(settings);
        let (mut peak, mut trips) = (0, 0);
        let (mut heard, mut closed_to) = (Duration::ZERO, Duration::ZERO);
        for op in ops {
            let event = rig.apply(op);
            let fuse = &rig.fuse;
            // One more: a step back of the clock is shown to the fuse by a request that ends at once.
            peak = peak.max(rig.flight.len() + 1);
            prop_assert!(fuse.pending.high_water() <= peak, "more memory than calls in flight");
            prop_assert!(settings.can_trip() || fuse.trips() == 0);
            if fuse.trips() > trips {
                // It opened after the call before this one.
                closed_to = heard + settings.cooldown;
                trips = fuse.trips();
            }
            if matches!(event, Event::Through { .. }) {
                prop_assert_ne!(fuse.state(), State::Open);
                prop_assert!(rig.time >= closed_to, "let through within the cooldown");
            }
            if fuse.state() == State::HalfOpen {
                let probes = rig.flight.iter().filter(|it| it.trips == trips && !it.answered);
                let probes = probes.count();
                prop_assert!(probes <= MAX_PROBES as usize, "{probes} probes in flight");
            }
            if !matches!(op, Op::Wait(_)) {
                heard = rig.time;
            }
        }
    }

    #[test]
    fn without_enough_results_within_the_window_no_ratio_trips(
        settings in settings(),
        gaps in prop::collection::vec((0_u64..100, any::<bool>()), 0..200),
    ) {
        let settings = FuseSettings {
            consecutive_errors: None,
            error_ratio: Some(0.0),
            pending_limit: None,
            slow_limit: None,
            ..settings
        };
        let mut fuse = Fuse::new(settings);
        let mut now = Duration::ZERO;
        let mut results: Vec<(Duration, bool)> = Vec::new();
        for (gap, bad) in gaps {
            now += Duration::from_millis(gap);
            results.push((now, bad));
            let Admission::Through(ticket) = fuse.admit(now) else { unreachable!("it never opened") };
            fuse.finish(ticket, now, bad, Duration::ZERO);
            let counts = |window: Duration| {
                let recent = results.iter().filter(|(at, _)| now - *at < window);
                (recent.clone().count(), recent.filter(|(_, bad)| *bad).count())
            };
            let trips = |(total, bad)| total >= settings.min_requests as usize && bad > 0;
            // A result is forgotten after 90 to 100 % of the window, so a trip is due between the two.
            let (most, least) = (counts(settings.window), counts(settings.window * 9 / 10));
            let open = fuse.state() == State::Open;
            prop_assert!(!open || trips(most), "tripped by {most:?}");
            prop_assert!(open || !trips(least), "not tripped by {least:?}");
            if open {
                break;
            }
        }
    }

    #[test]
    fn good_results_alone_never_trip(settings in settings(), ops in ops()) {
        let settings = FuseSettings { pending_limit: None, slow_limit: None, ..settings };
        let mut rig = Rig::new(settings);
        for op in ops {
            rig.apply(match op {
                Op::Finish(which, _) => Op::Finish(which, false),
                op => op,
            });
        }
        prop_assert_eq!(rig.fuse.trips(), 0);
    }

    #[test]
    fn a_fuse_recovers_from_anything_once_all_results_are_good(
        settings in settings(),
        ops in ops(),
    ) {
        let mut rig = Rig::new(settings);
        for op in ops {
            rig.apply(op);
        }
        // What is in flight is never heard of again: it becomes overdue, or is of no account.
        rig.flight.clear();
        let overdue = settings.pending_limit.unwrap_or_default();
        rig.wait(overdue + settings.cooldown);
        rig.tell_time();
        rig.wait(settings.cooldown + settings.window);
        for _ in 0..1 + 2 + 4 + 8 + MAX_PROBES {
            let admission = rig.fuse.admit(rig.clock);
            let Admission::Through(ticket) = admission else {
                return Err(TestCaseError::fail(format!("sent home: {:?}", rig.fuse)));
            };
            rig.fuse.finish(ticket, rig.clock, false, Duration::ZERO);
        }
        prop_assert_eq!(rig.fuse.state(), State::Closed);
    }
}

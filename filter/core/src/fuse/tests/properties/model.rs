//! The rules again, word by word, over a list of all calls: slow, and easy to read. Without the ratio, whose window
//! forgets by parts.

use std::time::Duration;

use proptest::prelude::*;

use super::{Event, Op, Rig, ops, settings};
use crate::fuse::{FuseSettings, MAX_PROBES, State};

#[derive(Debug)]
struct Model {
    settings: FuseSettings,
    state: State,
    trips: u64,
    opened: Duration,
    quota: usize,
    good: usize,
    /// Results since the fuse closed: whether they were bad.
    results: Vec<bool>,
    /// Number and admission of the calls in flight whose result matters.
    flight: Vec<(usize, Duration)>,
    /// Those that began to be answered: they take no place, and their result still matters.
    streams: Vec<usize>,
}

impl Model {
    fn new(settings: FuseSettings) -> Self {
        Self {
            settings,
            state: State::Closed,
            trips: 0,
            opened: Duration::ZERO,
            quota: 1,
            good: 0,
            results: Vec::new(),
            flight: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// Calls that were pending too long are bad when that time is reached, and a cooldown ends.
    fn catch_up(&mut self, now: Duration) {
        let probing = self.state == State::HalfOpen;
        let limit = self.settings.pending_limit;
        if let Some(limit) = limit.or(probing.then_some(self.settings.cooldown)) {
            let due = |(_, admitted): &(usize, Duration)| *admitted + limit;
            let mut overdue: Vec<Duration> = self.flight.iter().map(due).collect();
            overdue.retain(|at| *at <= now);
            overdue.sort();
            self.flight.retain(|call| due(call) > now);
            for at in overdue {
                // After a trip those admitted before it are of no account.
                if self.state != State::Open {
                    self.result(at, true);
                }
            }
        }
        if self.state == State::Open && now >= self.opened + self.settings.cooldown {
            self.state = State::HalfOpen;
            (self.quota, self.good) = (1, 0);
        }
    }

    fn admits(&self) -> bool {
        match self.state {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen => self.good + self.flight.len() < self.quota,
        }
    }

    /// Takes a call out of flight, if its result matters.
    fn ends(&mut self, call: usize) -> bool {
        let before = self.flight.len() + self.streams.len();
        self.flight.retain(|(it, _)| *it != call);
        self.streams.retain(|it| *it != call);
        self.flight.len() + self.streams.len() < before
    }

    fn result(&mut self, at: Duration, bad: bool) {
        if self.state == State::HalfOpen && !bad {
            self.good += 1;
            if self.good == self.quota {
                (self.quota, self.good) = (2 * self.quota, 0);
                if self.quota > MAX_PROBES as usize {
                    self.state = State::Closed;
                }
            }
            return;
        }
        self.results.push(bad);
        let in_a_row = self.results.iter().rev().take_while(|bad| **bad).count();
        let limit = self.settings.consecutive_errors;
        if self.state == State::HalfOpen || limit.is_some_and(|limit| in_a_row >= limit as usize) {
            self.state = State::Open;
            self.trips += 1;
            self.opened = at;
            self.results.clear();
            self.flight.clear();
            self.streams.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_fuse_does_what_the_rules_say_call_by_call(
        settings in settings(),
        consecutive in 1_u32..6,
        ops in ops(),
    ) {
        let settings = FuseSettings { consecutive_errors: Some(consecutive), error_ratio: None, ..settings };
        let (mut rig, mut model) = (Rig::new(settings), Model::new(settings));
        for (step, op) in ops.into_iter().enumerate() {
            let event = rig.apply(op);
            if matches!(op, Op::Wait(_)) {
                continue;
            }
            model.catch_up(rig.time);
            match event {
                Event::Through { call } => {
                    prop_assert!(model.admits(), "step {step}: {model:?}");
                    model.flight.push((call, rig.time));
                }
                Event::Home => prop_assert!(!model.admits(), "step {step}: {model:?}"),
                Event::Finished { call, bad } => {
                    if model.ends(call) {
                        model.result(rig.time, bad);
                    }
                }
                Event::Answered { call } => {
                    if model.ends(call) {
                        model.streams.push(call);
                    }
                }
                Event::Abandoned { call } => {
                    model.ends(call);
                }
                Event::Nothing => {}
            }
            prop_assert_eq!(rig.fuse.state(), model.state, "step {} {:?}: {:?}", step, op, model);
            prop_assert_eq!(rig.fuse.trips(), model.trips, "step {} {:?}: {:?}", step, op, model);
        }
    }
}

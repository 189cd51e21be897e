//! The fuse: a circuit breaker (Nygard 2007, "Release It!") that sends the users of a broken variant to the live one.
//!
//! One fuse watches one variant in one worker. It asks nobody for the time and starts no timers: it changes only when a
//! request begins or ends, which is also the only time when it matters.
//!
//! ```text
//!               a rule trips                 cooldown over
//!     Closed ------------------> Open <----------------------> HalfOpen
//!        ^                            one bad or stuck probe       |
//!        +---------------------------------------------------------+
//!                   1, 2, 4, 8 and 16 probes, all good
//! ```
//!
//! # Time
//!
//! A call takes `now` from any clock that mostly goes forward, best one that is never set. When it goes back, no
//! time passes until the next step forward: nothing is undone, and nobody waits for the clock to catch up.
//!
//! # Memory
//!
//! Some 300 bytes, plus 24 for each call that was ever in flight at the same time, up to [`MAX_WATCHED`] calls. That
//! memory is kept and used again, so that a steady load allocates nothing.

mod clock;
mod pending;
mod settings;
mod window;

use std::time::Duration;

pub use pending::MAX_WATCHED;
pub use settings::{FuseSettings, SettingsError};

use clock::{Clock, age, nanos};
use pending::Pending;
use window::Window;

/// Probes of the last stage before the fuse closes; the stages before it double from one.
pub const MAX_PROBES: u32 = 16;

/// What the fuse lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every request.
    Closed,
    /// None. It stays so after the cooldown until a request comes, which is then the first probe.
    Open,
    /// A few probes at a time.
    HalfOpen,
}

/// Where a request goes.
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// To its variant; the ticket is to be handed back when the request ends.
    Through(Ticket),
    /// To the live variant; nothing is to be reported.
    Home,
}

/// One admitted call, to be handed to [`Fuse::finish`] or [`Fuse::abandon`] of the fuse that gave it. It can be neither
/// copied nor used twice, since a call has one result. One that is lost is a call that never ends.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    /// Calls are numbered in the order of their admission.
    call: u64,
    /// Where the call is kept while it is pending; none: it is not watched.
    slot: Option<u32>,
    /// Whether an answer came in time: the rest of it may take as long as it likes.
    answered: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open {
        since: u64,
    },
    /// Of the `quota` probes of this stage, `good` came back well; those in flight are the pending calls.
    HalfOpen {
        quota: u32,
        good: u32,
    },
}

/// The fuse of one variant in one worker.
#[derive(Debug)]
pub struct Fuse {
    settings: FuseSettings,
    clock: Clock,
    phase: Phase,
    trips: u64,
    next_call: u64,
    /// First call after the last trip: results of earlier ones are old news.
    first_call: u64,
    consecutive: u32,
    window: Window,
    pending: Pending,
}

impl Fuse {
    /// A closed fuse. It trips under settings that fail [`FuseSettings::check`] too soon or never, but does not panic.
    pub fn new(settings: FuseSettings) -> Self {
        Self {
            settings,
            clock: Clock::default(),
            phase: Phase::Closed,
            trips: 0,
            next_call: 0,
            first_call: 0,
            consecutive: 0,
            window: Window::new(nanos(settings.window)),
            pending: Pending::default(),
        }
    }

    /// The settings that the fuse was made with. A new configuration with the same ones should keep the fuse: a new
    /// one would be closed, and the broken variant would get its users back.
    pub fn settings(&self) -> &FuseSettings {
        &self.settings
    }

    /// What the fuse lets through, as of the last call.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// How often the fuse opened so far, be it by a rule or by a bad probe. One call can add more than one, when it
    /// finds that calls became overdue long ago.
    pub fn trips(&self) -> u64 {
        self.trips
    }

    /// Decides where a request goes that begins `now`.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let now = self.catch_up(now);
        let call = self.next_call;
        let slot = match self.phase {
            Phase::Open { .. } => return Admission::Home,
            Phase::Closed if self.watches_all() => self.pending.push(call, now),
            Phase::Closed => None,
            Phase::HalfOpen { quota, good } => {
                if good.saturating_add(self.pending.len()) >= quota {
                    return Admission::Home;
                }
                match self.pending.push(call, now) {
                    Some(slot) => Some(slot),
                    None => return Admission::Home,
                }
            }
        };
        self.next_call = call.wrapping_add(1);
        Admission::Through(Ticket {
            call,
            slot,
            answered: false,
        })
    }

    /// Whether the begin of the answer matters; else nobody needs to look at a clock for [`Fuse::answered`].
    pub fn awaits(&self, ticket: &Ticket) -> bool {
        ticket.slot.is_some() || self.settings.pending_limit.is_some()
    }

    /// Takes note that an answer began `now`, `took` after the call's own begin: a call is pending until then, so that a
    /// stream which goes on for minutes is not taken for a call that hangs. A probe gives its place to the next request.
    pub fn answered(&mut self, ticket: &mut Ticket, now: Duration, took: Duration) {
        self.catch_up(now);
        match ticket.slot {
            // A call that is not there any more was overdue.
            Some(slot) => {
                if self.pending.remove(slot, ticket.call) {
                    ticket.slot = None;
                    ticket.answered = true;
                }
            }
            None => ticket.answered |= !self.is_overdue(took),
        }
    }

    /// Takes the result of a call that ended `now`: whether it was bad ([`crate::outcome::is_bad`]), and how long it
    /// took from its own begin to its end.
    #[expect(clippy::needless_pass_by_value, reason = "a call has one end")]
    pub fn finish(&mut self, ticket: Ticket, now: Duration, bad: bool, took: Duration) {
        let now = self.catch_up(now);
        let call = ticket.call;
        if call < self.first_call {
            return;
        }
        let overdue = match ticket.slot {
            Some(slot) if !self.pending.remove(slot, call) => return,
            Some(_) => false,
            None => !ticket.answered && self.is_overdue(took),
        };
        let slow = self.settings.slow_limit.is_some_and(|it| took > it);
        self.record(now, bad || slow || overdue);
    }

    /// Forgets a call whose client hung up `now`: that is neither good nor bad, and gives the place of a probe to the
    /// next request. A call that was overdue by then has been counted as bad.
    #[expect(clippy::needless_pass_by_value, reason = "a call has one end")]
    pub fn abandon(&mut self, ticket: Ticket, now: Duration) {
        self.catch_up(now);
        if ticket.call < self.first_call {
            return;
        }
        if let Some(slot) = ticket.slot {
            self.pending.remove(slot, ticket.call);
        }
    }

    /// Brings the fuse up to date: the calls that became overdue count as of the moment when they did, each before
    /// anything that came later, and an open fuse whose cooldown has passed goes half open. Returns the fuse's own time.
    fn catch_up(&mut self, now: Duration) -> u64 {
        let now = self.clock.advance(now);
        while let Some(at) = self.pending.pop_overdue(now, self.patience()) {
            self.record(at, true);
        }
        if let Phase::Open { since } = self.phase
            && age(now, since) >= nanos(self.settings.cooldown)
        {
            self.phase = Phase::HalfOpen { quota: 1, good: 0 };
        }
        now
    }

    /// How long a call may be pending. A probe always has a bound: without one, a variant that hangs would keep the fuse
    /// half open for ever.
    fn patience(&self) -> u64 {
        let limit = self.settings.pending_limit;
        nanos(limit.unwrap_or(match self.phase {
            Phase::HalfOpen { .. } => self.settings.cooldown,
            Phase::Closed | Phase::Open { .. } => Duration::MAX,
        }))
    }

    fn is_overdue(&self, pending: Duration) -> bool {
        self.settings.pending_limit.is_some_and(|it| pending >= it)
    }

    /// Whether all calls are watched while they are pending, not the probes alone.
    fn watches_all(&self) -> bool {
        self.settings.pending_limit.is_some() && self.settings.can_trip()
    }

    fn record(&mut self, at: u64, bad: bool) {
        match self.phase {
            Phase::Open { .. } => {}
            Phase::Closed => {
                if self.rule_trips(at, bad) {
                    self.trip(at);
                }
            }
            Phase::HalfOpen { .. } if bad => self.trip(at),
            Phase::HalfOpen { quota, good } => {
                let good = good.saturating_add(1);
                self.phase = if good < quota {
                    Phase::HalfOpen { quota, good }
                } else if quota < MAX_PROBES {
                    let quota = quota.saturating_mul(2);
                    Phase::HalfOpen { quota, good: 0 }
                } else {
                    Phase::Closed
                };
            }
        }
    }

    fn rule_trips(&mut self, at: u64, bad: bool) -> bool {
        self.consecutive = if bad {
            self.consecutive.saturating_add(1)
        } else {
            0
        };
        let in_a_row = self.settings.consecutive_errors;
        let in_a_row = bad && in_a_row.is_some_and(|limit| self.consecutive >= limit);
        let in_window = self.settings.error_ratio.is_some_and(|limit| {
            let count = self.window.record(at, bad);
            count.total >= self.settings.min_requests && count.ratio_reaches(limit)
        });
        in_a_row || in_window
    }

    fn trip(&mut self, at: u64) {
        self.phase = Phase::Open { since: at };
        self.trips = self.trips.saturating_add(1);
        self.first_call = self.next_call;
        self.consecutive = 0;
        self.window.clear();
        self.pending.clear();
    }
}

#[cfg(test)]
mod tests;

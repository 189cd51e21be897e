//! The fuses of this worker. They belong to variants, not to configurations: a change of weights must not close the fuse
//! of a broken variant.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use proxy_wasm::types::MetricType;
use serin_filter_core::config::VariantConfig;
use serin_filter_core::fuse::{Admission, Fuse, FuseSettings, State, Ticket};
use serin_filter_core::stat;
use serin_filter_core::table::{Rollout, RoutingTable};

use crate::metrics::{Encoded, define};
use crate::{counters, host};

/// Rollout, variant and version.
type Key = (String, String, String);

thread_local! {
    /// Few: those of variants that this worker has met. A map of its own type would add 2 KiB to the module.
    static FUSES: RefCell<Vec<(Key, Rc<VariantFuse>)>> = const { RefCell::new(Vec::new()) };
}

/// The fuse of one variant, and what it reports.
pub(crate) struct VariantFuse {
    fuse: RefCell<Fuse>,
    trips: Option<u32>,
    open_workers: Option<u32>,
}

/// The fuse of a variant that is not live; none: it has none.
pub(crate) fn of(
    rollout: &Rollout,
    variant: &VariantConfig,
    labels: &Encoded,
) -> Option<Rc<VariantFuse>> {
    let settings = rollout.fuse().filter(|it| !variant.live && it.can_trip())?;
    let key = (
        rollout.name().to_owned(),
        variant.name.clone(),
        variant.version.clone(),
    );
    FUSES.with_borrow_mut(|fuses| {
        if let Some(at) = fuses.iter().position(|(known, _)| *known == key) {
            let (_, fuse) = fuses.get(at)?;
            if fuse.has(&settings) {
                return Some(Rc::clone(fuse));
            }
            fuse.close();
            fuses.swap_remove(at);
        }
        let fuse = Rc::new(VariantFuse::new(settings, labels));
        fuses.push((key, Rc::clone(&fuse)));
        Some(fuse)
    })
}

/// Forgets the fuses of variants that are gone or live.
pub(crate) fn retain(table: &RoutingTable) {
    FUSES.with_borrow_mut(|fuses| {
        fuses.retain(|((rollout, name, version), fuse)| {
            let there = table.by_name(rollout).is_some_and(|rollout| {
                let same =
                    |it: &VariantConfig| it.name == *name && it.version == *version && !it.live;
                rollout.fuse().is_some() && rollout.variants().iter().any(same)
            });
            if !there {
                fuse.close();
            }
            there
        });
    });
}

impl VariantFuse {
    fn new(settings: FuseSettings, labels: &Encoded) -> Self {
        Self {
            fuse: RefCell::new(Fuse::new(settings)),
            trips: define(
                MetricType::Counter,
                labels.name(&[], stat::FUSE_TRIPS_TOTAL),
            ),
            open_workers: define(MetricType::Gauge, labels.name(&[], stat::FUSE_OPEN_WORKERS)),
        }
    }

    fn has(&self, settings: &FuseSettings) -> bool {
        self.fuse.borrow().settings() == settings
    }

    /// Decides where a request goes that begins `now`, which is a time since 1970.
    pub(crate) fn admit(&self, now: Duration) -> Admission {
        self.watching(|fuse| fuse.admit(now))
    }

    /// The answer of a request that went through and `started` then begins now.
    pub(crate) fn answered(&self, ticket: &mut Ticket, started: SystemTime) {
        if self.fuse.borrow().awaits(ticket) {
            let now = host::now();
            let took = now.duration_since(started).unwrap_or_default();
            self.watching(|fuse| fuse.answered(ticket, host::since_epoch(now), took));
        }
    }

    /// The end of a request that went through and ended `now`. `bad`: none where the client hung up.
    pub(crate) fn finish(&self, ticket: Ticket, now: Duration, bad: Option<bool>, took: Duration) {
        self.watching(|fuse| match bad {
            Some(bad) => fuse.finish(ticket, now, bad, took),
            None => fuse.abandon(ticket, now),
        });
    }

    fn watching<T>(&self, act: impl FnOnce(&mut Fuse) -> T) -> T {
        let mut fuse = self.fuse.borrow_mut();
        let (open, trips) = (is_open(&fuse), fuse.trips());
        let result = act(&mut fuse);
        if let Some(id) = self.trips {
            (trips..fuse.trips()).for_each(|_| counters::increment(id));
        }
        self.report(open, is_open(&fuse));
        result
    }

    /// Takes an open fuse out of the gauge.
    fn close(&self) {
        self.report(is_open(&self.fuse.borrow()), false);
    }

    fn report(&self, before: bool, after: bool) {
        let change = i64::from(after).saturating_sub(i64::from(before));
        if let Some(id) = self.open_workers.filter(|_| change != 0) {
            host::change(id, change);
        }
    }
}

fn is_open(fuse: &Fuse) -> bool {
    fuse.state() != State::Closed
}

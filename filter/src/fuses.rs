//! The fuses of this worker. They belong to variants, not to configurations: a change of weights must not close the fuse
//! of a broken variant.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::types::MetricType;
use serin_filter_core::config::VariantConfig;
use serin_filter_core::fuse::{Admission, Fuse, FuseSettings, State, Ticket};
use serin_filter_core::stat::{self, Encoding};
use serin_filter_core::table::{Rollout, RoutingTable};

use crate::counters::{self, Counter};
use crate::host;
use crate::metrics::{Encoded, counter, define};

/// Plugin, rollout, variant and version.
type Key = (String, String, String, String);

thread_local! {
    /// Few: those of variants that this worker has met. A map of its own type would add 2 KiB to the module.
    static FUSES: RefCell<Vec<(Key, Rc<VariantFuse>)>> = const { RefCell::new(Vec::new()) };
}

/// The fuse of one variant, and what it reports.
pub(crate) struct VariantFuse {
    fuse: RefCell<Fuse>,
    encoding: Encoding,
    trips: Option<Rc<Counter>>,
    /// None when the fuse was forgotten: requests in flight may still open and close it.
    open_workers: Cell<Option<u32>>,
}

/// The fuse of a variant that is not live; none: it has none.
pub(crate) fn of(
    plugin: &str,
    rollout: &Rollout,
    variant: &VariantConfig,
    labels: &Encoded,
) -> Option<Rc<VariantFuse>> {
    let settings = rollout.fuse().filter(|it| !variant.live && it.can_trip())?;
    let key = (
        plugin.to_owned(),
        rollout.name().to_owned(),
        variant.name.clone(),
        variant.version.clone(),
    );
    FUSES.with_borrow_mut(|fuses| {
        if let Some(at) = fuses.iter().position(|(known, _)| *known == key) {
            let (_, fuse) = fuses.get(at)?;
            if fuse.has(&settings, labels.encoding()) {
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

/// Forgets the fuses of variants of a plugin that are gone, switched off or live.
pub(crate) fn retain(plugin: &str, table: &RoutingTable) {
    FUSES.with_borrow_mut(|fuses| {
        fuses.retain(|((owner, rollout, name, version), fuse)| {
            let there = owner != plugin
                || table.by_name(rollout).is_some_and(|rollout| {
                    let same = |it: &VariantConfig| {
                        it.name == *name && it.version == *version && it.enabled && !it.live
                    };
                    rollout.is_enabled()
                        && rollout.fuse().is_some_and(|it| it.can_trip())
                        && rollout.variants().iter().any(same)
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
            encoding: labels.encoding(),
            trips: counter(labels.name(&[], stat::FUSE_TRIPS_TOTAL)),
            open_workers: Cell::new(define(
                MetricType::Gauge,
                labels.name(&[], stat::FUSE_OPEN_WORKERS),
            )),
        }
    }

    fn has(&self, settings: &FuseSettings, encoding: Encoding) -> bool {
        self.fuse.borrow().settings() == settings && self.encoding == encoding
    }

    /// Decides where a request goes that begins `now`.
    pub(crate) fn admit(&self, now: Duration) -> Admission {
        self.watching(|fuse| fuse.admit(now))
    }

    /// The answer of a request that went through and `started` then begins now.
    pub(crate) fn answered(&self, ticket: &mut Ticket, started: Duration) {
        if self.fuse.borrow().awaits(ticket) {
            let now = host::now();
            self.watching(|fuse| fuse.answered(ticket, now, now.saturating_sub(started)));
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
        if let Some(counter) = self.trips.as_ref().filter(|_| fuse.trips() != trips) {
            (trips..fuse.trips()).for_each(|_| counter.increment());
            // Rare, and people wait for it. The response may go on for days without another count.
            counters::tell();
        }
        self.report(open, is_open(&fuse));
        result
    }

    /// Takes the fuse out of the gauge, for good.
    fn close(&self) {
        self.report(is_open(&self.fuse.borrow()), false);
        self.open_workers.set(None);
    }

    fn report(&self, before: bool, after: bool) {
        let change = i64::from(after).saturating_sub(i64::from(before));
        if let Some(id) = self.open_workers.get().filter(|_| change != 0) {
            host::change(id, change);
        }
    }
}

fn is_open(fuse: &Fuse) -> bool {
    fuse.state() != State::Closed
}

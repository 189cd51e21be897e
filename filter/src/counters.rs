//! Counters of requests. While requests overlap, what they count is gathered here and told to the proxy a few times a
//! second: a call out of the VM for each count would cost more than the counting.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::{host, ticks};

/// How long counts may wait: far less than the time between two looks of any scraper.
const WAIT: Duration = Duration::from_millis(100);

thread_local! {
    /// Counters with counts that the proxy was not told.
    static WAITING: RefCell<Vec<Rc<Counter>>> = const { RefCell::new(Vec::new()) };
}

/// A counter with the id that the proxy gave it.
pub(crate) struct Counter {
    id: u32,
    untold: Cell<u32>,
}

impl Counter {
    pub(crate) fn new(id: u32) -> Rc<Self> {
        let untold = Cell::new(0);
        Rc::new(Self { id, untold })
    }

    /// Adds one.
    pub(crate) fn increment(self: &Rc<Self>) {
        let untold = self.untold.get();
        if untold == 0 {
            WAITING.with_borrow_mut(|waiting| waiting.push(Rc::clone(self)));
        }
        self.untold.set(untold.saturating_add(1));
    }
}

/// Tells the proxy all counts.
pub(crate) fn tell() {
    WAITING.with_borrow_mut(|waiting| {
        for counter in waiting.drain(..) {
            host::add(counter.id, counter.untold.take());
        }
    });
}

/// A request has begun or ended `now`. With no other in flight the proxy is told at once: nothing is gained by waiting,
/// and the VM may be about to end. Otherwise a tick will do it.
pub(crate) fn settle(now: Duration, alone: bool) {
    if alone {
        tell();
    } else {
        ticks::ensure(WAIT, now);
    }
}

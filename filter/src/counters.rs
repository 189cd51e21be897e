//! Counters, gathered in the VM and handed over to the proxy together, a tenth of a second later at the most: a call out
//! of the VM for each count of each request costs more than all else that the filter does with its own hands.
//!
//! Whoever counts also settles, so that what was gathered long enough is handed over on the way; after the last request
//! of a burst a tick does it. A request that outlives its configuration hands over at once, for its timer goes with it.
//! Counts of the last tenth of a second are lost when a worker's VM goes away.

use std::cell::RefCell;
use std::time::Duration;

use crate::{host, ticks};

/// How long counts are gathered: much less than the second between two looks of the fastest monitoring.
const GATHER: Duration = Duration::from_millis(100);

struct Counter {
    id: u32,
    gathered: u32,
}

struct Book {
    counters: Vec<Counter>,
    /// Places of the counters that gathered something.
    touched: Vec<u32>,
    handed_over: Duration,
}

thread_local! {
    static BOOK: RefCell<Book> = const {
        RefCell::new(Book {
            counters: Vec::new(),
            touched: Vec::new(),
            handed_over: Duration::ZERO,
        })
    };
}

/// Takes a counter in that the proxy has; returns its place here.
pub(crate) fn enter(id: u32) -> Option<u32> {
    BOOK.with_borrow_mut(|book| {
        let place = u32::try_from(book.counters.len()).ok()?;
        book.counters.push(Counter { id, gathered: 0 });
        Some(place)
    })
}

/// Adds one.
pub(crate) fn increment(place: u32) {
    BOOK.with_borrow_mut(|book| {
        if let Some(counter) = book.counters.get_mut(place as usize) {
            if counter.gathered == 0 {
                book.touched.push(place);
            }
            counter.gathered = counter.gathered.saturating_add(1);
        }
    });
}

/// Sees to it that what was gathered is handed over in time; to be called after counting, with the [`ticks::owner`] of
/// the time when the request began.
pub(crate) fn settle(now: Duration, owner: u32) {
    let age = BOOK.with_borrow(|book| now.saturating_sub(book.handed_over));
    if age >= GATHER || owner != ticks::owner() {
        hand_over(now);
    } else {
        ticks::later(GATHER);
    }
}

/// Hands over what was gathered.
pub(crate) fn hand_over(now: Duration) {
    BOOK.with_borrow_mut(|book| {
        for place in book.touched.drain(..) {
            if let Some(counter) = book.counters.get_mut(place as usize) {
                host::increment(counter.id, std::mem::take(&mut counter.gathered));
            }
        }
        book.handed_over = now;
    });
    ticks::passed();
}

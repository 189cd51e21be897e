//! The timer of the VM, of which there is one for two purposes: to go on with a long configuration as soon as the
//! requests allow it, and to hand over counts a little later.

use std::cell::Cell;
use std::time::Duration;

use crate::host;

const SOON: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Never,
    Later,
    Soon,
}

thread_local! {
    static NEXT: Cell<Next> = const { Cell::new(Next::Never) };
}

/// Asks for ticks as fast as they come, until [`stop`].
pub(crate) fn soon() {
    NEXT.set(Next::Soon);
    host::tick_every(SOON);
}

/// Asks for a tick, unless one is to come.
pub(crate) fn later(period: Duration) {
    if NEXT.get() == Next::Never {
        NEXT.set(Next::Later);
        host::tick_every(period);
    }
}

/// What a tick was asked for [`later`] is done: ask for the next one anew. The timer belongs to a plugin that may be
/// gone by then, so that none is waited for twice.
pub(crate) fn passed() {
    if NEXT.get() == Next::Later {
        NEXT.set(Next::Never);
    }
}

/// Asks for no more ticks.
pub(crate) fn stop() {
    NEXT.set(Next::Never);
    host::tick_every(Duration::ZERO);
}

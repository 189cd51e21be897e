//! The timer, for two purposes: to go on with a long configuration as soon as the requests allow it, and to hand over
//! counts a little later. A timer belongs to the plugin that asks for it, and goes with it when its configuration is
//! replaced, once its last request is over.

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
    static OWNER: Cell<u32> = const { Cell::new(0) };
}

/// Number of the configuration whose timer it is, which is the last one that came.
pub(crate) fn owner() -> u32 {
    OWNER.get()
}

/// Forgets what was asked for: there is another owner now.
pub(crate) fn renew() {
    OWNER.set(OWNER.get().wrapping_add(1));
    NEXT.set(Next::Never);
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

/// What a tick was asked for [`later`] is done: the next one is to be asked for anew.
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

//! The timer of this VM, which belongs to a root context: to that of the newest configuration.
//!
//! Envoy's timers outlive the root context that asked for them and then wake the worker for nothing, for as long as the
//! VM lives (`Wasm::tickHandler`, source/extensions/common/wasm/wasm.cc). So a new root context stops the timer of the
//! one before, which goes only after it came.

use std::cell::Cell;
use std::time::Duration;

use crate::host;

/// How long after it was due a tick is taken for lost. Busy workers are late too, by far less.
const LATE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
struct Timer {
    root: u32,
    /// Until when a tick is sure to come; none: the timer does not run. The root context may go without another one,
    /// where its plugin is removed and others of the VM stay.
    sure: Option<Duration>,
}

thread_local! {
    static TIMER: Cell<Timer> = const { Cell::new(Timer { root: 0, sure: None }) };
}

/// The root context of a new configuration takes over, in its own callback. No timer runs then.
pub(crate) fn take_over(root: u32) {
    let before = TIMER.replace(Timer { root, sure: None });
    if before.root != root && before.sure.is_some() && host::act_for(before.root) {
        host::tick_every(Duration::ZERO);
        host::act_for(root);
    }
}

/// Asks for ticks from `now` on. Calls into the proxy that follow in this entry are made in the name of the root context.
pub(crate) fn start(period: Duration, now: Duration) {
    let root = TIMER.get().root;
    // Where it is gone, that of the current context does as well.
    host::act_for(root);
    host::tick_every(period);
    let sure = Some(now.saturating_add(period).saturating_add(LATE));
    TIMER.set(Timer { root, sure });
}

/// As [`start`], unless ticks come anyway.
pub(crate) fn ensure(period: Duration, now: Duration) {
    if TIMER.get().sure.is_none_or(|sure| now >= sure) {
        start(period, now);
    }
}

/// A tick came, which was asked for by [`start`] or, where its root context was gone, in the name of another one. There
/// are to be `more`, or not.
pub(crate) fn came(root: u32, more: bool, now: Duration) {
    let sure = more.then(|| now.saturating_add(LATE));
    if !more {
        host::tick_every(Duration::ZERO);
    }
    TIMER.set(Timer { root, sure });
}

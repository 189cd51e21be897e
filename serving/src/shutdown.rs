//! The signals that the server heeds, and its end.

use std::{
    ffi::c_int,
    future,
    io::{self, Write},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};

/// How long the server may take to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// From the signal on it is not ready, and takes requests for so long all the same: those who send them have to hear
    /// of it first.
    pub delay: Duration,
    /// Requests in flight have so long from then.
    pub timeout: Duration,
}

/// Why requests in flight are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Impatience {
    /// They have taken too long.
    Timeout,
    /// There was a second signal.
    Signal,
}

impl Drain {
    /// Waits for a signal and calls `begin`, calls `stop` when no more requests shall be taken, and ends when those in
    /// flight shall be left: at a second signal in any case.
    pub(crate) async fn follow(
        self,
        signals: impl Stream<Item = ()>,
        begin: impl FnOnce(),
        stop: impl FnOnce(),
    ) -> Impatience {
        let mut signals = std::pin::pin!(signals);
        // Where there are no signals any more, it is time to end as well.
        let _ = signals.next().await;
        begin();
        let mut again = std::pin::pin!(async {
            if signals.next().await.is_none() {
                future::pending::<()>().await;
            }
        });
        tokio::select! {
            () = tokio::time::sleep(self.delay) => {}
            () = &mut again => return Impatience::Signal,
        }
        stop();
        tokio::select! {
            () = tokio::time::sleep(self.timeout) => Impatience::Timeout,
            () = again => Impatience::Signal,
        }
    }
}

/// Registers for SIGTERM and SIGINT; an element for each.
///
/// # Errors
/// [`io::Error`] if the handlers cannot be installed.
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(stream::select(
        stream::poll_fn(move |context| terminate.poll_recv(context)),
        stream::poll_fn(move |context| interrupt.poll_recv(context)),
    ))
}

/// Registers for SIGHUP, with which operators ask for what has changed; an element for each.
///
/// # Errors
/// [`io::Error`] if the handler cannot be installed.
pub fn hangups() -> io::Result<impl Stream<Item = ()> + Send + 'static> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(stream::poll_fn(move |context| hangup.poll_recv(context)))
}

#[allow(
    unsafe_code,
    reason = "std only has exit and abort; _exit(2) takes any number, touches no memory and does not come back"
)]
unsafe extern "C" {
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process at once, whatever its threads do.
///
/// A model that is loading or computing when the server ends cannot be interrupted, and its thread may outlive every
/// wait. An ordinary end (returning from `main`, or `std::process::exit`) runs the static destructors of libtorch
/// under that thread: SIGSEGV in 6 of 30 ends during a warm-up. All of Rust's destructors must have run before.
pub fn end(status: i32) -> ! {
    // Whoever reads it may be gone.
    let _ = io::stdout().flush();
    _exit(status)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Follows so many signals, after which there are no more but also no end of them.
    async fn follow(signals: usize, delay: Duration, timeout: Duration) -> (u8, Impatience) {
        let steps = Cell::new(0);
        let step = || steps.set(steps.get() + 1);
        let signals = stream::iter(vec![(); signals]).chain(stream::pending());
        let why = Drain { delay, timeout }.follow(signals, step, step).await;
        (steps.get(), why)
    }

    #[tokio::test]
    async fn requests_are_taken_for_the_delay_and_finished_for_the_timeout() {
        let end = follow(1, Duration::ZERO, Duration::ZERO).await;
        assert_eq!(end, (2, Impatience::Timeout));
    }

    #[tokio::test]
    async fn a_second_signal_ends_either() {
        let end = follow(2, LONG, LONG).await;
        assert_eq!(end, (1, Impatience::Signal));
        let end = follow(2, Duration::ZERO, LONG).await;
        assert_eq!(end.1, Impatience::Signal);
    }

    #[tokio::test]
    async fn no_more_signals_are_one_and_not_two() {
        let steps = Cell::new(0);
        let step = || steps.set(steps.get() + 1);
        let drain = Drain {
            delay: Duration::ZERO,
            timeout: Duration::ZERO,
        };
        let why = drain.follow(stream::empty(), step, step).await;
        assert_eq!((steps.get(), why), (2, Impatience::Timeout));
    }
}

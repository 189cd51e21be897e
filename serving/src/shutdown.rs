//! The signals that the server heeds, and its end.

use std::{
    ffi::c_int,
    io::{self, Write},
};

use futures::{Stream, stream};
use tokio::signal::unix::{SignalKind, signal};

/// Registers for SIGTERM and SIGINT; the future ends at the first of them.
///
/// # Errors
/// [`io::Error`] if the handlers cannot be installed.
pub fn signals() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
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

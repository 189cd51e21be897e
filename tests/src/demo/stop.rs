//! What may end the demo from outside.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals by which a person, a supervisor or a terminal that is closed ends a program.
///
/// From the first watch on none of them ends the process by itself, for children and files would stay behind.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Stop {
    /// Watches from now on.
    ///
    /// # Errors
    /// When a signal cannot be watched.
    pub fn watch() -> Result<Stop> {
        let watch = |kind: SignalKind| {
            signal(kind).with_context(|| format!("failed to watch for signal {kind:?}"))
        };
        Ok(Stop {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
            quit: watch(SignalKind::quit())?,
        })
    }

    /// Waits until the program is asked to end, and says by what.
    pub async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }
}

//! `TERM` and `INT` drain; the second of them stops at once, which is safe: a restart goes on from the last checkpoint.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

use crate::codes;
use crate::exit::Failure;

/// What a process is told from outside.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Drain and end.
    Drain,
    /// Write the status to the log.
    Status,
}

impl Signals {
    /// From now on signals are ours.
    pub(crate) fn listen() -> Result<Signals, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::environment(codes::E0731.id, "cannot listen to signals").caused_by(error))
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            user: listen(SignalKind::user_defined1())?,
        })
    }

    /// The next that means something. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Asked::Drain,
                _ = self.terminate.recv() => return Asked::Drain,
                _ = self.user.recv() => return Asked::Status,
                _ = self.hang_up.recv() => {
                    warn!(hint = "restart to apply a changed configuration", "reload is not available");
                }
            }
        }
    }

    /// While draining: the next `INT` or `TERM` ends the process as it stands.
    pub(crate) fn end_at_next(mut self) {
        tokio::spawn(async move {
            let code = tokio::select! {
                _ = self.interrupt.recv() => 130,
                _ = self.terminate.recv() => 143,
            };
            warn!(exit = code, "stopped without draining");
            std::process::exit(code);
        });
    }
}

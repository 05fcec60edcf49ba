//! Asking the process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code after a second signal: that of a process ended by SIGINT.
const IMPATIENT: i32 = 130;

/// The signals that ask the process to end.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on SIGTERM and SIGINT end the process no more by themselves. To be called before anybody is told that
    /// the process is there.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first SIGTERM or SIGINT. From then on, a second one ends the process at once; everything that
    /// was acknowledged is durable by then anyway.
    pub(crate) async fn asked_to_end(mut self) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}: finishing what is under way (once more to end at once)");
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            std::process::exit(IMPATIENT);
        });
    }
}

//! Asking the process to end.

use tokio::signal::unix::{SignalKind, signal};

/// Exit code after a second signal: that of a process ended by SIGINT.
const IMPATIENT: i32 = 130;

/// Waits for the first SIGTERM or SIGINT. From then on, a second one ends the process at once; everything
/// that was acknowledged is durable by then anyway.
///
/// # Errors
/// When the handlers cannot be installed.
pub(crate) async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: finishing what is under way (once more to end at once)");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(IMPATIENT);
    });
    Ok(())
}

//! Where logs go, and what happens when code panics.

use std::io::IsTerminal as _;
use std::sync::Once;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{LogFormat, LogLevel};

/// Name of the runtime's threads: a panic on one of them ends a request, not the process.
pub(crate) const WORKER_THREAD: &str = "undercroft-worker";

/// Libraries whose own messages repeat ours, or tell clients' mistakes as errors.
const QUIET: [(&str, LevelFilter); 5] = [
    ("s3s", LevelFilter::OFF),
    ("hyper", LevelFilter::WARN),
    ("hyper_util", LevelFilter::WARN),
    ("fjall", LevelFilter::WARN),
    ("lsm_tree", LevelFilter::WARN),
];

/// Sends logs to standard error from now on, and makes panics visible. The first call counts.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let registry = tracing_subscriber::registry().with(targets(level.filter()));
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        match format {
            LogFormat::Human => {
                let lines = lines.with_target(false).with_ansi(std::io::stderr().is_terminal());
                registry.with(lines).init();
            }
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        }
        install_panic_hook();
    });
}

/// Everything from `level` on, but of [`QUIET`] libraries at most what is said there.
fn targets(level: LevelFilter) -> Targets {
    let quiet = QUIET.map(|(target, limit)| (target, limit.min(level)));
    Targets::new().with_default(level).with_targets(quiet)
}

/// A panic in a request's task is a fault that ends that request. A panic in any other thread (the commit
/// thread, a drive's writer) would leave others waiting for ever: the process ends, and a restart recovers.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload_as_str().unwrap_or("no message");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = name, place, %backtrace, "a fault of ours (panic): {payload}");
        if name != WORKER_THREAD {
            tracing::error!("this thread cannot be done without: ending the process");
            std::process::abort();
        }
    }));
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_never_louder_than_asked_for() {
        let debug = targets(LevelFilter::DEBUG);
        assert!(debug.would_enable("objects::put", &Level::DEBUG));
        assert!(debug.would_enable("hyper::proto", &Level::WARN));
        assert!(!debug.would_enable("hyper::proto", &Level::INFO));
        assert!(!debug.would_enable("s3s::ops", &Level::ERROR));
        let error = targets(LevelFilter::ERROR);
        assert!(!error.would_enable("hyper::proto", &Level::WARN));
        assert!(!error.would_enable("api_s3::access", &Level::INFO));
    }
}

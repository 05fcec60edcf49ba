//! Where logs go, and what happens when code panics.

use std::io::IsTerminal as _;
use std::sync::Once;

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, LogLevel};

/// Name of the runtime's threads: a panic on one of them ends a request, not the process.
pub(crate) const WORKER_THREAD: &str = "undercroft-worker";

/// Libraries whose own messages repeat ours or tell clients' mistakes as errors.
const QUIET: [&str; 5] =
    ["s3s=off", "hyper=warn", "hyper_util=warn", "fjall=warn", "lsm_tree=warn"];

/// Sends logs to standard error from now on, and makes panics visible. The first call counts.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let directives = [&[level.as_str()], &QUIET[..]].concat().join(",");
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(directives))
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        match format {
            LogFormat::Human => builder.with_target(false).init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
        install_panic_hook();
    });
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

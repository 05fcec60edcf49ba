//! A progress bar on a terminal; nothing elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where a measurement shows how far it is.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar on standard error if that is a terminal, else nothing.
    pub fn terminal() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()) }
    }

    /// Nothing.
    pub fn silent() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Begins a phase of `len` steps.
    pub(crate) fn phase(&self, name: &'static str, len: u64) {
        // A template that does not parse would only cost the bar its looks.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>10} {wide_bar} {percent:>3}% {msg}")
        {
            self.bar.set_style(style);
        }
        self.bar.reset();
        self.bar.set_length(len);
        self.bar.set_prefix(name);
        self.bar.set_message("");
    }

    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Shows the requests done so far and their rate since the start of the phase.
    pub(crate) fn rate(&self, elapsed: Duration, requests: u64, errors: u64) {
        self.bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let rate = requests as f64 / elapsed.as_secs_f64().max(0.001);
        let errors = if errors > 0 { format!(", {errors} failed") } else { String::new() };
        self.bar.set_message(format!("{rate:.0}/s{errors}"));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

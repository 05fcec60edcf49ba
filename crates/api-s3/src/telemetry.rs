//! What is measured and logged of each request: one access-log line (target `api_s3::access`), the metrics of
//! [`METRICS`], and the `Server-Timing` header. One file knows the names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::{Clock, Foreground};
use tokio::sync::OwnedSemaphorePermit;

use crate::reply::CannotComplete;

const REQUESTS: &str = "undercroft_http_requests_total";
const DURATION: &str = "undercroft_http_request_duration_seconds";
const BYTES_IN: &str = "undercroft_http_bytes_in_total";
const BYTES_OUT: &str = "undercroft_http_bytes_out_total";
const IN_FLIGHT: &str = "undercroft_http_requests_in_flight";

/// Names and descriptions of the metrics.
pub const METRICS: [(&str, &str); 5] = [
    (REQUESTS, "Requests by operation and status."),
    (DURATION, "Seconds from a request's head to the last byte of its reply, by operation."),
    (BYTES_IN, "Bytes of request bodies read."),
    (BYTES_OUT, "Bytes of reply bodies sent."),
    (IN_FLIGHT, "Requests under way."),
];

/// Tells the recorder what the metrics are; once, after it was installed.
pub fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "Requests by operation and status.");
    metrics::describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "Seconds from a request's head to the last byte of its reply, by operation."
    );
    metrics::describe_counter!(BYTES_IN, metrics::Unit::Bytes, "Bytes of request bodies read.");
    metrics::describe_counter!(BYTES_OUT, metrics::Unit::Bytes, "Bytes of reply bodies sent.");
    metrics::describe_gauge!(IN_FLIGHT, "Requests under way.");
}

/// Counts the bytes of a request's body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// So many more.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// One request from its head to the last byte of its reply. Written when dropped: also when the client has
/// vanished.
pub(crate) struct Record {
    clock: Arc<dyn Clock>,
    started: Duration,
    request_id: String,
    operation: &'static str,
    resource: String,
    status: u16,
    code: &'static str,
    received: Meter,
    sent: u64,
    broken: bool,
    _admission: Option<(OwnedSemaphorePermit, Foreground)>,
}

impl Record {
    /// Of a request that has just begun.
    pub(crate) fn begin(clock: Arc<dyn Clock>, request_id: String) -> Self {
        metrics::gauge!(IN_FLIGHT).increment(1.0);
        let started = clock.monotonic();
        Self {
            clock,
            started,
            request_id,
            operation: "Unknown",
            resource: String::new(),
            status: 0,
            code: "",
            received: Meter::default(),
            sent: 0,
            broken: false,
            _admission: None,
        }
    }

    /// The request's id.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The counter of bytes received.
    pub(crate) fn meter(&self) -> Meter {
        self.received.clone()
    }

    /// Time since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    /// What it asks for.
    pub(crate) fn about(&mut self, operation: &'static str, resource: String) {
        self.operation = operation;
        self.resource = resource;
    }

    /// Keeps the request's place until it is over, and background work out of its way.
    pub(crate) fn admit(&mut self, permit: OwnedSemaphorePermit, foreground: Foreground) {
        self._admission = Some((permit, foreground));
    }

    /// What is answered; `code` is empty for a success.
    pub(crate) fn answer(&mut self, status: u16, code: &'static str) {
        self.status = status;
        self.code = code;
    }

    /// So many more bytes of the reply were handed over.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The reply cannot be completed.
    pub(crate) fn broken(&mut self, why: &str) -> CannotComplete {
        self.broken = true;
        tracing::error!(
            request_id = %self.request_id,
            operation = self.operation,
            resource = ?self.resource,
            why,
            "a reply was broken off"
        );
        CannotComplete
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.elapsed();
        let received = self.received.0.load(Ordering::Relaxed);
        metrics::gauge!(IN_FLIGHT).decrement(1.0);
        let status = status_text(self.status);
        metrics::counter!(REQUESTS, "operation" => self.operation, "status" => status).increment(1);
        metrics::histogram!(DURATION, "operation" => self.operation).record(elapsed.as_secs_f64());
        metrics::counter!(BYTES_IN).increment(received);
        metrics::counter!(BYTES_OUT).increment(self.sent);
        tracing::info!(
            target: "api_s3::access",
            request_id = %self.request_id,
            operation = self.operation,
            resource = ?self.resource,
            status = self.status,
            code = self.code,
            bytes_in = received,
            bytes_out = self.sent,
            ms = elapsed.as_secs_f64() * 1000.0,
            broken = self.broken,
        );
    }
}

/// Labels without allocation; 0 is a request whose client left before there was an answer.
fn status_text(status: u16) -> &'static str {
    match status {
        0 => "aborted",
        200 => "200",
        204 => "204",
        206 => "206",
        304 => "304",
        400 => "400",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        411 => "411",
        412 => "412",
        416 => "416",
        500 => "500",
        501 => "501",
        503 => "503",
        507 => "507",
        _ => "other",
    }
}

/// The value of `Server-Timing`: phases in milliseconds.
pub(crate) fn server_timing(phases: &[(&str, Duration)]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(phases.len() * 20);
    for (name, duration) in phases {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name};dur={:.3}", duration.as_secs_f64() * 1000.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timing_is_in_milliseconds() {
        let phases = [("auth", Duration::from_micros(31)), ("total", Duration::from_millis(2))];
        assert_eq!(server_timing(&phases), "auth;dur=0.031, total;dur=2.000");
    }

    #[test]
    fn every_status_that_an_error_can_have_is_a_label() {
        for code in crate::error::Code::ALL {
            assert_ne!(status_text(code.status_code()), "other", "{code:?}");
        }
    }
}

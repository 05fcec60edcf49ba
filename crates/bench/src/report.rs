//! What came out of a measurement, for people and for machines.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::Failure;
use crate::{Endpoint, Operation};

/// The result of one measurement. Requests are those that succeeded; latencies are theirs, from
/// signing to the last byte of the reply.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The endpoint that was measured.
    pub endpoint: Endpoint,
    /// The bucket that was used.
    pub bucket: String,
    /// What all keys began with.
    pub prefix: String,
    /// What was measured.
    pub op: Operation,
    /// Size of every object in bytes.
    pub size_bytes: u64,
    /// Connections.
    pub concurrency: usize,
    /// Objects that were prepared.
    pub objects: u64,
    /// From the first request to the end of the last one, in seconds.
    pub seconds: f64,
    /// All operations together.
    pub total: Measured,
    /// Each operation by itself, when there were several.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by_operation: BTreeMap<Operation, Measured>,
    /// Keys that listings returned, when there were listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_listed: Option<u64>,
    /// Failed requests by what went wrong.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Objects of this run that could not be removed afterwards.
    #[serde(skip_serializing_if = "is_zero")]
    pub not_removed: u64,
    /// What the server used, when its processes were named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUse>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Requests of one sort.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Requests that succeeded.
    pub requests: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Bytes of object bodies and of listings moved by the requests that succeeded.
    pub bytes: u64,
    /// Successful requests a second.
    pub requests_per_second: f64,
    /// Millions of those bytes (10^6) a second.
    pub mb_per_second: f64,
    /// How long the successful ones took.
    pub latency_ms: Latency,
}

/// Latencies in milliseconds; zero when nothing succeeded. Percentiles are within 0.1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Half took at most this long.
    pub p50: f64,
    /// Nine of ten took at most this long.
    pub p90: f64,
    /// 99 of 100 took at most this long.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// What the watched processes used while the requests ran.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerUse {
    /// Processor time, user and system, in seconds (to 10 ms).
    pub cpu_seconds: f64,
    /// Processor time per successful request in milliseconds; zero when there was none.
    pub cpu_ms_per_request: f64,
    /// Processor time per GiB of bodies in seconds, when bodies were moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds_per_gib: Option<f64>,
    /// The most resident memory seen in samples taken five times a second, in bytes.
    pub rss_peak_bytes: u64,
}

/// Counts while requests run.
pub(crate) struct Tally {
    latencies_us: Histogram<u64>,
    pub(crate) errors: u64,
    pub(crate) bytes: u64,
}

/// An hour: longer latencies count as this.
const LATENCY_MAX_US: u64 = 3_600_000_000;

impl Default for Tally {
    #[allow(clippy::expect_used, reason = "the bounds are constants that the library accepts")]
    fn default() -> Self {
        let latencies_us = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("good bounds");
        Self { latencies_us, errors: 0, bytes: 0 }
    }
}

impl Tally {
    pub(crate) fn success(&mut self, took: Duration, bytes: u64) {
        self.latencies_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.bytes += bytes;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing can be out of range.
        let _ = self.latencies_us.add(&other.latencies_us);
        self.errors += other.errors;
        self.bytes += other.bytes;
    }

    pub(crate) fn measured(&self, seconds: f64) -> Measured {
        let requests = self.latencies_us.len();
        let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let ms = |us: u64| us as f64 / 1e3;
        let at = |quantile| ms(self.latencies_us.value_at_quantile(quantile));
        let latency_ms = if requests == 0 {
            Latency::default()
        } else {
            Latency {
                mean: self.latencies_us.mean() / 1e3,
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                max: ms(self.latencies_us.max()),
            }
        };
        Measured {
            requests,
            errors: self.errors,
            bytes: self.bytes,
            requests_per_second: rate(requests as f64),
            mb_per_second: rate(self.bytes as f64 / 1e6),
            latency_ms,
        }
    }
}

/// Counts of all operations and failures of a run or of one connection of it.
#[derive(Default)]
pub(crate) struct Tallies {
    pub(crate) by_operation: BTreeMap<Operation, Tally>,
    pub(crate) failures: BTreeMap<Failure, u64>,
    pub(crate) keys_listed: u64,
}

impl Tallies {
    pub(crate) fn failure(&mut self, op: Operation, failure: Failure) {
        self.by_operation.entry(op).or_default().errors += 1;
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(crate) fn success(&mut self, op: Operation, took: Duration, bytes: u64) {
        self.by_operation.entry(op).or_default().success(took, bytes);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (op, tally) in other.by_operation {
            self.by_operation.entry(op).or_default().merge(&tally);
        }
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        self.keys_listed += other.keys_listed;
    }

    /// All operations together, and each by itself if there were several.
    pub(crate) fn measured(&self, seconds: f64) -> (Measured, BTreeMap<Operation, Measured>) {
        let mut total = Tally::default();
        self.by_operation.values().for_each(|tally| total.merge(tally));
        let each = |(&op, tally): (&Operation, &Tally)| (op, tally.measured(seconds));
        let by_operation = match self.by_operation.len() {
            0 | 1 => BTreeMap::new(),
            _ => self.by_operation.iter().map(each).collect(),
        };
        (total.measured(seconds), by_operation)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = crate::ByteSize(self.size_bytes);
        writeln!(
            f,
            "{} {size} on {} connections to {}, {:.1} s",
            self.op, self.concurrency, self.endpoint, self.seconds
        )?;
        writeln!(f, "{HEAD}")?;
        line(f, "all", &self.total)?;
        for (op, measured) in &self.by_operation {
            line(f, &op.to_string(), measured)?;
        }
        if let Some(keys) = self.keys_listed {
            let rate = if self.seconds > 0.0 { keys as f64 / self.seconds } else { 0.0 };
            writeln!(f, "keys listed: {keys}, {rate:.0}/s")?;
        }
        for (kind, count) in &self.errors_by_kind {
            writeln!(f, "failed: {count} × {kind}")?;
        }
        if self.not_removed > 0 {
            writeln!(f, "left behind under {}: {} objects", self.prefix, self.not_removed)?;
        }
        if let Some(server) = &self.server {
            write!(f, "server: {:.2} CPU-s", server.cpu_seconds)?;
            write!(f, ", {:.3} CPU-ms per request", server.cpu_ms_per_request)?;
            if let Some(per_gib) = server.cpu_seconds_per_gib {
                write!(f, ", {per_gib:.2} CPU-s per GiB")?;
            }
            writeln!(f, ", at most {} MiB resident", server.rss_peak_bytes >> 20)?;
        }
        Ok(())
    }
}

const HEAD: &str =
    "        requests    errors  requests/s      MB/s    p50 ms    p90 ms    p99 ms    max ms";

fn line(f: &mut fmt::Formatter<'_>, name: &str, measured: &Measured) -> fmt::Result {
    let Measured { requests, errors, requests_per_second, mb_per_second, latency_ms, .. } =
        measured;
    let Latency { p50, p90, p99, max, .. } = latency_ms;
    writeln!(
        f,
        "{name:6}{requests:10}{errors:10}{requests_per_second:12.1}{mb_per_second:10.1}\
         {p50:10.2}{p90:10.2}{p99:10.2}{max:10.2}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tallies = Tallies::default();
        for ms in 1..=100 {
            tallies.success(Operation::Get, Duration::from_millis(ms), 1_000_000);
        }
        tallies.failure(Operation::Put, Failure::Status { status: 503, code: "SlowDown".into() });
        let (total, by_operation) = tallies.measured(10.0);
        Report {
            endpoint: "http://127.0.0.1:9000".parse().expect("an endpoint"),
            bucket: "b".into(),
            prefix: "p/".into(),
            op: Operation::Mixed,
            size_bytes: 1_000_000,
            concurrency: 3,
            objects: 7,
            seconds: 10.0,
            total,
            by_operation,
            keys_listed: Some(50),
            errors_by_kind: tallies.failures.iter().map(|(f, &n)| (f.to_string(), n)).collect(),
            not_removed: 0,
            server: Some(ServerUse {
                cpu_seconds: 1.5,
                cpu_ms_per_request: 15.0,
                cpu_seconds_per_gib: Some(16.1),
                rss_peak_bytes: 300 << 20,
            }),
        }
    }

    #[test]
    fn rates_and_percentiles() {
        let total = report().total;
        assert_eq!((total.requests, total.errors, total.bytes), (100, 1, 100_000_000));
        assert!((total.requests_per_second - 10.0).abs() < 1e-9);
        assert!((total.mb_per_second - 10.0).abs() < 1e-9);
        for (value, expected) in [
            (total.latency_ms.p50, 50.0),
            (total.latency_ms.p90, 90.0),
            (total.latency_ms.p99, 99.0),
            (total.latency_ms.max, 100.0),
            (total.latency_ms.mean, 50.5),
        ] {
            assert!((value / expected - 1.0).abs() < 0.002, "{value} {expected}");
        }
        let nothing = Tallies::default().measured(0.0);
        assert_eq!(nothing, (Measured::default(), BTreeMap::new()));
    }

    #[test]
    fn people_and_machines_get_the_same_numbers() {
        let report = report();
        let text = report.to_string();
        for part in ["mixed", "all", "get", "put", "503 SlowDown", "300 MiB", "keys listed: 50"] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["total"]["requests"], 100);
        assert_eq!(json["by_operation"]["put"]["errors"], 1);
        assert_eq!(json["errors_by_kind"]["503 SlowDown"], 1);
        assert_eq!(json["server"]["rss_peak_bytes"], 300 << 20);
        assert_eq!(json["endpoint"], "http://127.0.0.1:9000");
    }
}

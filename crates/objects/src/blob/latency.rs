//! How long a shard read usually takes, to know when one is late.

use std::time::Duration;

use parking_lot::Mutex;

const HEDGE_MIN: Duration = Duration::from_millis(20);
const HEDGE_MAX: Duration = Duration::from_secs(1);

/// A running mean and mean deviation of read times, as TCP keeps for its timeouts (RFC 6298).
pub(super) struct Latency {
    state: Mutex<Estimate>,
}

#[derive(Clone, Copy)]
struct Estimate {
    mean_seconds: f64,
    deviation_seconds: f64,
}

impl Latency {
    /// Before the first read a delay of 100 ms is assumed.
    pub(super) fn new() -> Self {
        let estimate = Estimate { mean_seconds: 0.02, deviation_seconds: 0.02 };
        Self { state: Mutex::new(estimate) }
    }

    /// A read took, or has already taken, this long.
    pub(super) fn record(&self, took: Duration) {
        let took = took.as_secs_f64();
        let mut estimate = self.state.lock();
        let error = took - estimate.mean_seconds;
        estimate.mean_seconds += error / 16.0;
        estimate.deviation_seconds += (error.abs() - estimate.deviation_seconds) / 8.0;
    }

    /// A read that has taken this long is late: 20 ms to 1 s.
    pub(super) fn late_after(&self) -> Duration {
        let estimate = *self.state.lock();
        let seconds = estimate.mean_seconds + 4.0 * estimate.deviation_seconds;
        Duration::from_secs_f64(seconds.clamp(0.0, 1.0)).clamp(HEDGE_MIN, HEDGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_follows_what_is_measured_within_bounds() {
        let latency = Latency::new();
        assert_eq!(latency.late_after(), Duration::from_millis(100));
        (0..200).for_each(|_| latency.record(Duration::from_micros(300)));
        assert_eq!(latency.late_after(), HEDGE_MIN);
        (0..200).for_each(|_| latency.record(Duration::from_millis(200)));
        let delay = latency.late_after();
        assert!(
            delay > Duration::from_millis(195) && delay < Duration::from_millis(300),
            "{delay:?}"
        );
        (0..200).for_each(|_| latency.record(Duration::from_secs(20)));
        assert_eq!(latency.late_after(), HEDGE_MAX);
    }
}

//! How long a shard read usually takes, to know when one is late, and which drives were.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use types::DriveId;

const HEDGE_MIN: Duration = Duration::from_millis(20);
const HEDGE_MAX: Duration = Duration::from_secs(1);
/// How long a drive that was late is asked last. Then one read asks it again.
const LAST_FOR: Duration = Duration::from_secs(2);

/// A running mean and mean deviation of read times, as TCP keeps for its timeouts (RFC 6298).
pub(super) struct Latency {
    state: Mutex<Estimate>,
    /// Drives that others overtook, and until when (on the monotonic clock) they are asked last. Without this
    /// every read that begins would wait for them anew, and their times would draw the estimate up.
    late: Mutex<HashMap<DriveId, Duration>>,
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
        Self { state: Mutex::new(estimate), late: Mutex::default() }
    }

    /// A read took, or has already taken, this long.
    pub(super) fn record(&self, took: Duration) {
        let took = took.as_secs_f64();
        let mut estimate = self.state.lock();
        let error = took - estimate.mean_seconds;
        estimate.mean_seconds += error / 16.0;
        estimate.deviation_seconds += (error.abs() - estimate.deviation_seconds) / 8.0;
    }

    /// Others overtook this drive.
    pub(super) fn overtaken(&self, drive: DriveId, now: Duration) {
        self.late.lock().insert(drive, now + LAST_FOR);
    }

    /// This drive answered in `took`.
    pub(super) fn answered(&self, drive: DriveId, took: Duration) {
        self.record(took);
        let mut late = self.late.lock();
        if !late.is_empty() && took < self.late_after() {
            late.remove(&drive);
        }
    }

    /// Whether the drive is to be asked last. When its time is over, the first who asks is told no, and is the
    /// one who finds out.
    pub(super) fn is_late(&self, drive: DriveId, now: Duration) -> bool {
        let mut late = self.late.lock();
        match late.get_mut(&drive) {
            Some(until) if *until > now => true,
            Some(until) => {
                *until = now + LAST_FOR;
                false
            }
            None => false,
        }
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

    #[test]
    fn a_late_drive_is_asked_again_by_one_at_a_time() {
        let (latency, drive) = (Latency::new(), DriveId::new(1));
        let at = Duration::from_secs;
        assert!(!latency.is_late(drive, at(0)));
        latency.overtaken(drive, at(10));
        assert!(latency.is_late(drive, at(10)) && latency.is_late(drive, at(11)));
        assert!(!latency.is_late(DriveId::new(2), at(11)));
        assert!(!latency.is_late(drive, at(12)));
        assert!(latency.is_late(drive, at(12)), "one asks");
        latency.answered(drive, at(20));
        assert!(latency.is_late(drive, at(13)), "that was late, too");
        latency.answered(drive, Duration::from_millis(1));
        assert!(!latency.is_late(drive, at(13)));
    }
}

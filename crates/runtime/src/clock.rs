//! Time.

use std::time::Duration;

use parking_lot::Mutex;
use types::UnixMillis;

/// Wall-clock time for people and protocols, monotonic time for intervals, and sleeping.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time. It may jump; nothing may be ordered by it.
    fn now(&self) -> UnixMillis;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Waits for `duration` of monotonic time.
    async fn sleep(&self, duration: Duration);
}

/// The operating system's clock; sleeps on tokio's timer.
pub struct RealClock {
    start: std::time::Instant,
}

impl RealClock {
    /// Monotonic time counts from this call.
    #[expect(clippy::new_without_default, reason = "a clock with a start is not a default value")]
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

#[async_trait::async_trait]
impl Clock for RealClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> UnixMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        UnixMillis(since.map_or(0, |d| d.as_millis() as u64))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that moves only when told to; sleepers wake when it has moved far enough.
#[derive(Default)]
pub struct SimClock {
    state: Mutex<SimState>,
    moved: tokio::sync::Notify,
}

#[derive(Default)]
struct SimState {
    monotonic: Duration,
    wall_offset_ms: i64,
}

impl SimClock {
    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.state.lock().monotonic += by;
        self.moved.notify_waiters();
    }

    /// Makes the wall clock jump without moving the monotonic one.
    pub fn jump_wall_ms(&self, by: i64) {
        self.state.lock().wall_offset_ms += by;
    }
}

#[async_trait::async_trait]
impl Clock for SimClock {
    fn now(&self) -> UnixMillis {
        let state = self.state.lock();
        // Simulated time begins at 2026-01-01, so that dates look like dates.
        let base = 1_767_225_600_000_i64 + state.wall_offset_ms;
        UnixMillis(base.max(0) as u64 + state.monotonic.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().monotonic
    }

    async fn sleep(&self, duration: Duration) {
        let until = self.monotonic() + duration;
        loop {
            let moved = self.moved.notified();
            if self.monotonic() >= until {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn simulated_sleepers_wake_when_the_clock_has_moved_far_enough() {
        let clock = Arc::new(SimClock::default());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("the sleeper ends");
    }
}

//! The real clock, with a hand that can be moved on.

use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Clock, RealClock};
use types::UnixMillis;

/// See the module.
pub struct HandClock {
    real: RealClock,
    moved: Mutex<Duration>,
}

impl HandClock {
    #[allow(clippy::new_without_default, reason = "a clock with a start is not a default value")]
    pub fn new() -> Self {
        Self { real: RealClock::new(), moved: Mutex::default() }
    }

    /// Moves it on. Who sleeps goes on sleeping.
    pub fn advance(&self, by: Duration) {
        *self.moved.lock() += by;
    }
}

#[async_trait::async_trait]
impl Clock for HandClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.real.now().0 + self.moved.lock().as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + *self.moved.lock()
    }

    async fn sleep(&self, duration: Duration) {
        self.real.sleep(duration).await;
    }
}

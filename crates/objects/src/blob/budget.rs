//! One byte budget for all bodies under way in this process, and the pool of stripe buffers that it pays for.
//!
//! A request is refused before its body is read, or it will be served to its end: what it holds for its whole
//! life is enough to go on with, a stripe at a time. More than that is taken only while there is plenty.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request waits for its share before it is refused.
const WAIT: Duration = Duration::from_secs(5);
/// The grain of the budget.
const UNIT_BYTES: usize = 1024;
/// Most bytes of idle buffers that are kept for the next write.
const POOL_BYTES: usize = 24 << 20;

/// The process has no room left for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Bytes of memory that bodies under way may hold together. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    total: usize,
    clock: Arc<dyn Clock>,
}

/// A part of the budget; dropping it gives it back.
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// At least one unit.
    pub(crate) fn new(bytes: usize, clock: Arc<dyn Clock>) -> Self {
        let total = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { units: Arc::new(Semaphore::new(total)), total, clock }
    }

    /// Bytes nobody holds.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.units.available_permits() * UNIT_BYTES
    }

    /// Takes `bytes`, in turn, waiting a few seconds at most. A request for more than the whole budget gets
    /// the whole budget.
    pub(crate) async fn acquire(&self, bytes: usize) -> Result<Held, Busy> {
        tokio::select! {
            biased;
            permit = self.units.clone().acquire_many_owned(self.units_of(bytes)) => {
                permit.map(|permit| Held { _permit: permit }).map_err(|_| Busy)
            }
            () = self.clock.sleep(WAIT) => Err(Busy),
        }
    }

    /// Takes `bytes` for background work: while clients hold much of the budget it lets them go first for a while,
    /// then it waits in turn for as long as it takes.
    pub(crate) async fn acquire_patiently(&self, bytes: usize) -> Held {
        const LOOK: Duration = Duration::from_millis(50);
        loop {
            let began = self.clock.monotonic();
            while self.clock.monotonic() < began + WAIT {
                match self.try_extra(bytes) {
                    Some(held) => return held,
                    None => self.clock.sleep(LOOK).await,
                }
            }
            if let Ok(held) = self.acquire(bytes).await {
                return held;
            }
        }
    }

    /// Takes `bytes` if half of the budget remains free then: for going faster, not for going on.
    pub(crate) fn try_extra(&self, bytes: usize) -> Option<Held> {
        let units = self.units_of(bytes);
        if self.units.available_permits() < units as usize + self.total / 2 {
            return None;
        }
        let permit = self.units.clone().try_acquire_many_owned(units).ok()?;
        Some(Held { _permit: permit })
    }

    fn units_of(&self, bytes: usize) -> u32 {
        bytes.div_ceil(UNIT_BYTES).min(self.total) as u32
    }
}

/// Idle buffers by size, so that a stream of stripes does not fault fresh pages in for each.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    by_len: HashMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
    /// Bytes in use, and the most there ever were.
    used: usize,
    peak: usize,
}

/// Whatever pays for a buffer.
pub(crate) type Credit = Box<dyn Send + Sync>;

/// A buffer of fixed length with undefined (but initialised) content.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Arc<Pool>,
    _credit: Option<Credit>,
}

impl Pool {
    /// A buffer of exactly `len` bytes; `credit` is dropped with it.
    pub(crate) fn take(self: &Arc<Self>, len: usize, credit: Option<Credit>) -> Buffer {
        let mut idle = self.idle.lock();
        let found = idle.by_len.get_mut(&len).and_then(Vec::pop);
        if found.is_some() {
            idle.bytes -= len;
        }
        idle.used += len;
        idle.peak = idle.peak.max(idle.used);
        drop(idle);
        let bytes = found.unwrap_or_else(|| vec![0; len]);
        Buffer { bytes, pool: self.clone(), _credit: credit }
    }

    /// Bytes in use now, and the most there ever were.
    #[cfg(test)]
    pub(crate) fn used_and_peak(&self) -> (usize, usize) {
        let idle = self.idle.lock();
        (idle.used, idle.peak)
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut idle = self.idle.lock();
        idle.used -= bytes.len();
        if !bytes.is_empty() && idle.bytes + bytes.len() <= POOL_BYTES {
            idle.bytes += bytes.len();
            idle.by_len.entry(bytes.len()).or_default().push(bytes);
        }
    }
}

impl Buffer {
    /// Shares it, read-only; it goes back to the pool with the last slice of it.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use runtime::SimClock;

    use super::*;

    #[tokio::test]
    async fn a_request_beyond_the_budget_waits_and_is_then_refused() {
        let clock = Arc::new(SimClock::default());
        let budget = Budget::new(10 * 1024, clock.clone());
        let first = budget.acquire(8 * 1024).await.expect("there is room");
        assert!(budget.try_extra(1).is_none());
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.acquire(3 * 1024).await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        clock.advance(WAIT);
        assert_eq!(waiting.await.expect("no panic"), Err(Busy));
        drop(first);
        // More than there is at all means all there is.
        let all = budget.acquire(1 << 40).await.expect("there is room");
        assert_eq!(budget.available(), 0);
        drop(all);
        let extra = budget.try_extra(5 * 1024).expect("half is left");
        assert!(budget.try_extra(1).is_none());
        drop(extra);
        assert_eq!(budget.available(), 10 * 1024);
    }

    #[test]
    fn buffers_are_used_again_and_idle_ones_are_bounded() {
        let pool = Arc::new(Pool::default());
        let mut buffer = pool.take(100, None);
        buffer[0] = 7;
        let bytes = buffer.freeze();
        let slice = bytes.slice(0..1);
        drop(bytes);
        assert_eq!(pool.idle.lock().bytes, 0);
        drop(slice);
        assert_eq!(pool.idle.lock().bytes, 100);
        assert_eq!(pool.take(100, None)[0], 7);
        let many: Vec<_> = (0..30).map(|_| pool.take(1 << 20, None)).collect();
        drop(many);
        assert!(pool.idle.lock().bytes <= POOL_BYTES);
    }
}

//! Snapshots with a bounded life, and reads that keep the asynchronous runtime responsive.
//!
//! Single records and short pages are read on the caller's thread: they take microseconds. What is longer
//! goes on in [`tokio::task::block_in_place`], which moves the thread's other tasks elsewhere; on a
//! runtime of one thread, where that is impossible, it stays inline.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Clock;
use types::Revision;

use super::store::{View, Visitor};
use crate::{Direction, Key, KeyRange, KvError, Page, Reader, Step, Versioned};

/// Entries that are read on the caller's thread.
const INLINE_ENTRIES: usize = 256;

/// Runs what may take milliseconds.
fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Scans a page, inline when it is short.
pub(super) fn scan(
    view: &View,
    range: &KeyRange,
    limit: usize,
    direction: Direction,
) -> Result<Page, KvError> {
    if limit <= INLINE_ENTRIES {
        return view.scan(range, limit, direction);
    }
    off_the_runtime(|| view.scan(range, limit, direction))
}

/// Visits a range, the beginning of it inline.
fn visit(view: &View, range: &KeyRange, visitor: Visitor<'_>) -> Result<(), KvError> {
    let mut visit = view.visit(range);
    if visit.run(visitor, INLINE_ENTRIES)? {
        return Ok(());
    }
    off_the_runtime(|| visit.run(visitor, usize::MAX)).map(drop)
}

/// A snapshot's view, until it expires.
struct Slot {
    view: Mutex<Option<Arc<View>>>,
    /// On the monotonic clock.
    deadline: Duration,
}

/// All open snapshots.
#[derive(Default)]
pub(super) struct Snapshots {
    /// In the order of their deadlines.
    slots: Mutex<VecDeque<Weak<Slot>>>,
}

impl Snapshots {
    /// A reader of `view` that lives as long as said.
    pub(super) fn open(
        &self,
        view: Arc<View>,
        clock: Arc<dyn Clock>,
        life: Duration,
    ) -> SnapshotReader {
        let now = clock.monotonic();
        self.expire(now);
        let revision = view.revision;
        let slot = Arc::new(Slot { view: Mutex::new(Some(view)), deadline: now + life });
        self.slots.lock().push_back(Arc::downgrade(&slot));
        SnapshotReader { slot, clock, revision }
    }

    /// Lets go of what has expired, whether or not its reader still exists.
    pub(super) fn expire(&self, now: Duration) {
        let mut slots = self.slots.lock();
        while let Some(oldest) = slots.front() {
            match oldest.upgrade() {
                Some(slot) if slot.deadline > now => break,
                Some(slot) => *slot.view.lock() = None,
                None => {}
            }
            slots.pop_front();
        }
    }

    /// Lets go of all.
    pub(super) fn clear(&self) {
        for slot in self.slots.lock().drain(..).filter_map(|slot| slot.upgrade()) {
            *slot.view.lock() = None;
        }
    }
}

/// See [`Reader`].
pub(super) struct SnapshotReader {
    slot: Arc<Slot>,
    clock: Arc<dyn Clock>,
    revision: Revision,
}

impl SnapshotReader {
    fn view(&self) -> Result<Arc<View>, KvError> {
        if self.clock.monotonic() >= self.slot.deadline {
            *self.slot.view.lock() = None;
        }
        self.slot.view.lock().clone().ok_or(KvError::SnapshotExpired)
    }
}

#[async_trait::async_trait]
impl Reader for SnapshotReader {
    fn revision(&self) -> Revision {
        self.revision
    }

    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.view()?.get(key)
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        let view = self.view()?;
        keys.iter().map(|key| view.get(key)).collect()
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        scan(&*self.view()?, range, limit, direction)
    }

    async fn visit(
        &self,
        range: &KeyRange,
        visitor: &mut (dyn for<'a> FnMut(&'a [u8], &'a [u8], Revision) -> Step + Send),
    ) -> Result<(), KvError> {
        visit(&*self.view()?, range, visitor)
    }
}

//! Reads of bodies that are open, and the oldest revision that any of them may look at: garbage filed later than
//! that is not collected.
//!
//! A read begins by noting the newest revision that this process knows to have committed; what it then finds is
//! at least as new. Small bodies come with the look-up and need no more. A read that goes on registers itself
//! under the noted revision, unless a newer one has been reported meanwhile: then it looks again.
//!
//! **Why nothing is collected under a reader.** Let a read have begun at *b*, and its look-up have seen revision *s*:
//! *s* ≥ *b*, because look-ups see all that has committed. Under one lock, a report *o* is made that is no newer than
//! any registered read, and registering is refused to a read that began before the last report: so *b* ≥ *o* for
//! every registered read and every report, whichever came first. The horizon *h* of a collector is the oldest report
//! of all sessions that live, so *h* ≤ *o*; a session that opens later begins at a later revision still. Garbage that
//! is collected was filed at *g* ≤ *h*. Together *g* ≤ *h* ≤ *o* ≤ *b* ≤ *s*: what the read looks at is from after the
//! batch that took the reference away, and does not have it. Garbage filed at the very revision of the oldest read
//! may therefore go, and has to: in a store where nothing else happens there is no later one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Progress, Worker};
use types::Revision;

use crate::engine::Engine;
use crate::error::Failure;

/// The registry.
pub(crate) struct OpenReads {
    newest: AtomicU64,
    /// What the metadata store has been told.
    told: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many reads are open at each revision.
    open: BTreeMap<u64, usize>,
    /// What was reported last: nothing may begin before it.
    reported: u64,
}

/// One open read; closed when dropped.
pub(crate) struct OpenRead {
    reads: Arc<OpenReads>,
    began: u64,
}

impl OpenReads {
    /// `newest` has committed.
    pub(crate) fn new(newest: Revision) -> Self {
        Self { newest: AtomicU64::new(newest.0), told: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Notes that `revision` has committed.
    pub(crate) fn saw(&self, revision: Revision) {
        self.newest.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// To be called before the look-up.
    pub(crate) fn begin(&self) -> Revision {
        Revision(self.newest.load(Ordering::Acquire))
    }

    /// Registers a read whose look-up came after `began` was noted. `None` when it came too late.
    pub(crate) fn open(self: &Arc<Self>, began: Revision) -> Option<OpenRead> {
        let mut state = self.state.lock();
        if began.0 < state.reported {
            return None;
        }
        *state.open.entry(began.0).or_default() += 1;
        Some(OpenRead { reads: self.clone(), began: began.0 })
    }

    /// How many are open.
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().open.values().sum::<usize>() as u64
    }

    /// No read, open or to be opened, looks at anything older than this. It only ever rises.
    fn oldest(&self) -> Revision {
        let mut state = self.state.lock();
        let newest = self.newest.load(Ordering::Acquire);
        let oldest = state.open.first_key_value().map_or(newest, |(&began, _)| began.min(newest));
        state.reported = state.reported.max(oldest);
        Revision(state.reported)
    }
}

impl Drop for OpenRead {
    fn drop(&mut self) {
        let mut state = self.reads.state.lock();
        if let Some(count) = state.open.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.began);
            }
        }
    }
}

impl Engine {
    /// Tells the metadata store how old the oldest open read is.
    ///
    /// # Errors
    /// [`Failure::Kv`].
    pub(crate) async fn report_oldest_read(&self) -> Result<(), Failure> {
        let inner = &self.inner;
        inner.reads.saw(inner.kv.revision().await?);
        let oldest = inner.reads.oldest();
        // What was told last is only noted afterwards, so that what failed is told again.
        if oldest.0 > inner.reads.told.load(Ordering::Acquire) {
            inner.kv.report_oldest_read(self.session(), oldest).await?;
            inner.reads.told.fetch_max(oldest.0, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Reports the oldest open read every few seconds.
pub(crate) struct Reporter {
    engine: Engine,
}

impl Reporter {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

/// How late the collectors of other processes learn that a read has ended.
const INTERVAL: Duration = Duration::from_secs(2);

#[async_trait::async_trait]
impl Worker for Reporter {
    fn name(&self) -> &'static str {
        "oldest-read"
    }

    fn about(&self) -> &'static str {
        "Tells the metadata store how old the oldest open read is; collection waits for it."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        self.engine.report_oldest_read().await.map_err(|failure| failure.to_string())?;
        Ok(Progress::Idle(INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_never_newer_than_an_open_read() {
        let reads = Arc::new(OpenReads::new(Revision(5)));
        let early = reads.begin();
        let first = reads.open(early).expect("nothing reported yet");
        reads.saw(Revision(9));
        reads.saw(Revision(7));
        let second = reads.open(reads.begin()).expect("as new as can be");
        assert_eq!((reads.oldest(), reads.count()), (Revision(5), 2));
        drop(first);
        assert_eq!(reads.oldest(), Revision(9));
        // One that began before the report and comes after it must look again.
        assert!(reads.open(early).is_none());
        reads.saw(Revision(20));
        assert_eq!(reads.oldest(), Revision(9));
        drop(second);
        assert_eq!((reads.oldest(), reads.count()), (Revision(20), 0));
    }
}

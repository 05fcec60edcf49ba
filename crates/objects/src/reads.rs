//! Reads of bodies that are open, and the oldest revision that any of them may look at: garbage filed later than
//! that is not collected.
//!
//! A read begins by noting the newest revision that this process knows to have committed; what it then finds is
//! at least as new. Small bodies come with the look-up and need no more. A read that goes on registers itself
//! under the noted revision, unless a newer one has been reported meanwhile: then it looks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Progress, Worker};
use types::Revision;

use crate::engine::Engine;

/// The registry.
pub(crate) struct OpenReads {
    newest: AtomicU64,
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
        Self { newest: AtomicU64::new(newest.0), state: Mutex::default() }
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

/// Reports the oldest open read to the key-value store.
pub(crate) struct Reporter {
    engine: Engine,
    last: Revision,
}

impl Reporter {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, last: Revision(0) }
    }
}

/// How late collection learns that a read has ended.
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
        let inner = &self.engine.inner;
        inner.reads.saw(inner.kv.revision().await.map_err(|e| e.to_string())?);
        let oldest = inner.reads.oldest();
        if oldest > self.last {
            let session = self.engine.session();
            inner.kv.report_oldest_read(session, oldest).await.map_err(|e| e.to_string())?;
            self.last = oldest;
        }
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

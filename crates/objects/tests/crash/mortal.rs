//! A key-value store that dies at a certain call, and the disk with it: from then on it answers nobody, until it is
//! revived.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kv::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};
use types::{BatchId, Revision, SessionId, UnixMillis};

/// What happens when it dies.
pub type LastWill = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub struct Mortal {
    inner: Arc<dyn Kv>,
    calls: AtomicU64,
    /// The call that it dies at, and whether that one is still done.
    end: AtomicU64,
    does_the_last: AtomicBool,
    dead: AtomicBool,
    will: LastWill,
}

/// Whether to do a call.
enum Life {
    Alive,
    Dying,
    Dead,
}

impl Mortal {
    /// Immortal until told otherwise.
    pub fn new(inner: Arc<dyn Kv>, will: LastWill) -> Self {
        let (end, calls) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let (does_the_last, dead) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { inner, calls, end, does_the_last, dead, will }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// It dies after so many more calls, with the next.
    pub fn dies_after(&self, calls: u64, does_the_last: bool) {
        self.does_the_last.store(does_the_last, Ordering::SeqCst);
        self.end.store(self.calls() + calls, Ordering::SeqCst);
    }

    /// It dies now.
    pub fn die(&self) {
        if !self.dead.swap(true, Ordering::SeqCst) {
            (self.will)();
        }
    }

    fn enter(&self) -> Life {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.dead.load(Ordering::SeqCst) {
            return Life::Dead;
        }
        if call < self.end.load(Ordering::SeqCst) {
            return Life::Alive;
        }
        self.die();
        Life::Dying
    }

    fn check(&self) -> Result<(), KvError> {
        match self.enter() {
            Life::Alive => Ok(()),
            Life::Dying | Life::Dead => Err(gone()),
        }
    }
}

fn gone() -> KvError {
    KvError::Unavailable("the power has failed".to_owned())
}

#[async_trait::async_trait]
impl Kv for Mortal {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.check()?;
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.check()?;
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize, way: Direction) -> Result<Page, KvError> {
        self.check()?;
        self.inner.scan(range, limit, way).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        self.check()?;
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        match self.enter() {
            Life::Alive => self.inner.commit(id, batch).await,
            Life::Dying if self.does_the_last.load(Ordering::SeqCst) => {
                self.inner.commit(id, batch).await?;
                Ok(Outcome::Unknown)
            }
            Life::Dying | Life::Dead => Ok(Outcome::Unknown),
        }
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        self.inner.watch(prefix, after).await
    }

    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        self.check()?;
        self.inner.open_session(id, label, now).await
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        self.check()?;
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.check()?;
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.check()?;
        self.inner.sessions().await
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.check()?;
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.inner.close(deadline).await
    }
}

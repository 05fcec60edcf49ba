//! A key-value store each of whose calls waits at the desk. Reads of a snapshot do not: whenever they come, they see
//! the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv::{
    Batch, Direction, Guard, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader,
    SessionInfo, Versioned, Watcher,
};
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::desk::{Call, Desk, Fate};

/// What a store does wrong, to see that the scenes notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weakness {
    /// Nothing.
    #[default]
    None,
    /// Guards of records that must still be what was read hold always.
    Revision,
    /// Guards of ranges that must be empty hold always.
    EmptyRange,
    /// A batch that is repeated is another batch.
    Repeats,
    /// A session never ends for its own batches.
    NoFence,
    /// It forgets which reads are open.
    OpenReads,
}

/// See the module.
pub struct Gated {
    inner: Arc<dyn Kv>,
    desk: Arc<Desk>,
    weakness: Weakness,
    /// A session that nobody ends, and its next sequence.
    spare: (SessionId, AtomicU64),
}

impl Gated {
    /// Calls on `inner` wait at `desk`.
    pub async fn new(inner: Arc<dyn Kv>, desk: Arc<Desk>, weakness: Weakness) -> Self {
        let spare = SessionId::new(u64::MAX);
        if matches!(weakness, Weakness::Repeats | Weakness::NoFence) {
            inner.open_session(spare, "spare", UnixMillis(0)).await.expect("opened");
        }
        Self { inner, desk, weakness, spare: (spare, AtomicU64::new(1)) }
    }

    async fn commit_now(&self, id: BatchId, mut batch: Batch) -> Result<Outcome, KvError> {
        let keeps = |guard: &Guard| match guard {
            Guard::Revision(..) => self.weakness != Weakness::Revision,
            Guard::EmptyRange(_) => self.weakness != Weakness::EmptyRange,
            Guard::Absent(_) | Guard::Exists(_) | Guard::AtMost(..) => true,
        };
        batch.guards.retain(keeps);
        if !matches!(self.weakness, Weakness::Repeats | Weakness::NoFence) {
            return self.inner.commit(id, batch).await;
        }
        let sequence = self.spare.1.fetch_add(1, Ordering::Relaxed);
        self.inner.commit(BatchId { session: self.spare.0, sequence }, batch).await
    }
}

#[async_trait::async_trait]
impl Kv for Gated {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.desk.point(Call::Get).await;
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.desk.point(Call::Get).await;
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize, way: Direction) -> Result<Page, KvError> {
        self.desk.point(Call::Scan).await;
        self.inner.scan(range, limit, way).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        self.desk.point(Call::Snapshot).await;
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        match self.desk.point(Call::Commit).await {
            Fate::Go => self.commit_now(id, batch).await,
            Fate::LoseReply => {
                self.commit_now(id, batch).await?;
                Ok(Outcome::Unknown)
            }
            Fate::LoseCall => Ok(Outcome::Unknown),
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
        self.inner.open_session(id, label, now).await
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        self.desk.point(Call::Report).await;
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.desk.point(Call::EndSession).await;
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.desk.point(Call::Sessions).await;
        let mut sessions = self.inner.sessions().await?;
        if self.weakness == Weakness::OpenReads {
            let now = self.inner.revision().await?;
            sessions.iter_mut().for_each(|session| session.oldest_read = now);
        }
        Ok(sessions)
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.desk.point(Call::Revision).await;
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.inner.close(deadline).await
    }
}

//! A key-value store each of whose calls waits at the desk. Reads of a snapshot do not: whenever they come, they see
//! the same.

use std::sync::Arc;
use std::time::Duration;

use kv::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::desk::{Call, Desk, Fate};

/// See the module.
pub struct Gated {
    inner: Arc<dyn Kv>,
    desk: Arc<Desk>,
}

impl Gated {
    /// Calls on `inner` wait at `desk`.
    pub fn new(inner: Arc<dyn Kv>, desk: Arc<Desk>) -> Self {
        Self { inner, desk }
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
            Fate::Go => self.inner.commit(id, batch).await,
            Fate::LoseReply => {
                self.inner.commit(id, batch).await?;
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
        self.inner.sessions().await
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

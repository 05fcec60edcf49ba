//! A key-value store whose commits are decided by the test.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kv::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};
use types::{BatchId, Revision, SessionId, UnixMillis};

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Go,
    /// It is done, and nobody hears of it.
    LoseReply,
    /// It is not done.
    Refuse,
    /// It is not done, and nobody can say so.
    Vanish,
}

pub type Hook = Box<dyn Fn(BatchId) -> BoxFuture<'static, Fate> + Send + Sync>;

pub struct Hooked {
    pub inner: Arc<dyn Kv>,
    pub hook: Hook,
}

#[async_trait::async_trait]
impl Kv for Hooked {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.inner.multi_get(keys).await
    }

    async fn scan(&self, range: &KeyRange, limit: usize, way: Direction) -> Result<Page, KvError> {
        self.inner.scan(range, limit, way).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        match (self.hook)(id).await {
            Fate::Go => self.inner.commit(id, batch).await,
            Fate::LoseReply => {
                self.inner.commit(id, batch).await?;
                Ok(Outcome::Unknown)
            }
            Fate::Refuse => Err(KvError::Unavailable("refused".to_owned())),
            Fate::Vanish => Ok(Outcome::Unknown),
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
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.inner.sessions().await
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.inner.close(deadline).await
    }
}

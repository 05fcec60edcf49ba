//! The embedded engine of one replica.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::Runtime;
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};

/// How an [`Lsm`] is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    /// Memory for cached blocks, in bytes.
    pub cache_bytes: u64,
}

impl Default for LsmOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// The engine.
pub struct Lsm {}

fn closed<T>() -> Result<T, KvError> {
    Err(KvError::Unavailable("closed".to_owned()))
}

impl Lsm {
    /// Opens or makes the store in `dir`.
    pub fn open(_dir: &Path, _runtime: Runtime, _options: LsmOptions) -> Result<Arc<Self>, KvError> {
        closed()
    }

    /// Ends every session that still lives; the binary does this once at its start.
    pub async fn end_all_sessions(&self) -> Result<(), KvError> {
        closed()
    }
}

#[async_trait::async_trait]
impl Kv for Lsm {
    async fn get(&self, _: &Key) -> Result<Option<Versioned>, KvError> {
        closed()
    }
    async fn multi_get(&self, _: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        closed()
    }
    async fn scan(&self, _: &KeyRange, _: usize, _: Direction) -> Result<Page, KvError> {
        closed()
    }
    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        closed()
    }
    async fn commit(&self, _: BatchId, _: Batch) -> Result<Outcome, KvError> {
        closed()
    }
    async fn watch(&self, _: &Key, _: Revision) -> Result<Box<dyn Watcher>, KvError> {
        closed()
    }
    async fn open_session(&self, _: SessionId, _: &str, _: UnixMillis) -> Result<(), KvError> {
        closed()
    }
    async fn report_oldest_read(&self, _: SessionId, _: Revision) -> Result<(), KvError> {
        closed()
    }
    async fn end_session(&self, _: SessionId) -> Result<Revision, KvError> {
        closed()
    }
    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        closed()
    }
    async fn revision(&self) -> Result<Revision, KvError> {
        closed()
    }
    async fn status(&self) -> Result<KvStatus, KvError> {
        closed()
    }
    async fn close(&self, _: Duration) -> Result<(), KvError> {
        closed()
    }
}

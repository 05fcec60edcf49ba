//! The narrow waist: one ordered, transactional key-value store under everything that is small and mutable.
//!
//! [`Kv`] is the trait; [`conformance`] is the public suite that every engine passes, called in one line;
//! [`lsm`] is the embedded engine of one replica, and [`memory`] one for tests and simulation. An engine never interprets a value: record types, their
//! keys and codecs belong to the crates that own them.
//!
//! The promises, in short (each is a test of the suite):
//! * Batches are serializable and all or nothing. Guards see every batch that committed before.
//! * Revisions are global, strictly rising and never reused.
//! * A batch repeated under its [`BatchId`] answers with its first outcome and has no second effect.
//! * A batch of an ended session is [`Outcome::Fenced`]; that fence is what collection rests on.
//! * [`Outcome::Committed`] means durable (but for `memory`, where nothing is).

mod batch;
pub mod conformance;
mod engine;
mod key;
pub mod lsm;
pub mod memory;

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use types::{BatchId, ErrorKind, Revision, SessionId, UnixMillis};

pub use batch::{Batch, BatchTooLarge, Guard, Write, decode_counter, encode_counter};
pub use key::{CONTROL_SPACE, DATA_SPACE, InvalidKey, Key, KeyRange, decode_text, encode_text};

/// A value and the revision of the batch that put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes, as they were put.
    pub value: Bytes,
    /// When.
    pub revision: Revision,
}

/// One entry of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
    /// The revision of the batch that put it.
    pub revision: Revision,
}

/// One page of a scan, in the direction asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At most as many as asked for, and at most about a mebibyte of values.
    pub entries: Vec<Entry>,
    /// Whether the range may hold more behind the last entry.
    pub more: bool,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable, whole, and has this revision.
    Committed(Revision),
    /// This guard (an index into [`Batch::guards`]) did not hold; nothing was written.
    Conflict(usize),
    /// The writer session has ended; nothing was or ever will be written under it.
    Fenced,
    /// Nobody can say. Repeat it under the same id, or answer "unavailable" and delete nothing.
    Unknown,
}

/// A change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Key,
    /// Its new value; `None` when it was deleted.
    pub value: Option<Bytes>,
    /// The batch that did it. Events of one revision stand together, in key order.
    pub revision: Revision,
}

/// A writer session as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Who it is, for people.
    pub label: String,
    /// When it was opened, by its opener's clock.
    pub opened_at: UnixMillis,
    /// No read that it has open looks at anything older than this.
    pub oldest_read: Revision,
    /// The commit that ended it; `None` while it lives.
    pub ended: Option<Revision>,
}

/// Why the store could not answer. Never used for what a guard found: that is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The store is stopping, overloaded or out of reach.
    #[error("the metadata store is unavailable: {0}")]
    Unavailable(String),
    /// The disk under it has no room.
    #[error("the metadata store is out of space; reads still work: {0}")]
    Full(String),
    /// What is stored does not verify.
    #[error("the metadata store is damaged: {0}")]
    Corrupt(String),
    /// The batch breaks a limit of `types::limits`.
    #[error(transparent)]
    TooLarge(#[from] BatchTooLarge),
    /// The watched revision is no longer in the history: read afresh, then watch from there.
    #[error("the history before revision {0} is gone; read afresh")]
    Compacted(Revision),
    /// A snapshot outlived its bound.
    #[error("the snapshot has expired; take a new one")]
    SnapshotExpired,
}

impl KvError {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) | Self::SnapshotExpired | Self::Compacted(_) => {
                ErrorKind::Unavailable
            }
            Self::Full(_) => ErrorKind::Full,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::TooLarge(_) => ErrorKind::Internal,
        }
    }
}

/// Reads at one revision.
#[async_trait::async_trait]
pub trait Reader: Send + Sync {
    /// The revision that everything is read at.
    fn revision(&self) -> Revision;

    /// One record.
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError>;

    /// Several records, in the order asked for.
    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError>;

    /// Entries of `range`, at most `limit` (1 to `types::limits::KV_SCAN_MAX_ENTRIES`).
    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError>;

    /// Visits entries of `range` in ascending order without copying them into a page, as long as `visit`
    /// says so. Between two calls the visitor may move on by [`Step::SeekTo`].
    /// Engines that are out of process page under the hood; the default does.
    async fn visit(
        &self,
        range: &KeyRange,
        visit: &mut (dyn for<'a> FnMut(&'a [u8], &'a [u8], Revision) -> Step + Send),
    ) -> Result<(), KvError> {
        let mut range = range.clone();
        loop {
            let page =
                self.scan(&range, types::limits::KV_SCAN_MAX_ENTRIES, Direction::Forward).await?;
            let mut seek = None;
            for entry in &page.entries {
                if seek.as_ref().is_some_and(|s: &Key| entry.key < *s) {
                    continue;
                }
                match visit(entry.key.as_bytes(), &entry.value, entry.revision) {
                    Step::Next => {}
                    Step::SeekTo(key) => seek = Some(key),
                    Step::Stop => return Ok(()),
                }
            }
            let Some(last) = page.entries.last() else { return Ok(()) };
            let next = last.key.successor();
            let next = seek.filter(|s| *s > next).unwrap_or(next);
            if !page.more && next <= last.key.successor() {
                return Ok(());
            }
            match range.starting_at(next) {
                Some(rest) => range = rest,
                None => return Ok(()),
            }
        }
    }
}

/// What a visitor wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next entry.
    Next,
    /// The first entry at or behind this key, which must be behind the one just seen.
    SeekTo(Key),
    /// No more.
    Stop,
}

/// A pull-based stream of events.
#[async_trait::async_trait]
pub trait Watcher: Send {
    /// The next events, at least one; `Break` when the store has closed.
    ///
    /// # Errors
    /// [`KvError::Compacted`] when the watcher fell behind the history kept.
    async fn next(&mut self) -> Result<ControlFlow<(), Vec<Event>>, KvError>;
}

/// An ordered transactional key-value store. All reads are linearizable.
#[async_trait::async_trait]
pub trait Kv: Send + Sync + 'static {
    /// One record.
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError>;

    /// Several records at one revision, in the order asked for.
    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError>;

    /// Entries of `range`, at most `limit` (1 to `types::limits::KV_SCAN_MAX_ENTRIES`).
    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError>;

    /// A reader at the newest revision. Its life is bounded (minutes); afterwards it answers
    /// [`KvError::SnapshotExpired`].
    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError>;

    /// Commits a batch if all its guards hold. See [`Outcome`].
    ///
    /// # Errors
    /// Only when nothing was or will be written; otherwise the doubt is [`Outcome::Unknown`].
    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError>;

    /// Changes of keys that begin with `prefix`, from the first behind `after` on.
    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError>;

    /// Opens a writer session under an id that was never used before.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] also when the id is taken.
    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError>;

    /// Reports the oldest revision that the session still reads at. It only ever rises.
    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError>;

    /// Ends a session for ever, by a commit, and gives that commit's revision; ending it again gives the
    /// same. Batches of the session that had not committed by then never will.
    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError>;

    /// All sessions that were ever opened and not yet forgotten, by id.
    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, KvError>;

    /// Figures for health and metrics.
    async fn status(&self) -> Result<KvStatus, KvError>;

    /// Stops taking commits, waits for those under way, and closes files. Later calls are `Unavailable`.
    async fn close(&self, deadline: Duration) -> Result<(), KvError>;
}

/// An engine's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvStatus {
    /// Name of the engine: `lsm` or `memory`.
    pub engine: &'static str,
    /// Copies of every record.
    pub replicas: u32,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Batches committed since the start.
    pub commits: u64,
    /// Syncs since the start: group commit makes them fewer than the commits.
    pub syncs: u64,
}

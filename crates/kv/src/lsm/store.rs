//! The library under the engine: opening it, its settings, reads at one view, and the one call that writes.
//! No other file of the workspace names fjall.
//!
//! Why a [`View`] of our own, when the library has snapshots: the library moves its visible sequence
//! number on not only when a batch is published but also when a flush or a compaction ends. A snapshot
//! taken between the allocation of a batch's number and the end of its commit can therefore see the batch
//! appear item by item. Views are taken only by the one thread that writes, between two writes, when
//! nothing is under way: whatever comes later has a number behind the view's.

use std::path::Path;
use std::sync::Arc;

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch as WriteBatch, PersistMode,
    Readable as _, Snapshot,
};
use runtime::disk::Disk;
use types::{Revision, limits};

use super::record::{
    FORMAT, FORMAT_KEY, OUTCOME_KEYS, REVISION_KEY, SESSION_KEYS, damaged, decode_value,
    encode_value, split_value,
};
use super::{LsmOptions, journal};
use crate::engine::{Base, Decided, Memo, PAGE_BYTES, SessionRecord, SessionTable};
use crate::{Direction, Entry, Key, KeyRange, KvError, Page, Step, Versioned};

/// A visitor's seek first tries this many entries, which is cheaper than a new iterator.
const NEAR_ENTRIES: usize = 16;
/// Newest ended sessions whose outcomes survive an open.
const ENDED_WINDOWS_KEPT: usize = 2;
/// Items in one of the library's batches while outcomes are dropped.
const FORGET_ITEMS: usize = 4096;

/// Turns the library's error into what the caller must do.
pub(super) fn failure(what: &str, error: fjall::Error) -> KvError {
    use fjall::{Error, LsmError};
    let io = match &error {
        Error::Io(io) | Error::Storage(LsmError::Io(io)) => Some(io.kind()),
        _ => None,
    };
    match (io, &error) {
        (Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded), _) => {
            KvError::Full(format!("{what}: {error}"))
        }
        (Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof), _) => {
            damaged(&format!("{what}: {error}"))
        }
        (Some(_), _) => KvError::Unavailable(format!("{what}: {error}")),
        (None, Error::Poisoned | Error::Locked | Error::KeyspaceDeleted) => {
            KvError::Unavailable(format!("{what}: {error}"))
        }
        (None, _) => damaged(&format!("{what}: {error}")),
    }
}

/// The open library.
#[derive(Clone)]
pub(super) struct Store {
    database: Database,
    data: Keyspace,
    meta: Keyspace,
}

/// What the engine keeps in memory of the `meta` keyspace.
pub(super) struct Recovered {
    pub(super) revision: Revision,
    pub(super) sessions: SessionTable,
}

impl Store {
    /// Opens or makes the library's files in `dir`, which the caller has locked. Blocks.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        options: &LsmOptions,
    ) -> Result<(Self, Recovered), KvError> {
        disk.create_dir_all(dir)
            .map_err(|e| KvError::Unavailable(format!("cannot make {}: {e}", dir.display())))?;
        journal::prepare(disk, dir)?;
        // The library asserts in places where files are not as they should be.
        let opened = std::panic::catch_unwind(|| Self::open_library(dir, options));
        let store = opened
            .map_err(|_| damaged("the library cannot make sense of its files"))?
            .map_err(|e| failure("cannot open the metadata store", e))?;
        // The library makes a directory for each keyspace and does not sync the one that names it.
        disk.sync_dir(&dir.join(journal::KEYSPACES_DIR))
            .map_err(|e| KvError::Unavailable(format!("cannot sync {}: {e}", dir.display())))?;
        store.check_format()?;
        let recovered = store.recover()?;
        Ok((store, recovered))
    }

    fn open_library(dir: &Path, options: &LsmOptions) -> Result<Self, fjall::Error> {
        let database = Database::builder(dir)
            .manual_journal_persist(true)
            .journal_compression(fjall::CompressionType::None)
            .cache_size(options.cache_bytes)
            .worker_threads(2)
            .max_journaling_size(256 << 20)
            .open()?;
        let settings = |memtable_bytes: u64| {
            move || {
                KeyspaceCreateOptions::default()
                    .manual_journal_persist(true)
                    .max_memtable_size(memtable_bytes)
            }
        };
        let data = database.keyspace("data", settings(options.memtable_bytes))?;
        let meta = database.keyspace("meta", settings(options.memtable_bytes.min(8 << 20)))?;
        Ok(Self { database, data, meta })
    }

    fn check_format(&self) -> Result<(), KvError> {
        let broken = |e| failure("cannot read the format record", e);
        match self.meta.get(FORMAT_KEY).map_err(broken)? {
            Some(found) if *found == FORMAT => Ok(()),
            Some(found) if found.starts_with(&FORMAT[..4]) => Err(damaged(&format!(
                "the store has format {:?} and this program knows only {:?}; use the newer program",
                &*found, FORMAT
            ))),
            Some(_) => Err(damaged("the format record is not one")),
            None if self.data.is_empty().map_err(broken)? => {
                let mut batch = self.batch();
                batch.inner.insert(&self.meta, FORMAT_KEY, FORMAT);
                batch.commit()
            }
            None => Err(damaged("the store has data but no format record")),
        }
    }

    fn recover(&self) -> Result<Recovered, KvError> {
        let broken = |e| failure("cannot read the engine's records", e);
        let revision = match self.meta.get(REVISION_KEY).map_err(broken)? {
            None => Revision(0),
            Some(bytes) => (*bytes)
                .try_into()
                .map(|bytes| Revision(u64::from_be_bytes(bytes)))
                .map_err(|_| damaged("the newest revision does not parse"))?,
        };
        self.forget_ended()?;
        let mut sessions = SessionTable::default();
        for record in self.session_records()? {
            sessions.put(record);
        }
        for item in self.meta.prefix([OUTCOME_KEYS]) {
            let (key, value) = item.into_inner().map_err(broken)?;
            let (id, memo) = Memo::decode(&key, &value)?;
            sessions.remember(id, memo);
        }
        Ok(Recovered { revision, sessions })
    }

    fn session_records(&self) -> Result<Vec<SessionRecord>, KvError> {
        let mut records = Vec::new();
        for item in self.meta.prefix([SESSION_KEYS]) {
            let (key, value) =
                item.into_inner().map_err(|e| failure("cannot read the sessions", e))?;
            records.push(SessionRecord::decode(&key, &value)?);
        }
        Ok(records)
    }

    /// Drops the outcomes of sessions that ended long ago; their records stay.
    fn forget_ended(&self) -> Result<(), KvError> {
        let mut ended = self.session_records()?;
        ended.retain(|record| record.info.ended.is_some());
        ended.sort_by_key(|record| std::cmp::Reverse(record.info.ended));
        for mut record in ended.into_iter().skip(ENDED_WINDOWS_KEPT) {
            if record.forgotten {
                continue;
            }
            // The record goes first: outcomes must never be missing while it says that they are there.
            record.forgotten = true;
            let mut batch = self.batch();
            batch.put_session(&record);
            let mut prefix = vec![OUTCOME_KEYS];
            prefix.extend_from_slice(&record.info.id.to_bytes());
            for item in self.meta.prefix(prefix) {
                let key = item.key().map_err(|e| failure("cannot read the outcomes", e))?;
                batch.inner.remove(&self.meta, key);
                if batch.inner.len() >= FORGET_ITEMS {
                    std::mem::replace(&mut batch, self.batch()).commit()?;
                }
            }
            batch.commit()?;
        }
        Ok(())
    }

    /// A batch of the library, to be filled and committed by the one writing thread.
    pub(super) fn batch(&self) -> StoreBatch {
        let inner = self.database.batch().durability(Some(PersistMode::SyncData));
        StoreBatch { inner, store: self.clone() }
    }

    /// What is stored now. Only for the writing thread, and only while it is not writing.
    pub(super) fn view(&self, revision: Revision) -> Arc<View> {
        let snapshot = self.database.snapshot();
        Arc::new(View { snapshot, data: self.data.clone(), revision })
    }

    /// Bytes on disk.
    pub(super) fn disk_bytes(&self) -> Result<u64, KvError> {
        self.database.disk_space().map_err(|e| failure("cannot tell the size", e))
    }
}

/// Writes that go into the library together.
pub(super) struct StoreBatch {
    inner: WriteBatch,
    store: Store,
}

impl StoreBatch {
    /// Puts all that a group came to.
    pub(super) fn fill(&mut self, decided: &Decided) {
        for (key, record) in &decided.records {
            match record {
                Some(Versioned { value, revision }) => self.inner.insert(
                    &self.store.data,
                    key.as_bytes(),
                    encode_value(*revision, value),
                ),
                None => self.inner.remove(&self.store.data, key.as_bytes()),
            }
        }
        for (id, memo) in &decided.outcomes {
            self.put_outcome(*id, *memo);
        }
        decided.sessions.values().for_each(|record| self.put_session(record));
        self.inner.insert(&self.store.meta, REVISION_KEY, decided.revision.0.to_be_bytes());
    }

    /// Puts a session.
    fn put_session(&mut self, record: &SessionRecord) {
        let key = SessionRecord::key(record.info.id);
        self.inner.insert(&self.store.meta, key, record.encode());
    }

    /// Puts an outcome.
    pub(super) fn put_outcome(&mut self, id: types::BatchId, memo: Memo) {
        self.inner.insert(&self.store.meta, Memo::key(id), memo.encode(id.sequence));
    }

    /// Writes all of it to the journal, syncs that, and only then lets it be seen.
    ///
    /// # Errors
    /// Whatever happened: nobody can say whether the batch will be there after the next open.
    pub(super) fn commit(self) -> Result<(), KvError> {
        self.inner.commit().map_err(|e| failure("cannot write", e))
    }
}

/// All data as of one revision. Cheap to share; the library keeps what it shows until it is dropped.
pub(super) struct View {
    snapshot: Snapshot,
    data: Keyspace,
    pub(super) revision: Revision,
}

fn unreadable(error: fjall::Error) -> KvError {
    failure("cannot read", error)
}

impl View {
    /// One record, as stored.
    fn stored(&self, key: &Key) -> Result<Option<fjall::UserValue>, KvError> {
        self.snapshot.get(&self.data, key.as_bytes()).map_err(unreadable)
    }

    /// One record.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.stored(key)?.map(|stored| decode_value(&stored)).transpose()
    }

    fn iterate(&self, range: &KeyRange) -> fjall::Iter {
        self.snapshot.range(&self.data, range.start().as_bytes()..range.end().as_bytes())
    }

    /// See [`crate::Reader::scan`].
    pub(super) fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        let limit = limit.clamp(1, limits::KV_SCAN_MAX_ENTRIES);
        let mut items = self.iterate(range);
        let mut page = Page::default();
        let mut bytes = 0;
        loop {
            let item = match direction {
                Direction::Forward => items.next(),
                Direction::Backward => items.next_back(),
            };
            let Some(item) = item else { return Ok(page) };
            if page.entries.len() >= limit || bytes >= PAGE_BYTES {
                page.more = true;
                return Ok(page);
            }
            let (key, stored) = item.into_inner().map_err(unreadable)?;
            let Versioned { value, revision } = decode_value(&stored)?;
            bytes += value.len();
            page.entries.push(Entry { key: stored_key(&key)?, value, revision });
        }
    }

    /// Begins to visit a range.
    pub(super) fn visit(&self, range: &KeyRange) -> Visit<'_> {
        Visit { view: self, items: self.iterate(range), range: range.clone(), sought: None }
    }
}

impl Base for View {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn peek(
        &self,
        key: &Key,
        limit: usize,
    ) -> Result<Option<(Revision, Option<bytes::Bytes>)>, KvError> {
        let Some(stored) = self.stored(key)? else { return Ok(None) };
        let (revision, value) = split_value(&stored)?;
        let short = value.len() <= limit;
        Ok(Some((revision, short.then(|| bytes::Bytes::copy_from_slice(value)))))
    }

    fn keys(&self, range: &KeyRange) -> impl Iterator<Item = Result<Key, KvError>> {
        self.iterate(range).map(|item| stored_key(&item.key().map_err(unreadable)?))
    }
}

fn stored_key(bytes: &[u8]) -> Result<Key, KvError> {
    Key::new(bytes::Bytes::copy_from_slice(bytes))
        .map_err(|_| damaged("a stored key is in no space"))
}

/// A visitor: see [`crate::Reader::visit`].
pub(super) type Visitor<'a> =
    &'a mut (dyn for<'b> FnMut(&'b [u8], &'b [u8], Revision) -> Step + Send);

/// A visit under way.
pub(super) struct Visit<'a> {
    view: &'a View,
    items: fjall::Iter,
    range: KeyRange,
    /// Where the visitor wants to go on, and how many entries before it were passed by.
    sought: Option<(Key, usize)>,
}

impl Visit<'_> {
    /// Visits at most `budget` entries; whether the visit is over.
    pub(super) fn run(&mut self, visit: Visitor<'_>, budget: usize) -> Result<bool, KvError> {
        let mut visited = 0;
        while visited < budget {
            if let Some((target, NEAR_ENTRIES)) = &self.sought {
                let Some(rest) = self.range.starting_at(target.clone()) else { return Ok(true) };
                self.items = self.view.iterate(&rest);
                self.sought = None;
            }
            let Some(item) = self.items.next() else { return Ok(true) };
            let (key, stored) = item.into_inner().map_err(unreadable)?;
            if let Some((target, passed)) = &mut self.sought {
                if *key < *target.as_bytes() {
                    *passed += 1;
                    continue;
                }
                self.sought = None;
            }
            visited += 1;
            let (revision, value) = split_value(&stored)?;
            match visit(&key, value, revision) {
                Step::Next => {}
                Step::Stop => return Ok(true),
                Step::SeekTo(target) => self.sought = Some((target, 0)),
            }
        }
        Ok(false)
    }
}

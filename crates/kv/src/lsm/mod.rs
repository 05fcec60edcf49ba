//! The embedded engine of one replica: fjall underneath, one commit thread in front.
//!
//! It is in-process and has no peers; what is not here is replication. fjall batches no commits across
//! threads and its backpressure busy-waits, so that exactly one thread writes:
//!
//! 1. Callers put batches into a bounded queue (beyond its bounds they get [`KvError::Unavailable`]).
//! 2. The commit thread takes what is there, evaluates guards in order (each batch sees those before it in
//!    the group), and fills one batch of the library: changed keys, outcomes, sessions, newest revision.
//! 3. The library writes it to its journal and syncs that; only then does it enter the memtable.
//! 4. The thread takes a new view, shows it to readers, and answers all.
//!
//! So a read never sees what could still be lost, and never misses what was acknowledged.
//!
//! **Files**: `lock`, and the library's directory `fjall` with the keyspaces `data` (owners' records) and
//! `meta` (the engine's own, see `record.rs`). A store of a newer format is refused.
//!
//! **Repeated batches**: outcomes are stored with the batch, in a window of 65,536 sequences per session. A
//! batch that lags that far behind its session's newest is answered [`Outcome::Unknown`], whether or not it
//! was ever seen: that is true, and it has no second effect. A conflict is stored with the next commit;
//! until then only memory knows it, and nothing was written that could be doubled. At an open, the windows
//! of all but the two sessions that ended last are dropped; their batches are then `Fenced`, or `Unknown`
//! when they may have committed.
//!
//! **Failure**: when a write or sync fails, the group is [`Outcome::Unknown`] and the store is read-only
//! until it is opened again; a sync is never retried. Long before the disk is full
//! ([`LsmOptions::reserve_bytes`]) batches that remove nothing are refused as [`KvError::Full`].

mod committer;
mod journal;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod powercut;
mod queue;
mod reader;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use runtime::disk::{Disk, RealDisk};
use runtime::{Clock, Runtime, Thread, spawn_thread};
use tokio::sync::{oneshot, watch};
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::engine::{self, History, Seen, SessionTable};
use crate::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher, Write,
};
use committer::Committer;
use queue::{Bounds, Queue, Request, Shut};
use reader::Snapshots;
use store::{Store, StoreBatch, View};

/// How an [`Lsm`] is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsmOptions {
    /// Memory for cached blocks, in bytes.
    pub cache_bytes: u64,
    /// Size at which a memtable is written out, in bytes; a few of them may be in memory at once.
    /// Counts when the store is made, later opens keep what it was made with.
    pub memtable_bytes: u64,
    /// Commits that may wait at once; more are refused as unavailable.
    pub queue_batches: usize,
    /// Bytes of commits that may wait at once.
    pub queue_bytes: usize,
    /// Room on the file system below which only batches that remove something are taken; below a quarter
    /// of it none are.
    pub reserve_bytes: u64,
    /// Life of a snapshot on the monotonic clock.
    pub snapshot_life: Duration,
}

impl Default for LsmOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 32 << 20,
            queue_batches: 4096,
            queue_bytes: 64 << 20,
            reserve_bytes: 256 << 20,
            snapshot_life: Duration::from_secs(300),
        }
    }
}

/// What the commit thread and the callers share.
struct Shared {
    clock: Arc<dyn Clock>,
    queue: Queue,
    /// What readers read; `None` once closed.
    view: RwLock<Option<Arc<View>>>,
    sessions: Mutex<SessionTable>,
    /// Batches whose write failed.
    doubtful: Mutex<HashSet<BatchId>>,
    snapshots: Snapshots,
    history: Arc<History>,
    /// For figures only; `None` once closed.
    store: Mutex<Option<Store>>,
    commits: AtomicU64,
    syncs: AtomicU64,
    #[cfg(test)]
    fail_next_write: Mutex<Option<tests::WriteFault>>,
}

impl Shared {
    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "the tests' twin uses it")]
    fn write(&self, batch: StoreBatch) -> Result<(), KvError> {
        batch.commit()
    }

    fn view(&self) -> Result<Arc<View>, KvError> {
        self.view.read().clone().ok_or_else(|| Shut::Closed.error())
    }

    fn is_decided(&self, id: BatchId) -> bool {
        matches!(self.sessions.lock().seen(id), Seen::Decided(_))
    }

    /// What became of a batch that is not being committed, or else that nothing did and why.
    fn known(&self, id: BatchId, error: KvError) -> Result<Outcome, KvError> {
        match self.sessions.lock().seen(id) {
            Seen::Decided(memo) => return Ok(memo.outcome()),
            Seen::TooOld => return Ok(Outcome::Unknown),
            Seen::Never => {}
        }
        if self.doubtful.lock().contains(&id) { Ok(Outcome::Unknown) } else { Err(error) }
    }
}

/// The engine. Dropping it commits what is queued and closes it.
pub struct Lsm {
    shared: Arc<Shared>,
    snapshot_life: Duration,
    stopped: watch::Receiver<bool>,
    // Joined when dropped.
    _thread: Thread,
}

impl Lsm {
    /// Opens or makes the store in `dir`. Blocks: seconds when there is much to recover.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] when another process (or this one) has it open or the disk fails,
    /// [`KvError::Corrupt`] when what is there does not verify or is of a newer format.
    pub fn open(dir: &Path, runtime: Runtime, options: LsmOptions) -> Result<Arc<Self>, KvError> {
        Self::open_on(Arc::new(RealDisk), dir, runtime, options)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        runtime: Runtime,
        options: LsmOptions,
    ) -> Result<Arc<Self>, KvError> {
        let failed = |what: &str, e: std::io::Error| {
            KvError::Unavailable(format!("cannot {what} {}: {e}", dir.display()))
        };
        disk.create_dir_all(dir).map_err(|e| failed("make", e))?;
        let lock = disk.lock(&dir.join("lock")).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => KvError::Unavailable(format!(
                "{} is in use by another process: stop that one, or use another directory",
                dir.display()
            )),
            _ => failed("lock", e),
        })?;
        let (store, recovered) = Store::open(&*disk, &dir.join("fjall"), &options)?;
        let shared = Arc::new(Shared {
            clock: runtime.clock,
            queue: Queue::new(Bounds {
                requests: options.queue_batches,
                bytes: options.queue_bytes,
            }),
            view: RwLock::new(Some(store.view(recovered.revision))),
            sessions: Mutex::new(recovered.sessions),
            doubtful: Mutex::default(),
            snapshots: Snapshots::default(),
            history: History::new(recovered.revision),
            store: Mutex::new(Some(store.clone())),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            #[cfg(test)]
            fail_next_write: Mutex::new(None),
        });
        let committer = Committer {
            shared: shared.clone(),
            store,
            disk,
            dir: dir.to_owned(),
            reserve_bytes: options.reserve_bytes,
            carried: HashMap::new(),
            _lock: lock,
        };
        let (stopping, stopped) = watch::channel(false);
        let thread = spawn_thread("kv-commit", move || {
            committer.run();
            stopping.send_replace(true);
        })
        .map_err(|e| failed("start the commit thread of", e))?;
        Ok(Arc::new(Self {
            shared,
            snapshot_life: options.snapshot_life,
            stopped,
            _thread: thread,
        }))
    }

    /// Ends every session that still lives. The binary does so at its start: the directory's lock says that
    /// no other process can be committing under them.
    pub async fn end_all_sessions(&self) -> Result<(), KvError> {
        engine::end_all_sessions(self).await
    }

    /// Hands a request of a session in and waits for its answer.
    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, KvError>>,
    ) -> Result<T, KvError> {
        self.shared.queue.push(request).map_err(|(_, error)| error)?;
        answer.await.unwrap_or_else(|_| Err(Shut::Closed.error()))
    }
}

impl Drop for Lsm {
    fn drop(&mut self) {
        self.shared.queue.shut(Shut::Closed);
    }
}

/// Bytes that a batch keeps in memory while it waits.
fn waiting_bytes(batch: &Batch) -> usize {
    let mut bytes = 64 * (batch.guards.len() + batch.writes.len());
    for write in &batch.writes {
        bytes += match write {
            Write::Put(key, value) => key.as_bytes().len() + value.len(),
            Write::PutStamped(prefix, suffix, value) => {
                prefix.as_bytes().len() + 8 + suffix.len() + value.len()
            }
            Write::Delete(_) | Write::DeleteRange(_) | Write::Add(..) => 0,
        };
    }
    bytes
}

#[async_trait::async_trait]
impl Kv for Lsm {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.shared.view()?.get(key)
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        let view = self.shared.view()?;
        keys.iter().map(|key| view.get(key)).collect()
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        reader::scan(&*self.shared.view()?, range, limit, direction)
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        let (view, clock) = (self.shared.view()?, self.shared.clock.clone());
        Ok(Box::new(self.shared.snapshots.open(view, clock, self.snapshot_life)))
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        batch.check_limits()?;
        let bytes = waiting_bytes(&batch);
        let (reply, answer) = oneshot::channel();
        match self.shared.queue.push(Request::Commit { id, batch, bytes, reply }) {
            // A commit thread that is gone has said nothing about this batch.
            Ok(()) => answer.await.unwrap_or(Ok(Outcome::Unknown)),
            // What is pending is looked at first: it is settled only after its outcome is known.
            Err(_) if self.shared.queue.is_pending(id) => Ok(Outcome::Unknown),
            Err((_, error)) => self.shared.known(id, error),
        }
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        self.shared.view()?;
        Ok(Box::new(self.shared.history.watch(prefix, after)?))
    }

    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        let (reply, answer) = oneshot::channel();
        let label = label.to_owned();
        self.ask(Request::OpenSession { id, label, now, reply }, answer).await
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::ReportOldestRead { id, oldest, reply }, answer).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::EndSession { id, reply }, answer).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.shared.view()?;
        Ok(self.shared.sessions.lock().infos())
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        Ok(self.shared.view()?.revision)
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        let store = self.shared.store.lock().clone().ok_or_else(|| Shut::Closed.error())?;
        Ok(KvStatus {
            engine: "lsm",
            replicas: 1,
            disk_bytes: store.disk_bytes()?,
            commits: self.shared.commits.load(Ordering::Relaxed),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
        })
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        self.shared.queue.shut(Shut::Closed);
        let mut stopped = self.stopped.clone();
        tokio::select! {
            // Also when the thread has panicked: then its sender is gone.
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
            () = self.shared.clock.sleep(deadline) => Err(KvError::Unavailable(
                "still writing what was queued when the deadline passed".to_owned(),
            )),
        }
    }
}

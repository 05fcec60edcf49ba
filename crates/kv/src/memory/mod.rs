//! An engine in memory, for tests and simulation.
//!
//! **Nothing is durable**: the content lives as long as the [`Memory`]. Not here: threads, tasks, files,
//! randomness, and any clock but the one handed in, so that equal calls in equal order give equal answers.
//! A commit lets the executor's other tasks go first, once; nothing else ever waits. Making an instance costs
//! a few allocations.
//!
//! A restart of the process around it is simulated by closing it (or just dropping what used it) and
//! [`Memory::reopen`], which keeps the content as a disk would, then [`Memory::end_all_sessions`].

mod records;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Clock;
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::engine::{self, Decided, Group, History, Seen, SessionTable, closed};
use crate::{
    Batch, Direction, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader, SessionInfo,
    Versioned, Watcher,
};
use records::Records;

/// The engine.
pub struct Memory {
    state: Arc<Mutex<State>>,
    /// A clock and the life of snapshots on it; without it they live as long as they are held.
    life: Option<(Arc<dyn Clock>, Duration)>,
}

struct State {
    records: Records,
    sessions: SessionTable,
    history: Arc<History>,
    commits: u64,
    open: bool,
    /// How often it was closed or opened again: snapshots do not outlive that.
    epoch: u64,
}

impl State {
    fn check_open(&self) -> Result<(), KvError> {
        if self.open { Ok(()) } else { Err(closed()) }
    }

    fn apply(&mut self, decided: Decided) {
        for (key, record) in decided.records {
            self.records.put(key, record.map(|record| record.value), decided.revision);
        }
        self.records.seal(decided.revision);
        decided.sessions.into_values().for_each(|record| self.sessions.put(record));
        for (id, memo) in decided.outcomes {
            self.sessions.remember(id, memo);
        }
        self.commits += decided.commits;
        self.history.push(decided.changes);
    }

    /// Ends what does not outlive a process: snapshots and watchers.
    fn forget_readers(&mut self) {
        self.epoch += 1;
        self.records.release_all();
        self.history.close();
    }
}

impl Memory {
    /// An empty store whose snapshots never expire.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::with_life(None))
    }

    /// An empty store whose snapshots expire after `snapshot_life` on `clock`'s monotonic time.
    pub fn with_clock(clock: Arc<dyn Clock>, snapshot_life: Duration) -> Arc<Self> {
        Arc::new(Self::with_life(Some((clock, snapshot_life))))
    }

    fn with_life(life: Option<(Arc<dyn Clock>, Duration)>) -> Self {
        let state = State {
            records: Records::default(),
            sessions: SessionTable::default(),
            history: History::new(Revision(0)),
            commits: 0,
            open: true,
            epoch: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), life }
    }

    /// Serves again after a close, with all that was committed, as if the process had been started anew:
    /// snapshots and watchers of before are over, and the history begins here. Sessions live on; end them
    /// with [`Self::end_all_sessions`].
    pub fn reopen(&self) {
        let mut state = self.state.lock();
        state.forget_readers();
        state.history = History::new(state.records.revision());
        state.open = true;
    }

    /// Ends every session that still lives, as a process does at its start.
    ///
    /// # Errors
    /// [`KvError::Unavailable`] when the store is closed.
    pub async fn end_all_sessions(&self) -> Result<(), KvError> {
        engine::end_all_sessions(self).await
    }

    /// Runs `read` on what is stored.
    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, KvError> {
        let state = self.state.lock();
        state.check_open()?;
        Ok(read(&state))
    }

    /// Runs `work` as a group of its own and makes what comes of it visible.
    fn decide<T>(
        &self,
        work: impl FnOnce(&mut Group<'_, Records>) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        let mut state = self.state.lock();
        state.check_open()?;
        let mut group = Group::new(&state.records, &state.sessions);
        let result = work(&mut group)?;
        let decided = group.decide();
        state.apply(decided);
        Ok(result)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.open = false;
        state.forget_readers();
    }
}

#[async_trait::async_trait]
impl Kv for Memory {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.read(|state| state.records.get(key, state.records.revision()))
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.read(|state| {
            let at = state.records.revision();
            keys.iter().map(|key| state.records.get(key, at)).collect()
        })
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        self.read(|state| state.records.scan(range, limit, direction, state.records.revision()))
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        let mut state = self.state.lock();
        state.check_open()?;
        let revision = state.records.hold();
        let deadline = self.life.as_ref().map(|(clock, life)| {
            let deadline = clock.monotonic() + *life;
            (clock.clone(), deadline)
        });
        let (epoch, state) = (state.epoch, self.state.clone());
        Ok(Box::new(Snapshot { state, revision, epoch, deadline }))
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        batch.check_limits()?;
        // A task that only commits must not keep its thread for ever.
        tokio::task::yield_now().await;
        let answer = self.decide(|group| match group.decided(id) {
            Some(outcome) => Ok(outcome),
            None => group.commit(id, batch),
        });
        // Closed or not: what has an outcome keeps it.
        answer.or_else(|error| match self.state.lock().sessions.seen(id) {
            Seen::Decided(memo) => Ok(memo.outcome()),
            Seen::TooOld => Ok(Outcome::Unknown),
            Seen::Never => Err(error),
        })
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        let watcher = self.read(|state| state.history.watch(prefix, after))??;
        Ok(Box::new(watcher))
    }

    async fn open_session(
        &self,
        id: SessionId,
        label: &str,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        self.decide(|group| group.open_session(id, label.to_owned(), now))
    }

    async fn report_oldest_read(&self, id: SessionId, oldest: Revision) -> Result<(), KvError> {
        self.decide(|group| group.report_oldest_read(id, oldest))
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        self.decide(|group| group.end_session(id))
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        self.read(|state| state.sessions.infos())
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        self.read(|state| state.records.revision())
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        self.read(|state| KvStatus {
            engine: "memory",
            replicas: 1,
            disk_bytes: 0,
            commits: state.commits,
            syncs: 0,
        })
    }

    async fn close(&self, _deadline: Duration) -> Result<(), KvError> {
        let mut state = self.state.lock();
        state.open = false;
        state.forget_readers();
        Ok(())
    }
}

/// See [`Reader`].
struct Snapshot {
    state: Arc<Mutex<State>>,
    revision: Revision,
    epoch: u64,
    deadline: Option<(Arc<dyn Clock>, Duration)>,
}

impl Snapshot {
    fn read<T>(&self, read: impl FnOnce(&Records) -> T) -> Result<T, KvError> {
        let over = self.deadline.as_ref();
        if over.is_some_and(|(clock, deadline)| clock.monotonic() >= *deadline) {
            return Err(KvError::SnapshotExpired);
        }
        let state = self.state.lock();
        if state.epoch == self.epoch {
            Ok(read(&state.records))
        } else {
            Err(KvError::SnapshotExpired)
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.records.release(self.revision);
        }
    }
}

#[async_trait::async_trait]
impl Reader for Snapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.read(|records| records.get(key, self.revision))
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        self.read(|records| keys.iter().map(|key| records.get(key, self.revision)).collect())
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        self.read(|records| records.scan(range, limit, direction, self.revision))
    }
}

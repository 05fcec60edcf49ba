//! One group of batches: guards evaluated in order against what is stored and what the earlier batches of
//! the group changed, and the writes that come of it. Pure but for the reads; the engine makes it real.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use types::{BatchId, Revision, SessionId, UnixMillis, limits};

use super::history::Change;
use super::sessions::{Memo, Seen, SessionRecord, SessionTable};
use crate::{
    Batch, BatchTooLarge, Event, Guard, Key, KeyRange, KvError, Outcome, SessionInfo, Versioned,
    Write, decode_counter, encode_counter,
};

/// What is stored when a group begins.
pub(crate) trait Base {
    /// The newest revision.
    fn revision(&self) -> Revision;

    /// A record, without its value when that is longer than `limit` bytes.
    fn peek(&self, key: &Key, limit: usize) -> Result<Option<(Revision, Option<Bytes>)>, KvError>;

    /// The keys of a range, ascending.
    fn keys(&self, range: &KeyRange) -> impl Iterator<Item = Result<Key, KvError>>;
}

/// Values up to this length are kept when a guard reads them, for an `Add` may follow.
const KEEP_BYTES: usize = 16;

/// What is known of a key within the group.
#[derive(Clone)]
struct Cell {
    /// Who put it; `None` when it is absent.
    revision: Option<Revision>,
    /// Its value, when that was needed.
    value: Option<Bytes>,
    /// Whether this group changed it.
    dirty: bool,
}

/// What one batch changes: values to put, `None` to remove.
type Stage = BTreeMap<Key, Option<Bytes>>;

/// A group under evaluation.
pub(crate) struct Group<'a, B> {
    base: &'a B,
    table: &'a SessionTable,
    cells: BTreeMap<Key, Cell>,
    revision: Revision,
    /// In order, so that of two that share a slot of the window the later is written last.
    outcomes: BTreeMap<BatchId, Memo>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    changes: Vec<Change>,
    commits: u64,
}

/// What a group comes to, free of what it was evaluated against.
pub(crate) struct Decided {
    /// The newest revision.
    pub(crate) revision: Revision,
    /// Changed records, by key; `None` for those removed.
    pub(crate) records: Vec<(Key, Option<Versioned>)>,
    /// New outcomes.
    pub(crate) outcomes: BTreeMap<BatchId, Memo>,
    /// New and changed sessions.
    pub(crate) sessions: BTreeMap<SessionId, SessionRecord>,
    /// For watchers.
    pub(crate) changes: Vec<Change>,
    /// Batches that committed.
    pub(crate) commits: u64,
}

impl Decided {
    /// Whether there is anything to make durable. Conflicts alone are not: they travel with the next commit.
    pub(crate) fn is_durable_work(&self) -> bool {
        self.commits > 0 || !self.sessions.is_empty()
    }
}

impl<'a, B: Base> Group<'a, B> {
    /// An empty group over what is durable.
    pub(crate) fn new(base: &'a B, table: &'a SessionTable) -> Self {
        Self {
            base,
            table,
            cells: BTreeMap::new(),
            revision: base.revision(),
            outcomes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            changes: Vec::new(),
            commits: 0,
        }
    }

    /// Ends the evaluation.
    pub(crate) fn decide(self) -> Decided {
        let changed = self.cells.into_iter().filter(|(_, cell)| cell.dirty);
        let records = changed
            .map(|(key, cell)| {
                let put = cell.revision.zip(cell.value);
                (key, put.map(|(revision, value)| Versioned { value, revision }))
            })
            .collect();
        Decided {
            revision: self.revision,
            records,
            outcomes: self.outcomes,
            sessions: self.sessions,
            changes: self.changes,
            commits: self.commits,
        }
    }

    fn session(&self, id: SessionId) -> Option<&SessionRecord> {
        self.sessions.get(&id).or_else(|| self.table.get(id).map(|session| &session.record))
    }

    /// What became of a batch that was handed in before.
    pub(crate) fn decided(&self, id: BatchId) -> Option<Outcome> {
        match (self.outcomes.get(&id), self.table.seen(id)) {
            (Some(memo), _) => Some(memo.outcome()),
            (None, Seen::Decided(memo)) => Some(memo.outcome()),
            (None, Seen::TooOld) => Some(Outcome::Unknown),
            (None, Seen::Never) => None,
        }
    }

    /// Evaluates a batch that is not [`Self::decided`].
    ///
    /// # Errors
    /// When nothing came of it: it breaks a limit, or what it relies on cannot be read.
    pub(crate) fn commit(&mut self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        if self.session(id.session).is_none_or(|record| record.info.ended.is_some()) {
            return Ok(Outcome::Fenced);
        }
        for (index, guard) in batch.guards.iter().enumerate() {
            if !self.holds(guard, &batch.writes)? {
                let memo = Memo::Conflict(u32::try_from(index).unwrap_or(u32::MAX));
                self.outcomes.insert(id, memo);
                return Ok(memo.outcome());
            }
        }
        let revision = Revision(self.revision.0 + 1);
        let stage = self.stage(batch.writes, revision)?;
        self.apply(stage, revision);
        let memo = Memo::Committed(revision);
        self.outcomes.insert(id, memo);
        Ok(memo.outcome())
    }

    /// Opens a session.
    pub(crate) fn open_session(
        &mut self,
        id: SessionId,
        label: String,
        now: UnixMillis,
    ) -> Result<(), KvError> {
        if self.session(id).is_some() {
            return Err(KvError::Unavailable(format!("the session id {id} is taken")));
        }
        let info =
            SessionInfo { id, label, opened_at: now, oldest_read: self.revision, ended: None };
        let record = SessionRecord { info, last_sequence: 0, forgotten: false };
        self.sessions.insert(id, record);
        Ok(())
    }

    /// Records how far back a session still reads. An ended one reads nothing that counts.
    pub(crate) fn report_oldest_read(
        &mut self,
        id: SessionId,
        oldest: Revision,
    ) -> Result<(), KvError> {
        let mut record = self.known_session(id)?.clone();
        if record.info.ended.is_none() && oldest > record.info.oldest_read {
            record.info.oldest_read = oldest;
            self.sessions.insert(id, record);
        }
        Ok(())
    }

    /// Ends a session.
    pub(crate) fn end_session(&mut self, id: SessionId) -> Result<Revision, KvError> {
        let mut record = self.known_session(id)?.clone();
        if let Some(ended) = record.info.ended {
            return Ok(ended);
        }
        let revision = Revision(self.revision.0 + 1);
        record.info.ended = Some(revision);
        let of_this_group = self.outcomes.keys().filter(|batch| batch.session == id);
        let newest = of_this_group.map(|batch| batch.sequence).max().unwrap_or(0);
        record.last_sequence = record.last_sequence.max(newest);
        self.sessions.insert(id, record);
        self.apply(Stage::new(), revision);
        Ok(revision)
    }

    fn known_session(&self, id: SessionId) -> Result<&SessionRecord, KvError> {
        self.session(id)
            .ok_or_else(|| KvError::Unavailable(format!("the session {id} was never opened")))
    }

    /// What is known of a key, read if need be.
    fn cell(&mut self, key: &Key) -> Result<&Cell, KvError> {
        if !self.cells.contains_key(key) {
            let (revision, value) = match self.base.peek(key, KEEP_BYTES)? {
                Some((revision, value)) => (Some(revision), value),
                None => (None, None),
            };
            self.cells.insert(key.clone(), Cell { revision, value, dirty: false });
        }
        self.cells
            .get(key)
            .ok_or_else(|| KvError::Corrupt("a cell that was put is gone".to_owned()))
    }

    fn counter(&mut self, key: &Key) -> Result<i64, KvError> {
        let cell = self.cell(key)?;
        match (cell.revision, cell.value.as_deref().and_then(decode_counter)) {
            (None, _) => Ok(0),
            (Some(_), Some(value)) => Ok(value),
            (Some(_), None) => Err(KvError::Corrupt(format!("{key:?} does not hold a counter"))),
        }
    }

    fn holds(&mut self, guard: &Guard, writes: &[Write]) -> Result<bool, KvError> {
        Ok(match guard {
            Guard::Absent(key) => self.cell(key)?.revision.is_none(),
            Guard::Exists(key) => self.cell(key)?.revision.is_some(),
            Guard::Revision(key, revision) => self.cell(key)?.revision == Some(*revision),
            Guard::EmptyRange(range) => self.live_keys(range, &Stage::new(), 1)?.is_empty(),
            Guard::AtMost(key, most) => {
                let mut sum = i128::from(self.counter(key)?);
                for write in writes {
                    match write {
                        Write::Add(counter, by) if counter == key => sum += i128::from(*by),
                        _ => {}
                    }
                }
                sum <= i128::from(*most)
            }
        })
    }

    /// At most `limit` keys that are in the range once `stage` is done.
    fn live_keys(
        &self,
        range: &KeyRange,
        stage: &Stage,
        limit: usize,
    ) -> Result<Vec<Key>, KvError> {
        let within = (Bound::Included(range.start()), Bound::Excluded(range.end()));
        let staged = stage.range::<Key, _>(within);
        let mut found: Vec<Key> =
            staged.filter(|(_, value)| value.is_some()).map(|(key, _)| key.clone()).collect();
        for (key, cell) in self.cells.range::<Key, _>(within) {
            if cell.dirty && cell.revision.is_some() && !stage.contains_key(key) {
                found.push(key.clone());
            }
        }
        for key in self.base.keys(range) {
            if found.len() >= limit {
                break;
            }
            let key = key?;
            let changed = self.cells.get(&key).is_some_and(|cell| cell.dirty);
            if !changed && !stage.contains_key(&key) {
                found.push(key);
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Works out what the writes of one batch come to, in order.
    fn stage(&mut self, writes: Vec<Write>, revision: Revision) -> Result<Stage, KvError> {
        let mut stage = Stage::new();
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    stage.insert(key, Some(value));
                }
                Write::PutStamped(prefix, suffix, value) => {
                    let mut bytes = prefix.as_bytes().to_vec();
                    bytes.extend_from_slice(&revision.0.to_be_bytes());
                    bytes.extend_from_slice(&suffix);
                    let len = bytes.len();
                    let key = Key::new(bytes).map_err(|_| BatchTooLarge::Bytes(len))?;
                    stage.insert(key, Some(value));
                }
                Write::Delete(key) => {
                    if stage.contains_key(&key) || self.cell(&key)?.revision.is_some() {
                        stage.insert(key, None);
                    }
                }
                Write::DeleteRange(range) => {
                    let limit = limits::KV_DELETE_RANGE_MAX_KEYS;
                    let keys = self.live_keys(&range, &stage, limit + 1)?;
                    if keys.len() > limit {
                        return Err(BatchTooLarge::Range.into());
                    }
                    stage.extend(keys.into_iter().map(|key| (key, None)));
                }
                Write::Add(key, by) => {
                    let value = match stage.get(&key) {
                        Some(Some(value)) => decode_counter(value)
                            .ok_or_else(|| KvError::Corrupt(format!("{key:?} is no counter")))?,
                        Some(None) => 0,
                        None => self.counter(&key)?,
                    };
                    let sum = value
                        .checked_add(by)
                        .ok_or_else(|| KvError::Corrupt(format!("{key:?} overflows")))?;
                    stage.insert(key, Some(Bytes::copy_from_slice(&encode_counter(sum))));
                }
            }
        }
        Ok(stage)
    }

    fn apply(&mut self, stage: Stage, revision: Revision) {
        let mut events = Vec::with_capacity(stage.len());
        for (key, value) in stage {
            events.push(Event { key: key.clone(), value: value.clone(), revision });
            let put = value.is_some().then_some(revision);
            self.cells.insert(key, Cell { revision: put, value, dirty: true });
        }
        self.changes.push(Change { revision, events });
        self.revision = revision;
        self.commits += 1;
    }
}

//! What the recorded process does with its store, and how a store is compared with what it did.
//!
//! Every batch is a function of its sequence, so that a store can be compared with a [`Memory`] into which the
//! same batches went in the order of their revisions: all keys, all values, all revisions.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::engine::closed;
use crate::memory::Memory;
use crate::{Entry, Guard};

/// The session that commits, and one that ends on the way.
pub(super) const WRITER: SessionId = SessionId::new(1);
pub(super) const OTHER: SessionId = SessionId::new(2);
/// Where sequences begin: of small batches, of those that fill the library's journal, of small ones behind
/// them, of a process that begins with what a crash has left.
const SMALL: u64 = 1;
const BIG: u64 = 10_000;
const MORE: u64 = 20_000;
const AGAIN: u64 = 30_000;
/// How many are committed between two looks at the files.
const STRETCH: u64 = 40;
/// Who commits at once.
const WRITERS: u64 = 6;
const BIG_BYTES: usize = 510_000;

/// Small memtables, so that a short history has flushes and compactions.
pub(super) fn options() -> LsmOptions {
    LsmOptions {
        cache_bytes: 4 << 20,
        memtable_bytes: 16 << 10,
        reserve_bytes: 0,
        ..LsmOptions::default()
    }
}

/// What a process was told, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// Both sessions are open.
    Opened,
    /// This batch has committed.
    Committed(u64, Revision),
    /// This batch has not, for its guard.
    Conflict(u64),
    /// The other session has ended.
    Ended(Revision),
}

impl Ack {
    fn encode(self) -> [u8; 24] {
        let (tag, sequence, revision) = match self {
            Self::Opened => (0u64, 0, 0),
            Self::Committed(sequence, revision) => (1, sequence, revision.0),
            Self::Conflict(sequence) => (2, sequence, 0),
            Self::Ended(revision) => (3, 0, revision.0),
        };
        let mut bytes = [0; 24];
        for (place, number) in bytes.chunks_exact_mut(8).zip([tag, sequence, revision]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Whether it is of a batch that fills the journal.
    pub(super) fn is_big(self) -> bool {
        matches!(self, Self::Committed(sequence, _) if (BIG..MORE).contains(&sequence))
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            u64::from_be_bytes(bytes[at..at + 8].try_into().expect("acks are three numbers"))
        };
        match number(0) {
            0 => Self::Opened,
            1 => Self::Committed(number(8), Revision(number(16))),
            2 => Self::Conflict(number(8)),
            _ => Self::Ended(Revision(number(16))),
        }
    }
}

pub(super) fn id(sequence: u64) -> BatchId {
    BatchId { session: WRITER, sequence }
}

/// The batches.
pub(super) struct Batches {
    /// Values are slices of it.
    pattern: Bytes,
}

fn key(kind: u8, number: u64) -> Key {
    Key::data(types::Token(7), &[&[kind], &number.to_be_bytes()]).expect("a key")
}

const MARKERS: u8 = b'm';

impl Batches {
    pub(super) fn new() -> Self {
        let mut pattern = vec![0; BIG_BYTES + 65_536];
        runtime::Entropy::fill(&runtime::SimEntropy::new(1), &mut pattern);
        Self { pattern: pattern.into() }
    }

    fn value(&self, sequence: u64, len: usize) -> Bytes {
        let at = (sequence.wrapping_mul(7919) % 65_536) as usize;
        self.pattern.slice(at..at + len)
    }

    /// Whether a batch has a guard that never holds.
    fn is_refused(sequence: u64) -> bool {
        sequence % 17 == 5
    }

    pub(super) fn batch(&self, sequence: u64) -> Batch {
        let mut batch = Batch::default();
        let marker = key(MARKERS, sequence);
        batch.guard(Guard::Absent(marker.clone()));
        if Self::is_refused(sequence) {
            batch.guard(Guard::Exists(key(b'-', 0)));
        }
        batch.put(marker, self.value(sequence, 20));
        batch.write(Write::Add(key(b'c', sequence % 3), sequence as i64));
        batch.write(Write::Add(key(b'c', 9), 1));
        if (BIG..MORE).contains(&sequence) {
            batch.put(key(b'b', 0), self.value(sequence, BIG_BYTES));
            batch.put(key(b'b', 1), self.value(sequence + 1, BIG_BYTES));
            return batch;
        }
        let slot = sequence * 31 % 60;
        for n in 0..3 {
            let len = (sequence * 131 + n * 977) as usize % 900;
            batch.put(key(b's', (slot + n) % 60), self.value(sequence + n, len));
        }
        batch.write(Write::Delete(key(b's', (slot + 20) % 60)));
        batch.put(key(b'r', sequence % 100), self.value(sequence, 300));
        match sequence % 20 {
            3 => {
                let range = KeyRange::new(key(b'q', 0), key(b'q', sequence)).expect("a range");
                batch.write(Write::DeleteRange(range));
            }
            7 => drop(batch.put(key(b'l', sequence % 3), self.value(sequence, 40_000))),
            _ => drop(batch.put(key(b'q', sequence * 13 % 500), self.value(sequence, 70))),
        }
        let suffix = Bytes::copy_from_slice(&sequence.to_be_bytes());
        batch.write(Write::PutStamped(key(b'p', 0), suffix, self.value(sequence, 10)));
        batch
    }
}

/// The recorded process: a store in `root/store`, what it was told in `root/acks`.
struct Process {
    root: PathBuf,
    batches: Arc<Batches>,
    acks: Arc<std::fs::File>,
}

impl Process {
    fn open(&self) -> Arc<Lsm> {
        Lsm::open(&self.root.join("store"), Runtime::real(), options()).expect("opens")
    }

    fn ack(&self, ack: Ack) {
        (&*self.acks).write_all(&ack.encode()).expect("is noted");
    }

    /// Commits stretches of sequences, by so many writers, until the library has done its part: its threads
    /// may lag behind. The next sequence.
    async fn commit_until(
        &self,
        store: &Arc<Lsm>,
        start: u64,
        writers: u64,
        done: impl Fn() -> bool,
    ) -> u64 {
        let mut next = start;
        while !done() {
            assert!(next < start + 9000, "the library does not get on");
            self.commit(store, next..next + STRETCH, writers).await;
            next += STRETCH;
            Runtime::real().clock.sleep(Duration::from_millis(1)).await;
        }
        next
    }

    /// Commits a stretch of sequences.
    async fn commit(&self, store: &Arc<Lsm>, sequences: std::ops::Range<u64>, writers: u64) {
        let next = Arc::new(AtomicU64::new(sequences.start));
        let writers: Vec<_> = (0..writers)
            .map(|_| {
                let (store, next, end) = (store.clone(), next.clone(), sequences.end);
                let (batches, acks) = (self.batches.clone(), self.acks.clone());
                tokio::spawn(async move {
                    loop {
                        let sequence = next.fetch_add(1, Ordering::Relaxed);
                        if sequence >= end {
                            return;
                        }
                        let ack = match store.commit(id(sequence), batches.batch(sequence)).await {
                            Ok(Outcome::Committed(revision)) => Ack::Committed(sequence, revision),
                            Ok(Outcome::Conflict(1)) => Ack::Conflict(sequence),
                            other => panic!("{sequence}: {other:?}"),
                        };
                        (&*acks).write_all(&ack.encode()).expect("is noted");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.expect("commits");
        }
    }
}

/// Commits to a new store, or to what a crash has left of one.
pub(super) async fn run(root: &Path) {
    let is_new = !root.join("store").exists();
    let acks = std::fs::File::create_new(root.join("acks")).expect("makes");
    let process =
        Process { root: root.to_owned(), batches: Arc::new(Batches::new()), acks: Arc::new(acks) };
    let store = process.open();
    let there = store.sessions().await.expect("answers");
    for session in [WRITER, OTHER] {
        if !there.iter().any(|found| found.id == session) {
            store.open_session(session, "recorded", UnixMillis(1)).await.expect("opens");
        }
    }
    process.ack(Ack::Opened);
    if !is_new {
        // What was read once must stay.
        for (revision, sequence) in applied(&entries(&*store).await) {
            process.ack(Ack::Committed(sequence, revision));
        }
        process.commit(&store, AGAIN..AGAIN + STRETCH, WRITERS).await;
        return;
    }
    process.commit(&store, SMALL..SMALL + 2 * STRETCH, WRITERS).await;
    process.ack(Ack::Ended(store.end_session(OTHER).await.expect("ends")));
    store.close(Duration::from_secs(60)).await.expect("closes");
    drop(store);
    let store = process.open();
    let files = root.join("store/fjall");
    let flushed = || versions(&files.join("keyspaces/1")) >= 40;
    process.commit_until(&store, SMALL + 2 * STRETCH, WRITERS, flushed).await;
    // One by one: of several in one commit only the last value of a key is written.
    process.commit_until(&store, BIG, 1, || files.join("1.jnl").exists()).await;
    let dropped = || !files.join("0.jnl").exists();
    let next = process.commit_until(&store, MORE, WRITERS, dropped).await;
    process.commit(&store, next..next + STRETCH, WRITERS).await;
    store.close(Duration::from_secs(60)).await.expect("closes");
    drop(store);
    drop(process.open());
}

/// How often the tables of a keyspace have changed.
fn versions(keyspace: &Path) -> u64 {
    let names = std::fs::read_dir(keyspace).expect("lists").map(|entry| entry.expect("lists"));
    let number = |name: std::ffi::OsString| name.to_str()?.strip_prefix('v')?.parse().ok();
    names.filter_map(|entry| number(entry.file_name())).max().unwrap_or(0)
}

/// What a crash state must agree with.
pub(super) struct Expected<'a> {
    pub(super) batches: &'a Batches,
    /// All that was acknowledged before.
    pub(super) acks: &'a [Ack],
}

async fn entries(store: &dyn Kv) -> Vec<Entry> {
    let mut rest = Some(KeyRange::new(key(0, 0), key(255, 0)).expect("a range"));
    let mut found: Vec<Entry> = Vec::new();
    while let Some(range) = rest {
        let page = store.scan(&range, 4096, Direction::Forward).await.expect("reads");
        found.extend(page.entries);
        let last = found.last().filter(|_| page.more);
        rest = last.and_then(|last| range.starting_at(last.key.successor()));
    }
    found
}

/// The batches that are in a store, by revision: whoever left a marker.
fn applied(entries: &[Entry]) -> BTreeMap<Revision, u64> {
    let prefix = key(MARKERS, 0);
    let (prefix, _) = prefix.as_bytes().split_at(prefix.as_bytes().len() - 8);
    let markers = entries.iter().filter_map(|entry| {
        let number = entry.key.as_bytes().strip_prefix(prefix)?.try_into().ok()?;
        Some((entry.revision, u64::from_be_bytes(number)))
    });
    markers.collect()
}

impl Expected<'_> {
    /// Compares a store, and leaves it as it is.
    pub(super) async fn check(&self, store: &Lsm) -> Result<BTreeMap<Revision, u64>, String> {
        let found = entries(store).await;
        let applied = applied(&found);
        let newest = store.revision().await.map_err(|e| e.to_string())?;
        let sessions = store.sessions().await.map_err(|e| e.to_string())?;
        let ended = sessions.iter().find(|s| s.id == OTHER).and_then(|session| session.ended);
        let model = Memory::new();
        for session in [WRITER, OTHER] {
            let opened = model.open_session(session, "recorded", UnixMillis(1)).await;
            opened.map_err(|e| e.to_string())?;
        }
        // Every revision is one batch, or the end of the other session: none is missing.
        for revision in (1..=newest.0).map(Revision) {
            let made = match applied.get(&revision) {
                Some(sequence) => {
                    let batch = self.batches.batch(*sequence);
                    model.commit(id(*sequence), batch).await.map_err(|e| e.to_string())?
                }
                None if ended == Some(revision) => {
                    Outcome::Committed(model.end_session(OTHER).await.map_err(|e| e.to_string())?)
                }
                None => return Err(format!("nothing has revision {revision} of {newest}")),
            };
            if made != Outcome::Committed(revision) {
                return Err(format!("revision {revision} comes out as {made:?}"));
            }
        }
        let expected = entries(&*model).await;
        if found != expected {
            return Err(difference(&found, &expected));
        }
        self.check_acks(store, &applied, ended, &sessions).await?;
        Ok(applied)
    }

    async fn check_acks(
        &self,
        store: &Lsm,
        applied: &BTreeMap<Revision, u64>,
        ended: Option<Revision>,
        sessions: &[SessionInfo],
    ) -> Result<(), String> {
        for ack in self.acks {
            let holds = match ack {
                Ack::Opened => sessions.len() == 2,
                Ack::Committed(sequence, revision) => applied.get(revision) == Some(sequence),
                Ack::Conflict(sequence) => !applied.values().any(|applied| applied == sequence),
                Ack::Ended(revision) => ended == Some(*revision),
            };
            if !holds {
                return Err(format!("lost: {ack:?}"));
            }
        }
        // Whatever is there, acknowledged or not, happened once and says so.
        for (revision, sequence) in applied {
            let again = store.commit(id(*sequence), self.batches.batch(*sequence)).await;
            if !matches!(again, Ok(Outcome::Committed(same)) if same == *revision) {
                return Err(format!("repeated, {sequence} of revision {revision} is {again:?}"));
            }
        }
        Ok(())
    }
}

fn difference(found: &[Entry], expected: &[Entry]) -> String {
    let first = found.iter().zip(expected).find(|(found, expected)| found != expected);
    let first = first.map(|(found, expected)| {
        format!(
            "{:?} of {} is {:?} of {}",
            found.key, found.revision, expected.key, expected.revision
        )
    });
    format!("{} entries are {}: {first:?}", found.len(), expected.len())
}

/// The store goes on: a new batch comes behind everything that was acknowledged.
pub(super) async fn go_on(store: &Lsm, acks: &[Ack]) -> Result<(), String> {
    let session = SessionId::new(3);
    let failed = |e: KvError| e.to_string();
    store.open_session(session, "after", UnixMillis(2)).await.map_err(failed)?;
    let mut batch = Batch::default();
    batch.put(Key::control("/after").map_err(|_| failed(closed()))?, "x");
    let outcome = store.commit(BatchId { session, sequence: 1 }, batch).await.map_err(failed)?;
    let Outcome::Committed(revision) = outcome else { return Err(format!("{outcome:?}")) };
    for ack in acks {
        if let Ack::Committed(_, before) | Ack::Ended(before) = ack
            && *before >= revision
        {
            return Err(format!("a new batch has revision {revision} again: {ack:?}"));
        }
    }
    Ok(())
}

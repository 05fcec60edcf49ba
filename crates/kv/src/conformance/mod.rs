//! The suite that every engine of [`Kv`] passes: one function per promise, one call for all of them.
//!
//! ```text
//! #[tokio::test(flavor = "multi_thread")]
//! async fn conforms() { kv::conformance::run(|| async { make_an_empty_store() }).await; }
//! ```
//!
//! Everything runs twice: as it is, and through [`Lossy`], which loses the first reply of every call and
//! repeats it. The suite knows no engine: durability, restarts and disks are the engines' own tests.
//! A broken promise is a panic that names it.

mod batches;
mod guards;
mod model;
mod reads;
mod sessions;
mod values;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use runtime::{Entropy, SimEntropy};
use types::{BatchId, Revision, SessionId, Token, UnixMillis};

use crate::{
    Batch, Direction, Entry, Key, KeyRange, Kv, KvError, KvStatus, Outcome, Page, Reader,
    SessionInfo, Versioned, Watcher,
};

type Check = for<'a> fn(&'a Client) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

macro_rules! checks {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)),
            (|client| Box::pin($module::$name(client))) as Check)),*]
    };
}

/// All promises.
const CHECKS: &[(&str, Check)] = checks![
    values::keys_are_ordered_by_their_bytes,
    values::values_of_any_length_come_back,
    values::limits_are_kept_and_nothing_is_written,
    guards::each_guard_holds_and_fails_as_it_says,
    guards::a_conflict_names_its_guard_and_writes_nothing,
    guards::empty_ranges_are_exact,
    guards::at_most_counts_the_batch_itself,
    guards::racing_increments_are_exact,
    guards::one_of_many_creators_wins,
    guards::one_of_many_deleters_wins,
    guards::one_of_many_wins_an_empty_range,
    guards::racing_adds_stop_at_the_limit,
    batches::revisions_rise_and_are_the_values,
    batches::a_batch_is_all_or_nothing_to_readers,
    batches::adds_accumulate,
    batches::a_repeated_batch_has_its_first_outcome,
    batches::a_batch_repeated_in_flight_commits_once,
    batches::stamps_are_in_commit_order,
    batches::range_deletes_are_exact_and_bounded,
    batches::a_deleted_key_can_come_back,
    sessions::unknown_and_ended_sessions_are_fenced,
    sessions::ending_again_gives_the_same_revision,
    sessions::ids_are_never_used_again,
    sessions::outcomes_outlive_their_session,
    sessions::the_oldest_read_only_rises,
    sessions::an_end_is_ordered_with_commits,
    reads::pages_join_to_the_whole_range,
    reads::pages_are_bounded_in_bytes,
    reads::several_records_are_of_one_revision,
    reads::what_was_acknowledged_is_seen,
    reads::snapshots_stand_still,
    reads::visits_are_scans,
    reads::visits_that_seek_are_filtered_scans,
    watches::changes_come_once_and_in_order,
    watches::watchers_may_begin_in_the_past,
    model::random_batches_agree_with_a_map,
    values::a_closed_store_says_so,
];

/// Checks every promise on stores that `make` returns: each call an empty one, as long as the suite runs.
///
/// Runs on the current tokio runtime, which should have several threads.
///
/// # Panics
/// When a promise is broken.
pub async fn run<F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Kv>>,
{
    for lossy in [false, true] {
        for (index, (name, check)) in CHECKS.iter().enumerate() {
            tracing::info!(name, lossy, "checking");
            let store = make().await;
            let store: Arc<dyn Kv> = if lossy { Arc::new(Lossy::new(store)) } else { store };
            let client = Client::open(store.clone(), 1 + index as u64).await;
            check(&client).await;
            // Whether it was closed already is the check's business.
            let _ = store.close(Duration::from_secs(30)).await;
        }
    }
}

/// A store whose first reply to each call is lost, and which is then asked again.
///
/// Batches are repeated under the same id: alternately after the first call has ended and while it is
/// under way. Not repeated: `open_session`, whose repetition is an error by contract.
pub struct Lossy {
    inner: Arc<dyn Kv>,
    calls: AtomicU64,
}

impl Lossy {
    /// Loses the replies of `inner`.
    pub fn new(inner: Arc<dyn Kv>) -> Self {
        Self { inner, calls: AtomicU64::new(0) }
    }
}

#[async_trait::async_trait]
impl Kv for Lossy {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, KvError> {
        let _ = self.inner.get(key).await;
        self.inner.get(key).await
    }

    async fn multi_get(&self, keys: &[Key]) -> Result<Vec<Option<Versioned>>, KvError> {
        let _ = self.inner.multi_get(keys).await;
        self.inner.multi_get(keys).await
    }

    async fn scan(
        &self,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Page, KvError> {
        let _ = self.inner.scan(range, limit, direction).await;
        self.inner.scan(range, limit, direction).await
    }

    async fn snapshot(&self) -> Result<Box<dyn Reader>, KvError> {
        let _ = self.inner.snapshot().await;
        self.inner.snapshot().await
    }

    async fn commit(&self, id: BatchId, batch: Batch) -> Result<Outcome, KvError> {
        let first = self.inner.commit(id, batch.clone());
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            let first = first.await;
            let second = self.inner.commit(id, batch).await;
            assert!(same(&first, &second), "repeated: {first:?}, then {second:?}");
            second
        } else {
            let (first, second) = futures::join!(first, self.inner.commit(id, batch));
            assert!(same(&first, &second), "at once: {first:?} and {second:?}");
            second
        }
    }

    async fn watch(&self, prefix: &Key, after: Revision) -> Result<Box<dyn Watcher>, KvError> {
        let _ = self.inner.watch(prefix, after).await;
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
        let _ = self.inner.report_oldest_read(id, oldest).await;
        self.inner.report_oldest_read(id, oldest).await
    }

    async fn end_session(&self, id: SessionId) -> Result<Revision, KvError> {
        let _ = self.inner.end_session(id).await;
        self.inner.end_session(id).await
    }

    async fn sessions(&self) -> Result<Vec<SessionInfo>, KvError> {
        let _ = self.inner.sessions().await;
        self.inner.sessions().await
    }

    async fn revision(&self) -> Result<Revision, KvError> {
        let _ = self.inner.revision().await;
        self.inner.revision().await
    }

    async fn status(&self) -> Result<KvStatus, KvError> {
        let _ = self.inner.status().await;
        self.inner.status().await
    }

    async fn close(&self, deadline: Duration) -> Result<(), KvError> {
        let _ = self.inner.close(deadline).await;
        self.inner.close(deadline).await
    }
}

/// Whether two answers to one batch agree. One that was fenced by an end in between does not count.
fn same(first: &Result<Outcome, KvError>, second: &Result<Outcome, KvError>) -> bool {
    match (first, second) {
        (Ok(first), Ok(second)) => first == second || *first == Outcome::Unknown,
        (Err(first), Err(second)) => first.kind() == second.kind(),
        _ => false,
    }
}

/// A caller: a store, a session and its next sequence, and randomness from a seed.
#[derive(Clone)]
struct Client {
    store: Arc<dyn Kv>,
    session: SessionId,
    sequence: Arc<AtomicU64>,
    entropy: Arc<SimEntropy>,
}

impl Client {
    async fn open(store: Arc<dyn Kv>, seed: u64) -> Self {
        let session = SessionId::new(0x5e55_0000 + seed);
        store.open_session(session, "conformance", UnixMillis(1)).await.expect("a session opens");
        let entropy = Arc::new(SimEntropy::new(seed));
        Self { store, session, sequence: Arc::new(AtomicU64::new(1)), entropy }
    }

    fn next_id(&self) -> BatchId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        BatchId { session: self.session, sequence }
    }

    async fn try_commit(&self, batch: Batch) -> Result<Outcome, KvError> {
        self.store.commit(self.next_id(), batch).await
    }

    async fn commit(&self, batch: Batch) -> Outcome {
        self.try_commit(batch).await.expect("the store answers")
    }

    /// Commits what must commit.
    async fn must(&self, batch: Batch) -> Revision {
        match self.commit(batch).await {
            Outcome::Committed(revision) => revision,
            other => panic!("a batch without a reason to fail was {other:?}"),
        }
    }

    async fn put(&self, key: &Key, value: impl Into<Bytes>) -> Revision {
        let mut batch = Batch::default();
        batch.put(key.clone(), value);
        self.must(batch).await
    }

    async fn get(&self, key: &Key) -> Option<Versioned> {
        self.store.get(key).await.expect("the store answers")
    }

    async fn value(&self, key: &Key) -> Option<Bytes> {
        self.get(key).await.map(|found| found.value)
    }

    /// All entries of a range, in pages.
    async fn all(&self, range: &KeyRange) -> Vec<Entry> {
        pages(&*self.store, range, 512, Direction::Forward).await
    }

    fn below(&self, bound: u64) -> u64 {
        self.entropy.nonzero_u64() % bound
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

/// All entries of a range by pages of `limit`.
async fn pages(store: &dyn Kv, range: &KeyRange, limit: usize, direction: Direction) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let mut rest = Some(range.clone());
    while let Some(range) = rest {
        let page = store.scan(&range, limit, direction).await.expect("the store answers");
        assert!(page.entries.len() <= limit, "a page of {} over {limit}", page.entries.len());
        let Some(last) = page.entries.last().map(|entry| entry.key.clone()) else {
            assert!(!page.more, "an empty page says that there is more");
            break;
        };
        found.extend(page.entries);
        if !page.more {
            break;
        }
        rest = match direction {
            Direction::Forward => range.starting_at(last.successor()),
            Direction::Backward => range.ending_before(last),
        };
    }
    found
}

/// A control key.
fn path(text: &str) -> Key {
    Key::control(text).expect("a path")
}

/// A data key of the suite's token.
fn data(parts: &[&[u8]]) -> Key {
    Key::data(Token(0x0102_0304), parts).expect("a key")
}

/// All data keys of the suite's token that begin with `part`.
fn under(part: &[u8]) -> KeyRange {
    KeyRange::prefix(&data(&[part]))
}

/// Runs one task per number at once and gives what they return, in order.
async fn at_once<T, F, Fut>(count: u64, task: F) -> Vec<T>
where
    T: Send + 'static,
    F: Fn(u64) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("the task does not panic"));
    }
    results
}

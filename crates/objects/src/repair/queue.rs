//! Which task is next: over all tokens those with the smallest margin first, without holding all tasks in memory, and
//! without looking at a blob again and again that cannot be helped yet.

use std::collections::HashMap;
use std::time::Duration;

use kv::{Key, KeyRange, Kv, KvError, Step};
use types::{BlobId, Revision, Token};

use crate::schema::repair::{self, Repair};
use crate::schema::{Home, Kind, Record as _};
use crate::tour;

/// Tasks that one look goes over at most, taken or not: a snapshot does not live long.
const LOOK_MAX: usize = 20_000;
/// How long a blob rests that could not be helped, the first time.
const REST_MIN: Duration = Duration::from_secs(5);
/// And later.
const REST_MAX: Duration = Duration::from_secs(300);
/// Blobs whose rests are remembered.
const RESTING_MAX: usize = 200_000;

/// A task as it was found.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) key: Key,
    pub(super) revision: Revision,
    pub(super) blob: BlobId,
    pub(super) home: Home,
}

/// Goes over the tasks in rounds: all of the smallest margin, then all of the next.
#[derive(Default)]
pub(super) struct Queue {
    level: u8,
    /// Where to go on in this level.
    from: Option<Key>,
    /// The next margin that was seen.
    higher: Option<u8>,
    /// The last tasks of the round were given out.
    over: bool,
    resting: HashMap<BlobId, Rest>,
}

#[derive(Clone, Copy)]
struct Rest {
    times: u32,
    until: Duration,
}

impl Queue {
    /// Begins a new round.
    pub(super) fn restart(&mut self) {
        (self.level, self.from, self.higher, self.over) = (0, None, None, false);
    }

    /// Looks at all blobs again that could not be helped.
    pub(super) fn wake(&mut self) {
        self.resting.clear();
        self.restart();
    }

    /// This blob could not be helped now.
    pub(super) fn rest(&mut self, blob: BlobId, now: Duration) {
        if self.resting.len() >= RESTING_MAX {
            self.resting.retain(|_, rest| rest.until > now);
        }
        let times = self.resting.get(&blob).map_or(0, |rest| rest.times);
        if self.resting.len() < RESTING_MAX || times > 0 {
            let pause = REST_MIN.saturating_mul(1 << times.min(10)).min(REST_MAX);
            self.resting.insert(blob, Rest { times: times + 1, until: now + pause });
        }
    }

    /// This blob needs no rest any more.
    pub(super) fn forget(&mut self, blob: BlobId) {
        self.resting.remove(&blob);
    }

    /// The next tasks, at most `most`, all of one margin; none when the round is over.
    ///
    /// # Errors
    /// As the store has them.
    pub(super) async fn next(
        &mut self,
        kv: &dyn Kv,
        most: usize,
        now: Duration,
    ) -> Result<Vec<Queued>, KvError> {
        while !self.over {
            let found = self.look(kv, most, now).await?;
            if self.from.is_none() {
                match self.higher.take() {
                    Some(higher) => self.level = higher,
                    None => self.over = true,
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        self.restart();
        Ok(Vec::new())
    }

    /// Goes on in this level; `from` is `None` when its end was reached.
    async fn look(
        &mut self,
        kv: &dyn Kv,
        most: usize,
        now: Duration,
    ) -> Result<Vec<Queued>, KvError> {
        let (level, mut seen) = (self.level, 0);
        let (mut found, mut higher, mut stopped) = (Vec::new(), self.higher, None);
        let resting = &self.resting;
        let is_resting = |blob| resting.get(&blob).is_some_and(|rest| rest.until > now);
        let mut visit = |key: &[u8], value: &[u8], revision| {
            match place(key, level) {
                Place::Elsewhere(next) => return next.map_or(Step::Stop, Step::SeekTo),
                Place::Higher(margin, next) => {
                    higher = Some(higher.map_or(margin, |known: u8| known.min(margin)));
                    return next.map_or(Step::Stop, Step::SeekTo);
                }
                Place::Here(blob) => {
                    seen += 1;
                    let task = Repair::decode(value);
                    if let (Ok(task), Ok(key), false) =
                        (task, Key::new(key.to_vec()), is_resting(blob))
                    {
                        found.push(Queued { key, revision, blob, home: Home::of(task.home) });
                    }
                }
            }
            if found.len() >= most || seen >= LOOK_MAX {
                stopped = Key::new(key.to_vec()).ok().map(|key| key.successor());
                return Step::Stop;
            }
            Step::Next
        };
        let start = self.from.clone().or_else(|| first(0, level));
        let end = repair::range(Token(u32::MAX)).end().clone();
        if let Some(range) = start.and_then(|start| KeyRange::new(start, end)) {
            kv.snapshot().await?.visit(&range, &mut visit).await?;
        }
        (self.higher, self.from) = (higher, stopped);
        Ok(found)
    }
}

/// Where a key is, seen from a level.
enum Place {
    Here(BlobId),
    /// A task of another margin; go on at the next token.
    Higher(u8, Option<Key>),
    /// Not a task of this level; go on there.
    Elsewhere(Option<Key>),
}

fn place(key: &[u8], level: u8) -> Place {
    let Some((token, kind)) = tour::place_of(key) else { return Place::Elsewhere(None) };
    let next_token = || token.checked_add(1).and_then(|token| first(token, level));
    if kind < Kind::Repair.byte() {
        return Place::Elsewhere(first(token, level));
    }
    if kind > Kind::Repair.byte() {
        return Place::Elsewhere(next_token());
    }
    match repair::parse_key(key) {
        Some((margin, blob)) if margin == level => Place::Here(blob),
        Some((margin, _)) if margin > level => Place::Higher(margin, next_token()),
        Some(_) => Place::Elsewhere(first(token, level)),
        None => Place::Elsewhere(next_token()),
    }
}

/// Where the tasks of a margin begin under a token.
fn first(token: u32, level: u8) -> Option<Key> {
    let start = repair::range(Token(token)).start().as_bytes().to_vec();
    Key::new(start.into_iter().chain([level]).collect::<Vec<u8>>()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use kv::memory::Memory;
    use kv::{Batch, Outcome};
    use types::{BatchId, BucketId, SessionId, UnixMillis};

    use super::*;
    use crate::schema::repair::Reason;

    const SESSION: SessionId = SessionId::new(1);

    fn blob(sequence: u64) -> BlobId {
        BlobId { session: SESSION, sequence }
    }

    fn home(bucket: u64) -> Home {
        Home::of(BucketId::new(bucket))
    }

    async fn commit(store: &Memory, sequence: u64, batch: Batch) {
        let outcome = store.commit(BatchId { session: SESSION, sequence }, batch).await;
        assert!(matches!(outcome, Ok(Outcome::Committed(_))));
    }

    /// Tasks of three margins in many buckets, with other records around them.
    async fn store() -> Arc<Memory> {
        let store = Memory::new();
        store.open_session(SESSION, "test", UnixMillis(0)).await.expect("a session");
        for bucket in 0..20 {
            let mut batch = Batch::default();
            let at = home(bucket);
            batch.put(crate::schema::bucket::key(at), "other");
            for margin in [0, 2, 7] {
                for n in 0..3 {
                    let task = Repair {
                        home: at.bucket(),
                        reason: Reason::Read,
                        missed: vec![],
                        filed_at: UnixMillis(0),
                        copies: vec![],
                    };
                    let sequence = bucket * 1000 + u64::from(margin) * 10 + n;
                    batch.put(repair::key(at, margin, blob(sequence)), task.encode());
                }
            }
            commit(&store, bucket + 1, batch).await;
        }
        store
    }

    #[tokio::test]
    async fn the_smallest_margins_of_all_buckets_come_first() {
        let store = store().await;
        let mut queue = Queue::default();
        for most in [1, 7, 16, 1000] {
            for _ in 0..2 {
                let (mut seen, mut margins) = (BTreeSet::new(), Vec::new());
                loop {
                    let tasks = queue.next(&*store, most, Duration::ZERO).await.expect("tasks");
                    if tasks.is_empty() {
                        break;
                    }
                    assert!(tasks.len() <= most);
                    for task in tasks {
                        let (margin, id) = repair::parse_key(task.key.as_bytes()).expect("a key");
                        assert_eq!(id, task.blob);
                        assert!(seen.insert(id));
                        margins.push(margin);
                    }
                }
                assert_eq!(seen.len(), 180);
                assert!(margins.is_sorted());
            }
        }
    }

    #[tokio::test]
    async fn what_rests_is_left_out_and_what_is_new_and_urgent_comes_next() {
        let store = store().await;
        let mut queue = Queue::default();
        let mut now = Duration::ZERO;
        let first = queue.next(&*store, 60, now).await.expect("tasks");
        first.iter().for_each(|task| queue.rest(task.blob, now));
        queue.restart();
        let second = queue.next(&*store, 60, now).await.expect("tasks");
        let margin = |task: &Queued| repair::parse_key(task.key.as_bytes()).expect("a key").0;
        assert!(second.iter().all(|task| margin(task) == 2));
        now += REST_MIN;
        queue.restart();
        let third = queue.next(&*store, 60, now).await.expect("tasks");
        assert!(third.iter().all(|task| margin(task) == 0));
        queue.wake();
        assert_eq!(queue.next(&*store, 60, Duration::ZERO).await.expect("tasks").len(), 60);
    }

    #[test]
    fn rests_grow_and_are_bounded() {
        let mut queue = Queue::default();
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..12 {
            queue.rest(blob(1), now);
            let pause = queue.resting[&blob(1)].until - now;
            assert!(pause >= last && pause >= REST_MIN && pause <= REST_MAX);
            (last, now) = (pause, now + pause);
        }
        assert_eq!(last, REST_MAX);
        queue.forget(blob(1));
        queue.rest(blob(1), now);
        assert_eq!(queue.resting[&blob(1)].until, now + REST_MIN);
        queue.wake();
        assert!(queue.resting.is_empty());
    }
}

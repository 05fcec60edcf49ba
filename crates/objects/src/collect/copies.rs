//! Copies that go: each is deleted on its drive, by its own id.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kv::{Guard, Key, Write};
use net::{ShardError, ShardId};
use runtime::Urgency;
use types::DriveId;

use super::blobs::drop_record;
use super::{Filed, Item};
use crate::blob::VoidCopy;
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::blob::{self, Blob};
use crate::schema::garbage::{Candidate, Garbage};
use crate::schema::{CopyPlace, Record as _};

/// Garbage records in one turn.
const PER_TURN: usize = 256;
/// Deletes under way at once: a drive makes many durable together.
const AT_ONCE: usize = 1024;
/// A drive that takes longer is not asked again in the same tour.
const DELETE_MAX: Duration = Duration::from_secs(2);
/// Nor is one of which so many deletes have failed.
const FAILURES_MAX: u32 = 32;
/// Void copies deleted in one step.
const VOID_PER_STEP: usize = 256;
/// When drives that had not answered are asked again, and copies that were not there are looked for again: the
/// write that made them may have been slow.
const VOID_AGAIN: Duration = Duration::from_secs(150);
/// Void copies that wait for that.
const VOID_MAX: usize = 100_000;

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    /// It was there, and is gone.
    Yes,
    /// It is not there.
    Absent,
    /// The drive could not.
    Failed,
    /// The drive has not answered, or is away.
    NoAnswer,
}

/// Drives that failed deletes in a tour, and how many.
#[derive(Default)]
pub(super) struct Silent(HashMap<DriveId, u32>);

impl Silent {
    /// Whether it is not worth asking.
    fn contains(&self, drive: DriveId) -> bool {
        self.0.get(&drive).is_some_and(|&failures| failures >= FAILURES_MAX)
    }

    fn note(&mut self, drive: DriveId, deleted: Deleted) {
        let failures = self.0.entry(drive).or_default();
        let before = *failures;
        *failures = match deleted {
            Deleted::Yes | Deleted::Absent => before,
            Deleted::Failed => before.saturating_add(1),
            Deleted::NoAnswer => before.max(FAILURES_MAX),
        };
        if before < FAILURES_MAX && *failures >= FAILURES_MAX {
            tracing::info!(%drive, "copies that go stay on a drive until it answers");
        }
    }
}

/// Void copies that were tried.
#[derive(Default)]
pub(crate) struct VoidLeft {
    /// When to try again, on the monotonic clock, and whether the drive has answered once: ascending.
    again: VecDeque<(Duration, VoidCopy, bool)>,
}

impl Engine {
    /// Deletes the copies that records of [`Candidate::Copies`] list. How many changes were made. Drives that do not
    /// answer are added to `silent` and asked no more.
    pub(super) async fn collect_copies(
        &self,
        filed: Vec<Filed>,
        silent: &mut Silent,
    ) -> Result<u64, Failure> {
        let mut did = 0;
        for some in filed.chunks(PER_TURN) {
            // Of what lies on silent drives alone there is nothing to be said.
            let some: Vec<&Filed> = some
                .iter()
                .filter(|f| f.record.copies.iter().any(|copy| !silent.contains(copy.drive)))
                .chain(some.iter().filter(|f| f.record.copies.is_empty()))
                .collect();
            if some.is_empty() {
                continue;
            }
            let _turn = self.inner.throttle.turn(Urgency::Upkeep).await;
            let left = self.delete_copies(&some, silent).await?;
            let items: Vec<Item> =
                some.iter().zip(left).filter_map(|(filed, left)| settle(filed, left)).collect();
            did += self.commit_items(&items).await?.len() as u64;
        }
        Ok(did)
    }

    /// Deletes what they list; the copies that are left, of each.
    async fn delete_copies(
        &self,
        filed: &[&Filed],
        silent: &mut Silent,
    ) -> Result<Vec<Vec<CopyPlace>>, Failure> {
        let mut left = vec![Vec::new(); filed.len()];
        let mut wanted = Vec::new();
        for (at, (filed, named)) in filed.iter().zip(self.named(filed).await?).enumerate() {
            let Candidate::Copies(blob) = filed.candidate else { continue };
            let Some(named) = named else {
                filed.record.copies.iter().for_each(|&copy| push(&mut left, at, copy));
                continue;
            };
            for &copy in &filed.record.copies {
                if named.contains(&copy) {
                    tracing::error!(%blob, ?copy, "garbage that the blob's record names is kept");
                } else if self.inner.layout.drive(copy.drive).is_none() {
                    tracing::info!(%blob, ?copy, "the drive of a copy that goes is no longer in the layout");
                } else if silent.contains(copy.drive) {
                    push(&mut left, at, copy);
                } else {
                    let id = ShardId { blob, index: copy.index, copy: copy.copy };
                    wanted.push((at, copy, id));
                }
            }
        }
        let delete = |(at, copy, id): (usize, CopyPlace, ShardId)| async move {
            (at, copy, self.delete_copy(copy.drive, id).await)
        };
        let mut deletes = stream::iter(wanted).map(delete).buffer_unordered(AT_ONCE);
        while let Some((at, copy, deleted)) = deletes.next().await {
            silent.note(copy.drive, deleted);
            if matches!(deleted, Deleted::Failed | Deleted::NoAnswer) {
                push(&mut left, at, copy);
            }
        }
        Ok(left)
    }

    /// What the records of these blobs name, if they still have one; `None` when that cannot be read.
    async fn named(&self, filed: &[&Filed]) -> Result<Vec<Option<Vec<CopyPlace>>>, Failure> {
        let key = |filed: &&Filed| match filed.candidate {
            Candidate::Copies(id) | Candidate::Blob(id) => blob::key(filed.home(), id),
            Candidate::PartSet(_) | Candidate::Remainder(_) => filed.key.clone(),
        };
        let keys: Vec<Key> = filed.iter().map(key).collect();
        let found = self.inner.kv.multi_get(&keys).await?;
        let copies = |found: Option<kv::Versioned>| match found {
            Some(found) => Some(Blob::decode(&found.value).ok()?.location.copies),
            None => Some(Vec::new()),
        };
        Ok(found.into_iter().map(copies).collect())
    }

    async fn delete_copy(&self, drive: DriveId, id: ShardId) -> Deleted {
        let inner = &self.inner;
        tokio::select! {
            deleted = inner.carrier.delete(drive, id) => match deleted {
                Ok(true) => Deleted::Yes,
                Ok(false) | Err(ShardError::NotFound(_)) => Deleted::Absent,
                Err(ShardError::Away(_)) => Deleted::NoAnswer,
                Err(error) => {
                    tracing::debug!(%drive, %error, "a copy that goes could not be deleted; it is tried again");
                    Deleted::Failed
                }
            },
            () = inner.runtime.clock.sleep(DELETE_MAX) => Deleted::NoAnswer,
        }
    }

    /// Deletes void copies. They name no record, so there is nothing to be written down.
    pub(super) async fn collect_void(&self, left: &mut VoidLeft) {
        let now = self.inner.runtime.clock.monotonic();
        let mut copies: Vec<(VoidCopy, bool)> = Vec::new();
        while let Some(&(again, copy, answered)) = left.again.front() {
            if again > now || copies.len() == VOID_PER_STEP {
                break;
            }
            left.again.pop_front();
            copies.push((copy, answered));
        }
        let fresh = self.inner.upkeep.void.take(VOID_PER_STEP.saturating_sub(copies.len()));
        copies.extend(fresh.into_iter().map(|copy| (copy, false)));
        copies.retain(|(copy, _)| self.inner.layout.drive(copy.drive).is_some());
        if copies.is_empty() {
            return;
        }
        let _turn = self.inner.throttle.turn(Urgency::Upkeep).await;
        let delete = |(copy, answered): (VoidCopy, bool)| async move {
            (copy, answered, self.delete_copy(copy.drive, copy.shard).await)
        };
        let mut deletes = stream::iter(copies).map(delete).buffer_unordered(AT_ONCE);
        while let Some((copy, answered, deleted)) = deletes.next().await {
            let over = deleted == Deleted::Yes || (deleted == Deleted::Absent && answered);
            if over {
                continue;
            }
            if left.again.len() >= VOID_MAX {
                tracing::warn!(drive = %copy.drive, shard = ?copy.shard, "a void copy is left to scrubbing");
                continue;
            }
            left.again.push_back((now + VOID_AGAIN, copy, deleted == Deleted::Absent));
        }
    }
}

fn push(left: &mut [Vec<CopyPlace>], at: usize, copy: CopyPlace) {
    if let Some(left) = left.get_mut(at) {
        left.push(copy);
    }
}

/// Removes the record, or what is done from it.
fn settle(filed: &Filed, left: Vec<CopyPlace>) -> Option<Item> {
    if left.is_empty() {
        return Some(drop_record(filed.key.clone()));
    }
    let shrunk = left.len() < filed.record.copies.len();
    let record = Garbage { copies: left, ..filed.record.clone() };
    shrunk.then(|| Item {
        guards: vec![Guard::Exists(filed.key.clone())],
        writes: vec![Write::Put(filed.key.clone(), record.encode())],
    })
}

//! Looking at one blob and making it whole: what its record says against what its drives have, the bytes moved, and
//! the new copies committed under the revision of the record that was read.
//!
//! Not here: what is to be done (`plan`), and when (`mod`, `queue`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kv::{Guard, Key};
use net::{DriveState, Presence, ScrubBudget, ShardError, ShardId};
use parking_lot::Mutex;
use runtime::Urgency;
use types::{BlobId, CopyId, DriveId, Revision};

use super::file::{self, Finding, Stored, replace_tasks, task_for};
use super::plan::{Drives, Plan, Seen, plan};
use super::queue::Queued;
use crate::blob::{BlobStore, Held, Made, OnDamage, Rebuild, ShardCopy};
use crate::commit::Verdict;
use crate::damage;
use crate::engine::Engine;
use crate::error::{Failure, ReadError};
use crate::ledger::Ledger;
use crate::schema::blob::{self, Blob};
use crate::schema::repair::{Fault, Missed, Reason};
use crate::schema::{CopyPlace, Home, Record as _};

/// How long a drive may think about whether it has a copy.
const ASK_MAX: Duration = Duration::from_secs(10);
/// And about whether every byte of the copy is whole.
const VERIFY_MAX: Duration = Duration::from_secs(120);
/// How long one turn of background work is held, about.
pub(crate) const TURN: Duration = Duration::from_millis(100);
/// How often a commit is tried again because tasks have changed, and not the blob.
const COMMITS_MAX: usize = 4;

/// How the drives are now.
#[derive(Clone, Default)]
pub(super) struct Now {
    pub(super) states: Arc<HashMap<DriveId, DriveState>>,
    pub(super) out: Arc<HashSet<DriveId>>,
}

/// What was found when a task was looked at.
pub(super) enum Look {
    /// There is nothing to do any more; the task is gone.
    Done,
    /// It cannot be helped now; a drive may come back.
    Wait,
    /// It cannot be helped, whatever drive of the layout comes back.
    Lost(Box<Job>),
    /// Shards are to be made.
    Mend(Box<Job>),
    /// All is whole, but the blob is to be encoded again.
    Reencode(Box<Job>),
}

/// A blob that was looked at.
pub(crate) struct Job {
    pub(crate) home: Home,
    pub(super) blob: Blob,
    pub(super) revision: Revision,
    pub(super) tasks: Vec<Stored>,
    plan: Plan,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// New copies were committed: bytes of shards that were written, and whether nothing is left to do.
    Yes { bytes: u64, whole: bool },
    /// The blob has changed meanwhile: look again.
    Again,
    /// It could not be done now.
    No,
    /// Too few frames of it verify.
    Lost,
}

/// New copies of which nobody can say whether they were committed.
pub(super) struct Doubt {
    home: Home,
    blob: BlobId,
    /// The revision that the open commit guards.
    guarded: Revision,
    made: Made,
}

impl Job {
    pub(super) fn key(&self) -> Key {
        blob::key(self.home, self.id())
    }

    pub(crate) fn id(&self) -> BlobId {
        self.blob.location.id
    }

    /// Bytes of memory that mending holds.
    pub(super) fn memory_bytes(&self) -> usize {
        let location = &self.blob.location;
        BlobStore::rebuild_bytes(location.geometry, location.len, self.plan.make.len())
    }

    /// The reason that is left once all shards are whole.
    fn reason_left(&self, wanted: erasure::Geometry) -> Option<Reason> {
        let is = |reason| self.tasks.iter().any(|stored| stored.task.reason == reason);
        let is_small = self.blob.location.geometry.total() < wanted.total();
        let asked = is(Reason::SmallGeometry) || is(Reason::DegradedWrite);
        (is_small && asked).then_some(Reason::SmallGeometry)
    }
}

impl Engine {
    /// Looks at the blob of a task. Removes the task when there is nothing to do.
    pub(super) async fn look_at(&self, queued: &Queued, now: &Now) -> Result<Look, Failure> {
        let Queued { key, revision, blob, home } = queued;
        let Some(found) = self.inner.kv.get(&blob::key(*home, *blob)).await? else {
            // Collected: an id is never used again.
            let mut ledger = Ledger::new(self.now());
            ledger.guard(Guard::Revision(key.clone(), *revision));
            ledger.delete(key.clone());
            self.commit_once(ledger.finish()).await?;
            return Ok(Look::Done);
        };
        let record = Blob::decode(&found.value)?;
        let tasks = self.tasks_of(*home, &record.location).await?;
        let named = file::named(&record.location, &tasks);
        let seen = self.see(&record, &named).await;
        let (layout, revision) = (&self.inner.layout, found.revision);
        let drives = Drives { layout, states: &now.states, out: &now.out };
        let plan = plan(&record.location, &seen, &drives);
        let job = Box::new(Job { home: *home, blob: record, revision, tasks, plan });
        let needed = job.blob.location.geometry.data();
        let plan = &job.plan;
        if plan.is_whole() {
            return self.settled(job).await;
        }
        Ok(match plan.readable >= needed {
            true if plan.make.is_empty() => Look::Wait,
            true => Look::Mend(job),
            false if plan.readable + plan.away >= needed => Look::Wait,
            false => Look::Lost(job),
        })
    }

    /// Nothing is wrong with the shards: the tasks go, but for the wish for another geometry.
    async fn settled(&self, job: Box<Job>) -> Result<Look, Failure> {
        if job.reason_left(self.inner.blobs.geometry()).is_none() {
            self.remove_tasks(&job).await?;
            let mut named = job.tasks.iter().flat_map(|stored| &stored.task.copies);
            // Reads that find corrupt what the disk has whole would file it again at once, again and again.
            if named.all(|missed| missed.fault != Fault::Corrupt) {
                self.inner.damage.repaired(job.id());
            }
            return Ok(Look::Done);
        }
        Ok(Look::Reencode(job))
    }

    /// Removes the tasks of a blob, unless they have changed: then they are looked at again.
    pub(super) async fn remove_tasks(&self, job: &Job) -> Result<(), Failure> {
        let mut ledger = Ledger::new(self.now());
        replace_tasks(&mut ledger, job.home, job.id(), &job.tasks, None);
        self.commit_once(ledger.finish()).await.map(|_| ())
    }

    /// What the drives have of the copies that a record names. Those that somebody found corrupt or missing are
    /// read from the disk to their end.
    async fn see(
        &self,
        record: &Blob,
        named: &BTreeMap<(u8, CopyId), Fault>,
    ) -> Vec<(CopyPlace, Seen)> {
        let id = record.location.id;
        let looks = record.location.copies.iter().map(|place| async move {
            let shard = ShardId { blob: id, index: place.index, copy: place.copy };
            let fault = named.get(&(place.index, place.copy));
            let seen = self.presence(place.drive, shard).await;
            let doubted = matches!(fault, Some(Fault::Corrupt | Fault::Missing));
            let seen = match seen {
                Seen::Whole if doubted => self.verified(place.drive, shard).await,
                seen => seen,
            };
            (*place, seen)
        });
        join_all(looks).await
    }

    async fn presence(&self, drive: DriveId, shard: ShardId) -> Seen {
        let asked = self.inner.carrier.presence(drive, vec![shard]);
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            () = self.inner.runtime.clock.sleep(ASK_MAX) => Err(ShardError::Away(drive)),
        };
        match answer.as_deref() {
            Ok([Presence::Whole]) => Seen::Whole,
            Ok([Presence::Damaged]) => Seen::Corrupt,
            Ok([Presence::Absent]) => Seen::Absent,
            Ok(_) | Err(_) => Seen::Away,
        }
    }

    /// Reads one copy as a scrub does: from the disk, where it is.
    async fn verified(&self, drive: DriveId, shard: ShardId) -> Seen {
        let before = ShardId { copy: CopyId::new(shard.copy.get().saturating_sub(1)), ..shard };
        let budget = ScrubBudget { bytes: 1, shards: 1 };
        let slice = tokio::select! {
            biased;
            slice = self.inner.carrier.scrub(drive, Some(before), budget) => slice,
            () = self.inner.runtime.clock.sleep(VERIFY_MAX) => Err(ShardError::Away(drive)),
        };
        match slice {
            Ok(slice) => match slice.seen.iter().find(|scrubbed| scrubbed.id == shard) {
                Some(scrubbed) if scrubbed.is_whole() => Seen::Whole,
                Some(_) => Seen::Corrupt,
                None => Seen::Absent,
            },
            Err(ShardError::Away(_)) => Seen::Away,
            Err(_) => Seen::Corrupt,
        }
    }

    /// Makes the shards of a job and commits them, in turns if it is to take several. `held` is what
    /// [`Job::memory_bytes`] says.
    pub(super) async fn mend(
        &self,
        job: &Job,
        held: Held,
        in_turns: bool,
        doubts: &Mutex<Vec<Doubt>>,
    ) -> Result<Mended, Failure> {
        let Some(_mark) = self.inner.upkeep.begin_repair(job.id()) else {
            return Ok(Mended::Again);
        };
        let damage: Arc<Mutex<Vec<Missed>>> = Arc::default();
        let on_damage: OnDamage = {
            let damage = damage.clone();
            Arc::new(move |_, found| damage.lock().push(damage::missed(found)))
        };
        let location = &job.blob.location;
        let mut sources = location.to_stored();
        sources.copies.retain(|copy| job.plan.sources.iter().any(|place| place.copy == copy.copy));
        let (home, make) = (job.home.bucket(), &job.plan.make);
        let rebuild = self.inner.blobs.rebuild(home, sources, make, on_damage, held).await;
        let made = match self.move_bytes(rebuild, in_turns).await {
            Ok(made) => made,
            Err(error) => {
                tracing::warn!(blob = %job.id(), %error, "a blob could not be repaired now");
                return Ok(if error == ReadError::Corrupt { Mended::Lost } else { Mended::No });
            }
        };
        if made.copies().is_empty() {
            return Ok(Mended::No);
        }
        let mended = self.commit_copies(job, made, doubts).await?;
        if let Mended::Yes { .. } = mended {
            self.inner.damage.repaired(job.id());
            let met = std::mem::take(&mut *damage.lock());
            self.file_met(job, met).await?;
        }
        Ok(mended)
    }

    async fn move_bytes(&self, mut rebuild: Rebuild, in_turns: bool) -> Result<Made, ReadError> {
        let clock = &self.inner.runtime.clock;
        let mut more = true;
        while more {
            let _turn = match in_turns {
                true => Some(self.inner.throttle.turn(Urgency::Repair).await),
                false => None,
            };
            let until = clock.monotonic() + TURN;
            while more && (!in_turns || clock.monotonic() < until) {
                more = rebuild.advance().await?;
            }
        }
        Ok(rebuild.commit().await)
    }

    /// Damage of other copies, met while these were made.
    async fn file_met(&self, job: &Job, met: Vec<Missed>) -> Result<(), Failure> {
        let is_known = |missed: &Missed| job.plan.bad.contains_key(&(missed.index, missed.copy));
        let copies: Vec<Missed> = met.into_iter().filter(|missed| !is_known(missed)).collect();
        if copies.is_empty() {
            return Ok(());
        }
        let finding = Finding { home: job.home, blob: job.id(), reason: Reason::Read, copies };
        self.file_repair(&[finding]).await.map(|_| ())
    }

    async fn commit_copies(
        &self,
        job: &Job,
        mut made: Made,
        doubts: &Mutex<Vec<Doubt>>,
    ) -> Result<Mended, Failure> {
        let mut tasks = job.tasks.clone();
        for _ in 0..COMMITS_MAX {
            let (ledger, whole) = self.batch(job, &tasks, made.copies());
            made.release();
            match self.commit_once(ledger.finish()).await {
                Ok(Verdict::Committed(_)) => {
                    let bytes = self.shard_bytes(job) * made.copies().len() as u64;
                    return Ok(Mended::Yes { bytes, whole });
                }
                // The blob's record has changed: nothing that was decided counts.
                Ok(Verdict::Conflict(0)) => {
                    made.hold();
                    self.give_back(job.id(), made).await;
                    return Ok(Mended::Again);
                }
                Ok(Verdict::Conflict(_)) => {
                    made.hold();
                    tasks = self.tasks_of(job.home, &job.blob.location).await?;
                }
                Err(Failure::Unknown) => {
                    let (home, blob, guarded) = (job.home, job.id(), job.revision);
                    doubts.lock().push(Doubt { home, blob, guarded, made });
                    return Ok(Mended::Again);
                }
                Err(failure) => {
                    made.hold();
                    return Err(failure);
                }
            }
        }
        self.give_back(job.id(), made).await;
        Ok(Mended::Again)
    }

    async fn give_back(&self, blob: BlobId, mut made: Made) {
        made.release();
        self.inner.blobs.remove(blob, made.copies()).await;
    }

    /// The batch that puts new copies in their places, its first guard the blob's record; and whether nothing is
    /// left to do then.
    fn batch(&self, job: &Job, tasks: &[Stored], new: &[ShardCopy]) -> (Ledger, bool) {
        let mut location = job.blob.location.clone();
        let is_replaced = |place: &CopyPlace| new.iter().any(|copy| copy.index == place.index);
        let replaced = location.copies.iter().copied().filter(is_replaced).collect();
        location.copies.retain(|place| !is_replaced(place));
        let place = |c: &ShardCopy| CopyPlace { index: c.index, drive: c.drive, copy: c.copy };
        location.copies.extend(new.iter().map(place));
        location.copies.sort_unstable_by_key(|place| place.index);
        let mut ledger = Ledger::new(self.now());
        ledger.guard(Guard::Revision(job.key(), job.revision));
        let record = Blob { location: location.clone(), created_at: job.blob.created_at };
        ledger.put(job.key(), record.encode());
        ledger.file_copies(job.home, job.id(), replaced);
        let mut bad = file::named(&location, tasks);
        bad.extend(job.plan.bad.iter().map(|(&copy, &fault)| (copy, fault)));
        let is_current = |(index, copy): &(u8, CopyId)| {
            location.copies.iter().any(|c| (c.index, c.copy) == (*index, *copy))
        };
        // What was seen to be whole when the job was looked at is not bad, whatever its task says.
        bad.retain(|copy, _| is_current(copy) && job.plan.bad.contains_key(copy));
        let small = job.reason_left(self.inner.blobs.geometry());
        let reason = small.or(job.tasks.first().map(|stored| stored.task.reason));
        let (margin, mut task) =
            task_for(&location, &bad, reason.unwrap_or(Reason::Scrub), job.home);
        task.filed_at = job.tasks.first().map_or(self.now(), |stored| stored.task.filed_at);
        let whole = task.missed.is_empty();
        let left = (!whole || small.is_some()).then_some((margin, &task));
        replace_tasks(&mut ledger, job.home, job.id(), tasks, left);
        (ledger, whole)
    }

    fn shard_bytes(&self, job: &Job) -> u64 {
        let location = &job.blob.location;
        erasure::BlobShape { geometry: location.geometry, len: location.len }.shard_len()
    }

    /// Puts the task of a blob that cannot be made whole in front of all others.
    pub(super) async fn mark_lost(&self, job: &Job) -> Result<(), Failure> {
        if matches!(job.tasks.first(), Some(first) if first.margin == 0) {
            return Ok(());
        }
        let reason = job.tasks.first().map_or(Reason::Scrub, |stored| stored.task.reason);
        let (_, mut task) = task_for(&job.blob.location, &job.plan.bad, reason, job.home);
        task.filed_at = self.now();
        let mut ledger = Ledger::new(self.now());
        ledger.guard(Guard::Revision(job.key(), job.revision));
        replace_tasks(&mut ledger, job.home, job.id(), &job.tasks, Some((0, &task)));
        self.commit_once(ledger.finish()).await.map(|_| ())
    }

    /// Finds out what became of commits whose outcome was not known. Those that are still open are left in
    /// `doubts`.
    pub(super) async fn settle(&self, doubts: &Mutex<Vec<Doubt>>) -> Result<(), Failure> {
        let open = std::mem::take(&mut *doubts.lock());
        let mut open = open.into_iter();
        while let Some(mut doubt) = open.next() {
            match self.settle_one(&doubt).await {
                Ok(true) => {}
                Ok(false) => {
                    doubt.made.hold();
                    self.give_back(doubt.blob, doubt.made).await;
                }
                Err(failure) => {
                    doubts.lock().extend(std::iter::once(doubt).chain(open));
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Whether the copies were committed. When the record is as it was, it is put once more: whatever happens to
    /// the open commit then, its guard no longer holds.
    async fn settle_one(&self, doubt: &Doubt) -> Result<bool, Failure> {
        loop {
            let key = blob::key(doubt.home, doubt.blob);
            let Some(found) = self.inner.kv.get(&key).await? else { return Ok(false) };
            let copies = Blob::decode(&found.value)?.location.shard_copies();
            if doubt.made.copies().iter().any(|copy| copies.contains(copy)) {
                return Ok(true);
            }
            if found.revision != doubt.guarded {
                return Ok(false);
            }
            let mut ledger = Ledger::new(self.now());
            ledger.guard(Guard::Revision(key.clone(), found.revision));
            ledger.put(key, found.value);
            // On a conflict the next look tells.
            self.commit_once(ledger.finish()).await?;
        }
    }
}

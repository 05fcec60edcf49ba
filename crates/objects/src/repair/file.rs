//! Filing repair tasks: the one way for reads, scrubs and sweeps. A blob has one task: what is found later is added
//! to it, and its key follows the number of shards that are left.
//!
//! Not here: writes that could not place all shards file their task in their own batch (`ledger`).

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering;

use kv::Guard;
use types::{BlobId, CopyId, Revision};

use crate::commit::Verdict;
use crate::engine::Engine;
use crate::error::Failure;
use crate::ledger::Ledger;
use crate::schema::blob::{self, Blob};
use crate::schema::repair::{self, Fault, Missed, Reason, Repair};
use crate::schema::{BlobLocation, Home, Record as _};

/// Findings looked at together.
const AT_ONCE: usize = 40;
/// Guards and writes in one batch; the limit is `types::limits::KV_BATCH_MAX_OPS`.
const BATCH_OPS: usize = 90;
/// How often a finding is looked at again because its blob or task has changed meanwhile.
const ATTEMPTS: usize = 4;

/// What was found wrong with a blob.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) home: Home,
    pub(crate) blob: BlobId,
    /// Who found it.
    pub(crate) reason: Reason,
    /// Copies that were missed; those that its record does not name any more are ignored. Shards of which the
    /// record names no copy count as missed in any case.
    pub(crate) copies: Vec<Missed>,
}

/// A task as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) margin: u8,
    pub(crate) task: Repair,
    pub(crate) revision: Revision,
}

impl Engine {
    /// Files a task for each finding whose blob still exists and lacks something that no task says yet. How many
    /// were filed or changed.
    ///
    /// # Errors
    /// As the metadata store has them; some findings may have been filed. Filing again is harmless.
    pub(crate) async fn file_repair(&self, findings: &[Finding]) -> Result<usize, Failure> {
        let mut filed = 0;
        for chunk in findings.chunks(AT_ONCE) {
            filed += self.file_chunk(chunk).await?;
        }
        if filed > 0 {
            self.inner.figures.repair_tasks.fetch_add(filed as u64, Ordering::Relaxed);
            self.inner.upkeep.repair_filed.notify_one();
        }
        Ok(filed)
    }

    async fn file_chunk(&self, findings: &[Finding]) -> Result<usize, Failure> {
        let (mut left, mut filed, mut conflicts) = (findings, 0, 0);
        while !left.is_empty() {
            // After a conflict one by one: one that changes must not hold up the others.
            let now = if conflicts > 0 { &left[..1] } else { left };
            let (ledger, taken, count) = self.tasks_for(now).await?;
            let done = count == 0
                || matches!(self.commit_once(ledger.finish()).await?, Verdict::Committed(_));
            if done || conflicts >= ATTEMPTS {
                filed += if done { count } else { 0 };
                left = left.get(taken..).unwrap_or_default();
                conflicts = usize::from(conflicts > 0);
            } else {
                conflicts += 1;
            }
        }
        Ok(filed)
    }

    /// A batch for the first of `findings`; for how many of them it is, and how many tasks it files.
    async fn tasks_for(&self, findings: &[Finding]) -> Result<(Ledger, usize, usize), Failure> {
        let mut ledger = Ledger::new(self.now());
        let (mut ops, mut count) = (0, 0);
        let mut in_batch = HashSet::new();
        let keys: Vec<_> = findings.iter().map(|f| blob::key(f.home, f.blob)).collect();
        let records = self.inner.kv.multi_get(&keys).await?;
        for (at, (finding, (key, record))) in
            findings.iter().zip(keys.into_iter().zip(records)).enumerate()
        {
            let Some(record) = record else { continue };
            let Ok(record) = Blob::decode(&record.value) else {
                tracing::error!(blob = %finding.blob, "the blob's record is damaged; no repair is filed");
                continue;
            };
            // A batch changes a key once.
            if !in_batch.insert(finding.blob) {
                return Ok((ledger, at, count));
            }
            let location = record.location;
            let stored = self.tasks_of(finding.home, &location).await?;
            let Some((margin, mut task)) = merged(&location, &stored, finding) else { continue };
            ops += 3 + 2 * stored.len();
            if ops > BATCH_OPS && count > 0 {
                return Ok((ledger, at, count));
            }
            task.filed_at = self.now();
            ledger.guard(Guard::Exists(key));
            replace_tasks(&mut ledger, finding.home, location.id, &stored, Some((margin, &task)));
            count += 1;
        }
        Ok((ledger, findings.len(), count))
    }

    /// The tasks that are filed for a blob, wherever their keys put them.
    pub(crate) async fn tasks_of(
        &self,
        home: Home,
        location: &BlobLocation,
    ) -> Result<Vec<Stored>, Failure> {
        let margins = 0..=u8::try_from(location.geometry.parity()).unwrap_or(u8::MAX);
        let keys: Vec<_> = margins.clone().map(|m| repair::key(home, m, location.id)).collect();
        let found = self.inner.kv.multi_get(&keys).await?;
        let mut stored = Vec::new();
        for (margin, found) in margins.zip(found) {
            if let Some(found) = found {
                // One that does not decode says nothing, and is replaced.
                let task = Repair::decode(&found.value).unwrap_or_else(|error| {
                    tracing::error!(blob = %location.id, %error, "a repair task is replaced");
                    let (home, filed_at) = (home.bucket(), self.now());
                    let (missed, copies) = (Vec::new(), Vec::new());
                    Repair { home, reason: Reason::Scrub, missed, filed_at, copies }
                });
                stored.push(Stored { margin, task, revision: found.revision });
            }
        }
        Ok(stored)
    }
}

/// Puts `new` in the place of the `stored` tasks of a blob.
pub(crate) fn replace_tasks(
    ledger: &mut Ledger,
    home: Home,
    blob: BlobId,
    stored: &[Stored],
    new: Option<(u8, &Repair)>,
) {
    for old in stored {
        let key = repair::key(home, old.margin, blob);
        ledger.guard(Guard::Revision(key.clone(), old.revision));
        if new.is_none_or(|(margin, _)| margin != old.margin) {
            ledger.delete(key);
        }
    }
    if let Some((margin, task)) = new {
        let key = repair::key(home, margin, blob);
        if stored.iter().all(|old| old.margin != margin) {
            ledger.guard(Guard::Absent(key.clone()));
        }
        ledger.put(key, task.encode());
    }
}

/// The copies that the tasks of a blob name and its record does, too, each with the worst that is said of it.
pub(crate) fn named(location: &BlobLocation, stored: &[Stored]) -> BTreeMap<(u8, CopyId), Fault> {
    let mut named = BTreeMap::new();
    for Stored { task, .. } in stored {
        add(&mut named, location, &task.copies);
        // Filed before tasks named copies.
        if task.copies.is_empty() && task.reason == Reason::Read {
            let missed = location.copies.iter().filter(|c| task.missed.contains(&c.index));
            let missed =
                missed.map(|c| Missed { index: c.index, copy: c.copy, fault: Fault::Corrupt });
            add(&mut named, location, &missed.collect::<Vec<_>>());
        }
    }
    named
}

fn add(named: &mut BTreeMap<(u8, CopyId), Fault>, location: &BlobLocation, copies: &[Missed]) {
    for missed in copies {
        let (index, copy) = (missed.index, missed.copy);
        if location.copies.iter().any(|c| (c.index, c.copy) == (index, copy)) {
            let fault = named.entry((index, copy)).or_insert(missed.fault);
            *fault = missed.fault.min(*fault);
        }
    }
}

/// What the task for a blob must say now, and its margin; `None` when that is stored already, or there is nothing
/// to say.
fn merged(location: &BlobLocation, stored: &[Stored], finding: &Finding) -> Option<(u8, Repair)> {
    let mut named = named(location, stored);
    add(&mut named, location, &finding.copies);
    let small = stored.iter().any(|stored| stored.task.reason == Reason::SmallGeometry);
    let reason = match stored.first() {
        _ if small => Reason::SmallGeometry,
        Some(stored) => stored.task.reason,
        None => finding.reason,
    };
    let (margin, task) = task_for(location, &named, reason, finding.home);
    if task.missed.is_empty() && reason != Reason::SmallGeometry {
        return None;
    }
    let is_said = matches!(stored, [only] if only.margin == margin
        && only.task.missed == task.missed
        && only.task.copies == task.copies);
    (!is_said).then_some((margin, task))
}

/// The task that says that these copies are bad, and its margin.
pub(crate) fn task_for(
    location: &BlobLocation,
    bad: &BTreeMap<(u8, CopyId), Fault>,
    reason: Reason,
    home: Home,
) -> (u8, Repair) {
    let whole = |index: &u8| {
        let mut copies = location.copies.iter().filter(|c| c.index == *index);
        copies.any(|c| !bad.contains_key(&(c.index, c.copy)))
    };
    let total = location.geometry.total() as u8;
    let missed: Vec<u8> = (0..total).filter(|index| !whole(index)).collect();
    let left = location.geometry.total() - missed.len();
    let margin = left.saturating_sub(location.geometry.data());
    let copies = bad.iter().map(|(&(index, copy), &fault)| Missed { index, copy, fault });
    let task = Repair {
        home: home.bucket(),
        reason,
        missed,
        filed_at: types::UnixMillis(0),
        copies: copies.collect(),
    };
    (u8::try_from(margin).unwrap_or(u8::MAX), task)
}

#[cfg(test)]
mod tests {
    use types::BucketId;

    use super::*;
    use crate::schema::location::testing::sample;

    fn missed(index: u8, copy: u64, fault: Fault) -> Missed {
        Missed { index, copy: CopyId::new(copy), fault }
    }

    fn finding(copies: Vec<Missed>) -> Finding {
        let home = Home::of(BucketId::new(7));
        Finding { home, blob: sample().id, reason: Reason::Scrub, copies }
    }

    fn stored(margin: u8, task: Repair) -> Stored {
        Stored { margin, task, revision: Revision(1) }
    }

    #[test]
    fn a_blob_has_one_task_that_says_all_that_was_found() {
        // 2+1, copies c0 to c2.
        let location = sample();
        let one = finding(vec![missed(1, 0xc1, Fault::Missing), missed(2, 0xff, Fault::Corrupt)]);
        let (margin, task) = merged(&location, &[], &one).expect("news");
        assert_eq!((margin, &task.missed), (0, &vec![1]));
        // A copy that the record does not name is nobody's business.
        assert_eq!(task.copies, [missed(1, 0xc1, Fault::Missing)]);
        let known = [stored(margin, task)];
        assert_eq!(merged(&location, &known, &one), None, "no news");
        let worse = finding(vec![missed(1, 0xc1, Fault::Corrupt), missed(0, 0xc0, Fault::Away)]);
        let (margin, task) = merged(&location, &known, &worse).expect("news");
        assert_eq!((margin, task.missed), (0, vec![0, 1]));
        assert_eq!(task.copies, [missed(0, 0xc0, Fault::Away), missed(1, 0xc1, Fault::Corrupt)]);
        assert_eq!(merged(&location, &[], &finding(vec![])), None, "nothing is wrong");
        let mut fewer = location.clone();
        fewer.copies.pop();
        let (margin, task) = merged(&fewer, &[], &finding(vec![])).expect("a shard without a copy");
        assert_eq!((margin, task.missed, task.copies), (0, vec![2], vec![]));
    }

    #[test]
    fn a_wish_for_another_geometry_is_kept_and_old_tasks_are_understood() {
        let location = sample();
        let old = |reason, missed| {
            let (home, filed_at) = (BucketId::new(7), types::UnixMillis(0));
            stored(1, Repair { home, reason, missed, filed_at, copies: vec![] })
        };
        let news = finding(vec![missed(0, 0xc0, Fault::Missing)]);
        let small = [old(Reason::SmallGeometry, vec![])];
        let (margin, task) = merged(&location, &small, &news).expect("news");
        assert_eq!((margin, task.reason, task.missed), (0, Reason::SmallGeometry, vec![0]));
        let read = [old(Reason::Read, vec![2])];
        let (_, task) = merged(&location, &read, &news).expect("news");
        assert_eq!(task.missed, [0, 2]);
        assert_eq!(task.copies[1], missed(2, 0xc2, Fault::Corrupt), "to be looked at closely");
    }
}

//! Blobs that may have lost their last reference.

use std::collections::HashMap;

use kv::{Direction, Guard, Key, Versioned, Write};
use types::BlobId;

use super::{Filed, Item};
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::blob::{self, Blob};
use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::reference::{self, Target};
use crate::schema::{Home, Record as _};

/// Garbage records of one blob that are dropped together.
const TOGETHER: usize = 32;

/// What is to be done about some garbage records.
struct Plan {
    item: Item,
    /// The copies that become garbage by it.
    buried: Option<Filed>,
}

impl Engine {
    /// Goes one step on with blobs, all of [`Candidate::Blob`]: how many changes were made, and the copies that became
    /// garbage of which nothing reads any more.
    pub(super) async fn collect_blobs(
        &self,
        filed: Vec<Filed>,
    ) -> Result<(u64, Vec<Filed>), Failure> {
        let mut by_blob: HashMap<(Home, BlobId), Vec<Filed>> = HashMap::new();
        for filed in filed {
            if let Candidate::Blob(id) = filed.candidate {
                by_blob.entry((filed.home(), id)).or_default().push(filed);
            }
        }
        let mut plans = Vec::new();
        for ((home, id), filed) in by_blob {
            self.plan_blob(home, id, &filed, &mut plans).await?;
        }
        let items: Vec<Item> =
            plans.iter_mut().map(|plan| std::mem::take(&mut plan.item)).collect();
        let done = self.commit_items(&items).await?;
        let buried =
            done.iter().filter_map(|&at| plans.get_mut(at)?.buried.take()).collect::<Vec<_>>();
        Ok((done.len() as u64, buried))
    }

    /// `filed` are garbage records of one blob, at least one.
    async fn plan_blob(
        &self,
        home: Home,
        id: BlobId,
        filed: &[Filed],
        plans: &mut Vec<Plan>,
    ) -> Result<(), Failure> {
        let record = self.inner.kv.get(&blob::key(home, id)).await?;
        let target = Target::Blob(id);
        let Some(record) = record else {
            // It was collected.
            plans.extend(drop_all(filed));
            return Ok(());
        };
        if self.is_referenced(home, target).await? {
            plans.extend(drop_all(filed));
            return Ok(());
        }
        match filed.iter().find(|filed| filed.record.unreferenced) {
            Some(sealed) => plans.extend(bury(home, id, &record, sealed)),
            None => {
                let (some, rest) = filed.split_at(filed.len().min(TOGETHER));
                plans.push(Plan { item: seal(home, target, some, self.now()), buried: None });
                plans.extend(drop_all(rest));
            }
        }
        Ok(())
    }

    /// Whether anything refers to it now.
    pub(super) async fn is_referenced(&self, home: Home, target: Target) -> Result<bool, Failure> {
        let range = reference::range(home, target);
        Ok(!self.inner.kv.scan(&range, 1, Direction::Forward).await?.entries.is_empty())
    }
}

/// Records that say nothing that is not said elsewhere.
fn drop_all(filed: &[Filed]) -> impl Iterator<Item = Plan> + '_ {
    filed.iter().map(|filed| Plan { item: drop_record(filed.key.clone()), buried: None })
}

/// Removes a garbage record.
pub(super) fn drop_record(key: Key) -> Item {
    Item { guards: Vec::new(), writes: vec![Write::Delete(key)] }
}

/// Files what has no references once more, as of now, in place of these records.
pub(super) fn seal(home: Home, target: Target, filed: &[Filed], now: types::UnixMillis) -> Item {
    let record = Garbage { unreferenced: true, ..Garbage::filed(home, now) };
    let candidate = Candidate::from(target);
    let mut writes: Vec<Write> = filed.iter().map(|f| Write::Delete(f.key.clone())).collect();
    writes.push(Write::PutStamped(garbage::prefix(home), candidate.suffix(), record.encode()));
    Item { guards: vec![Guard::EmptyRange(reference::range(home, target))], writes }
}

/// Removes the blob's record and makes garbage of its copies. That has the revision of `sealed`: who reads the blob
/// began before it.
fn bury(home: Home, id: BlobId, found: &Versioned, sealed: &Filed) -> Option<Plan> {
    let key = blob::key(home, id);
    let copies = match Blob::decode(&found.value) {
        Ok(blob) => blob.location.copies,
        Err(error) => {
            tracing::error!(blob = %id, %error, "a blob cannot be collected: its record stays, and so do its shards");
            return None;
        }
    };
    let record = Garbage { copies, ..Garbage::filed(home, sealed.record.filed_at) };
    let candidate = Candidate::Copies(id);
    let copies_key = garbage::key(home, sealed.revision, candidate);
    let guards = vec![
        Guard::EmptyRange(reference::range(home, Target::Blob(id))),
        Guard::Revision(key.clone(), found.revision),
    ];
    let writes = vec![
        Write::Delete(key),
        Write::Delete(sealed.key.clone()),
        Write::Put(copies_key.clone(), record.encode()),
    ];
    let buried = Filed { key: copies_key, revision: sealed.revision, candidate, record };
    Some(Plan { item: Item { guards, writes }, buried: Some(buried) })
}

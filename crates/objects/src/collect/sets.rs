//! Part sets of completed and aborted uploads, and the parts that completed ones left out.

use kv::{Direction, Guard, Key, KeyRange, Write};
use types::{UploadId, limits};

use runtime::Urgency;

use super::blobs::{drop_record, seal};
use super::{Filed, Item};
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::manifest::{self, Manifest};
use crate::schema::part::{self, Part};
use crate::schema::reference::{self, Owner, Target};
use crate::schema::{Home, Record as _, body};

/// Parts removed in one batch: each takes a guard and at most three writes, and the manifest or the garbage record
/// one more operation each.
const PARTS_PER_BATCH: usize = (limits::KV_BATCH_MAX_OPS - 2) / 4;

/// Which parts go.
enum Which {
    All,
    /// Those that the manifest does not name.
    LeftOut(Manifest),
}

impl Engine {
    /// Goes on with a part set or with the parts that one left out. How many changes were made. One whose records
    /// cannot be read stays.
    pub(super) async fn collect_set(&self, filed: &Filed) -> Result<u64, Failure> {
        let collected = match filed.candidate {
            Candidate::PartSet(id) => self.collect_part_set(filed, id).await,
            Candidate::Remainder(id) => self.collect_remainder(filed, id).await,
            Candidate::Blob(_) | Candidate::Copies(_) => Ok(0),
        };
        match collected {
            Err(Failure::Damaged(what)) => {
                tracing::error!(candidate = ?filed.candidate, what, "parts cannot be collected: they stay");
                Ok(0)
            }
            other => other,
        }
    }

    async fn collect_part_set(&self, filed: &Filed, id: UploadId) -> Result<u64, Failure> {
        let (home, target) = (filed.home(), Target::PartSet(id));
        let manifest_key = manifest::key(home, id);
        if let Some(found) = self.inner.kv.get(&manifest_key).await? {
            let item = if self.is_referenced(home, target).await? {
                drop_record(filed.key.clone())
            } else if !filed.record.unreferenced {
                seal(home, target, std::slice::from_ref(filed), self.now())
            } else {
                // From here on no copy can share it.
                let references = reference::range(home, target);
                Item {
                    guards: vec![
                        Guard::EmptyRange(references),
                        Guard::Revision(manifest_key.clone(), found.revision),
                    ],
                    writes: vec![Write::Delete(manifest_key)],
                }
            };
            let gone = filed.record.unreferenced && item.guards.len() == 2;
            let done = self.one(item).await?;
            if !gone || done == 0 {
                return Ok(done);
            }
        }
        // Without a manifest: nothing refers to it, and nobody can have it open.
        self.remove_parts(filed, id, &Which::All, None).await
    }

    async fn collect_remainder(&self, filed: &Filed, id: UploadId) -> Result<u64, Failure> {
        let key = manifest::key(filed.home(), id);
        match self.inner.kv.get(&key).await? {
            // The part set goes, with all its parts.
            None => self.one(drop_record(filed.key.clone())).await,
            Some(found) => {
                let manifest = Manifest::decode(&found.value)?;
                let guard = Guard::Revision(key, found.revision);
                self.remove_parts(filed, id, &Which::LeftOut(manifest), Some(guard)).await
            }
        }
    }

    /// Removes parts, and the garbage record with the last of them. Their blobs become garbage of the same revision.
    async fn remove_parts(
        &self,
        filed: &Filed,
        id: UploadId,
        which: &Which,
        guard: Option<Guard>,
    ) -> Result<u64, Failure> {
        let home = filed.home();
        let mut rest = Some(part::range(home, id));
        let mut did = 0;
        loop {
            let _turn = self.inner.throttle.turn(Urgency::Upkeep).await;
            let mut item = Item { guards: guard.iter().cloned().collect(), writes: Vec::new() };
            let last = match rest.take() {
                Some(range) => {
                    rest = self.take_page(filed, id, which, &range, &mut item).await?;
                    rest.is_none()
                }
                None => true,
            };
            if last {
                item.writes.push(Write::Delete(filed.key.clone()));
            } else if item.writes.is_empty() {
                continue;
            }
            match self.commit_items(&[item]).await?.len() as u64 {
                0 => return Ok(did),
                done => did += done,
            }
            if last {
                return Ok(did);
            }
        }
    }

    /// Adds the removal of a page of parts; what is behind them.
    async fn take_page(
        &self,
        filed: &Filed,
        id: UploadId,
        which: &Which,
        range: &KeyRange,
        item: &mut Item,
    ) -> Result<Option<KeyRange>, Failure> {
        let page = self.inner.kv.scan(range, PARTS_PER_BATCH, Direction::Forward).await?;
        for entry in &page.entries {
            let (_, number) =
                part::parse_key(entry.key.as_bytes()).ok_or(Failure::Damaged("part"))?;
            let goes = match which {
                Which::All => true,
                Which::LeftOut(manifest) => !manifest.contains(number),
            };
            if goes {
                let part = Part::decode(&entry.value)?;
                item.guards.push(Guard::Revision(entry.key.clone(), entry.revision));
                item.writes.extend(remove_part(filed, id, number, entry.key.clone(), &part));
            }
        }
        let last = page.entries.last().filter(|_| page.more);
        Ok(last.and_then(|last| range.starting_at(last.key.successor())))
    }

    async fn one(&self, item: Item) -> Result<u64, Failure> {
        let _turn = self.inner.throttle.turn(Urgency::Upkeep).await;
        Ok(self.commit_items(&[item]).await?.len() as u64)
    }
}

/// What goes with a part. Its blob has no other reference: objects share whole part sets.
fn remove_part(filed: &Filed, id: UploadId, number: u16, key: Key, part: &Part) -> Vec<Write> {
    let home: Home = filed.home();
    let mut writes = vec![Write::Delete(key)];
    match &part.blob {
        Some(blob) => {
            let target = Target::Blob(blob.id);
            let owner = Owner::Part(id, number);
            let record = Garbage { unreferenced: true, ..filed.record.clone() };
            let key = garbage::key(home, filed.revision, Candidate::Blob(blob.id));
            writes.push(Write::Delete(reference::key(home, target, owner)));
            writes.push(Write::Put(key, record.encode()));
        }
        None if part.len > 0 => writes.push(Write::Delete(body::part_key(home, id, number))),
        None => {}
    }
    writes
}

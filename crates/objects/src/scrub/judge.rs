//! What is to be done about shards that a scrub came upon.

use net::{ScrubBudget, Scrubbed, ShardError, ShardHeader, ShardId};
use types::{BlobId, BucketId, CopyId, DriveId};

use super::add;
use crate::collect::Orphan;
use crate::engine::Engine;
use crate::error::Failure;
use crate::repair::Finding;
use crate::schema::blob::{self, Blob};
use crate::schema::repair::{Fault, Missed, Reason};
use crate::schema::{Home, Record as _};

/// What was found out about the shards of a piece.
#[derive(Default)]
pub(super) struct Verdict {
    /// Lost copies that records name.
    pub(super) findings: Vec<Finding>,
    /// Copies that no record names.
    pub(super) strays: Vec<ShardHeader>,
}

/// A shard that is to be judged. Of a damaged header only the id and the home are true.
struct Case {
    header: ShardHeader,
    is_damaged: bool,
}

impl Engine {
    /// Compares what was seen on `drive` with the records.
    ///
    /// # Errors
    /// As the metadata store and the drive have them; nothing was changed.
    pub(super) async fn judge(
        &self,
        drive: DriveId,
        seen: &[Scrubbed],
    ) -> Result<Verdict, Failure> {
        let mut cases = Vec::with_capacity(seen.len());
        for shard in seen {
            let whole = shard.header.filter(|_| shard.is_whole());
            let case = match whole {
                Some(header) => Some(Case { header, is_damaged: false }),
                None => self.second_look(drive, shard.id).await?,
            };
            cases.extend(case);
        }
        let key = |case: &Case| blob::key(home_of(&case.header), case.header.id.blob);
        let keys: Vec<_> = cases.iter().map(key).collect();
        let records = self.inner.kv.multi_get(&keys).await?;
        let mut verdict = Verdict::default();
        for (case, record) in cases.into_iter().zip(records) {
            let record = match record.map(|record| Blob::decode(&record.value)).transpose() {
                Ok(record) => record,
                Err(error) => {
                    // Nobody can say what it names, so nothing is touched.
                    tracing::error!(blob = %case.header.id.blob, %error, "a blob's record is damaged");
                    continue;
                }
            };
            case.weigh(drive, record.as_ref(), &mut verdict);
        }
        add(&self.inner.scrub.corrupt, verdict.findings.iter().filter(|f| f.is_corrupt()).count());
        Ok(verdict)
    }

    /// Lets the collector judge copies that no record names.
    ///
    /// # Errors
    /// As the metadata store has them; some may have been settled.
    pub(super) async fn settle_strays(
        &self,
        drive: DriveId,
        strays: &[ShardHeader],
    ) -> Result<(), Failure> {
        if strays.is_empty() {
            return Ok(());
        }
        let judge = self.orphan_judge().await?;
        for header in strays {
            let outcome = judge.judge(drive, header).await?;
            if matches!(outcome, Orphan::Deleted | Orphan::Filed) {
                tracing::info!(%drive, shard = ?header.id, ?outcome, "no record names a shard");
                add(&self.inner.scrub.orphans, 1);
            }
        }
        Ok(())
    }

    /// Looks again at a shard that did not verify: a disk may err once. `None` when it is gone, or when nobody
    /// can say which record it belongs to: then the sweep finds it from the record's side.
    async fn second_look(&self, drive: DriveId, id: ShardId) -> Result<Option<Case>, Failure> {
        let again = match self.verify_one(drive, id).await {
            Ok(Some(again)) => again,
            Ok(None) | Err(ShardError::Away(_)) => return Ok(None),
            Err(error) => {
                // Not even that can be read.
                tracing::warn!(%drive, shard = ?id, %error, "a damaged shard cannot be read again");
                Scrubbed { id, header: None, damaged: Vec::new() }
            }
        };
        if let (true, Some(header)) = (again.is_whole(), again.header) {
            tracing::info!(%drive, shard = ?id, "a shard that did not verify does now");
            return Ok(Some(Case { header, is_damaged: false }));
        }
        tracing::warn!(%drive, shard = ?id, frames = ?again.damaged, "a shard is damaged");
        let header = match again.header {
            Some(header) => Some(header),
            // What its own header was to say does not matter here.
            None => self.sibling(drive, id.blob).await.map(|sibling| ShardHeader { id, ..sibling }),
        };
        Ok(header.map(|header| Case { header, is_damaged: true }))
    }

    async fn verify_one(
        &self,
        drive: DriveId,
        id: ShardId,
    ) -> Result<Option<Scrubbed>, ShardError> {
        let budget = ScrubBudget { bytes: 1, shards: 1 };
        let slice = self.inner.carrier.scrub(drive, before(id), budget).await?;
        Ok(slice.seen.into_iter().find(|seen| seen.id == id))
    }

    /// The header of a shard of this blob on another drive: it says where the blob's record is.
    async fn sibling(&self, drive: DriveId, blob: BlobId) -> Option<ShardHeader> {
        let first = ShardId { blob, index: 0, copy: CopyId::new(0) };
        for other in self.inner.layout.drives.iter().filter(|other| other.id != drive) {
            let Ok(headers) = self.inner.carrier.list(other.id, before(first), 1).await else {
                continue;
            };
            if let Some(header) = headers.into_iter().find(|header| header.id.blob == blob) {
                return Some(header);
            }
        }
        None
    }
}

impl Case {
    fn weigh(&self, drive: DriveId, record: Option<&Blob>, verdict: &mut Verdict) {
        let ShardId { blob, index, copy } = self.header.id;
        let finding = |fault| Finding {
            home: home_of(&self.header),
            blob,
            reason: Reason::Scrub,
            copies: vec![Missed { index, copy, fault }],
        };
        let copies = record.iter().flat_map(|record| &record.location.copies);
        let named = copies.into_iter().find(|c| (c.index, c.copy) == (index, copy));
        if named.is_some_and(|place| place.drive == drive) {
            if self.is_damaged {
                verdict.findings.push(finding(Fault::Corrupt));
            }
            return;
        }
        if named.is_some() {
            // It must be on another drive, and has probably been moved from there behind our back.
            verdict.findings.push(finding(Fault::Missing));
        }
        verdict.strays.push(self.header);
    }
}

impl Finding {
    fn is_corrupt(&self) -> bool {
        self.copies.iter().any(|missed| missed.fault == Fault::Corrupt)
    }
}

fn home_of(header: &ShardHeader) -> Home {
    Home::of(BucketId::new(header.home))
}

/// The last id in front of `id`; `None` when there is none.
fn before(id: ShardId) -> Option<ShardId> {
    if let Some(copy) = id.copy.get().checked_sub(1) {
        return Some(ShardId { copy: CopyId::new(copy), ..id });
    }
    let copy = CopyId::new(u64::MAX);
    if let Some(index) = id.index.checked_sub(1) {
        return Some(ShardId { index, copy, ..id });
    }
    let blob = u128::from_be_bytes(id.blob.to_bytes()).checked_sub(1)?;
    Some(ShardId { blob: BlobId::from_bytes(blob.to_be_bytes()), index: u8::MAX, copy })
}

#[cfg(test)]
mod tests {
    use types::SessionId;

    use super::*;

    fn id(session: u64, sequence: u64, index: u8, copy: u64) -> ShardId {
        let blob = BlobId { session: SessionId::new(session), sequence };
        ShardId { blob, index, copy: CopyId::new(copy) }
    }

    #[test]
    fn the_id_before() {
        let last = u64::MAX;
        for (id, expected) in [
            (id(1, 2, 3, 4), Some(id(1, 2, 3, 3))),
            (id(1, 2, 3, 0), Some(id(1, 2, 2, last))),
            (id(1, 2, 0, 0), Some(id(1, 1, 255, last))),
            (id(1, 0, 0, 0), Some(id(0, last, 255, last))),
            (id(0, 0, 0, 0), None),
        ] {
            assert_eq!(before(id), expected);
            assert!(before(id) < Some(id));
        }
    }
}

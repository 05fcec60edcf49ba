//! Shards that no record names, as a scrub meets them.
//!
//! A shard without a record is either of a write that has not committed yet, or garbage for ever. It is garbage when
//! the writer session in its blob's id was ended by a commit before the record was looked up: no batch of that
//! session could commit afterwards, and records of blobs are made by their own session alone. A session that
//! nobody knows says nothing, and neither does age.
//!
//! A shard whose record exists and does not name it is the rest of a repair: one that failed, or one that replaced it.
//! It is not deleted, but filed, in a batch that raises the revision of the blob's record: a repair that was about
//! to name it will conflict, and a read that has found it in an old hint is waited for as always.

use std::collections::HashMap;

use kv::{Batch, Guard, Write};
use net::ShardHeader;
use types::{BucketId, DriveId, SessionId};

use crate::commit::Verdict;
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::blob::{self, Blob};
use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::{CopyPlace, Home, Record as _};

/// What a shard on a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// Its blob's record names it: no orphan.
    Named,
    /// Nothing names it, and something may still: it is kept.
    Kept,
    /// Nothing named it, and it was deleted.
    Deleted,
    /// Its blob's record does not name it; it was filed for collection.
    Filed,
}

/// Judges shards by the writer sessions as they were when it was made: to be used for shards seen before that, and
/// not for long.
pub struct OrphanJudge {
    engine: Engine,
    /// Whether each has ended.
    sessions: HashMap<SessionId, bool>,
    /// Whether anything may go.
    on: bool,
}

impl Engine {
    /// To be called once for each batch of shards that a scrub has seen.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn orphan_judge(&self) -> Result<OrphanJudge, Failure> {
        let on = self.may_collect_orphans().await?;
        let sessions = self.inner.kv.sessions().await?;
        let sessions = sessions.into_iter().map(|s| (s.id, s.ended.is_some())).collect();
        Ok(OrphanJudge { engine: self.clone(), sessions, on })
    }
}

impl OrphanJudge {
    /// Says what the shard with this header on `drive` is, and removes it if it is garbage.
    ///
    /// # Errors
    /// [`Failure`]; the shard is as it was, or gone if it was garbage.
    pub async fn judge(&self, drive: DriveId, header: &ShardHeader) -> Result<Orphan, Failure> {
        let (engine, blob) = (&self.engine, header.id.blob);
        let home = Home::of(BucketId::new(header.home));
        let key = blob::key(home, blob);
        let found = engine.inner.kv.get(&key).await?;
        let Some(found) = found else {
            let ended = self.sessions.get(&blob.session).copied().unwrap_or(false);
            if !ended || !self.on {
                return Ok(Orphan::Kept);
            }
            return Ok(match engine.inner.carrier.delete(drive, header.id).await {
                Ok(_) => Orphan::Deleted,
                Err(error) => {
                    tracing::warn!(%drive, %error, "a shard that no record names could not be deleted");
                    Orphan::Kept
                }
            });
        };
        let copy = CopyPlace { index: header.id.index, drive, copy: header.id.copy };
        if Blob::decode(&found.value)?.location.copies.contains(&copy) {
            return Ok(Orphan::Named);
        }
        if !self.on || engine.inner.upkeep.is_in_repair(blob) {
            return Ok(Orphan::Kept);
        }
        let record = Garbage { copies: vec![copy], ..Garbage::filed(home, engine.now()) };
        let suffix = Candidate::Copies(blob).suffix();
        let mut batch = Batch::default();
        batch.guard(Guard::Revision(key.clone(), found.revision)).put(key, found.value);
        batch.write(Write::PutStamped(garbage::prefix(home), suffix, record.encode()));
        Ok(match engine.commit_once(batch).await? {
            Verdict::Committed(_) => Orphan::Filed,
            // A repair was faster, or the collector: the next pass sees it.
            Verdict::Conflict(_) => Orphan::Kept,
        })
    }
}

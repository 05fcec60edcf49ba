//! Buckets: made, removed, listed.

use kv::Guard;
use tenancy::Authorized;
use tenancy::action::{CreateBucket, DeleteBucket, ListAllMyBuckets};
use tenancy::directory::{self, BucketEntry};
use types::{BucketId, limits};

use crate::commit::{Attempts, Verdict};
use crate::engine::Engine;
use crate::error::{CreateBucketError, DeleteBucketError, Failure};
use crate::ledger::Ledger;
use crate::model::BucketInfo;
use crate::schema::bucket::Bucket;
use crate::schema::counter::{self, Counter};
use crate::schema::{Home, Record as _, bucket, object, upload};

impl Engine {
    /// Makes a bucket.
    ///
    /// # Errors
    /// When the name is taken, by the caller or by somebody else.
    pub async fn create_bucket(
        &self,
        proof: Authorized<CreateBucket>,
    ) -> Result<BucketInfo, CreateBucketError> {
        let wanted = proof.into_resource();
        let id = BucketId::new(self.inner.runtime.entropy.nonzero_u64());
        let (home, created_at) = (Home::of(id), self.now());
        let entry = BucketEntry { v: 1, id, owner: wanted.owner, created_at_ms: created_at };
        let record = Bucket { name: wanted.name.clone(), owner: wanted.owner, created_at };
        let mut attempts = Attempts::new(self, bucket::key(home));
        loop {
            let found = directory::find(self.inner.kv.as_ref(), &wanted.name).await;
            if let Some((taken, _)) = found.map_err(Failure::from)? {
                return Err(match taken.owner == wanted.owner {
                    true => CreateBucketError::OwnedByYou,
                    false => CreateBucketError::Taken,
                });
            }
            let mut batch = kv::Batch::default();
            directory::claim(&mut batch, &wanted.name, &entry).map_err(Failure::from)?;
            batch.guard(Guard::Absent(bucket::key(home)));
            batch.put(bucket::key(home), record.encode());
            if let Verdict::Committed(_) = attempts.commit(batch).await? {
                return Ok(BucketInfo { name: wanted.name, id, owner: wanted.owner, created_at });
            }
        }
    }

    /// Removes a bucket without objects; uploads in progress end with it, as on AWS.
    ///
    /// # Errors
    /// [`DeleteBucketError::NotEmpty`] when it holds objects: then no upload has been touched since there was one.
    pub async fn delete_bucket(
        &self,
        proof: Authorized<DeleteBucket>,
    ) -> Result<(), DeleteBucketError> {
        let place = proof.into_resource();
        let home = Home::of(place.id);
        let mut attempts = Attempts::new(self, bucket::key(home));
        loop {
            let [found] = self.look([bucket::key(home)]).await?;
            let found = found.ok_or(Failure::NoSuchBucket)?;
            let mut ledger = Ledger::new(self.now());
            ledger.guard(Guard::EmptyRange(object::range(home, "")));
            ledger.guard(Guard::EmptyRange(upload::range(home, "")));
            ledger.bucket_unchanged(home, found.revision);
            ledger.delete(bucket::key(home));
            Counter::ALL.iter().for_each(|&which| ledger.delete(counter::key(home, which)));
            let mut batch = ledger.finish();
            directory::release(&mut batch, &place.name, place.owner, place.directory_revision)
                .map_err(Failure::from)?;
            match attempts.commit(batch).await? {
                Verdict::Committed(_) => return Ok(()),
                Verdict::Conflict(0) => return Err(DeleteBucketError::NotEmpty),
                Verdict::Conflict(1) => self.abort_uploads_of(home).await?,
                Verdict::Conflict(_) => {}
            }
        }
    }

    /// The account's buckets that begin with `prefix` and lie behind `after`, in order of name, at most `max`
    /// (0 to 1000), and whether there are more.
    ///
    /// # Errors
    /// [`Failure::Kv`].
    pub async fn list_buckets(
        &self,
        proof: Authorized<ListAllMyBuckets>,
        prefix: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<(Vec<BucketInfo>, bool), Failure> {
        let (owner, max) = (proof.into_resource(), max.min(limits::LIST_PAGE_MAX_KEYS));
        let kv = self.inner.kv.as_ref();
        let (found, more) = directory::list(kv, owner, prefix, after, max).await?;
        let info = |(name, entry): (_, BucketEntry)| BucketInfo {
            name,
            id: entry.id,
            owner: entry.owner,
            created_at: entry.created_at_ms,
        };
        Ok((found.into_iter().map(info).collect(), more))
    }
}

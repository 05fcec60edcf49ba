//! PutObject.

use tenancy::Authorized;
use tenancy::action::PutObject;
use types::limits;

use std::sync::atomic::Ordering;

use crate::blob::StoredBlob;
use crate::body::{Taken, TakenBytes};
use crate::commit::{Attempts, Verdict};
use crate::digest::ChecksumKind;
use crate::engine::Engine;
use crate::error::{Failure, PutError};
use crate::ledger::{Current, Ledger, Place, degraded};
use crate::model::{ObjectHeaders, PutRequest, StoredChecksum, WriteConditions, WriteResult};
use crate::schema::object::{Body, Object};
use crate::schema::{BlobLocation, Etag, Home};

impl Engine {
    /// Stores an object in place of the current one. When this returns, the object is durable.
    ///
    /// # Errors
    /// [`PutError`]; nothing is visible unless [`Failure::Unknown`].
    pub async fn put_object(
        &self,
        proof: Authorized<PutObject>,
        request: PutRequest,
    ) -> Result<WriteResult, PutError> {
        if request.len > limits::PUT_MAX_BYTES {
            return Err(PutError::TooLarge);
        }
        let target = proof.into_resource();
        let place = Place { home: Home::of(target.bucket.id), key: target.key.as_str() };
        let PutRequest { len, headers, digests, conditions, body } = request;
        if !conditions.is_empty() && len > limits::INLINE_MAX_BYTES as u64 {
            // The commit decides; this spares the client from sending what cannot be stored.
            self.check_conditions(place, &conditions).await?;
        }
        let taken = self.take_body(place.home, len, body, digests, None).await?;
        self.commit_put(place, headers, &conditions, taken).await
    }

    async fn check_conditions(
        &self,
        place: Place<'_>,
        conditions: &WriteConditions,
    ) -> Result<(), PutError> {
        let [bucket, current] = self.look([place.bucket_key(), place.current_key()]).await?;
        bucket.ok_or(Failure::NoSuchBucket)?;
        let current = Current::from_look_up(current)?;
        Ok(conditions.check(current.map(|c| c.object.etag))?)
    }

    async fn commit_put(
        &self,
        place: Place<'_>,
        headers: ObjectHeaders,
        conditions: &WriteConditions,
        mut taken: Taken,
    ) -> Result<WriteResult, PutError> {
        let mut object = self.object_of(place, headers, &taken);
        let mut attempts = Attempts::new(self, place.current_key());
        loop {
            let [bucket, current] = self.look([place.bucket_key(), place.current_key()]).await?;
            let bucket = bucket.ok_or(Failure::NoSuchBucket)?;
            let old = Current::from_look_up(current)?;
            conditions.check(old.as_ref().map(|c| c.object.etag))?;
            object.last_modified = self.now();
            let mut ledger = Ledger::new(object.last_modified);
            ledger.bucket_unchanged(place.home, bucket.revision);
            ledger.replace(place, old.as_ref(), &object, taken.bytes.inline());
            if let Some(blob) = taken.bytes.blob() {
                ledger.record_blob(place.home, blob, self.inner.blobs.geometry());
            }
            let batch = ledger.finish();
            let verdict = match &mut taken.bytes {
                TakenBytes::Inline { .. } => attempts.commit(batch).await?,
                TakenBytes::Blob(pending) => attempts.commit_blob(batch, pending).await?,
            };
            if let Verdict::Committed(_) = verdict {
                taken.bytes.blob().into_iter().for_each(|blob| self.note_written(blob));
                return Ok(object.into_result());
            }
        }
    }

    fn object_of(&self, place: Place<'_>, headers: ObjectHeaders, taken: &Taken) -> Object {
        let body = match taken.bytes.blob() {
            Some(blob) => Body::Blob { home: place.home.bucket(), blob: BlobLocation::of(blob) },
            None => Body::Inline,
        };
        Object {
            len: taken.len,
            etag: Etag::of_md5(taken.md5),
            last_modified: self.now(),
            checksum: taken.checksum.clone().map(|value| StoredChecksum {
                value,
                kind: ChecksumKind::FullObject,
                parts: None,
            }),
            version: self.new_version(),
            headers,
            body,
        }
    }

    /// Counts a blob that has been committed.
    pub(crate) fn note_written(&self, blob: &StoredBlob) {
        if degraded(blob, self.inner.blobs.geometry()).is_some() {
            tracing::info!(blob = %blob.id, missing = ?blob.missing, geometry = %blob.geometry,
                "a write was degraded; a repair task is filed");
            self.inner.figures.degraded_writes.fetch_add(1, Ordering::Relaxed);
            self.inner.figures.repair_tasks.fetch_add(1, Ordering::Relaxed);
            self.inner.upkeep.repair_filed.notify_one();
        }
    }
}

impl Object {
    /// What the writer is told.
    pub(crate) fn into_result(self) -> WriteResult {
        WriteResult {
            etag: self.etag.to_text(),
            checksum: self.checksum,
            last_modified: self.last_modified,
            len: self.len,
        }
    }
}

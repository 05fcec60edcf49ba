//! UploadPart.

use kv::Guard;
use tenancy::Authorized;
use tenancy::action::PutObject;
use types::{PartNumber, limits};

use super::UploadPlace;
use crate::body::{Taken, TakenBytes};
use crate::commit::{Attempts, Verdict};
use crate::digest::{ChecksumAlgorithm, ChecksumKind};
use crate::engine::Engine;
use crate::error::{Failure, UploadError};
use crate::ledger::Ledger;
use crate::model::{BodyStream, DeclaredDigests, PartRequest, StoredChecksum, WriteResult};
use crate::schema::part::{self, Part};
use crate::schema::pulse::{self, Pulse};
use crate::schema::reference::{self, Owner, Reference, Target};
use crate::schema::upload::Upload;
use crate::schema::{BlobLocation, Record as _, body};

impl Engine {
    /// Stores a part in place of any of the same number. When this returns, the part is durable.
    ///
    /// # Errors
    /// [`UploadError`]; nothing changes unless [`Failure::Unknown`].
    pub async fn put_part(
        &self,
        proof: Authorized<PutObject>,
        request: PartRequest,
    ) -> Result<WriteResult, UploadError> {
        let PartRequest { upload, number, len, digests, body } = request;
        let place = UploadPlace::of(proof.into_resource(), upload);
        self.store_part(&place, number, len, digests, body).await
    }

    /// Stores exactly `len` bytes of `body` as a part.
    pub(super) async fn store_part(
        &self,
        place: &UploadPlace,
        number: PartNumber,
        len: u64,
        declared: DeclaredDigests,
        body: BodyStream,
    ) -> Result<WriteResult, UploadError> {
        if len > limits::PUT_MAX_BYTES {
            return Err(UploadError::TooLarge);
        }
        let (upload, _) = self.find_upload(place).await?;
        let algorithm = algorithm_for(&upload, &declared)?;
        let taken = self.take_body(place.home, len, body, declared, algorithm).await?;
        self.commit_part(place, number, taken).await
    }

    async fn commit_part(
        &self,
        place: &UploadPlace,
        number: PartNumber,
        mut taken: Taken,
    ) -> Result<WriteResult, UploadError> {
        let number = number.get();
        let key = part::key(place.home, place.id, number);
        let mut record = Part {
            len: taken.len,
            md5: taken.md5,
            last_modified: self.now(),
            checksum: taken.checksum.clone(),
            blob: taken.bytes.blob().map(BlobLocation::of),
        };
        let mut attempts = Attempts::new(self, key.clone());
        loop {
            let [upload, old] = self.look([place.record_key(), key.clone()]).await?;
            let upload = upload.ok_or(UploadError::NoSuchUpload)?;
            record.last_modified = self.now();
            let mut ledger = Ledger::new(record.last_modified);
            ledger.guard(Guard::Revision(place.record_key(), upload.revision));
            ledger.guard(match &old {
                Some(old) => Guard::Revision(key.clone(), old.revision),
                None => Guard::Absent(key.clone()),
            });
            let old = old.map(|old| Part::decode(&old.value)).transpose().map_err(Failure::from)?;
            write_part(&mut ledger, place, number, old.as_ref(), &record, taken.bytes.inline());
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
                return Ok(result_of(record));
            }
        }
    }
}

/// Everything that changes when `new` takes the place of `old`, but for the blob's own record.
fn write_part(
    ledger: &mut Ledger,
    place: &UploadPlace,
    number: u16,
    old: Option<&Part>,
    new: &Part,
    bytes: &[u8],
) {
    let owner = Owner::Part(place.id, number);
    ledger.put(part::key(place.home, place.id, number), new.encode());
    ledger.put(pulse::key(place.home, place.id), Pulse { at: new.last_modified }.encode());
    let body_key = body::part_key(place.home, place.id, number);
    if !bytes.is_empty() {
        ledger.put(body_key, body::seal(body::Context::Part(place.id, number), bytes));
    } else if old.is_some_and(|old| old.blob.is_none() && old.len > 0) {
        ledger.delete(body_key);
    }
    if let Some(blob) = &new.blob {
        let record = Reference { bucket: place.home.bucket(), key: place.key.clone() };
        let key = reference::key(place.home, Target::Blob(blob.id), owner);
        ledger.put(key, record.encode());
    }
    if let Some(blob) = old.and_then(|old| old.blob.as_ref()) {
        ledger.release(place.home, Target::Blob(blob.id), owner);
    }
}

/// What to compute when the part declares nothing: what the upload was begun with.
fn algorithm_for(
    upload: &Upload,
    declared: &DeclaredDigests,
) -> Result<Option<ChecksumAlgorithm>, UploadError> {
    let wanted = upload.checksum.map(|(algorithm, _)| algorithm);
    match (wanted, declared.checksum.as_ref().map(|c| c.algorithm)) {
        (Some(wanted), Some(found)) if wanted != found => Err(UploadError::ChecksumAlgorithm),
        _ => Ok(wanted),
    }
}

fn result_of(part: Part) -> WriteResult {
    WriteResult {
        etag: part.etag().to_text(),
        checksum: part.checksum.map(|value| StoredChecksum {
            value,
            kind: ChecksumKind::FullObject,
            parts: None,
        }),
        last_modified: part.last_modified,
        len: part.len,
    }
}

//! CreateMultipartUpload.

use kv::Guard;
use tenancy::Authorized;
use tenancy::action::PutObject;
use types::UploadId;

use super::UploadPlace;
use crate::commit::{Attempts, Verdict};
use crate::engine::Engine;
use crate::error::{Failure, UploadError};
use crate::ledger::Ledger;
use crate::model::NewUpload;
use crate::schema::upload::Upload;
use crate::schema::{Record as _, bucket};

impl Engine {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`UploadError::Failure`] only.
    pub async fn create_upload(
        &self,
        proof: Authorized<PutObject>,
        request: NewUpload,
    ) -> Result<UploadId, UploadError> {
        let initiator = proof.principal().account;
        let id = UploadId::new(self.inner.runtime.entropy.u128());
        let place = UploadPlace::of(proof.into_resource(), id);
        let NewUpload { headers, checksum } = request;
        let record = Upload { initiated: self.now(), initiator, headers, checksum };
        let mut attempts = Attempts::new(self, place.record_key());
        loop {
            let [found] = self.look([bucket::key(place.home)]).await?;
            let found = found.ok_or(Failure::NoSuchBucket)?;
            let mut ledger = Ledger::new(record.initiated);
            ledger.bucket_unchanged(place.home, found.revision);
            ledger.guard(Guard::Absent(place.record_key()));
            ledger.put(place.record_key(), record.encode());
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(id);
            }
        }
    }
}

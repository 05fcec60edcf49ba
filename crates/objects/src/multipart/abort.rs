//! AbortMultipartUpload.

use kv::Guard;
use tenancy::Authorized;
use tenancy::action::AbortMultipartUpload;
use types::UploadId;

use super::UploadPlace;
use crate::commit::{Attempts, Verdict};
use crate::engine::Engine;
use crate::error::UploadError;
use crate::ledger::Ledger;
use crate::schema::garbage::Candidate;
use crate::schema::pulse;

impl Engine {
    /// Gives an upload up. Its parts are filed for collection.
    ///
    /// # Errors
    /// [`UploadError::NoSuchUpload`] also when it was completed or aborted before.
    pub async fn abort_upload(
        &self,
        proof: Authorized<AbortMultipartUpload>,
        upload: UploadId,
    ) -> Result<(), UploadError> {
        let place = UploadPlace::of(proof.into_resource(), upload);
        let mut attempts = Attempts::new(self, place.record_key());
        loop {
            let (_, revision) = self.find_upload(&place).await?;
            let mut ledger = Ledger::new(self.now());
            ledger.guard(Guard::Revision(place.record_key(), revision));
            ledger.delete(place.record_key());
            ledger.delete(pulse::key(place.home, place.id));
            ledger.file(place.home, Candidate::PartSet(place.id));
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(());
            }
        }
    }
}

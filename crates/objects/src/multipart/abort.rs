//! AbortMultipartUpload.

use kv::{Direction, Guard, Key};
use tenancy::Authorized;
use tenancy::action::AbortMultipartUpload;
use types::{Revision, UploadId};

use super::UploadPlace;
use crate::commit::{Attempts, Verdict};
use crate::engine::Engine;
use crate::error::{DeleteBucketError, Failure, UploadError};
use crate::ledger::Ledger;
use crate::schema::garbage::Candidate;
use crate::schema::{Home, Undecodable, object, pulse, upload};

/// How many uploads are looked at at once.
const UPLOADS_PAGE: usize = 256;

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
            give_up(&mut ledger, place.home, place.record_key(), place.id, revision);
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(());
            }
        }
    }
    /// Gives up the uploads of a bucket, each only while the bucket has no objects.
    ///
    /// # Errors
    /// [`DeleteBucketError::NotEmpty`] as soon as it has one.
    pub(crate) async fn abort_uploads_of(&self, home: Home) -> Result<(), DeleteBucketError> {
        let range = upload::range(home, "");
        loop {
            let kv = self.inner.kv.as_ref();
            let page = kv.scan(&range, UPLOADS_PAGE, Direction::Forward).await;
            let page = page.map_err(Failure::from)?;
            if page.entries.is_empty() {
                return Ok(());
            }
            for entry in page.entries {
                let (_, _, id) = upload::parse_key(entry.key.as_bytes())
                    .ok_or(Failure::from(Undecodable("upload")))?;
                let mut ledger = Ledger::new(self.now());
                ledger.guard(Guard::EmptyRange(object::range(home, "")));
                give_up(&mut ledger, home, entry.key, id, entry.revision);
                match self.commit_once(ledger.finish()).await? {
                    Verdict::Conflict(0) => return Err(DeleteBucketError::NotEmpty),
                    // Completed or aborted in the meantime: the next page shows it.
                    Verdict::Conflict(_) | Verdict::Committed(_) => {}
                }
            }
        }
    }
}

fn give_up(ledger: &mut Ledger, home: Home, record: Key, id: UploadId, read: Revision) {
    ledger.guard(Guard::Revision(record.clone(), read));
    ledger.delete(record);
    ledger.delete(pulse::key(home, id));
    ledger.file(home, Candidate::PartSet(id));
}

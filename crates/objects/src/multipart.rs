//! Multipart uploads: one operation, one file.
//!
//! An upload is a record; parts are records under its id, each with a blob of its own. Completing deletes the
//! upload and makes an object that points to the parts, which are never moved or copied.

mod abort;
mod complete;
mod copy_part;
mod create;
mod list_parts;
mod list_uploads;
mod put_part;

use tenancy::ObjectRef;
use types::{Revision, UploadId};

use crate::engine::Engine;
use crate::error::{CopyError, Failure, UploadError};
use crate::schema::upload::{self, Upload};
use crate::schema::{Home, Record as _};

/// Where an upload is.
#[derive(Clone)]
pub(crate) struct UploadPlace {
    pub(crate) home: Home,
    pub(crate) key: String,
    pub(crate) id: UploadId,
}

impl UploadPlace {
    fn of(object: ObjectRef, id: UploadId) -> Self {
        Self { home: Home::of(object.bucket.id), key: object.key.as_str().to_owned(), id }
    }

    fn record_key(&self) -> kv::Key {
        upload::key(self.home, &self.key, self.id)
    }
}

impl Engine {
    /// The upload, and the revision of its record.
    async fn find_upload(&self, place: &UploadPlace) -> Result<(Upload, Revision), UploadError> {
        let found = self.inner.kv.get(&place.record_key()).await.map_err(Failure::from)?;
        let found = found.ok_or(UploadError::NoSuchUpload)?;
        Ok((Upload::decode(&found.value).map_err(Failure::from)?, found.revision))
    }
}

impl From<Failure> for CopyError {
    fn from(failure: Failure) -> Self {
        Self::Target(failure.into())
    }
}

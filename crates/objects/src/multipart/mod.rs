//! Multipart uploads.

use tenancy::action::{
    AbortMultipartUpload, GetObject, ListBucketMultipartUploads, ListMultipartUploadParts,
    PutObject,
};
use tenancy::Authorized;
use types::UploadId;

use crate::engine::Engine;
use crate::error::{CompleteError, CopyError, Failure, UploadError};
use crate::model::{
    CompleteRequest, NewUpload, PartCopyRequest, PartPage, PartRequest, UploadPage, UploadsRequest,
    WriteResult,
};

impl Engine {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn create_upload(
        &self,
        _proof: Authorized<PutObject>,
        _request: NewUpload,
    ) -> Result<UploadId, UploadError> {
        unimplemented!()
    }

    /// Stores a part in place of any of the same number.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn put_part(
        &self,
        _proof: Authorized<PutObject>,
        _request: PartRequest,
    ) -> Result<WriteResult, UploadError> {
        unimplemented!()
    }

    /// Stores a part from bytes of an object.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn copy_part(
        &self,
        _source: Authorized<GetObject>,
        _target: Authorized<PutObject>,
        _request: PartCopyRequest,
    ) -> Result<WriteResult, CopyError> {
        unimplemented!()
    }

    /// Makes an object of an upload's parts.
    ///
    /// # Errors
    /// [`CompleteError`].
    pub async fn complete_upload(
        &self,
        _proof: Authorized<PutObject>,
        _upload: UploadId,
        _request: CompleteRequest,
    ) -> Result<WriteResult, CompleteError> {
        unimplemented!()
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn abort_upload(
        &self,
        _proof: Authorized<AbortMultipartUpload>,
        _upload: UploadId,
    ) -> Result<(), UploadError> {
        unimplemented!()
    }

    /// A page of an upload's parts behind number `after` (0: from the first), at most `max` (0 to 1000).
    ///
    /// # Errors
    /// [`UploadError`].
    pub async fn list_parts(
        &self,
        _proof: Authorized<ListMultipartUploadParts>,
        _upload: UploadId,
        _after: u16,
        _max: usize,
    ) -> Result<PartPage, UploadError> {
        unimplemented!()
    }

    /// A page of a bucket's uploads.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list_uploads(
        &self,
        _proof: Authorized<ListBucketMultipartUploads>,
        _request: UploadsRequest,
    ) -> Result<UploadPage, Failure> {
        unimplemented!()
    }
}

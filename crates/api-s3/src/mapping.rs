//! What each error of the engine and of the gate becomes on the wire: one exhaustive match an enum.

use http::header;
use objects::{
    BodyError, CompleteError, CopyError, CreateBucketError, DeleteBucketError, DigestMismatch,
    Failure, GetError, PutError, ReadError, StoreError, UploadError,
};
use tenancy::Refusal;
use types::{ErrorKind, limits};

use crate::dates::http_date;
use crate::error::{ApiError, Code};

/// 503 that says what is the matter.
fn unavailable(message: &'static str) -> ApiError {
    ApiError::with(Code::ServiceUnavailable, message)
}

fn of_kind(kind: ErrorKind) -> ApiError {
    match kind {
        ErrorKind::Invalid => Code::InvalidRequest.into(),
        ErrorKind::NotFound => Code::NoSuchKey.into(),
        ErrorKind::Conflict => Code::SlowDown.into(),
        ErrorKind::Denied => Code::AccessDenied.into(),
        ErrorKind::Unavailable | ErrorKind::Unknown => Code::ServiceUnavailable.into(),
        ErrorKind::Full => Code::StorageFull.into(),
        ErrorKind::NotImplemented => Code::NotImplemented.into(),
        ErrorKind::Corrupt | ErrorKind::Internal => Code::InternalError.into(),
    }
}

/// The gate said no.
pub(crate) fn refusal(error: Refusal) -> ApiError {
    match error {
        Refusal::NoSuchBucket => Code::NoSuchBucket.into(),
        Refusal::AccessDenied => Code::AccessDenied.into(),
        Refusal::Kv(error) => {
            tracing::warn!(%error, "the gate could not be asked");
            of_kind(error.kind())
        }
    }
}

/// Conditions that every operation shares.
pub(crate) fn failure(error: Failure) -> ApiError {
    match error {
        Failure::NoSuchBucket => Code::NoSuchBucket.into(),
        Failure::Kv(error) => {
            tracing::warn!(%error, "metadata failed");
            of_kind(error.kind())
        }
        Failure::Unknown => unavailable(
            "The outcome of the write is not known: it may be visible or not. Read before you repeat it.",
        ),
        Failure::Fenced => {
            tracing::error!("this gateway has been fenced and must be restarted");
            unavailable("This gateway must be restarted; another one can serve the request.")
        }
        Failure::Contended => Code::SlowDown.into(),
        Failure::Damaged(what) => {
            tracing::error!(what, "a stored record is damaged");
            ApiError::with(Code::InternalError, "A stored record is damaged.")
        }
        Failure::Read(error) => read(&error),
        Failure::Store(error) => store(error),
    }
}

fn read(error: &ReadError) -> ApiError {
    match error {
        ReadError::Unavailable => {
            unavailable("Too few drives can be reached to read this object now.")
        }
        ReadError::Busy => Code::SlowDown.into(),
        ReadError::Corrupt => ApiError::with(
            Code::InternalError,
            "This object is damaged, and there is no redundancy left to mend it with.",
        ),
    }
}

fn store(error: StoreError) -> ApiError {
    match error {
        StoreError::TooFewDrives => {
            unavailable("Too few drives are available to store this safely.")
        }
        StoreError::Full => Code::StorageFull.into(),
        StoreError::Busy => Code::SlowDown.into(),
        StoreError::Body(error) => body(error),
    }
}

/// The body could not be read.
pub(crate) fn body(error: BodyError) -> ApiError {
    match error {
        BodyError::Incomplete | BodyError::TooLong => Code::IncompleteBody.into(),
        // The code is our own: `crate::body::Fault` made it.
        BodyError::Refused(code) => {
            Code::find(&code).map_or_else(|| Code::InvalidRequest.into(), ApiError::new)
        }
    }
}

/// CreateBucket.
pub(crate) fn create_bucket(error: CreateBucketError) -> ApiError {
    match error {
        CreateBucketError::OwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
        CreateBucketError::Taken => Code::BucketAlreadyExists.into(),
        CreateBucketError::Failure(error) => failure(error),
    }
}

/// DeleteBucket.
pub(crate) fn delete_bucket(error: DeleteBucketError) -> ApiError {
    match error {
        DeleteBucketError::NotEmpty => Code::BucketNotEmpty.into(),
        DeleteBucketError::Failure(error) => failure(error),
    }
}

/// GetObject and HeadObject.
pub(crate) fn get(error: GetError, range: Option<&str>) -> ApiError {
    match error {
        GetError::NoSuchKey => Code::NoSuchKey.into(),
        GetError::NotModified { etag, last_modified } => ApiError::new(Code::NotModified)
            .header(header::ETAG, format!("\"{etag}\""))
            .header(header::LAST_MODIFIED, http_date(last_modified)),
        GetError::PreconditionFailed => Code::PreconditionFailed.into(),
        GetError::RangeNotSatisfiable { len } => {
            let error = ApiError::new(Code::InvalidRange)
                .header(header::CONTENT_RANGE, format!("bytes */{len}"));
            match range {
                Some(range) => error.detail("RangeRequested", crate::address::clip(range)),
                None => error,
            }
            .detail("ActualObjectSize", len.to_string())
        }
        GetError::NoSuchPart { parts } => {
            ApiError::new(Code::InvalidPartNumber).detail("ActualPartCount", parts.to_string())
        }
        GetError::Failure(error) => failure(error),
    }
}

/// PutObject.
pub(crate) fn put(error: PutError) -> ApiError {
    match error {
        PutError::Digest(error) => digest(error),
        PutError::NoSuchKey => Code::NoSuchKey.into(),
        PutError::PreconditionFailed => Code::PreconditionFailed.into(),
        PutError::TooLarge => too_large(),
        PutError::Failure(error) => failure(error),
    }
}

/// Operations on uploads.
pub(crate) fn upload(error: UploadError) -> ApiError {
    match error {
        UploadError::NoSuchUpload => Code::NoSuchUpload.into(),
        UploadError::Digest(error) => digest(error),
        UploadError::TooLarge => too_large(),
        UploadError::ChecksumAlgorithm => ApiError::with(
            Code::InvalidRequest,
            "Checksum Type mismatch occurred: the part's checksum is not of the algorithm that the upload was \
             created with.",
        ),
        UploadError::Failure(error) => failure(error),
    }
}

/// CompleteMultipartUpload.
pub(crate) fn complete(error: CompleteError) -> ApiError {
    match error {
        CompleteError::NoSuchUpload => Code::NoSuchUpload.into(),
        CompleteError::InvalidPart { number } => {
            ApiError::new(Code::InvalidPart).detail("PartNumber", number.to_string())
        }
        CompleteError::InvalidPartOrder => Code::InvalidPartOrder.into(),
        CompleteError::NoParts => Code::MalformedXml.into(),
        CompleteError::TooSmall { number, len, etag } => ApiError::new(Code::EntityTooSmall)
            .detail("ProposedSize", len.to_string())
            .detail("MinSizeAllowed", limits::PART_MIN_BYTES.to_string())
            .detail("PartNumber", number.to_string())
            .detail("ETag", etag),
        CompleteError::TooLarge => ApiError::new(Code::EntityTooLarge)
            .detail("MaxSizeAllowed", limits::OBJECT_MAX_BYTES.to_string()),
        CompleteError::Mismatch => ApiError::with(
            Code::BadDigest,
            "The checksum that you specified for the whole object did not match.",
        ),
        CompleteError::WrongLength => ApiError::with(
            Code::InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
        ),
        CompleteError::NoSuchKey => Code::NoSuchKey.into(),
        CompleteError::PreconditionFailed => Code::PreconditionFailed.into(),
        CompleteError::Failure(error) => failure(error),
    }
}

/// CopyObject and UploadPartCopy.
pub(crate) fn copy(error: CopyError) -> ApiError {
    match error {
        CopyError::Source(error) => source(error),
        CopyError::Nothing => ApiError::with(
            Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing \
             the object's metadata, storage class, website redirect location or encryption attributes.",
        ),
        CopyError::Target(PutError::TooLarge) | CopyError::Upload(UploadError::TooLarge) => {
            ApiError::with(
                Code::InvalidRequest,
                format!(
                    "The specified copy source is larger than the maximum allowable size for a copy source: {}",
                    limits::PUT_MAX_BYTES
                ),
            )
        }
        CopyError::Target(error) => put(error),
        CopyError::Upload(error) => upload(error),
    }
}

fn source(error: GetError) -> ApiError {
    match error {
        GetError::NoSuchKey => Code::NoSuchKey.into(),
        GetError::NotModified { .. } | GetError::PreconditionFailed => {
            Code::PreconditionFailed.into()
        }
        GetError::RangeNotSatisfiable { len } => ApiError::with(
            Code::InvalidArgument,
            format!("Range specified is not valid for source object of size: {len}"),
        ),
        error @ (GetError::NoSuchPart { .. } | GetError::Failure(_)) => get(error, None),
    }
}

fn digest(error: DigestMismatch) -> ApiError {
    match error {
        DigestMismatch::Md5 => ApiError::with(
            Code::BadDigest,
            "The Content-MD5 you specified did not match what we received.",
        ),
        DigestMismatch::Checksum => ApiError::with(
            Code::BadDigest,
            "The checksum you specified did not match what we received.",
        ),
    }
}

fn too_large() -> ApiError {
    ApiError::new(Code::EntityTooLarge).detail("MaxSizeAllowed", limits::PUT_MAX_BYTES.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_body_layer_refuses_keeps_its_code() {
        for code in Code::ALL {
            let error = body(BodyError::Refused(code.as_str().to_owned()));
            assert_eq!(error.code(), *code);
        }
        assert_eq!(body(BodyError::Refused("?".to_owned())).code(), Code::InvalidRequest);
    }

    #[test]
    fn a_write_of_unknown_outcome_is_never_reported_as_failed() {
        for error in [failure(Failure::Unknown), failure(Failure::Fenced)] {
            assert_eq!(error.code().status_code(), 503);
        }
    }
}

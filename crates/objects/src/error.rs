//! Errors: an enum for each group of operations, each variant a condition that the caller can tell apart.

use kv::KvError;
use types::ErrorKind;

/// Why a body could not be read from the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Fewer bytes than declared, or the connection ended.
    #[error("the body ended before the declared length")]
    Incomplete,
    /// More bytes than declared.
    #[error("the body is longer than declared")]
    TooLong,
    /// The face refused a byte range of it: a broken chunk signature, a wrong payload hash, bad framing. The
    /// string is a code of the face's own, which it gets back unchanged.
    #[error("the body was refused: {0}")]
    Refused(String),
}

/// Why stored bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Fewer than `k` shards of a blob can be read just now; some of the drives may come back.
    #[error("too few drives are reachable to read this object")]
    Unavailable,
    /// Fewer than `k` shards of a blob verify, with every drive there.
    #[error("this object is damaged beyond repair")]
    Corrupt,
    /// This process holds as many bytes in memory as it may; nothing was read. (The face answers SlowDown.)
    #[error("too many bytes are under way in this process")]
    Busy,
}

/// Why bytes could not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Fewer drives are up than the promise needs.
    #[error("too few drives are available to store this safely")]
    TooFewDrives,
    /// The drives that are up are above their watermark.
    #[error("the drives are full")]
    Full,
    /// This process holds as many bytes in memory as it may; nothing of the body was read. (The face answers
    /// SlowDown.)
    #[error("too many bytes are under way in this process")]
    Busy,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// Conditions that every operation shares.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The bucket was deleted since the gate looked.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// Metadata could not be read or written; nothing was changed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// Nobody can say whether the write happened: it may be visible, or may not.
    #[error("the outcome of the write is not known; read before repeating it")]
    Unknown,
    /// This process's writer session has ended: it must be restarted.
    #[error("this gateway has been fenced and must be restarted")]
    Fenced,
    /// Others kept changing what this relied on, past the retry budget.
    #[error("too many concurrent writes to the same name")]
    Contended,
    /// A record or id that our own code wrote does not decode.
    #[error("a stored record is damaged: {0}")]
    Damaged(&'static str),
    /// Stored bytes could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Bytes could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchBucket => ErrorKind::NotFound,
            Self::Kv(error) => error.kind(),
            Self::Unknown => ErrorKind::Unknown,
            Self::Fenced | Self::Contended => ErrorKind::Unavailable,
            Self::Damaged(_) | Self::Read(ReadError::Corrupt) => ErrorKind::Corrupt,
            Self::Read(ReadError::Unavailable | ReadError::Busy) => ErrorKind::Unavailable,
            Self::Store(StoreError::TooFewDrives | StoreError::Busy) => ErrorKind::Unavailable,
            Self::Store(StoreError::Full) => ErrorKind::Full,
            Self::Store(StoreError::Body(_)) => ErrorKind::Invalid,
        }
    }
}

/// CreateBucket.
#[derive(Debug, thiserror::Error)]
pub enum CreateBucketError {
    /// The caller has it already.
    #[error("you already own this bucket")]
    OwnedByYou,
    /// Somebody else has it.
    #[error("the bucket name is taken")]
    Taken,
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// DeleteBucket.
#[derive(Debug, thiserror::Error)]
pub enum DeleteBucketError {
    /// There are objects or uploads in it.
    #[error("the bucket is not empty")]
    NotEmpty,
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// GetObject, HeadObject, and the source side of copies.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No such object.
    #[error("the key does not exist")]
    NoSuchKey,
    /// 304.
    #[error("not modified")]
    NotModified {
        /// ETag without quotes.
        etag: String,
        /// For the Last-Modified header.
        last_modified: types::UnixMillis,
    },
    /// 412.
    #[error("a condition does not hold")]
    PreconditionFailed,
    /// 416.
    #[error("the range cannot be satisfied")]
    RangeNotSatisfiable {
        /// Length of the object.
        len: u64,
    },
    /// The object has no part of this number.
    #[error("no such part")]
    NoSuchPart {
        /// How many it has.
        parts: u32,
    },
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// What a declared digest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestMismatch {
    /// `Content-MD5`.
    #[error("the Content-MD5 does not match the body")]
    Md5,
    /// A checksum header or trailer.
    #[error("the checksum does not match the body")]
    Checksum,
}

/// PutObject.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// A declared digest does not match.
    #[error(transparent)]
    Digest(#[from] DigestMismatch),
    /// `If-Match` on an absent object.
    #[error("the key does not exist")]
    NoSuchKey,
    /// 412.
    #[error("a condition does not hold")]
    PreconditionFailed,
    /// Over `types::limits::PUT_MAX_BYTES`.
    #[error("the object is too large for one request")]
    TooLarge,
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// Operations on uploads.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Never begun, completed or aborted.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// A declared digest does not match.
    #[error(transparent)]
    Digest(#[from] DigestMismatch),
    /// Over `types::limits::PUT_MAX_BYTES`.
    #[error("the part is too large")]
    TooLarge,
    /// The part's checksum is not of the upload's algorithm.
    #[error("the part's checksum is not of the upload's algorithm")]
    ChecksumAlgorithm,
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// CompleteMultipartUpload.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// Never begun, completed differently or aborted.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// A part is missing or has another ETag or checksum.
    #[error("a part could not be found or its ETag does not match")]
    InvalidPart {
        /// Which.
        number: u16,
    },
    /// Not ascending.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// Empty list.
    #[error("no parts")]
    NoParts,
    /// A part other than the last is below `types::limits::PART_MIN_BYTES`.
    #[error("a part is too small")]
    TooSmall {
        /// Which.
        number: u16,
        /// Its length.
        len: u64,
        /// Its ETag.
        etag: String,
    },
    /// The whole is over `types::limits::OBJECT_MAX_BYTES`.
    #[error("the object is too large")]
    TooLarge,
    /// The declared checksum of the whole does not match.
    #[error("the declared checksum does not match")]
    Mismatch,
    /// The declared length of the whole does not match.
    #[error("the declared length does not match")]
    WrongLength,
    /// `If-Match` on an absent object.
    #[error("the key does not exist")]
    NoSuchKey,
    /// 412.
    #[error("a condition does not hold")]
    PreconditionFailed,
    /// Shared conditions.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// CopyObject and UploadPartCopy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source could not be read; `NotModified` is reported as a failed precondition.
    #[error("the source: {0}")]
    Source(GetError),
    /// Onto itself, and nothing would change.
    #[error("a copy onto itself must change something")]
    Nothing,
    /// The target, as for a put.
    #[error(transparent)]
    Target(#[from] PutError),
    /// The upload, as for a part.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

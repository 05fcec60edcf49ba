//! The vocabulary of Undercroft: ids, validated names, limits, error kinds and key tokens.
//!
//! Pure: no I/O, no clock, no randomness, and no knowledge of any wire form. Every id and name that
//! crosses a crate boundary is one of these types, so that a bare `String` or `u64` never does.

mod error;
mod ids;
pub mod limits;
mod names;
mod token;

pub use error::ErrorKind;
pub use ids::{
    AccountId, BatchId, BlobId, BucketId, CopyId, DriveId, InvalidId, NodeId, Revision, SessionId,
    UnixMillis, UploadId, VersionId,
};
pub use names::{AccessKeyId, BucketName, InvalidName, ObjectKey, PartNumber};
pub use token::Token;

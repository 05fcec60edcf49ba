//! What goes into the engine and what comes out of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use types::{AccountId, BucketId, BucketName, PartNumber, UnixMillis, UploadId};

use crate::digest::{ChecksumAlgorithm, ChecksumKind, ChecksumValue};
use crate::error::{BodyError, ReadError};

/// Bytes on their way in, in order; at most a few hundred KiB each.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// Bytes on their way out. An error after the first byte can only break the connection.
pub type OutputStream = Pin<Box<dyn Stream<Item = Result<Bytes, ReadError>> + Send + Sync>>;

/// The headers that are stored with an object and given back, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectHeaders {
    /// `Content-Type`; readers are told `binary/octet-stream` when there was none.
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// User metadata: names without `x-amz-meta-`, in lower case.
    pub user: BTreeMap<String, String>,
}

/// `If-Match` and `If-None-Match` of a write, against the current object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// The current object must have one of these ETags; an absent object is `NoSuchKey`.
    pub if_match: Option<EtagCondition>,
    /// The current object must have none of these ETags (`Any`: there must be none).
    pub if_none_match: Option<EtagCondition>,
}

/// The four conditions of a read (RFC 9110 §13, with AWS's precedence).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// Fails with "precondition failed".
    pub if_match: Option<EtagCondition>,
    /// Fails with "not modified".
    pub if_none_match: Option<EtagCondition>,
    /// Whole seconds; fails with "not modified".
    pub if_modified_since: Option<UnixMillis>,
    /// Whole seconds; fails with "precondition failed".
    pub if_unmodified_since: Option<UnixMillis>,
}

/// ETags to compare with, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagCondition {
    /// `*`: any object at all.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

/// Digests that the client declared: each is verified before anything is committed.
#[derive(Default)]
pub struct DeclaredDigests {
    /// `Content-MD5`.
    pub md5: Option<[u8; 16]>,
    /// The hex SHA-256 of the payload is checked by the face's signature layer, not here.
    /// A checksum to compute, verify if a value is given, and store.
    pub checksum: Option<DeclaredChecksum>,
}

/// A checksum that the client asked for.
pub struct DeclaredChecksum {
    /// Which.
    pub algorithm: ChecksumAlgorithm,
    /// Where its value comes from.
    pub value: DeclaredValue,
}

/// Where a declared checksum's value comes from.
pub enum DeclaredValue {
    /// Nowhere: compute and store.
    None,
    /// A header.
    Given(ChecksumValue),
    /// A trailer: called once after the last byte of the body; `None` when the trailer was missing or not a
    /// value of the algorithm, which is refused as a mismatch.
    Trailer(Box<dyn FnOnce() -> Option<ChecksumValue> + Send>),
}

/// A checksum as stored: of the whole object, or of its parts' checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChecksum {
    /// Its value; its algorithm with it.
    pub value: ChecksumValue,
    /// Over what.
    pub kind: ChecksumKind,
    /// For `Composite`: how many parts (printed as `VALUE-N`).
    pub parts: Option<u32>,
}

/// PutObject.
pub struct PutRequest {
    /// Exact length of the body in bytes.
    pub len: u64,
    /// To store with it.
    pub headers: ObjectHeaders,
    /// To verify.
    pub digests: DeclaredDigests,
    /// To hold at the commit.
    pub conditions: WriteConditions,
    /// The body.
    pub body: BodyStream,
}

/// What a write made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteResult {
    /// ETag without quotes.
    pub etag: String,
    /// The checksum stored, if any.
    pub checksum: Option<StoredChecksum>,
    /// When.
    pub last_modified: UnixMillis,
    /// Length of the object or part in bytes.
    pub len: u64,
}

/// What a reader wants of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    #[default]
    Whole,
    /// `bytes=a-b`: both inclusive.
    FirstLast(u64, u64),
    /// `bytes=a-`.
    From(u64),
    /// `bytes=-n`.
    Suffix(u64),
    /// `?partNumber=n`.
    Part(PartNumber),
}

/// GetObject and HeadObject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetRequest {
    /// Which bytes.
    pub selection: Selection,
    /// Under which conditions.
    pub conditions: ReadConditions,
}

/// An object's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Length of the whole object in bytes.
    pub len: u64,
    /// ETag without quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: UnixMillis,
    /// Its headers.
    pub headers: ObjectHeaders,
    /// Its checksum, if one was stored. For a selection of one part: that part's, with the kind of the object's.
    pub checksum: Option<StoredChecksum>,
    /// Number of parts, for objects made by a multipart upload.
    pub parts: Option<u32>,
    /// The bytes selected, within `0..len`.
    pub range: Range<u64>,
    /// Whether the selection was less than whole (the face answers 206).
    pub partial: bool,
}

/// An object's facts and the bytes selected.
pub struct GetResult {
    /// Facts.
    pub info: ObjectInfo,
    /// Bytes.
    pub body: OutputStream,
}

/// A bucket, as listings show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: BucketName,
    /// Its id.
    pub id: BucketId,
    /// Who owns it.
    pub owner: AccountId,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// A page of a listing of objects (V1 and V2 are the face's business).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that hold this behind the prefix are rolled up to a common prefix that ends with it.
    pub delimiter: Option<String>,
    /// Only keys and common prefixes strictly behind this.
    pub after: Option<String>,
    /// Most keys and common prefixes together, 0 to 1000.
    pub max: usize,
}

/// A page of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Keys, in order of their bytes.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// When there is more: the `after` of the next page (the last key or common prefix of this one).
    pub next: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub len: u64,
    /// ETag without quotes.
    pub etag: String,
    /// When it was written.
    pub last_modified: UnixMillis,
    /// Its checksum's algorithm and kind, if it has one.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// CreateMultipartUpload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewUpload {
    /// To store with the object.
    pub headers: ObjectHeaders,
    /// Which checksum the parts will carry, and what the object's will be made of.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// UploadPart.
pub struct PartRequest {
    /// The upload.
    pub upload: UploadId,
    /// The part.
    pub number: PartNumber,
    /// Exact length of the body in bytes.
    pub len: u64,
    /// To verify.
    pub digests: DeclaredDigests,
    /// The body.
    pub body: BodyStream,
}

/// A part as the client names it when completing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: PartNumber,
    /// The ETag that uploading it gave, without quotes.
    pub etag: String,
    /// Its checksum, if the client repeats it.
    pub checksum: Option<ChecksumValue>,
}

/// CompleteMultipartUpload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompleteRequest {
    /// Ascending by number.
    pub parts: Vec<CompletedPart>,
    /// The whole object's checksum, if the client declares it.
    pub checksum: Option<ChecksumValue>,
    /// The whole object's length, if the client declares it (`x-amz-mp-object-size`).
    pub declared_len: Option<u64>,
    /// To hold at the commit.
    pub conditions: WriteConditions,
}

/// A part, as ListParts shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Its number.
    pub number: PartNumber,
    /// Length in bytes.
    pub len: u64,
    /// ETag without quotes.
    pub etag: String,
    /// When it was uploaded.
    pub last_modified: UnixMillis,
    /// Its checksum.
    pub checksum: Option<ChecksumValue>,
}

/// A page of parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartPage {
    /// In order of number.
    pub parts: Vec<PartInfo>,
    /// When there are more: the last number of this page.
    pub next: Option<u16>,
    /// The upload's checksum, as it was created.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// ListMultipartUploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadsRequest {
    /// Only keys that begin with this.
    pub prefix: String,
    /// As for objects.
    pub delimiter: Option<String>,
    /// Only uploads behind this key; with `after_upload`, also this key's uploads behind that one.
    pub after_key: Option<String>,
    /// See `after_key`.
    pub after_upload: Option<UploadId>,
    /// Most uploads and common prefixes together, 0 to 1000.
    pub max: usize,
}

/// An upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    /// Its key.
    pub key: String,
    /// Its id.
    pub upload: UploadId,
    /// When it was begun.
    pub initiated: UnixMillis,
    /// Its checksum.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
}

/// A page of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// In order of key, then of upload id.
    pub uploads: Vec<UploadInfo>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// When there is more: where the next page begins (a key, or a common prefix without an upload).
    pub next: Option<(String, Option<UploadId>)>,
}

/// What CopyObject does with the source's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyHeaders {
    /// Keeps them.
    Keep,
    /// Puts these in their place.
    Replace(ObjectHeaders),
}

/// CopyObject. The source is a proof of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRequest {
    /// What happens to the headers.
    pub headers: CopyHeaders,
    /// Conditions on the source.
    pub source_conditions: ReadConditions,
    /// Conditions on the target.
    pub conditions: WriteConditions,
    /// A checksum algorithm to compute, if it is not the one that the source has.
    pub checksum: Option<ChecksumAlgorithm>,
}

/// UploadPartCopy. The source is a proof of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartCopyRequest {
    /// The upload.
    pub upload: UploadId,
    /// The part.
    pub number: PartNumber,
    /// `x-amz-copy-source-range`: first and last byte, both inclusive; beyond the end is an error.
    pub range: Option<(u64, u64)>,
    /// Conditions on the source.
    pub source_conditions: ReadConditions,
}

//! A verified request on its way to its operation, and what operations ask of it: proofs, parameters, the body.

use std::sync::Arc;

use futures::StreamExt;
use http::{HeaderMap, header};
use objects::{ChecksumAlgorithm, ChecksumValue};
use parking_lot::Mutex;
use s3s::crypto::Checksum as _;
use tenancy::action::Action;
use tenancy::{Authorized, BucketRef, ObjectRef, Principal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{BucketName, ObjectKey, PartNumber, UploadId};

use crate::address::{Target, clip};
use crate::body::RequestBody;
use crate::config::S3Config;
use crate::error::{ApiError, ApiResult, Code};
use crate::headers::{content_md5, expected_owner};
use crate::pages::Pages;
use crate::query::Query;
use crate::xml::Element;
use crate::{copy_source, mapping};

/// What all requests share.
pub(crate) struct Shared {
    /// What the face is made of.
    pub(crate) config: S3Config,
    /// Memory for XML documents as text, in KiB.
    pub(crate) xml_memory: Arc<Semaphore>,
    /// Memory for their trees, in KiB. Apart from the text's, which slow clients may hold for long.
    pub(crate) tree_memory: Arc<Semaphore>,
    /// Memory for long replies.
    pub(crate) pages: Pages,
}

/// Most elements of a document: more than 10,000 parts with a checksum each have.
const ELEMENTS_MAX: usize = 50_000;
/// What an element takes in memory, its text aside, is at most this for each of its tags.
const TAG_BYTES: usize = 192;
/// The most that one tree may take of [`Shared::tree_memory`], in bytes.
pub(crate) const TREE_MAX_BYTES: usize = 2 * ELEMENTS_MAX * TAG_BYTES + 1024;

/// A document, and its share of the memory for them.
pub(crate) struct Document {
    root: Element,
    _memory: OwnedSemaphorePermit,
}

impl std::ops::Deref for Document {
    type Target = Element;

    fn deref(&self) -> &Element {
        &self.root
    }
}

impl Shared {
    /// The tree of a document with that root. Its size is known before it is built: small elements take far more
    /// memory than their text does.
    async fn tree(&self, document: &[u8], root: &str) -> ApiResult<Document> {
        let kibibytes = tree_kibibytes(document)?;
        let memory = self.tree_memory.clone().acquire_many_owned(kibibytes).await;
        let _memory = memory.map_err(|_| Code::ServiceUnavailable)?;
        let root = Element::parse(document, root).map_err(|_| Code::MalformedXml)?;
        Ok(Document { root, _memory })
    }
}

/// Memory that the tree of `document` may take; `MalformedXML` when no document that S3 knows has as many elements.
fn tree_kibibytes(document: &[u8]) -> ApiResult<u32> {
    let tags = document.iter().filter(|b| **b == b'<').count();
    let kibibytes = u32::try_from((tags * TAG_BYTES).div_ceil(1024)).ok();
    kibibytes.filter(|_| tags <= 2 * ELEMENTS_MAX).ok_or_else(|| Code::MalformedXml.into())
}

/// A verified request.
pub(crate) struct Call {
    /// What all requests share.
    pub(crate) shared: Arc<Shared>,
    /// Who signed it.
    pub(crate) principal: Principal,
    /// What it is about.
    pub(crate) target: Target,
    /// Its query.
    pub(crate) query: Query,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body; `None` when the client declared no length. The lock is never waited for: it only lets several
    /// borrow a call whose body only one can read.
    pub(crate) body: Mutex<Option<RequestBody>>,
}

impl Call {
    /// The engine.
    pub(crate) fn engine(&self) -> &objects::Engine {
        &self.shared.config.engine
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> ApiResult<&BucketName> {
        self.target.bucket().ok_or_else(|| Code::InvalidBucketName.into())
    }

    /// The key.
    pub(crate) fn key(&self) -> ApiResult<&ObjectKey> {
        self.target.key().ok_or_else(|| Code::InvalidUri.into())
    }

    /// That the caller may do `A` to the bucket.
    pub(crate) async fn may_bucket<A>(&self) -> ApiResult<Authorized<A>>
    where
        A: Action<Resource = BucketRef>,
    {
        let expected = expected_owner(&self.headers, "x-amz-expected-bucket-owner")?;
        let gate = &self.shared.config.gate;
        let proof = gate.bucket(&self.principal, self.bucket()?, expected).await;
        proof.map_err(mapping::refusal)
    }

    /// That the caller may do `A` to the object.
    pub(crate) async fn may_object<A>(&self) -> ApiResult<Authorized<A>>
    where
        A: Action<Resource = ObjectRef>,
    {
        let expected = expected_owner(&self.headers, "x-amz-expected-bucket-owner")?;
        let gate = &self.shared.config.gate;
        let key = self.key()?.clone();
        let proof = gate.object(&self.principal, self.bucket()?, key, expected).await;
        proof.map_err(mapping::refusal)
    }

    /// That the caller may do `A` to each of several objects of the bucket.
    pub(crate) async fn may_objects<A>(&self, keys: Vec<ObjectKey>) -> ApiResult<Vec<Authorized<A>>>
    where
        A: Action<Resource = ObjectRef>,
    {
        let expected = expected_owner(&self.headers, "x-amz-expected-bucket-owner")?;
        let gate = &self.shared.config.gate;
        let proofs = gate.objects(&self.principal, self.bucket()?, keys, expected).await;
        proofs.map_err(mapping::refusal)
    }

    /// That the caller may read the source of a copy.
    pub(crate) async fn may_source<A>(&self) -> ApiResult<Authorized<A>>
    where
        A: Action<Resource = ObjectRef>,
    {
        let (bucket, key) = copy_source::read(&self.headers)?;
        let expected = expected_owner(&self.headers, "x-amz-source-expected-bucket-owner")?;
        let gate = &self.shared.config.gate;
        let proof = gate.object(&self.principal, &bucket, key, expected).await;
        proof.map_err(mapping::refusal)
    }

    /// `?uploadId`.
    pub(crate) fn upload_id(&self) -> ApiResult<UploadId> {
        let text = self.query.get("uploadId").unwrap_or_default();
        text.parse().map_err(|_| ApiError::new(Code::NoSuchUpload).detail("UploadId", clip(text)))
    }

    /// `?partNumber`, if it is there.
    pub(crate) fn part_number(&self) -> ApiResult<Option<PartNumber>> {
        let Some(text) = self.query.get("partNumber") else { return Ok(None) };
        let number = text.parse().ok().and_then(PartNumber::new);
        number.map(Some).ok_or_else(|| {
            ApiError::argument(
                "partNumber",
                clip(text),
                "Part number must be an integer between 1 and 10000, inclusive",
            )
        })
    }

    /// `?partNumber` where it must be.
    pub(crate) fn required_part_number(&self) -> ApiResult<PartNumber> {
        self.part_number()?.ok_or_else(|| Code::InvalidArgument.into())
    }

    /// The body of an object or a part, of at most `types::limits::PUT_MAX_BYTES`.
    pub(crate) fn take_body(&mut self) -> ApiResult<RequestBody> {
        let body = self.body.get_mut().take().ok_or(Code::MissingContentLength)?;
        let limit = types::limits::PUT_MAX_BYTES;
        if body.len() > limit {
            return Err(ApiError::new(Code::EntityTooLarge)
                .detail("ProposedSize", body.len().to_string())
                .detail("MaxSizeAllowed", limit.to_string()));
        }
        Ok(body)
    }

    /// Reads the body as a document with that root, after what `check` has to say to its bytes; `None` when it is
    /// empty.
    pub(crate) async fn document(
        &mut self,
        root: &str,
        max_bytes: usize,
        check: impl FnOnce(&HeaderMap, &[u8]) -> ApiResult<()>,
    ) -> ApiResult<Option<Document>> {
        let Some(mut body) = self.body.get_mut().take() else {
            // A body without a declared length is not the same as no body.
            let framed = self.headers.contains_key(header::TRANSFER_ENCODING);
            return if framed { Err(Code::MissingContentLength.into()) } else { Ok(None) };
        };
        if body.len() > max_bytes as u64 {
            return Err(Code::MaxMessageLengthExceeded.into());
        }
        let kibibytes = u32::try_from(body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let memory = self.shared.xml_memory.clone();
        let _permit = memory.acquire_many(kibibytes).await.map_err(|_| Code::ServiceUnavailable)?;
        let mut bytes = Vec::with_capacity(usize::try_from(body.len()).unwrap_or_default());
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(mapping::body)?);
        }
        let md5 = content_md5(&self.headers)?;
        if md5.is_some_and(|expected| s3s::crypto::Md5::checksum(&bytes) != expected) {
            return Err(Code::BadDigest.into());
        }
        check(&self.headers, &bytes)?;
        if let Some((_, slot)) = body.trailer() {
            let value = slot.take().ok_or(Code::MalformedTrailer)?;
            check_checksum(&value, &bytes)?;
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        self.shared.tree(&bytes, root).await.map(Some)
    }
}

/// Whether `value` is the checksum of `bytes`; `BadDigest` when it is not.
pub(crate) fn check_checksum(value: &ChecksumValue, bytes: &[u8]) -> ApiResult<()> {
    use s3s::crypto::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    let matches = match value.algorithm() {
        ChecksumAlgorithm::Crc32 => Crc32::checksum(bytes).as_slice() == value.as_bytes(),
        ChecksumAlgorithm::Crc32c => Crc32c::checksum(bytes).as_slice() == value.as_bytes(),
        ChecksumAlgorithm::Crc64Nvme => Crc64Nvme::checksum(bytes).as_slice() == value.as_bytes(),
        ChecksumAlgorithm::Sha1 => Sha1::checksum(bytes).as_slice() == value.as_bytes(),
        ChecksumAlgorithm::Sha256 => Sha256::checksum(bytes).as_slice() == value.as_bytes(),
    };
    if matches { Ok(()) } else { Err(Code::BadDigest.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_good_document_has_room_and_a_hoard_of_elements_has_not() {
        let part =
            "<Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>b</ChecksumCRC32></Part>";
        let longest = format!("<?xml?><C>{}</C>", part.repeat(10_000));
        let kibibytes = tree_kibibytes(longest.as_bytes()).expect("room");
        assert!(kibibytes as usize <= TREE_MAX_BYTES / 1024);
        let hoard = "<a/>".repeat(2 * ELEMENTS_MAX + 1);
        assert_eq!(tree_kibibytes(hoard.as_bytes()).map_err(|e| e.code()), Err(Code::MalformedXml));
        let taken = std::mem::size_of::<Element>() * 2 + 2 * std::mem::size_of::<usize>();
        assert!(taken <= TAG_BYTES, "{taken}");
    }
}

//! Bodies on their way in: read to the end, digested, verified, and either held in memory to be committed beside
//! their record, or durable on drives as a blob that is still to be committed.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use types::limits;

use crate::blob::{BlobStore, Busy, Held, StoredBlob};
use crate::digest::{ChecksumAlgorithm, ChecksumValue, Digests, Hasher};
use crate::engine::Engine;
use crate::error::{BodyError, DigestMismatch, Failure, PutError, StoreError, UploadError};
use crate::model::{BodyStream, DeclaredDigests, DeclaredValue};
use crate::schema::Home;

/// A body that was read to its end and verified.
pub(crate) struct Taken {
    pub(crate) bytes: TakenBytes,
    pub(crate) len: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) checksum: Option<ChecksumValue>,
}

/// Where a taken body is.
pub(crate) enum TakenBytes {
    /// In memory: at most `types::limits::INLINE_MAX_BYTES`, and what pays for them.
    Inline { bytes: Bytes, _held: Held },
    /// On drives.
    Blob(Pending),
}

impl TakenBytes {
    /// The bytes to be stored beside a record; none for a blob.
    pub(crate) fn inline(&self) -> &[u8] {
        match self {
            Self::Inline { bytes, .. } => bytes,
            Self::Blob(_) => &[],
        }
    }

    /// The blob, if it is one.
    pub(crate) fn blob(&self) -> Option<&StoredBlob> {
        match self {
            Self::Inline { .. } => None,
            Self::Blob(pending) => Some(&pending.blob),
        }
    }
}

/// Why a body was not taken.
#[derive(Debug)]
pub(crate) enum TakeError {
    Digest(DigestMismatch),
    Store(StoreError),
}

impl From<StoreError> for TakeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BodyError> for TakeError {
    fn from(error: BodyError) -> Self {
        Self::Store(StoreError::Body(error))
    }
}

impl From<TakeError> for PutError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Digest(mismatch) => Self::Digest(mismatch),
            TakeError::Store(error) => Self::Failure(Failure::Store(error)),
        }
    }
}

impl From<TakeError> for UploadError {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Digest(mismatch) => Self::Digest(mismatch),
            TakeError::Store(error) => Self::Failure(Failure::Store(error)),
        }
    }
}

/// A durable blob that no record names yet. Dropping it while it is held discards its shards in the background.
pub(crate) struct Pending {
    blob: StoredBlob,
    blobs: BlobStore,
    held: bool,
}

impl Pending {
    /// Held.
    pub(crate) fn new(blob: StoredBlob, blobs: BlobStore) -> Self {
        Self { blob, blobs, held: true }
    }

    /// From now on nobody may discard it: a commit that names it is under way.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// It is certain that no record names it.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Without a runtime (the process is going down) its shards stay until the session's end proves that
        // they are garbage.
        if let (true, Ok(runtime)) = (self.held, tokio::runtime::Handle::try_current()) {
            let (blobs, blob) = (self.blobs.clone(), self.blob.clone());
            runtime.spawn(async move { blobs.discard(&blob).await });
        }
    }
}

impl Engine {
    /// Reads exactly `len` bytes of `body` to its end, stores them durably (under `home`) unless they are few, and
    /// verifies what was declared. `algorithm` is the checksum to compute when none was declared.
    pub(crate) async fn take_body(
        &self,
        home: Home,
        len: u64,
        body: BodyStream,
        declared: DeclaredDigests,
        algorithm: Option<ChecksumAlgorithm>,
    ) -> Result<Taken, TakeError> {
        let algorithm = declared.checksum.as_ref().map(|c| c.algorithm).or(algorithm);
        let mut hasher = Hasher::new(true, algorithm);
        let bytes = if len <= limits::INLINE_MAX_BYTES as u64 {
            let budget = self.inner.blobs.budget();
            let held = budget.acquire(len as usize).await.map_err(|Busy| StoreError::Busy)?;
            TakenBytes::Inline { bytes: collect(len, body, &mut hasher).await?, _held: held }
        } else {
            let mut body: BodyStream = Box::pin(body.fuse());
            let blob = self.inner.blobs.write(home.bucket(), len, &mut body, &mut hasher).await?;
            let pending = Pending::new(blob, self.inner.blobs.clone());
            expect_end(&mut body).await?;
            TakenBytes::Blob(pending)
        };
        let digests = hasher.finish().await;
        let md5 = digests.md5.ok_or(TakeError::Digest(DigestMismatch::Md5))?;
        let checksum = verify(declared, digests).map_err(TakeError::Digest)?;
        Ok(Taken { bytes, len, md5, checksum })
    }
}

/// All of a small body.
async fn collect(len: u64, mut body: BodyStream, hasher: &mut Hasher) -> Result<Bytes, BodyError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if whole.len() + pieces.len() + piece.len() > len {
            return Err(BodyError::TooLong);
        }
        if piece.is_empty() {
            continue;
        }
        hasher.update(piece.clone()).await;
        // Most small bodies come in one piece, which is kept as it is.
        if whole.is_empty() && pieces.is_empty() {
            whole = piece;
        } else {
            pieces.reserve(len - pieces.len());
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&piece);
        }
    }
    let whole = if pieces.is_empty() { whole } else { pieces.freeze() };
    if whole.len() == len { Ok(whole) } else { Err(BodyError::Incomplete) }
}

/// Reads the end of a body: whatever the face still verifies there is verified before anything commits.
async fn expect_end(body: &mut BodyStream) -> Result<(), BodyError> {
    while let Some(piece) = body.next().await {
        if !piece?.is_empty() {
            return Err(BodyError::TooLong);
        }
    }
    Ok(())
}

/// Compares what was declared with what was computed; the checksum, if there is one.
fn verify(
    declared: DeclaredDigests,
    digests: Digests,
) -> Result<Option<ChecksumValue>, DigestMismatch> {
    if declared.md5.is_some() && declared.md5 != digests.md5 {
        return Err(DigestMismatch::Md5);
    }
    let given = match declared.checksum.map(|c| c.value) {
        None | Some(DeclaredValue::None) => return Ok(digests.checksum),
        Some(DeclaredValue::Given(value)) => Some(value),
        Some(DeclaredValue::Trailer(read)) => read(),
    };
    if given.is_some() && given == digests.checksum {
        Ok(digests.checksum)
    } else {
        Err(DigestMismatch::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::model::DeclaredChecksum;

    fn body(pieces: &[&'static [u8]]) -> BodyStream {
        let pieces: Vec<_> = pieces.iter().map(|p| Ok(Bytes::from_static(p))).collect();
        Box::pin(stream::iter(pieces))
    }

    #[tokio::test]
    async fn small_bodies_have_exactly_the_declared_length() {
        type Case<'a> = (&'a [&'static [u8]], u64, Result<&'a [u8], BodyError>);
        let cases: [Case<'_>; 7] = [
            (&[], 0, Ok(b"")),
            (&[b"", b""], 0, Ok(b"")),
            (&[b"abc"], 3, Ok(b"abc")),
            (&[b"a", b"", b"bc", b"d"], 4, Ok(b"abcd")),
            (&[b"abc"], 4, Err(BodyError::Incomplete)),
            (&[b"abc", b"d"], 3, Err(BodyError::TooLong)),
            (&[b"a"], 0, Err(BodyError::TooLong)),
        ];
        for (pieces, len, expected) in cases {
            let found = collect(len, body(pieces), &mut Hasher::new(true, None)).await;
            assert_eq!(found.as_deref(), expected.as_deref(), "{pieces:?} as {len}");
        }
        let broken: BodyStream = Box::pin(stream::iter([
            Ok(Bytes::from_static(b"ab")),
            Err(BodyError::Refused("signature".to_owned())),
        ]));
        let found = collect(2, broken, &mut Hasher::new(true, None)).await;
        assert_eq!(found, Err(BodyError::Refused("signature".to_owned())));
    }

    #[tokio::test]
    async fn declared_digests_are_verified() {
        let compute = |algorithm| async move {
            let mut hasher = Hasher::new(true, algorithm);
            hasher.update(Bytes::from_static(b"abc")).await;
            hasher.finish().await
        };
        let crc = Some(ChecksumAlgorithm::Crc32);
        let good = compute(crc).await;
        let value = good.checksum.clone().expect("computed");
        let other = ChecksumValue::new(ChecksumAlgorithm::Crc32, &[0; 4]).expect("four bytes");
        let declare = |md5, value| DeclaredDigests {
            md5,
            checksum: Some(DeclaredChecksum { algorithm: ChecksumAlgorithm::Crc32, value }),
        };
        let trailer = |value: Option<ChecksumValue>| DeclaredValue::Trailer(Box::new(|| value));
        let ok = Ok(Some(value.clone()));
        assert_eq!(verify(declare(good.md5, DeclaredValue::None), good.clone()), ok);
        assert_eq!(verify(declare(None, DeclaredValue::Given(value.clone())), good.clone()), ok);
        assert_eq!(verify(declare(None, trailer(Some(value))), good.clone()), ok);
        let wrong = Err(DigestMismatch::Checksum);
        assert_eq!(verify(declare(None, DeclaredValue::Given(other.clone())), good.clone()), wrong);
        assert_eq!(verify(declare(None, trailer(Some(other))), good.clone()), wrong);
        assert_eq!(verify(declare(None, trailer(None)), good.clone()), wrong);
        let md5 = Some([0; 16]);
        assert_eq!(verify(declare(md5, DeclaredValue::None), good), Err(DigestMismatch::Md5));
    }
}

//! Blobs: immutable byte strings, cut into erasure-coded shards on drives.
//!
//! This module moves bytes between a body and the drives, with bounded memory, and knows nothing of objects,
//! keys or records: its caller commits the [`StoredBlob`] that a write returns, and hands it back to read.
//! A blob whose caller never commits it is garbage that a collector can prove to be so.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use erasure::{Geometry, Matrix};
use futures::future::BoxFuture;
use net::Carrier;
use placement::Layout;
use runtime::Runtime;
use types::{BlobId, CopyId, DriveId, SessionId};

use crate::digest::Hasher;
use crate::error::{ReadError, StoreError};
use crate::model::{BodyStream, OutputStream};

/// One durable copy of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardCopy {
    /// Which shard: `0..k` data, `k..k+m` parity.
    pub(crate) index: u8,
    /// Where.
    pub(crate) drive: DriveId,
    /// Which physical copy.
    pub(crate) copy: CopyId,
}

/// A blob on the drives: what its record says, and what a read needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredBlob {
    /// Its id.
    pub(crate) id: BlobId,
    /// How it is cut.
    pub(crate) geometry: Geometry,
    /// How its parity is computed.
    pub(crate) matrix: Matrix,
    /// Length in bytes.
    pub(crate) len: u64,
    /// The durable copies, by index.
    pub(crate) copies: Vec<ShardCopy>,
    /// Indexes without a durable copy: work for repair. Reads ignore this.
    pub(crate) missing: Vec<u8>,
}

/// What is wrong with a copy that a read wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DamageKind {
    /// Its drive is there and does not have it.
    Missing,
    /// Bytes of it do not verify.
    Corrupt,
    /// Its drive is away.
    Away,
    /// Its drive failed the call.
    Failed,
}

/// A copy that a read could not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Which copy, where.
    pub(crate) copy: ShardCopy,
    /// What is wrong with it.
    pub(crate) kind: DamageKind,
}

/// Called at most once per shard and read for each copy that could not be used. Must not block.
pub(crate) type OnDamage = Arc<dyn Fn(BlobId, Damage) + Send + Sync>;

/// Called at most once per read, when a copy is not where the hint says: the true copies, from the blob's
/// record; `None` when that cannot be read.
pub(crate) type Relocate =
    Arc<dyn Fn(BlobId) -> BoxFuture<'static, Option<Vec<ShardCopy>>> + Send + Sync>;

/// Writes and reads blobs. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct BlobStore {
    inner: Arc<Inner>,
}

struct Inner {
    carrier: Arc<dyn Carrier>,
    layout: Layout,
    geometry: Geometry,
    runtime: Runtime,
    session: SessionId,
    sequence: AtomicU64,
}

impl BlobStore {
    /// `geometry` is what new blobs should have; `memory_budget_bytes` is what all reads and writes under way
    /// may hold together.
    pub(crate) fn new(
        carrier: Arc<dyn Carrier>,
        layout: Layout,
        geometry: Geometry,
        runtime: Runtime,
        session: SessionId,
        memory_budget_bytes: usize,
    ) -> Self {
        let _ = memory_budget_bytes;
        let inner =
            Inner { carrier, layout, geometry, runtime, session, sequence: AtomicU64::new(1) };
        Self { inner: Arc::new(inner) }
    }

    /// Stores exactly `len` bytes of `body`, which must end there. Every byte goes through `digests` too.
    /// When this returns a blob it is durable on at least a write quorum of drives. Dropping the future
    /// leaves nothing that a reader can see.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is left behind but garbage of this session.
    pub(crate) async fn write(
        &self,
        len: u64,
        body: &mut BodyStream,
        digests: &mut Hasher,
    ) -> Result<StoredBlob, StoreError> {
        let _ = (len, body, digests, self.next_id());
        Err(StoreError::TooFewDrives)
    }

    /// Removes the copies of a blob that will never be committed (a digest did not match, a condition no
    /// longer holds), as far as the drives answer. Never to be called when the outcome of a commit that
    /// names the blob is unknown.
    pub(crate) async fn discard(&self, blob: &StoredBlob) {
        let _ = blob;
    }

    /// Begins to read `range`, which lies within the blob: the first bytes have been read and verified when
    /// this returns, so that its caller can still answer with an error.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn open(
        &self,
        blob: StoredBlob,
        range: Range<u64>,
        on_damage: OnDamage,
        relocate: Option<Relocate>,
    ) -> Result<OutputStream, ReadError> {
        let _ = (blob, range, on_damage, relocate);
        Err(ReadError::Unavailable)
    }

    /// As [`Self::open`], but begins with the first poll and waits for memory as long as it takes: for the
    /// parts behind the first of one body.
    pub(crate) fn read(
        &self,
        blob: StoredBlob,
        range: Range<u64>,
        on_damage: OnDamage,
        relocate: Option<Relocate>,
    ) -> OutputStream {
        let _ = (blob, range, on_damage, relocate);
        Box::pin(futures::stream::empty())
    }

    fn next_id(&self) -> BlobId {
        let sequence = self.inner.sequence.fetch_add(1, Ordering::Relaxed);
        BlobId { session: self.inner.session, sequence }
    }
}

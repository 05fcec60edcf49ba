//! Blobs: immutable byte strings, cut into erasure-coded shards on drives.
//!
//! This module moves bytes between a body and the drives, with bounded memory, and knows nothing of objects,
//! keys or records: its caller commits the [`StoredBlob`] that a write returns, and hands it back to read.
//! A blob whose caller never commits it is garbage that a collector can prove to be so.

mod budget;
mod cutter;
mod drives;
mod fetch;
mod latency;
mod plan;
mod read;
mod rebuild;
mod void;
mod writers;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use erasure::{BlobShape, Codec, Geometry, Matrix};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryFutureExt};
use net::{Carrier, ShardId};
use parking_lot::Mutex;
use placement::Layout;
use runtime::Runtime;
use types::limits::FRAME_BYTES;
use types::{BlobId, BucketId, CopyId, DriveId, SessionId};

pub(crate) use budget::{Budget, Busy, Held};
pub(crate) use rebuild::{Made, Rebuild};
pub(crate) use void::{VoidCopy, VoidQueue};

use crate::digest::Hasher;
use crate::error::{ReadError, StoreError};
use crate::model::{BodyStream, OutputStream};
use budget::Pool;
use cutter::{Allowance, Cutter};
use drives::Drives;
use latency::Latency;
use writers::{What, Writers};

/// How long the removal of garbage may hold a request up.
const REMOVE_MAX: Duration = Duration::from_secs(2);

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
    drives: Drives,
    geometry: Geometry,
    runtime: Runtime,
    session: SessionId,
    sequence: AtomicU64,
    budget: Budget,
    pool: Arc<Pool>,
    latency: Latency,
    void: Arc<VoidQueue>,
    codecs: Mutex<HashMap<(Geometry, Matrix), Codec>>,
}

impl BlobStore {
    /// `geometry` is what new blobs should have; `memory_budget_bytes` is what all bodies under way may hold
    /// together.
    pub(crate) fn new(
        carrier: Arc<dyn Carrier>,
        layout: Layout,
        geometry: Geometry,
        runtime: Runtime,
        session: SessionId,
        memory_budget_bytes: usize,
    ) -> Self {
        let inner = Inner {
            drives: Drives::new(carrier.clone(), runtime.clock.clone(), layout),
            carrier,
            geometry,
            budget: Budget::new(memory_budget_bytes, runtime.clock.clone()),
            runtime,
            session,
            sequence: AtomicU64::new(1),
            pool: Arc::default(),
            latency: Latency::new(),
            void: Arc::default(),
            codecs: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The memory of all bodies under way: for those that do not come through here.
    pub(crate) fn budget(&self) -> &Budget {
        &self.inner.budget
    }

    /// Where copies wait that no record will ever name, and that could not be deleted at once.
    pub(crate) fn void(&self) -> &Arc<VoidQueue> {
        &self.inner.void
    }

    /// What new blobs should have. A blob that has another, because drives were away, is to be encoded again.
    pub(crate) fn geometry(&self) -> Geometry {
        self.inner.geometry
    }

    /// Makes the next write ask all drives how they are, whatever was heard a moment ago.
    pub(crate) fn forget_drives(&self) {
        self.inner.drives.forget();
    }

    /// Stores exactly `len` bytes of `body`, which must end there. The caller will put the blob's record under
    /// `home`, which every shard repeats. Every byte goes through `digests` too.
    /// When this returns a blob it is durable on at least a write quorum of drives. Nothing is read of the
    /// body before there is memory for it. Dropping the future leaves nothing that a reader can see.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is left behind but garbage of this session.
    pub(crate) async fn write(
        &self,
        home: BucketId,
        len: u64,
        body: &mut BodyStream,
        digests: &mut Hasher,
    ) -> Result<StoredBlob, StoreError> {
        let inner = &*self.inner;
        let id = self.next_id();
        let (mut writers, allowance) = inner.begin(What { blob: id, len, home }).await?;
        let (geometry, matrix) = (writers.geometry(), Matrix::default());
        let codec = inner.codec(geometry, matrix);
        let means = (inner.pool.clone(), allowance, inner.runtime.clock.clone());
        let mut cutter = Cutter::new(body, digests, codec, len, means);
        let mut next = cutter.batch().await?;
        while let Some(batch) = next {
            let cut = cutter.batch().map_err(StoreError::from);
            (next, ()) = futures::try_join!(cut, writers.feed(batch))?;
        }
        drop(cutter);
        let (copies, missing) = writers.commit().await?;
        Ok(StoredBlob { id, geometry, matrix, len, copies, missing })
    }

    /// Removes the copies of a blob that will never be committed (a digest did not match, a condition no
    /// longer holds); those whose drives do not answer become void. Never to be called when the outcome of a
    /// commit that names the blob is unknown.
    pub(crate) async fn discard(&self, blob: &StoredBlob) {
        self.remove(blob.id, &blob.copies).await;
    }

    /// As [`Self::discard`], for some copies of a blob: those of a repair that will never be committed.
    pub(crate) async fn remove(&self, blob: BlobId, copies: &[ShardCopy]) {
        self.inner.remove(copies.iter().map(|copy| copy.void(blob)).collect()).await;
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
        read::open(self.inner.clone(), blob, range, (on_damage, relocate)).await
    }

    /// What pays for the parts behind the first of a body of `len` bytes, a stripe at a time. A reader that waited
    /// for memory in mid-body could wait for ever: for those who hold memory until they get its bytes.
    ///
    /// # Errors
    /// [`ReadError::Busy`] after a few seconds.
    pub(crate) async fn base(&self, len: u64) -> Result<Arc<Held>, ReadError> {
        let stripe_bytes = self.inner.geometry.data() * FRAME_BYTES;
        let bytes = read::base_bytes(len, stripe_bytes);
        self.inner.budget.acquire(bytes).await.map(Arc::new).map_err(|_| ReadError::Busy)
    }

    /// As [`Self::open`], but begins with the first poll and never waits for memory, because `base` pays: for the
    /// parts behind the first of one body, which are read one after the other.
    pub(crate) fn read(
        &self,
        blob: StoredBlob,
        range: Range<u64>,
        on_damage: OnDamage,
        relocate: Option<Relocate>,
        base: Arc<Held>,
    ) -> OutputStream {
        read::lazy(self.inner.clone(), blob, range, (on_damage, relocate), base)
    }

    fn next_id(&self) -> BlobId {
        let sequence = self.inner.sequence.fetch_add(1, Ordering::Relaxed);
        BlobId { session: self.inner.session, sequence }
    }
}

impl Inner {
    fn codec(&self, geometry: Geometry, matrix: Matrix) -> Codec {
        let mut codecs = self.codecs.lock();
        codecs.entry((geometry, matrix)).or_insert_with(|| Codec::new(geometry, matrix)).clone()
    }

    /// Takes the memory, chooses drives and begins a shard on each. Drives that fail at this point are left out
    /// and the choice is made again, with a smaller geometry if need be.
    async fn begin(&self, what: What) -> Result<(Writers<'_>, Allowance), StoreError> {
        let mut failed = HashSet::new();
        let mut last = None;
        loop {
            let choice = match self.drives.choose(what.blob, self.geometry, &failed).await {
                Ok(choice) => choice,
                Err(error) => return Err(last.unwrap_or(error)),
            };
            let shape = BlobShape { geometry: choice.geometry, len: what.len };
            let allowance = Allowance::acquire(&self.budget, shape).await;
            let allowance = allowance.map_err(|Busy| StoreError::Busy)?;
            let before = failed.len();
            match Writers::open(self, what, choice, &mut failed).await {
                Ok(writers) => return Ok((writers, allowance)),
                Err(error) if failed.len() == before => return Err(error),
                Err(error) => last = Some(error),
            }
        }
    }

    /// Deletes copies as far as their drives answer in time; the others become void.
    async fn remove(&self, copies: Vec<VoidCopy>) {
        // Also when this future is dropped.
        let mut left = Left { queue: self.void.clone(), copies: copies.clone() };
        let delete = |copy: VoidCopy| async move {
            (copy, self.carrier.delete(copy.drive, copy.shard).await)
        };
        let mut deletes: FuturesUnordered<_> = copies.into_iter().map(delete).collect();
        let mut limit = self.runtime.clock.sleep(REMOVE_MAX);
        loop {
            tokio::select! {
                biased;
                deleted = deletes.next() => match deleted {
                    Some((copy, Ok(true))) => left.copies.retain(|left| *left != copy),
                    // One that is not there may be on its way: its write was given up.
                    Some((_, Ok(false) | Err(_))) => {}
                    None => return,
                },
                () = &mut limit => return,
            }
        }
    }
}

/// Copies that are still to be deleted: void when this is dropped.
struct Left {
    queue: Arc<VoidQueue>,
    copies: Vec<VoidCopy>,
}

impl Drop for Left {
    fn drop(&mut self) {
        self.queue.add(self.copies.drain(..));
    }
}

impl ShardCopy {
    fn void(self, blob: BlobId) -> VoidCopy {
        let shard = ShardId { blob, index: self.index, copy: self.copy };
        VoidCopy { drive: self.drive, shard }
    }
}

#[cfg(test)]
mod tests;

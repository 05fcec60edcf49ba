//! Making some shards of a blob again from the others: read, verified and decoded as for a client, a few stripes at
//! a time, and only the wanted shards encoded and written. The stripes behind are on their way while those before
//! them are written.
//!
//! Not here: which shards, on which drives, and what becomes of the new copies (`repair`).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use erasure::{BlobShape, Codec, Geometry};
use futures::future::join_all;
use net::{Frame, ShardError, ShardHeader, ShardId, ShardWriter};
use tracing::warn;
use types::limits::{FRAME_BYTES, SHARD_FILE_MIN_BYTES};
use types::{BlobId, BucketId, CopyId, DriveId};

use super::budget::Held;
use super::fetch::Fetcher;
use super::{BlobStore, Inner, OnDamage, ShardCopy, StoredBlob, VoidQueue};
use crate::error::ReadError;

/// About how many bytes of a blob are read at once. Twice as many are held.
const WINDOW_BYTES: usize = 2 << 20;
/// A drive that has not taken a step by now will not.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Some shards of a blob on their way to drives. Dropping it leaves nothing but void copies.
pub(crate) struct Rebuild {
    store: Arc<Inner>,
    fetcher: Fetcher,
    shape: BlobShape,
    codec: Codec,
    shards: Vec<NewShard>,
    /// The next stripe to read.
    next: u64,
    /// Stripes that were read and not yet written.
    ready: Option<Rows>,
    _held: Held,
}

struct NewShard {
    id: ShardId,
    drive: DriveId,
    /// `None` once it has failed.
    writer: Option<Box<dyn ShardWriter>>,
}

/// Consecutive frames of each new shard.
struct Rows {
    first: u64,
    /// In the order of the new shards.
    shards: Vec<Vec<Bytes>>,
}

/// Durable copies that no record names yet: void when this is dropped, unless it was released.
pub(crate) struct Made {
    copies: Vec<ShardCopy>,
    blob: BlobId,
    void: Arc<VoidQueue>,
    held: bool,
}

impl Made {
    /// Which: none when every drive failed.
    pub(crate) fn copies(&self) -> &[ShardCopy] {
        &self.copies
    }

    /// From now on nobody may remove them: a commit that names them is under way or has succeeded.
    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// It is certain that no record names them.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.held {
            self.void.add(self.copies.iter().map(|copy| copy.void(self.blob)));
        }
    }
}

impl BlobStore {
    /// Bytes of memory that a rebuild of `count` shards holds.
    pub(crate) fn rebuild_bytes(geometry: Geometry, len: u64, count: usize) -> usize {
        let shape = BlobShape { geometry, len };
        let stripes = shape.stripes().min(window(shape)) as usize;
        let frame = shape.frame_len(0);
        let windows = 2 * stripes * (geometry.data() + count) * frame;
        // Small shards stay in memory until they are committed.
        let small = shape.shard_len() <= SHARD_FILE_MIN_BYTES + FRAME_BYTES as u64;
        windows + if small { count * shape.shard_len() as usize } else { 0 }
    }

    /// Begins to make shards of `blob` again, each with the drive it goes to; `blob.copies` are those that may be
    /// read, also where only some of their frames are whole. Its record is under `home`. `held` is what
    /// [`Self::rebuild_bytes`] says.
    pub(crate) async fn rebuild(
        &self,
        home: BucketId,
        blob: StoredBlob,
        wanted: &[(u8, DriveId)],
        on_damage: OnDamage,
        held: Held,
    ) -> Rebuild {
        let store = self.inner.clone();
        let shape = BlobShape { geometry: blob.geometry, len: blob.len };
        let codec = store.codec(blob.geometry, blob.matrix);
        let new = wanted.iter().map(|&(index, drive)| {
            let copy = CopyId::new(store.runtime.entropy.nonzero_u64());
            (ShardId { blob: blob.id, index, copy }, drive)
        });
        let create = |(id, drive): (ShardId, DriveId)| {
            let header = ShardHeader {
                id,
                data_shards: shape.geometry.data() as u8,
                parity_shards: shape.geometry.parity() as u8,
                blob_len: shape.len,
                payload_len: shape.shard_len(),
                home: home.get(),
            };
            let store = &store;
            async move {
                let writer = store.in_time(drive, store.carrier.create(drive, header)).await;
                NewShard { id, drive, writer: store.noted(id, drive, writer) }
            }
        };
        let shards = join_all(new.collect::<Vec<_>>().into_iter().map(create)).await;
        let fetcher = Fetcher::new(store.clone(), blob, on_damage, None);
        Rebuild { store, fetcher, shape, codec, shards, next: 0, ready: None, _held: held }
    }
}

impl Rebuild {
    /// Reads the next stripes and writes those before. Whether there is more to do.
    ///
    /// # Errors
    /// See [`ReadError`]: the shards cannot be made.
    pub(crate) async fn advance(&mut self) -> Result<bool, ReadError> {
        let ready = self.ready.take();
        let stripes = self.next..self.shape.stripes().min(self.next + window(self.shape));
        let range = 0..self.shape.len;
        let (store, shards) = (&*self.store, &mut self.shards);
        let write = async {
            if let Some(rows) = &ready {
                write(store, shards, rows).await;
            }
        };
        if stripes.is_empty() {
            write.await;
            return Ok(false);
        }
        let (pieces, ()) = futures::join!(self.fetcher.fetch(stripes.clone(), &range), write);
        self.ready = Some(self.encode(stripes.clone(), pieces?.into_iter())?);
        self.next = stripes.end;
        Ok(self.shards.iter().any(|shard| shard.writer.is_some()))
    }

    /// Makes the shards durable.
    pub(crate) async fn commit(self) -> Made {
        let Self { store, shards, shape, next, .. } = self;
        let complete = next == shape.stripes();
        let blob = self.fetcher.id();
        let begun = shards.iter().filter(|shard| shard.writer.is_some());
        let begun = begun.map(NewShard::copy).collect();
        let mut made = Made { copies: begun, blob, void: store.void.clone(), held: true };
        let store = &store;
        let commits = shards.into_iter().map(|shard| async move {
            let copy = shard.copy();
            let committed = store.in_time(copy.drive, shard.writer?.commit()).await;
            store.noted(shard.id, copy.drive, committed).map(|()| copy)
        });
        let durable: Vec<ShardCopy> = match complete {
            true => join_all(commits).await.into_iter().flatten().collect(),
            false => Vec::new(),
        };
        // What failed may be durable nevertheless, now or later.
        let failed = made.copies.iter().filter(|copy| !durable.contains(copy));
        store.void.add(failed.map(|copy| copy.void(blob)));
        made.copies = durable;
        made
    }

    fn encode(
        &self,
        stripes: Range<u64>,
        mut pieces: impl Iterator<Item = Bytes>,
    ) -> Result<Rows, ReadError> {
        let (data, total) = (self.shape.geometry.data(), self.shape.geometry.total());
        let mut shards = vec![Vec::with_capacity(stripes.clone().count()); self.shards.len()];
        let is_parity = |shard: &&NewShard| usize::from(shard.id.index) >= data;
        let parity = self.shards.iter().filter(is_parity);
        let parity: Vec<usize> = parity.map(|shard| usize::from(shard.id.index)).collect();
        for stripe in stripes.clone() {
            let mut frames = Vec::with_capacity(data);
            for shard in 0..data {
                frames.push(self.frame(stripe, shard, &mut pieces)?);
            }
            let made = match parity.is_empty() {
                true => Vec::new(),
                false => {
                    let data = frames.iter().map(|frame| Some(frame.as_ref()));
                    let none = std::iter::repeat_n(None, total - frames.len());
                    let known: Vec<Option<&[u8]>> = data.chain(none).collect();
                    // Whole stripes always encode.
                    self.codec.reconstruct(&known, &parity).map_err(|_| ReadError::Corrupt)?
                }
            };
            let mut made = made.into_iter().map(Bytes::from);
            for (shard, row) in self.shards.iter().zip(&mut shards) {
                let frame = match frames.get(usize::from(shard.id.index)) {
                    Some(frame) => Some(frame.clone()),
                    None => made.next(),
                };
                row.push(frame.ok_or(ReadError::Corrupt)?);
            }
        }
        Ok(Rows { first: stripes.start, shards })
    }

    /// The frame of a data shard, padded as it is stored.
    fn frame(
        &self,
        stripe: u64,
        shard: usize,
        pieces: &mut impl Iterator<Item = Bytes>,
    ) -> Result<Bytes, ReadError> {
        let len = self.shape.frame_len(stripe);
        let piece = match self.shape.frame_range(stripe, shard).is_empty() {
            true => Bytes::new(),
            false => pieces.next().ok_or(ReadError::Corrupt)?,
        };
        if piece.len() == len {
            return Ok(piece);
        }
        let mut padded = piece.to_vec();
        padded.resize(len, 0);
        Ok(padded.into())
    }
}

impl NewShard {
    fn copy(&self) -> ShardCopy {
        ShardCopy { index: self.id.index, drive: self.drive, copy: self.id.copy }
    }
}

async fn write(store: &Inner, shards: &mut [NewShard], rows: &Rows) {
    let writes = shards.iter_mut().zip(&rows.shards).map(|(shard, frames)| async move {
        let Some(writer) = &mut shard.writer else { return };
        let sealed = (rows.first..).zip(frames);
        let sealed = sealed.map(|(number, frame)| Frame::seal(&shard.id, number, frame.clone()));
        let written = store.in_time(shard.drive, writer.write(sealed.collect())).await;
        if store.noted(shard.id, shard.drive, written).is_none() {
            shard.writer = None;
        }
    });
    join_all(writes).await;
}

impl Inner {
    async fn in_time<T>(
        &self,
        drive: DriveId,
        step: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        tokio::select! {
            biased;
            done = step => done,
            () = self.runtime.clock.sleep(STEP_MAX) => Err(ShardError::Away(drive)),
        }
    }

    fn noted<T>(&self, id: ShardId, drive: DriveId, done: Result<T, ShardError>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(cause) => {
                warn!(%drive, shard = ?id, %cause, "a shard could not be made again");
                self.drives.forget();
                None
            }
        }
    }
}

/// Stripes that are read at once.
fn window(shape: BlobShape) -> u64 {
    (WINDOW_BYTES as u64 / shape.stripe_bytes()).max(1)
}

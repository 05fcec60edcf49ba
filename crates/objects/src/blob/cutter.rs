//! Cuts a body into stripes: one copy out of the body into pooled buffers, one pass of the digests over them,
//! and the parity beside.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use erasure::{BlobShape, Codec};
use futures::StreamExt;
use net::{Frame, ShardId};
use runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::limits::{FRAME_BYTES, SHARD_FILE_MIN_BYTES};

use super::budget::{Budget, Busy, Credit, Held, Pool};
use crate::digest::Hasher;
use crate::error::BodyError;
use crate::model::BodyStream;

/// About how many bytes of a body travel to the drives at once.
const BATCH_BYTES: usize = 1 << 20;
/// Stripes that a write may hold in any case: one being filled, one at the drives, one about to be.
const BASE_STRIPES: u64 = 3;
/// After this long without a free buffer a drive must be sitting on them all; one more is made, so that the
/// next hand-over finds that drive out.
const STARVED: Duration = Duration::from_secs(10);

/// Consecutive stripes of all shards.
#[derive(Clone)]
pub(super) struct Batch {
    first: u64,
    /// One entry for each stripe: the frames of all shards by index, side by side.
    stripes: Vec<Stripe>,
}

#[derive(Clone)]
struct Stripe {
    frame_len: usize,
    bytes: Bytes,
}

impl Batch {
    /// The frames of one shard, sealed for one copy of it.
    pub(super) fn frames(&self, id: &ShardId) -> Vec<Frame> {
        let frames = (self.first..).zip(&self.stripes).map(|(number, stripe)| {
            let start = usize::from(id.index) * stripe.frame_len;
            Frame::seal(id, number, stripe.bytes.slice(start..start + stripe.frame_len))
        });
        frames.collect()
    }
}

/// The memory that a write may hold, for its whole life.
pub(super) struct Allowance {
    budget: Budget,
    /// Paid for by `base`; one permit for each stripe.
    stripes: Arc<Semaphore>,
    base: Arc<Held>,
    /// Whether `base` pays for all stripes that there are.
    whole: bool,
    stripe_bytes: usize,
}

impl Allowance {
    /// Takes the memory that a blob needs at least. Small shards stay in memory until they are committed, so
    /// blobs of those need all of theirs.
    pub(super) async fn acquire(budget: &Budget, shape: BlobShape) -> Result<Self, Busy> {
        let small = shape.shard_len() <= SHARD_FILE_MIN_BYTES + FRAME_BYTES as u64;
        let stripes = if small { shape.stripes() } else { BASE_STRIPES } as usize;
        let total = shape.geometry.total();
        let stripe_bytes = total * FRAME_BYTES;
        let whole = total.saturating_mul(usize::try_from(shape.shard_len()).unwrap_or(usize::MAX));
        let bytes = (stripes * stripe_bytes).min(whole);
        Ok(Self {
            budget: budget.clone(),
            stripes: Arc::new(Semaphore::new(stripes)),
            base: Arc::new(budget.acquire(bytes).await?),
            whole: small,
            stripe_bytes,
        })
    }

    /// Pays for the next stripe of a batch. The base is for the first of each batch: when it is all there
    /// is, one batch can be cut while another is at the drives and a third waits for its repetition.
    fn try_stripe(&self, is_first: bool) -> Option<Credit> {
        if (is_first || self.whole)
            && let Ok(permit) = self.stripes.clone().try_acquire_owned()
        {
            return Some(self.base_credit(permit));
        }
        Some(Box::new(self.budget.try_extra(self.stripe_bytes)?))
    }

    async fn stripe(&self, clock: &dyn Clock) -> Option<Credit> {
        tokio::select! {
            biased;
            permit = self.stripes.clone().acquire_owned() => {
                permit.ok().map(|permit| self.base_credit(permit))
            }
            () = clock.sleep(STARVED) => None,
        }
    }

    fn base_credit(&self, permit: OwnedSemaphorePermit) -> Credit {
        Box::new((permit, self.base.clone()))
    }
}

/// A body on its way into stripes.
pub(super) struct Cutter<'a> {
    body: &'a mut BodyStream,
    digests: &'a mut Hasher,
    shape: BlobShape,
    codec: Codec,
    pool: Arc<Pool>,
    allowance: Allowance,
    clock: Arc<dyn Clock>,
    /// What the body gave and no stripe took yet.
    rest: Bytes,
    /// The next stripe to cut.
    next: u64,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(
        body: &'a mut BodyStream,
        digests: &'a mut Hasher,
        codec: Codec,
        len: u64,
        (pool, allowance, clock): (Arc<Pool>, Allowance, Arc<dyn Clock>),
    ) -> Self {
        let shape = BlobShape { geometry: codec.geometry(), len };
        let rest = Bytes::new();
        Self { body, digests, shape, codec, pool, allowance, clock, rest, next: 0 }
    }

    /// The next stripes: as many as make a good batch and memory allows. `None` behind the last one, when
    /// the body has been seen to end there.
    pub(super) async fn batch(&mut self) -> Result<Option<Batch>, BodyError> {
        let (first, left) = (self.next, self.shape.stripes() - self.next);
        if left == 0 {
            self.expect_end().await?;
            return Ok(None);
        }
        let most = (BATCH_BYTES as u64).div_ceil(self.shape.stripe_bytes()).min(left) as usize;
        let mut stripes = Vec::with_capacity(most);
        while stripes.len() < most {
            let credit = match self.allowance.try_stripe(stripes.is_empty()) {
                Some(credit) => Some(credit),
                None if !stripes.is_empty() => break,
                None => {
                    // The digests must not be what holds the buffers that we wait for.
                    self.digests.settle().await;
                    self.allowance.stripe(self.clock.as_ref()).await
                }
            };
            stripes.push(self.stripe(credit).await?);
        }
        Ok(Some(Batch { first, stripes }))
    }

    async fn stripe(&mut self, credit: Option<Credit>) -> Result<Stripe, BodyError> {
        let geometry = self.shape.geometry;
        let frame_len = self.shape.frame_len(self.next);
        let data_len = geometry.data() * frame_len;
        let range = self.shape.stripe_range(self.next);
        let body_len = (range.end - range.start) as usize;
        let mut buffer = self.pool.take(geometry.total() * frame_len, credit);
        self.fill(&mut buffer[..body_len]).await?;
        buffer[body_len..data_len].fill(0);
        let (data, parity) = buffer.split_at_mut(data_len);
        let data: Vec<&[u8]> = data.chunks(frame_len).collect();
        let mut parity: Vec<&mut [u8]> = parity.chunks_mut(frame_len).collect();
        self.codec.encode(&data, &mut parity).expect("the stripe is cut by the codec's geometry");
        let bytes = buffer.freeze();
        self.digests.update(bytes.slice(..body_len)).await;
        self.next += 1;
        Ok(Stripe { frame_len, bytes })
    }

    async fn fill(&mut self, mut room: &mut [u8]) -> Result<(), BodyError> {
        while !room.is_empty() {
            if self.rest.is_empty() {
                self.rest = self.body.next().await.ok_or(BodyError::Incomplete)??;
                continue;
            }
            let (now, later) = room.split_at_mut(self.rest.len().min(room.len()));
            self.rest.copy_to_slice(now);
            room = later;
        }
        Ok(())
    }

    async fn expect_end(&mut self) -> Result<(), BodyError> {
        while self.rest.is_empty() {
            match self.body.next().await {
                Some(bytes) => self.rest = bytes?,
                None => return Ok(()),
            }
        }
        Err(BodyError::TooLong)
    }
}

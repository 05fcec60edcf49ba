//! The carrier trait.

use shards::{
    Compacted, DriveStatus, Frame, Presence, ScrubBudget, ScrubSlice, ShardError, ShardHeader,
    ShardId,
};
use types::DriveId;

/// Carries shard operations to the drives of a cluster, wherever they are.
///
/// Frames are sealed by the writing gateway and verified by the reading one, so a carrier and a drive are
/// never trusted with the bytes.
#[async_trait::async_trait]
pub trait Carrier: Send + Sync + 'static {
    /// Begins a shard on `drive`. Refused at once when the drive is away, suspect or full.
    async fn create(
        &self,
        drive: DriveId,
        header: ShardHeader,
    ) -> Result<Box<dyn ShardWriter>, ShardError>;

    /// Reads `count` frames from `first` on (fewer at the end of the shard), in order and unverified: the
    /// caller verifies. They are slices of one buffer.
    async fn read(
        &self,
        drive: DriveId,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError>;

    /// The header of a shard, verified.
    async fn header(&self, drive: DriveId, id: ShardId) -> Result<ShardHeader, ShardError>;

    /// Removes exactly this copy, durably; whether it was there.
    async fn delete(&self, drive: DriveId, id: ShardId) -> Result<bool, ShardError>;

    /// Headers of the copies on `drive` behind `after` in the order of [`ShardId`], at most `limit`.
    async fn list(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError>;

    /// Whether these copies are on `drive`, in the order asked for, judged by index and header.
    async fn presence(
        &self,
        drive: DriveId,
        ids: Vec<ShardId>,
    ) -> Result<Vec<Presence>, ShardError>;

    /// Verifies every frame of the copies on `drive` behind `after`, as many as `budget` lets: read from the disk
    /// where they are, and nothing of them carried over.
    async fn scrub(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        budget: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError>;

    /// Does one piece of compaction on `drive`, moving at most about `budget_bytes`.
    async fn compact(&self, drive: DriveId, budget_bytes: u64) -> Result<Compacted, ShardError>;

    /// A drive's figures; never an error: a drive that is not there is `Away`.
    async fn status(&self, drive: DriveId) -> DriveStatus;
}

/// A shard being written. Dropping it before [`ShardWriter::commit`] leaves nothing.
#[async_trait::async_trait]
pub trait ShardWriter: Send {
    /// Hands over the next frames. Returns when they are accepted (not yet durable) and there is room for
    /// more; an earlier failure may surface here or at commit.
    async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError>;

    /// Returns when the whole shard is durable: bytes, index entry and directory entry.
    async fn commit(self: Box<Self>) -> Result<(), ShardError>;
}

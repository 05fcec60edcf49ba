//! The store of one drive.

use std::path::Path;
use std::sync::Arc;

use runtime::Runtime;
use runtime::disk::Disk;
use types::DriveId;

use crate::{
    DriveState, DriveStatus, Frame, Identity, OpenError, ShardError, ShardHeader, ShardId, identity,
};

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Used part of the file system, 0 to 1, from which on the drive takes no new shards.
    pub high_watermark: f64,
    /// Free bytes below which the drive takes no new shards, whatever the watermark.
    pub min_free_bytes: u64,
    /// Threads for reads that have to wait for the device.
    pub read_threads: usize,
    /// Threads for shards with files of their own, and for deletes.
    pub write_threads: usize,
    /// Most files kept open for reading.
    pub open_files: usize,
    /// Size from which on a segment is sealed, in bytes.
    pub segment_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            high_watermark: 0.95,
            min_free_bytes: 256 << 20,
            read_threads: 4,
            write_threads: 8,
            open_files: 128,
            segment_bytes: 256 << 20,
        }
    }
}

/// An open drive.
pub struct Store {
    identity: Identity,
}

/// A shard being written to a drive. Dropping it before [`ShardSink::commit`] leaves nothing.
pub struct ShardSink {
    drive: DriveId,
}

impl Store {
    /// Makes `dir` (made if absent) a drive.
    pub fn format(disk: Arc<dyn Disk>, dir: &Path, new: &Identity) -> Result<(), OpenError> {
        disk.create_dir_all(dir).map_err(|e| OpenError::io("make", dir, &e))?;
        identity::write(&*disk, dir, new)
    }

    /// Who the drive at `dir` is; `None` when it was never formatted.
    pub fn identity_of(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Identity>, OpenError> {
        identity::read(&*disk, dir)
    }

    /// Opens the drive at `dir`.
    pub fn open(
        disk: Arc<dyn Disk>,
        runtime: Runtime,
        dir: &Path,
        options: StoreOptions,
    ) -> Result<Arc<Self>, OpenError> {
        let _ = (runtime, options);
        let identity =
            identity::read(&*disk, dir)?.ok_or(OpenError::NotFormatted { dir: dir.to_owned() })?;
        Ok(Arc::new(Self { identity }))
    }

    /// Who this drive is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn away(&self) -> ShardError {
        ShardError::Away(self.identity.drive)
    }

    /// Begins a shard.
    pub fn create(&self, header: ShardHeader) -> Result<ShardSink, ShardError> {
        let _ = header;
        Err(self.away())
    }

    /// Reads frames.
    pub async fn read(
        &self,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        let _ = (id, first, count);
        Err(self.away())
    }

    /// The header of a shard, verified.
    pub async fn header(&self, id: ShardId) -> Result<ShardHeader, ShardError> {
        let _ = id;
        Err(self.away())
    }

    /// Removes a shard, durably; whether it was there.
    pub async fn delete(&self, id: ShardId) -> Result<bool, ShardError> {
        let _ = id;
        Err(self.away())
    }

    /// Headers behind `after`, at most `limit`.
    pub async fn list(
        &self,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        let _ = (after, limit);
        Err(self.away())
    }

    /// The drive's figures.
    pub fn status(&self) -> DriveStatus {
        DriveStatus {
            state: DriveState::Away,
            capacity_bytes: 0,
            available_bytes: 0,
            used_bytes: 0,
            shards: 0,
        }
    }

    /// Seals what is open, stops the threads and lets the lock go.
    pub async fn close(&self) {}
}

impl ShardSink {
    /// Hands over the next frames.
    pub async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError> {
        let _ = frames;
        Err(ShardError::Away(self.drive))
    }

    /// Returns when the shard is durable.
    pub async fn commit(self) -> Result<(), ShardError> {
        Err(ShardError::Away(self.drive))
    }
}

//! Looking for damage before anybody reads it, both ways: `scrub` goes from the shards on the drives to the records
//! that must name them, `sweep` from the records to the shards.
//!
//! Not here: what becomes of what they find. Lost copies become tasks for `repair`; copies that no record names are
//! judged by `collect`.

mod judge;
mod pace;
mod sweep;
mod verify;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use net::ShardError;
use types::DriveId;

use crate::engine::Engine;

pub(crate) use sweep::Sweep;
pub(crate) use verify::Scrub;

/// What scrubs and sweeps of one engine have come to since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubMetrics {
    /// Frames whose checksums were verified.
    pub frames: u64,
    /// Bytes read for that.
    pub bytes: u64,
    /// Copies that were damaged, twice in a row.
    pub corrupt: u64,
    /// Copies that a record names and their drive did not have, or whose drive counts as lost.
    pub missing: u64,
    /// Copies that no record names and none will: they were deleted, or filed for collection.
    pub orphans: u64,
    /// Passes over whole drives.
    pub passes: u64,
    /// Blob records whose copies were looked for.
    pub blobs: u64,
}

/// The counters behind [`ScrubMetrics`].
#[derive(Default)]
pub(crate) struct Figures {
    frames: AtomicU64,
    bytes: AtomicU64,
    corrupt: AtomicU64,
    missing: AtomicU64,
    orphans: AtomicU64,
    passes: AtomicU64,
    blobs: AtomicU64,
}

impl Engine {
    /// What scrubs and sweeps have come to.
    pub fn scrub_metrics(&self) -> ScrubMetrics {
        let figures = &self.inner.scrub;
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ScrubMetrics {
            frames: read(&figures.frames),
            bytes: read(&figures.bytes),
            corrupt: read(&figures.corrupt),
            missing: read(&figures.missing),
            orphans: read(&figures.orphans),
            passes: read(&figures.passes),
            blobs: read(&figures.blobs),
        }
    }
}

impl Engine {
    /// Waits for a drive, but not for ever: a disk may hang.
    async fn patiently<T>(
        &self,
        drive: DriveId,
        patience: Duration,
        answer: impl Future<Output = Result<T, ShardError>>,
    ) -> Result<T, ShardError> {
        tokio::select! {
            answer = answer => answer,
            () = self.inner.runtime.clock.sleep(patience) => {
                Err(ShardError::Io { drive, message: "it does not answer".to_owned() })
            }
        }
    }
}

fn add(figure: &AtomicU64, more: usize) {
    figure.fetch_add(more as u64, Ordering::Relaxed);
}

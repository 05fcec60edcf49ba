//! What the background workers of the engine share: their options, and what they know of each other.

use std::collections::HashSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use types::BlobId;

use crate::engine::Engine;

/// How the background workers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpkeepOptions {
    /// In which time every frame of every drive is verified once.
    pub scrub_pass: Duration,
    /// How long a drive may be away before its copies are made again elsewhere.
    pub out_after: Duration,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { scrub_pass: 14 * DAY, out_after: Duration::from_secs(600) }
    }
}

/// What the workers know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    /// Blobs that are being repaired or encoded again now: copies of them that no record names yet are not orphans.
    pub(crate) in_repair: Mutex<HashSet<BlobId>>,
    /// A repair task was filed.
    pub(crate) repair_filed: Notify,
    /// A pass over all blob records was asked for.
    pub(crate) sweep_asked: Notify,
}

impl Engine {
    /// Asks for a pass over all blob records, which files repair tasks for copies that are not where they should
    /// be: a drive has come back, or has been replaced by an empty one.
    pub fn sweep(&self) {
        self.inner.upkeep.sweep_asked.notify_one();
    }
}

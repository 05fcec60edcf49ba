//! Copies that this process knows to be void: made, or perhaps made, for a blob or a repair that never committed
//! and never will. They wait here until somebody has deleted them. In memory only: whatever a process leaves here
//! when it ends is found by scrubbing, once its writer session has ended.

use std::collections::VecDeque;

use net::ShardId;
use parking_lot::Mutex;
use types::DriveId;

/// Copies that may wait. What is over is left to scrubbing.
const WAITING_MAX: usize = 100_000;

/// A copy that no record names, and none ever will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VoidCopy {
    /// Where it is, if it is anywhere.
    pub(crate) drive: DriveId,
    /// Which.
    pub(crate) shard: ShardId,
}

/// The queue.
#[derive(Default)]
pub(crate) struct VoidQueue {
    waiting: Mutex<VecDeque<VoidCopy>>,
}

impl VoidQueue {
    /// Adds copies. Nobody may ever commit a record that names them.
    pub(crate) fn add(&self, copies: impl IntoIterator<Item = VoidCopy>) {
        let mut waiting = self.waiting.lock();
        for copy in copies {
            if waiting.len() >= WAITING_MAX {
                tracing::warn!(drive = %copy.drive, shard = ?copy.shard, "a void copy is left to scrubbing");
            } else {
                waiting.push_back(copy);
            }
        }
    }

    /// Takes up to `most`, the oldest first. Who takes them deletes them, or adds those that are left again.
    pub(crate) fn take(&self, most: usize) -> Vec<VoidCopy> {
        let mut waiting = self.waiting.lock();
        let most = most.min(waiting.len());
        waiting.drain(..most).collect()
    }
}

#[cfg(test)]
mod tests {
    use types::{BlobId, CopyId, SessionId};

    use super::*;

    #[test]
    fn the_queue_is_bounded_and_in_order() {
        let copy = |sequence| VoidCopy {
            drive: DriveId::new(1),
            shard: ShardId {
                blob: BlobId { session: SessionId::new(1), sequence },
                index: 0,
                copy: CopyId::new(1),
            },
        };
        let queue = VoidQueue::default();
        queue.add((0..WAITING_MAX as u64 + 10).map(copy));
        assert_eq!(queue.take(2), [copy(0), copy(1)]);
        assert_eq!(queue.take(usize::MAX).len(), WAITING_MAX - 2);
        assert!(queue.take(1).is_empty());
    }
}

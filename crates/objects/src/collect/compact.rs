//! Giving space back inside segments: each drive in turn, a piece at a time.

use std::collections::HashMap;
use std::time::Duration;

use net::{Compacted, DriveState, ShardError};
use runtime::{Gauge, Progress, Urgency, Worker};
use types::DriveId;

use crate::engine::Engine;

/// Bytes that one piece moves, about: a tenth of a second of work.
const PIECE_BYTES: u64 = 8 << 20;
/// How often drives are looked at when there was nothing to do.
const INTERVAL: Duration = Duration::from_secs(30);
/// Others wait for the turn: a drive that takes longer goes on by itself, and is left alone for a while.
const PIECE_MAX: Duration = Duration::from_secs(5);
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// The worker.
pub(crate) struct Compactor {
    engine: Engine,
    /// Which drive of the layout is next.
    at: usize,
    /// Whether this round has come to anything.
    found: bool,
    /// Drives that were too slow, and until when, on the monotonic clock.
    slow: HashMap<DriveId, Duration>,
    freed: u64,
}

impl Compactor {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, at: 0, found: false, slow: HashMap::new(), freed: 0 }
    }

    async fn compact(&mut self, drive: DriveId) -> Result<Compacted, ShardError> {
        let inner = &self.engine.inner;
        let _turn = inner.throttle.turn(Urgency::Upkeep).await;
        tokio::select! {
            compacted = inner.carrier.compact(drive, PIECE_BYTES) => compacted,
            () = inner.runtime.clock.sleep(PIECE_MAX) => {
                tracing::warn!(%drive, "compaction takes too long; this drive is left alone for a while");
                self.slow.insert(drive, inner.runtime.clock.monotonic() + LEFT_ALONE);
                Ok(Compacted::default())
            }
        }
    }
}

#[async_trait::async_trait]
impl Worker for Compactor {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn about(&self) -> &'static str {
        "Copies what is left of mostly empty segment files, to give their space back."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        let inner = &self.engine.inner;
        let Some(drive) = inner.layout.drives.get(self.at).map(|drive| drive.id) else {
            let found = std::mem::take(&mut self.found);
            self.at = 0;
            return Ok(if found { Progress::More } else { Progress::Idle(INTERVAL) });
        };
        // A failure of one drive does not keep the others waiting.
        self.at += 1;
        // Also a full drive: that is where it helps most. A suspect one is left as it is.
        let state = inner.carrier.status(drive).await.state;
        let slow =
            self.slow.get(&drive).is_some_and(|&until| inner.runtime.clock.monotonic() < until);
        if slow || !matches!(state, DriveState::Up | DriveState::Full) {
            return Ok(Progress::More);
        }
        let piece = self.compact(drive).await.map_err(|error| error.to_string())?;
        self.freed += piece.freed_bytes;
        // A drive without room for a copy would do more and cannot.
        self.found |= piece.more && piece.moved_bytes + piece.freed_bytes > 0;
        Ok(Progress::More)
    }

    fn gauge(&self) -> Gauge {
        Gauge { done: self.freed, round: None, unit: "bytes" }
    }
}

//! Giving space back inside segments: each drive in turn, a piece at a time.

use std::time::Duration;

use net::DriveState;
use runtime::{Gauge, Progress, Urgency, Worker};

use crate::engine::Engine;

/// Bytes that one piece moves, about: a tenth of a second of work.
const PIECE_BYTES: u64 = 8 << 20;
/// How often drives are looked at when there was nothing to do.
const INTERVAL: Duration = Duration::from_secs(30);

/// The worker.
pub(crate) struct Compactor {
    engine: Engine,
    /// Which drive of the layout is next.
    at: usize,
    /// Whether this round has found anything.
    found: bool,
    freed: u64,
}

impl Compactor {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine, at: 0, found: false, freed: 0 }
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
        if !matches!(state, DriveState::Up | DriveState::Full) {
            return Ok(Progress::More);
        }
        let _turn = inner.throttle.turn(Urgency::Upkeep).await;
        let piece = inner.carrier.compact(drive, PIECE_BYTES).await.map_err(|e| e.to_string())?;
        self.freed += piece.freed_bytes;
        self.found |= piece.more;
        Ok(Progress::More)
    }

    fn gauge(&self) -> Gauge {
        Gauge { done: self.freed, round: None, unit: "bytes" }
    }
}

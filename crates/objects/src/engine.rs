//! The engine: its handles, its writer session, and how it starts and stops.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use erasure::Geometry;
use kv::Kv;
use net::{Carrier, DriveStatus};
use placement::Layout;
use runtime::{Runtime, Worker};
use types::{BatchId, SessionId};

use crate::error::Failure;

/// What an engine is made of.
pub struct EngineConfig {
    /// Where every record is.
    pub kv: Arc<dyn Kv>,
    /// The way to the drives.
    pub carrier: Arc<dyn Carrier>,
    /// Which drives there are.
    pub layout: Layout,
    /// How new blobs are cut.
    pub geometry: Geometry,
    /// Clock and entropy.
    pub runtime: Runtime,
    /// The region that buckets report.
    pub region: String,
    /// Who this process is, for people who list writer sessions.
    pub label: String,
    /// Bytes that all bodies under way may hold in memory together.
    pub memory_budget_bytes: usize,
}

/// Figures of one engine for metrics; counted since its start unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Blobs that wait for repair now, because a write or a read missed some of their shards.
    pub under_replicated: u64,
    /// Repair tasks filed.
    pub repair_tasks: u64,
    /// Reads that had to decode or to go to another copy.
    pub degraded_reads: u64,
    /// Writes that committed with fewer shards than their geometry has.
    pub degraded_writes: u64,
    /// Batches that were evaluated again because of a conflict.
    pub conflicts: u64,
    /// Commits whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// Reads that are open now.
    pub open_reads: u64,
}

/// The object engine. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: EngineConfig,
    session: SessionId,
    sequence: AtomicU64,
}

impl Engine {
    /// Opens a writer session and starts.
    ///
    /// # Errors
    /// [`Failure::Kv`] when the session cannot be opened.
    pub async fn start(config: EngineConfig) -> Result<Self, Failure> {
        let session = SessionId::new(config.runtime.entropy.nonzero_u64());
        config.kv.open_session(session, &config.label, config.runtime.clock.now()).await?;
        Ok(Self { inner: Arc::new(Inner { config, session, sequence: AtomicU64::new(1) }) })
    }

    /// Ends the writer session: nothing commits afterwards.
    pub async fn stop(&self) {
        let _ = self.inner.config.kv.end_session(self.inner.session).await;
    }

    /// The writer session.
    pub fn session(&self) -> SessionId {
        self.inner.session
    }

    /// A fresh id for a batch of this engine's session.
    pub fn next_batch_id(&self) -> BatchId {
        let sequence = self.inner.sequence.fetch_add(1, Ordering::Relaxed);
        BatchId { session: self.inner.session, sequence }
    }

    /// The region that buckets report.
    pub fn region(&self) -> &str {
        &self.inner.config.region
    }

    /// The background loops of this engine, to be started once.
    pub fn workers(&self) -> Vec<Box<dyn Worker>> {
        unimplemented!()
    }

    /// Every drive of the layout and how it is.
    pub async fn drive_statuses(&self) -> Vec<(placement::Drive, DriveStatus)> {
        unimplemented!()
    }

    /// Figures for metrics.
    pub fn metrics_snapshot(&self) -> EngineMetrics {
        unimplemented!()
    }
}

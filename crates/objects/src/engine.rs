//! The engine: its handles, its writer session, and how it starts and stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use erasure::Geometry;
use futures::StreamExt as _;
use kv::{Key, Kv};
use net::{Carrier, DriveStatus};
use placement::Layout;
use runtime::{Runtime, Throttle, Worker};
use types::{BatchId, SessionId, UnixMillis, VersionId};

use crate::blob::BlobStore;
use crate::collect::{self, Collector, Compactor};
use crate::commit::Gates;
use crate::damage::{self, DamageQueue};
use crate::error::Failure;
use crate::reads::{self, OpenReads};
use crate::repair;
use crate::scrub;
use crate::upkeep::{self, UpkeepOptions};

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
    /// What keeps background work from being in the way.
    pub throttle: Arc<Throttle>,
    /// How the background workers behave.
    pub upkeep: UpkeepOptions,
}

/// Figures of one engine for metrics; counted since its start unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Current objects, in the whole store, by the last census.
    pub objects: u64,
    /// Repair tasks that wait now, in the whole store, by the last census.
    pub under_replicated: u64,
    /// Repair tasks filed by this engine.
    pub repair_tasks: u64,
    /// Reads that had to decode or to go to another copy.
    pub degraded_reads: u64,
    /// Writes that committed with fewer shards than their geometry has, or with a smaller geometry.
    pub degraded_writes: u64,
    /// Batches that were evaluated again because of a conflict.
    pub conflicts: u64,
    /// Commits whose outcome stayed unknown.
    pub unknown_outcomes: u64,
    /// Reads of bodies that are open now.
    pub open_reads: u64,
    /// Blobs that repair has made whole.
    pub repaired_blobs: u64,
    /// Bytes of shards that repair has written.
    pub repaired_bytes: u64,
    /// Blobs of which fewer shards are whole than it takes to read them, as far as repair knows now.
    pub unrecoverable: u64,
}

/// The counters behind [`EngineMetrics`].
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) objects: AtomicU64,
    pub(crate) under_replicated: AtomicU64,
    pub(crate) repair_tasks: AtomicU64,
    pub(crate) degraded_reads: AtomicU64,
    pub(crate) degraded_writes: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) unknown_outcomes: AtomicU64,
    pub(crate) repaired_blobs: AtomicU64,
    pub(crate) repaired_bytes: AtomicU64,
    pub(crate) unrecoverable: AtomicU64,
}

/// The object engine. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) kv: Arc<dyn Kv>,
    pub(crate) blobs: BlobStore,
    pub(crate) runtime: Runtime,
    pub(crate) reads: Arc<OpenReads>,
    pub(crate) damage: DamageQueue,
    pub(crate) gates: Gates,
    pub(crate) figures: Figures,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) options: UpkeepOptions,
    pub(crate) upkeep: upkeep::Shared,
    pub(crate) scrub: scrub::Figures,
    pub(crate) collect: collect::Shared,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) layout: Layout,
    region: String,
    session: SessionId,
    sequence: AtomicU64,
}

impl Engine {
    /// Opens a writer session and starts.
    ///
    /// # Errors
    /// [`Failure::Kv`] when the session cannot be opened.
    pub async fn start(config: EngineConfig) -> Result<Self, Failure> {
        let EngineConfig { kv, carrier, layout, geometry, runtime, region, label, .. } = config;
        let session = SessionId::new(runtime.entropy.nonzero_u64());
        kv.open_session(session, &label, runtime.clock.now()).await?;
        let reads = Arc::new(OpenReads::new(kv.revision().await?));
        let blobs = BlobStore::new(
            carrier.clone(),
            layout.clone(),
            geometry,
            runtime.clone(),
            session,
            config.memory_budget_bytes,
        );
        let void = blobs.void().clone();
        let inner = Inner {
            kv,
            blobs,
            runtime,
            reads,
            damage: DamageQueue::default(),
            gates: Gates::default(),
            figures: Figures::default(),
            throttle: config.throttle,
            options: config.upkeep,
            upkeep: upkeep::Shared::new(void),
            scrub: scrub::Figures::default(),
            collect: collect::Shared::default(),
            carrier,
            layout,
            region,
            session,
            sequence: AtomicU64::new(1),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Ends the writer session: nothing commits afterwards. When that fails, the session stays open, which
    /// holds collection back and harms nothing else; it is logged.
    pub async fn stop(&self) {
        if let Err(error) = self.inner.kv.end_session(self.inner.session).await {
            tracing::warn!(session = %self.inner.session, %error, "the writer session could not be ended");
        }
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

    /// What keeps background work from being in the way; requests of clients are its foreground.
    pub fn throttle(&self) -> &Arc<Throttle> {
        &self.inner.throttle
    }

    /// The region that buckets report.
    pub fn region(&self) -> &str {
        &self.inner.region
    }

    /// The background loops of this engine, to be started once: the reporter of the oldest open read, the filer
    /// of repair tasks, and the census of objects and repair tasks.
    pub fn workers(&self) -> Vec<Box<dyn Worker>> {
        vec![
            Box::new(reads::Reporter::new(self.clone())),
            Box::new(damage::Filer::new(self.clone())),
            Box::new(damage::Census::new(self.clone())),
            Box::new(repair::Repairer::new(self.clone())),
            Box::new(scrub::Scrub::new(self.clone())),
            Box::new(scrub::Sweep::new(self.clone())),
            Box::new(Collector::new(self.clone())),
            Box::new(Compactor::new(self.clone())),
        ]
    }

    /// Every drive of the layout and how it is, in the order of the layout.
    pub async fn drive_statuses(&self) -> Vec<(placement::Drive, DriveStatus)> {
        const AT_ONCE: usize = 32;
        let ask = |drive: placement::Drive| {
            let carrier = self.inner.carrier.clone();
            async move {
                let status = carrier.status(drive.id).await;
                (drive, status)
            }
        };
        let drives = self.inner.layout.drives.clone();
        futures::stream::iter(drives).map(ask).buffered(AT_ONCE).collect().await
    }

    /// Figures for metrics.
    pub fn metrics_snapshot(&self) -> EngineMetrics {
        let figures = &self.inner.figures;
        EngineMetrics {
            objects: figures.objects.load(Ordering::Relaxed),
            under_replicated: figures.under_replicated.load(Ordering::Relaxed),
            repair_tasks: figures.repair_tasks.load(Ordering::Relaxed),
            degraded_reads: figures.degraded_reads.load(Ordering::Relaxed),
            degraded_writes: figures.degraded_writes.load(Ordering::Relaxed),
            conflicts: figures.conflicts.load(Ordering::Relaxed),
            unknown_outcomes: figures.unknown_outcomes.load(Ordering::Relaxed),
            open_reads: self.inner.reads.count(),
            repaired_blobs: figures.repaired_blobs.load(Ordering::Relaxed),
            repaired_bytes: figures.repaired_bytes.load(Ordering::Relaxed),
            unrecoverable: figures.unrecoverable.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.inner.runtime.clock.now()
    }

    pub(crate) fn new_version(&self) -> VersionId {
        VersionId::new(self.inner.runtime.entropy.u128())
    }

    /// Several records at one revision.
    pub(crate) async fn look<const N: usize>(
        &self,
        keys: [Key; N],
    ) -> Result<[Option<kv::Versioned>; N], Failure> {
        let found = self.inner.kv.multi_get(&keys).await?;
        found.try_into().map_err(|_| Failure::Damaged("answer of the metadata store"))
    }
}

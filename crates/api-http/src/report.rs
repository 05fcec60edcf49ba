//! What the cluster says of itself: facts only, no judgement (that is [`crate::health`]).

use std::collections::BTreeMap;

use runtime::{UnknownWorker, WorkerState};
use types::{DriveId, NodeId};

/// Where reports come from, and who takes orders. Called once for each request; it must be cheap and must not fail:
/// what cannot be found out is reported as away or unavailable.
#[async_trait::async_trait]
pub trait Source: Send + Sync + 'static {
    /// How everything is now.
    async fn report(&self) -> Report;

    /// The background workers alone: this asks neither drives nor the metadata store.
    fn workers(&self) -> WorkerReports;

    /// Gives a worker an order.
    ///
    /// # Errors
    /// [`UnknownWorker`].
    fn steer(&self, name: &str, order: Order) -> Result<(), UnknownWorker>;
}

/// Background workers by name.
pub type WorkerReports = BTreeMap<&'static str, WorkerState>;

/// What may be asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Rest after the step under way.
    Pause,
    /// Go on.
    Resume,
    /// Do a round at once, also when paused.
    Run,
}

/// Everything that health and metrics are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The nodes of the layout, in a stable order.
    pub nodes: Vec<NodeReport>,
    /// The metadata store.
    pub metadata: MetadataReport,
    /// What the data can bear.
    pub redundancy: RedundancyReport,
    /// The background workers.
    pub workers: WorkerReports,
    /// Objects in all buckets, when it is known cheaply.
    pub objects: Option<u64>,
    /// Counters of the process, by full metric name.
    pub counters: Vec<(&'static str, u64)>,
    /// Gauges of the process, by full metric name.
    pub gauges: Vec<(&'static str, u64)>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Its id.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Its drives, in a stable order.
    pub drives: Vec<DriveReport>,
}

impl NodeReport {
    /// Up with all its drives up, down with all away, degraded in between.
    pub fn state(&self) -> NodeState {
        let count = |state| self.drives.iter().filter(|drive| drive.state == state).count();
        if count(DriveState::Up) == self.drives.len() {
            NodeState::Up
        } else if count(DriveState::Away) == self.drives.len() {
            NodeState::Down
        } else {
            NodeState::Degraded
        }
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// All its drives are up.
    Up,
    /// Some of its drives are not up.
    Degraded,
    /// All its drives are away.
    Down,
}

impl NodeState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// A drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveReport {
    /// Its id.
    pub id: DriveId,
    /// Where it is, or was when it was last seen.
    pub path: String,
    /// How it is.
    pub state: DriveState,
    /// Why it is not as it should be, and what can be done, without a full stop; `None` when nothing is known.
    pub trouble: Option<String>,
    /// Size of its file system in bytes; 0 when away.
    pub capacity_bytes: u64,
    /// Bytes of that file system still free; 0 when away.
    pub available_bytes: u64,
    /// Bytes that live shards take; 0 when away.
    pub used_bytes: u64,
    /// Live shards; 0 when away.
    pub shards: u64,
    /// Bytes that could not be understood and are kept for people.
    pub quarantine_bytes: u64,
}

/// How a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// Reads and writes.
    Up,
    /// A write or sync failed: it serves reads and takes no new shards.
    Suspect,
    /// Over its high watermark: it serves reads and deletes.
    Full,
    /// Not there.
    Away,
}

impl DriveState {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Full => "full",
            Self::Away => "away",
        }
    }
}

/// The metadata store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataReport {
    /// Name of its engine.
    pub engine: String,
    /// Copies of every record.
    pub replicas: u32,
    /// Whether it answers.
    pub available: bool,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Where it is.
    pub path: String,
}

/// What the data can bear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedundancyReport {
    /// How new blobs are cut: `3+2`.
    pub geometry: String,
    /// Drives that may be lost with every drive present: the smallest parity of any geometry in use.
    pub drives_may_be_lost: u32,
    /// Blobs that have fewer shards than their geometry says.
    pub under_replicated: u64,
    /// Blobs that have fewer whole shards than it takes to read them.
    pub unrecoverable: u64,
}

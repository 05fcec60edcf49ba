//! What the admin listener reports: gathered from the engine, the metadata store and what the start found.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_http::{
    DriveReport, DriveState, MetadataReport, NodeReport, Order, RedundancyReport, Report, Source,
    WorkerReports,
};
use kv::Kv;
use net::DriveStatus;
use objects::Engine;
use placement::{Drive, Layout};
use runtime::{UnknownWorker, Workers};
use types::NodeId;

use crate::cluster::{Cluster, Places};

/// Answers for a running server.
pub(crate) struct ServerStatus {
    engine: Engine,
    workers: Arc<Workers>,
    kv: Arc<dyn Kv>,
    places: Arc<Places>,
    names: BTreeMap<NodeId, String>,
    metadata: MetadataReport,
    geometry: String,
    parity: u32,
}

impl ServerStatus {
    /// For `engine` on `cluster`, whose metadata is in `meta`, and the process's workers.
    pub(crate) fn new(
        cluster: &Cluster,
        engine: Engine,
        meta: String,
        workers: Arc<Workers>,
    ) -> Self {
        Self {
            engine,
            workers,
            kv: cluster.kv.clone(),
            places: cluster.places.clone(),
            names: node_names(&cluster.layout),
            metadata: MetadataReport { path: meta, ..MetadataReport::default() },
            geometry: cluster.geometry.to_string(),
            parity: u32::try_from(cluster.record.parity()).unwrap_or(u32::MAX),
        }
    }

    fn drive(&self, drive: &Drive, status: &DriveStatus) -> DriveReport {
        let place = self.places.get(drive.id);
        let path = place.path.map(|path| path.display().to_string());
        DriveReport {
            id: drive.id,
            path: path.unwrap_or_else(|| drive.path_hint.clone()),
            state: state(status.state),
            trouble: place.trouble,
            capacity_bytes: status.capacity_bytes,
            available_bytes: status.available_bytes,
            used_bytes: status.used_bytes,
            shards: status.shards,
            quarantine_bytes: status.quarantine_bytes,
        }
    }

    fn nodes(&self, statuses: &[(Drive, DriveStatus)]) -> Vec<NodeReport> {
        let mut nodes: Vec<NodeReport> = Vec::new();
        for (drive, status) in statuses {
            let report = self.drive(drive, status);
            match nodes.iter_mut().find(|node| node.id == drive.node) {
                Some(node) => node.drives.push(report),
                None => {
                    let name = self.names.get(&drive.node).cloned().unwrap_or_default();
                    nodes.push(NodeReport { id: drive.node, name, drives: vec![report] });
                }
            }
        }
        nodes
    }

    async fn metadata(&self) -> (MetadataReport, u64, u64) {
        match self.kv.status().await {
            Ok(status) => {
                let report = MetadataReport {
                    engine: status.engine.to_owned(),
                    replicas: status.replicas,
                    available: true,
                    disk_bytes: status.disk_bytes,
                    ..self.metadata.clone()
                };
                (report, status.commits, status.syncs)
            }
            Err(error) => {
                tracing::warn!(%error, "the metadata store does not tell its figures");
                (self.metadata.clone(), 0, 0)
            }
        }
    }
}

#[async_trait::async_trait]
impl Source for ServerStatus {
    async fn report(&self) -> Report {
        let statuses = self.engine.drive_statuses().await;
        let (metadata, commits, syncs) = self.metadata().await;
        let figures = self.engine.metrics_snapshot();
        let scrub = self.engine.scrub_metrics();
        Report {
            nodes: self.nodes(&statuses),
            metadata,
            redundancy: RedundancyReport {
                geometry: self.geometry.clone(),
                drives_may_be_lost: self.parity,
                under_replicated: figures.under_replicated,
                unrecoverable: figures.unrecoverable,
            },
            workers: self.workers(),
            objects: Some(figures.objects),
            counters: vec![
                ("undercroft_repair_operations_total", figures.repair_tasks),
                ("undercroft_repaired_blobs_total", figures.repaired_blobs),
                ("undercroft_repaired_bytes_total", figures.repaired_bytes),
                ("undercroft_degraded_reads_total", figures.degraded_reads),
                ("undercroft_degraded_writes_total", figures.degraded_writes),
                ("undercroft_commit_conflicts_total", figures.conflicts),
                ("undercroft_unknown_outcomes_total", figures.unknown_outcomes),
                ("undercroft_scrub_frames_total", scrub.frames),
                ("undercroft_scrub_bytes_total", scrub.bytes),
                ("undercroft_scrub_passes_total", scrub.passes),
                ("undercroft_scrub_corrupt_total", scrub.corrupt),
                ("undercroft_scrub_missing_total", scrub.missing),
                ("undercroft_scrub_orphans_total", scrub.orphans),
                ("undercroft_sweep_blobs_total", scrub.blobs),
                ("undercroft_metadata_commits_total", commits),
                ("undercroft_metadata_syncs_total", syncs),
            ],
            gauges: vec![("undercroft_open_reads", figures.open_reads)],
        }
    }

    fn workers(&self) -> WorkerReports {
        self.workers.states()
    }

    fn steer(&self, name: &str, order: Order) -> Result<(), UnknownWorker> {
        match order {
            Order::Pause => self.workers.pause(name),
            Order::Resume => self.workers.resume(name),
            Order::Run => self.workers.run_now(name),
        }?;
        tracing::info!(worker = name, ?order, "an operator steers");
        Ok(())
    }
}

fn state(state: net::DriveState) -> DriveState {
    match state {
        net::DriveState::Up => DriveState::Up,
        net::DriveState::Suspect => DriveState::Suspect,
        net::DriveState::Full => DriveState::Full,
        net::DriveState::Away => DriveState::Away,
    }
}

/// `node-1`, `node-2` … in the order in which they came to the cluster.
fn node_names(layout: &Layout) -> BTreeMap<NodeId, String> {
    let mut names = BTreeMap::new();
    for drive in &layout.drives {
        let number = names.len() + 1;
        names.entry(drive.node).or_insert_with(|| format!("node-{number}"));
    }
    names
}

//! Judging a report: healthy, degraded or unhealthy, and why in words. Pure.

use runtime::Activity;
use serde_json::{Value, json};

use crate::report::{DriveReport, DriveState, NodeReport, Report, WorkerReports};

/// The overall judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Everything is there.
    Healthy,
    /// Everything can be read, but something needs attention.
    Degraded,
    /// Some data cannot be read, or nothing can be written.
    Unhealthy,
}

impl Status {
    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A judgement with its grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// The judgement.
    pub status: Status,
    /// How many more drives may be lost before data of some object cannot be read. The metadata store is
    /// not counted in: see [`Assessment::metadata_warning`].
    pub drives_may_be_lost_now: u32,
    /// One sentence for each thing that is not as it should be.
    pub problems: Vec<String>,
    /// One sentence for each thing that is good to know and no problem: workers that rest or fail.
    pub notes: Vec<String>,
    /// What to know about the metadata store's durability; `None` when it has several replicas.
    pub metadata_warning: Option<String>,
}

/// Judges `report`.
pub fn assess(report: &Report) -> Assessment {
    let drives = || report.nodes.iter().flat_map(|node| &node.drives);
    let count = |state| drives().filter(|drive| drive.state == state).count() as u32;
    let (up, away) = (count(DriveState::Up), count(DriveState::Away));
    let bearable = bearable(report);
    let mut problems = drive_problems(drives());
    if away > report.redundancy.drives_may_be_lost {
        let more = "more drives are away than the parity covers: some objects cannot be read until they return";
        problems.push(more.to_owned());
    }
    if up == 0 {
        problems.push("no drive takes writes".to_owned());
    }
    let unrecoverable = report.redundancy.unrecoverable;
    if unrecoverable > 0 {
        let what = "blob(s) have too few whole shards to be read; the log names their objects";
        problems.push(format!("{unrecoverable} {what}"));
    }
    if report.redundancy.under_replicated > 0 {
        let count = report.redundancy.under_replicated;
        problems.push(format!("{count} blob(s) have lost some of their redundancy"));
    }
    if !report.metadata.available {
        problems.push("the metadata store does not answer".to_owned());
    }
    let (worker_problems, notes) = workers(&report.workers);
    problems.extend(worker_problems);
    let unreadable = away > report.redundancy.drives_may_be_lost || unrecoverable > 0;
    let broken = unreadable || up == 0 || !report.metadata.available;
    let status = match (broken, problems.is_empty()) {
        (true, _) => Status::Unhealthy,
        (false, false) => Status::Degraded,
        (false, true) => Status::Healthy,
    };
    let metadata_warning = metadata_warning(report);
    let drives_may_be_lost_now = bearable.saturating_sub(away);
    Assessment { status, drives_may_be_lost_now, problems, notes, metadata_warning }
}

/// While this one rests, nothing that was lost is made again.
const REPAIR: &str = "repair";

/// Problems and notes.
fn workers(workers: &WorkerReports) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    for (name, state) in workers {
        if state.paused {
            let text = format!("worker {name} is paused: POST /workers/{name}/resume");
            if *name == REPAIR { problems.push(text) } else { notes.push(text) }
        }
        if let (Activity::Failed(_), Some((_, error))) = (state.activity, &state.last_error) {
            notes.push(format!("worker {name} fails and is tried again: {error}"));
        }
    }
    (problems, notes)
}

/// A blob that missed a drive when it was written has at least one spare shard, if its layout has parity at
/// all; nothing better is known of it.
fn bearable(report: &Report) -> u32 {
    let parity = report.redundancy.drives_may_be_lost;
    if report.redundancy.under_replicated > 0 { parity.min(1) } else { parity }
}

fn drive_problems<'a>(drives: impl Iterator<Item = &'a DriveReport>) -> Vec<String> {
    drives
        .filter_map(|drive| {
            let what = match drive.state {
                DriveState::Up if drive.trouble.is_none() => return None,
                DriveState::Up => "is up",
                DriveState::Suspect => "failed a write and takes no new data",
                DriveState::Full => "is full and takes no new data",
                DriveState::Away => "is away",
            };
            let why = drive.trouble.iter().fold(String::new(), |_, why| format!(": {why}"));
            Some(format!("drive {} ({}) {what}{why}", drive.id, drive.path))
        })
        .collect()
}

fn metadata_warning(report: &Report) -> Option<String> {
    let path = &report.metadata.path;
    (report.metadata.replicas <= 1)
        .then(|| format!("metadata has one replica, in {path}: if it is lost, so is every object"))
}

/// The body of `GET /health`.
pub(crate) fn to_json(report: &Report, version: &str) -> (Status, Value) {
    let assessment = assess(report);
    let body = json!({
        "status": assessment.status.as_str(),
        "version": version,
        "problems": assessment.problems,
        "notes": assessment.notes,
        "drives_may_be_lost_now": assessment.drives_may_be_lost_now,
        "geometry": report.redundancy.geometry,
        "under_replicated": report.redundancy.under_replicated,
        "unrecoverable": report.redundancy.unrecoverable,
        "nodes": report.nodes.iter().map(node_json).collect::<Vec<_>>(),
        "metadata": {
            "engine": report.metadata.engine,
            "replicas": report.metadata.replicas,
            "available": report.metadata.available,
            "disk_bytes": report.metadata.disk_bytes,
            "path": report.metadata.path,
            "warning": assessment.metadata_warning,
        },
    });
    (assessment.status, body)
}

fn node_json(node: &NodeReport) -> Value {
    json!({
        "id": node.id,
        "name": node.name,
        "state": node.state().as_str(),
        "drives": node.drives.iter().map(drive_json).collect::<Vec<_>>(),
    })
}

fn drive_json(drive: &DriveReport) -> Value {
    json!({
        "id": drive.id,
        "path": drive.path,
        "state": drive.state.as_str(),
        "trouble": drive.trouble,
        "capacity_bytes": drive.capacity_bytes,
        "available_bytes": drive.available_bytes,
        "used_bytes": drive.used_bytes,
        "shards": drive.shards,
        "quarantine_bytes": drive.quarantine_bytes,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use types::{DriveId, NodeId};

    use std::time::Duration;

    use runtime::{Gauge, WorkerState};
    use types::UnixMillis;

    use super::*;
    use crate::report::{MetadataReport, RedundancyReport};

    pub(crate) fn worker(activity: Activity, last_error: Option<&str>) -> WorkerState {
        WorkerState {
            about: "does things",
            activity,
            since: UnixMillis(5),
            paused: activity == Activity::Paused,
            steps: 7,
            errors: 2,
            last_error: last_error.map(|text| (UnixMillis(6), text.to_owned())),
            gauge: Gauge { done: 9, round: Some((3, 4)), unit: "bytes" },
            rate: 1.5,
        }
    }

    pub(crate) fn report(states: &[DriveState], parity: u32) -> Report {
        let node = |(index, state): (usize, &DriveState)| NodeReport {
            id: NodeId::new(index as u64 + 1),
            name: format!("node-{}", index + 1),
            drives: vec![DriveReport {
                id: DriveId::new(index as u64 + 1),
                path: format!("node-{}", index + 1),
                state: *state,
                trouble: None,
                capacity_bytes: 100,
                available_bytes: 50,
                used_bytes: 10,
                shards: 3,
                quarantine_bytes: 0,
            }],
        };
        Report {
            nodes: states.iter().enumerate().map(node).collect(),
            metadata: MetadataReport {
                engine: "lsm".to_owned(),
                replicas: 1,
                available: true,
                disk_bytes: 7,
                path: "meta".to_owned(),
            },
            redundancy: RedundancyReport {
                geometry: "3+2".to_owned(),
                drives_may_be_lost: parity,
                under_replicated: 0,
                unrecoverable: 0,
            },
            workers: WorkerReports::new(),
            objects: Some(4),
            counters: Vec::new(),
            gauges: Vec::new(),
        }
    }

    #[test]
    fn the_judgement_follows_the_drives() {
        use DriveState::{Away, Full, Suspect, Up};
        for (states, status, left) in [
            ([Up, Up, Up, Up, Up], Status::Healthy, 2),
            ([Up, Up, Up, Up, Away], Status::Degraded, 1),
            ([Up, Up, Up, Full, Suspect], Status::Degraded, 2),
            ([Up, Up, Up, Away, Away], Status::Degraded, 0),
            ([Up, Up, Away, Away, Away], Status::Unhealthy, 0),
            ([Full, Full, Full, Full, Full], Status::Unhealthy, 2),
        ] {
            let assessment = assess(&report(&states, 2));
            assert_eq!(
                (assessment.status, assessment.drives_may_be_lost_now),
                (status, left),
                "{states:?}"
            );
            assert_eq!(assessment.problems.is_empty(), status == Status::Healthy);
            assert!(assessment.metadata_warning.is_some());
        }
    }

    #[test]
    fn lost_redundancy_and_silent_metadata_are_told() {
        let mut tired = report(&[DriveState::Up; 5], 2);
        tired.redundancy.under_replicated = 3;
        let assessment = assess(&tired);
        assert_eq!((assessment.status, assessment.drives_may_be_lost_now), (Status::Degraded, 1));
        let mut torn = tired.clone();
        torn.redundancy.unrecoverable = 1;
        assert_eq!(assess(&torn).status, Status::Unhealthy);
        assert!(assess(&torn).problems.iter().any(|p| p.starts_with("1 blob(s) have too few")));
        tired.metadata.available = false;
        assert_eq!(assess(&tired).status, Status::Unhealthy);
        tired.metadata.replicas = 3;
        assert_eq!(assess(&tired).metadata_warning, None);
    }

    #[test]
    fn a_paused_repair_is_a_problem_and_other_workers_are_noted() {
        let mut report = report(&[DriveState::Up; 5], 2);
        report.workers.insert("scrub", worker(Activity::Paused, None));
        report.workers.insert("sweep", worker(Activity::Failed(Duration::ZERO), Some("no drive")));
        report.workers.insert("census", worker(Activity::Running, Some("long ago")));
        let assessment = assess(&report);
        assert_eq!(assessment.status, Status::Healthy);
        let notes = [
            "worker scrub is paused: POST /workers/scrub/resume",
            "worker sweep fails and is tried again: no drive",
        ];
        assert_eq!(assessment.notes, notes);
        report.workers.insert("repair", worker(Activity::Paused, None));
        let assessment = assess(&report);
        assert_eq!(assessment.status, Status::Degraded);
        assert_eq!(assessment.problems, ["worker repair is paused: POST /workers/repair/resume"]);
    }

    #[test]
    fn the_body_names_every_drive() {
        let (status, body) = to_json(&report(&[DriveState::Up, DriveState::Away], 1), "1.2.3");
        assert_eq!((status, &body["version"]), (Status::Degraded, &json!("1.2.3")));
        assert_eq!(body["nodes"][1]["state"], json!("down"));
        assert_eq!(body["nodes"][0]["drives"][0]["used_bytes"], json!(10));
        assert_eq!(body["metadata"]["replicas"], json!(1));
    }
}

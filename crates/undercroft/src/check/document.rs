//! The outcome of a check: one document, for programs as it is, for people rendered.

use objects::check::{Counts, Severity};
use serde::Serialize;
use shards::check::DriveCounts;
use shards::{Identity, OpenError};
use types::DriveId;

/// Version of the document. Fields may be added without a change of it.
const VERSION: u32 = 1;

/// Problems that are kept in memory and listed: so many that lose something, and so many others.
const PROBLEMS_MAX: usize = 100_000;

/// Everything that a check says.
#[derive(Debug, Default, Serialize)]
pub(super) struct Document {
    v: u32,
    /// `clean`, `damaged`, `lost`, or `unchecked`.
    pub(super) status: &'static str,
    /// Why the check could not be made, or not to its end.
    pub(super) error: Option<String>,
    /// The metadata directory.
    pub(super) metadata: String,
    pub(super) drives: Vec<Drive>,
    pub(super) problems: Problems,
    /// Problems that were found and are not listed.
    problems_left_out: u64,
    counts: Total,
}

/// A drive.
#[derive(Debug, Default, Serialize)]
pub(super) struct Drive {
    pub(super) id: Option<String>,
    pub(super) path: String,
    /// `checked`, `missing` or `unusable`.
    pub(super) state: &'static str,
    pub(super) segments: u64,
    pub(super) unsealed_segments: u64,
    pub(super) files: u64,
    pub(super) temporary_files: u64,
    /// Live copies, damaged ones included.
    pub(super) shards: u64,
    /// Bytes of files read.
    pub(super) bytes: u64,
}

/// A problem.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    /// `note`, `damaged`, `record` or `lost`.
    pub(super) severity: &'static str,
    pub(super) drive: Option<String>,
    pub(super) path: Option<String>,
    /// `bucket/key`; no bucket's name has a slash.
    pub(super) object: Option<String>,
    pub(super) blob: Option<String>,
    pub(super) margin: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) lost: Vec<Lost>,
    pub(super) message: String,
    pub(super) remedy: String,
    #[serde(skip)]
    pub(super) rank: u8,
}

/// Bytes that cannot be read: from the first, up to but without the last.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lost {
    pub(super) part: Option<u16>,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The problems that are listed, and how many are not.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    /// How many of `listed` are bad, and how many are not.
    #[serde(skip)]
    counts: [usize; 2],
    #[serde(skip)]
    left_out: u64,
    #[serde(skip)]
    worst: u8,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        self.worst = self.worst.max(problem.rank);
        let [bad, others] = &mut self.counts;
        let count = if problem.rank > 1 { bad } else { others };
        if *count < PROBLEMS_MAX {
            *count += 1;
            self.listed.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.listed.iter()
    }
}

/// What there is, in all.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Total {
    pub(super) buckets: u64,
    pub(super) objects: u64,
    pub(super) object_bytes: u64,
    pub(super) lost_objects: u64,
    pub(super) blobs: u64,
    pub(super) degraded_blobs: u64,
    pub(super) uploads: u64,
    pub(super) parts: u64,
    pub(super) shards: u64,
    pub(super) orphan_shards: u64,
    pub(super) kept_orphan_shards: u64,
    pub(super) garbage_shards: u64,
    pub(super) torn_shards: u64,
    pub(super) garbage: u64,
    pub(super) repair_tasks: u64,
    pub(super) holds: u64,
    pub(super) bytes_named: u64,
    pub(super) bytes_unnamed: u64,
}

impl Drive {
    pub(super) fn checked(id: DriveId, path: String, counts: DriveCounts, live: u64) -> Self {
        Self {
            id: Some(id.to_string()),
            path,
            state: "checked",
            segments: counts.segments,
            unsealed_segments: counts.unsealed,
            files: counts.files,
            temporary_files: counts.temporary,
            shards: live,
            bytes: counts.bytes,
        }
    }

    pub(super) fn missing(id: DriveId, path: String) -> Self {
        Self { id: Some(id.to_string()), path, state: "missing", ..Self::default() }
    }
}

/// The word for a severity, and how bad it is: 0 is fine.
pub(super) fn severity(severity: Severity) -> (&'static str, u8) {
    match severity {
        Severity::Note => ("note", 0),
        Severity::Damaged => ("damaged", 1),
        Severity::Record => ("record", 2),
        Severity::Lost => ("lost", 2),
    }
}

impl Document {
    /// Counts of the records and of the copies on the drives.
    pub(super) fn count(&mut self, counts: &Counts) {
        self.counts = Total {
            buckets: counts.buckets,
            objects: counts.objects,
            object_bytes: counts.object_bytes,
            lost_objects: counts.lost_objects,
            blobs: counts.blobs,
            degraded_blobs: counts.degraded_blobs,
            uploads: counts.uploads,
            parts: counts.parts,
            shards: counts.shards,
            orphan_shards: counts.orphan_shards,
            kept_orphan_shards: counts.kept_orphan_shards,
            garbage_shards: counts.garbage_shards,
            torn_shards: self.counts.torn_shards,
            garbage: counts.garbage,
            repair_tasks: counts.repair_tasks,
            holds: counts.holds,
            bytes_named: counts.bytes_named,
            bytes_unnamed: counts.bytes_unnamed,
        };
    }

    /// So many shards were torn when they were written.
    pub(super) fn torn(&mut self, shards: u64) {
        self.counts.torn_shards += shards;
    }

    /// What there is.
    pub(super) fn counts(&self) -> &Total {
        &self.counts
    }

    /// Problems that are not listed.
    pub(super) fn left_out(&self) -> u64 {
        self.problems_left_out
    }

    /// A place where a drive may be and none can be checked; `id` is that of the drive that was last there.
    pub(super) fn unusable(&mut self, id: Option<DriveId>, path: &str, error: &OpenError) {
        let is_absent = matches!(error, OpenError::NotFormatted { .. });
        let (state, remedy) = match error {
            OpenError::NotFormatted { .. } => {
                ("missing", "Mount it, or name the directory where the drive is.")
            }
            OpenError::Newer { .. } => ("unusable", "Check with the newer version that wrote it."),
            OpenError::Damaged { .. } => (
                "unusable",
                "Put drive.json back from a copy of it; or start the store without this drive.",
            ),
            _ => ("unusable", "See to the disk, and check again."),
        };
        let id = id.map(|id| id.to_string());
        let drive = Drive { id: id.clone(), path: path.to_owned(), state, ..Drive::default() };
        self.drives.push(drive);
        // Of a drive that is known and not there, the records are asked what they miss.
        if !is_absent || id.is_none() {
            self.drive_problem("drive_unusable", id, path, format!("{error}."), remedy);
        }
    }

    /// A drive of another cluster.
    pub(super) fn foreign(&mut self, identity: &Identity, path: &str) {
        let message = format!("It is a drive of another cluster, {}.", identity.cluster);
        let remedy = "Leave it out, and name the directory of the drive that belongs here.";
        let id = Some(identity.drive.to_string());
        self.drive_problem("drive_foreign", id, path, message, remedy);
    }

    /// A drive that was there already, under another path.
    pub(super) fn twice(&mut self, identity: &Identity, path: &str) {
        let id = identity.drive.to_string();
        let message = format!("It says that it is drive {id}, as another directory does.");
        let remedy = "One is a copy of the other: leave out the one that is not in use.";
        self.drive_problem("drive_twice", Some(id), path, message, remedy);
    }

    fn drive_problem(
        &mut self,
        kind: &'static str,
        drive: Option<String>,
        path: &str,
        message: String,
        remedy: &str,
    ) {
        let (severity, rank) = severity(Severity::Damaged);
        self.problems.push(Problem {
            kind,
            severity,
            drive,
            path: Some(path.to_owned()),
            object: None,
            blob: None,
            margin: None,
            lost: Vec::new(),
            message,
            remedy: remedy.to_owned(),
            rank,
        });
    }

    /// To be called at the end: the status.
    pub(super) fn conclude(&mut self) {
        self.v = VERSION;
        self.problems_left_out = self.problems.left_out;
        self.status = match (&self.error, self.problems.worst) {
            (Some(_), _) => "unchecked",
            (None, 0) => "clean",
            (None, 1) => "damaged",
            (None, _) => "lost",
        };
    }

    /// As the status has it.
    pub(super) fn exit_code(&self) -> u8 {
        match (&self.error, self.problems.worst) {
            (Some(_), _) => super::NOT_CHECKED,
            (None, worst) => worst.min(2),
        }
    }

    /// The document itself.
    pub(super) fn json(&self) -> String {
        // A structure of numbers and texts always has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

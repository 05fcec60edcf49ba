//! From what a drive's check observes to the document and to the table of copies.

use std::path::Path;

use objects::check::{Copies, Harm, ProblemKind, Severity};
use shards::check::{self, FoundCopy, Observer, Trouble};
use types::DriveId;

use super::document::{Document, Lost, Problem, severity};

/// Bytes read between two lines of progress.
const PROGRESS_BYTES: u64 = 64 << 20;

/// Collects what the check of one drive finds.
pub(super) struct Collector<'a> {
    drive: DriveId,
    dir: &'a Path,
    copies: &'a mut Copies,
    document: &'a mut Document,
    /// What to show on the terminal in front of the bytes read.
    progress: Option<String>,
    /// No record will be compared with the copies: what is wrong with them is told at once.
    alone: bool,
    bytes: u64,
    shown: u64,
    live: u64,
    torn: u64,
}

impl<'a> Collector<'a> {
    /// Of the drive at `dir`. `alone`: there are no records to compare with.
    pub(super) fn new(
        drive: DriveId,
        dir: &'a Path,
        copies: &'a mut Copies,
        document: &'a mut Document,
        progress: Option<String>,
        alone: bool,
    ) -> Self {
        let (bytes, shown, live, torn) = (0, 0, 0, 0);
        let collector =
            Self { drive, dir, copies, document, progress, alone, bytes, shown, live, torn };
        collector.show();
        collector
    }

    fn tell(&mut self, copy: &FoundCopy<'_>) {
        let kind = ProblemKind::CopyDamaged;
        let check::FoundCopy { id, detail, .. } = copy;
        let message =
            format!("Shard {} of blob {}, copy {}: {detail}.", id.index, id.blob, id.copy);
        let problem = objects::check::Problem {
            drive: Some(self.drive),
            path: Some(self.full_path(copy.path)),
            blob: Some(id.blob),
            ..objects::check::Problem::new(kind, message)
        };
        self.document.problems.push(of_record(problem));
    }

    fn show(&self) {
        if let Some(text) = &self.progress {
            eprint!("\r{text}: {} MiB read ", self.bytes >> 20);
        }
    }

    /// Ends the line of progress. How many live copies there are.
    pub(super) fn finish(self) -> u64 {
        self.show();
        if self.progress.is_some() {
            eprintln!();
        }
        self.document.torn(self.torn);
        self.live
    }

    fn full_path(&self, path: &str) -> String {
        self.dir.join(path).display().to_string()
    }
}

impl Observer for Collector<'_> {
    fn copy(&mut self, copy: FoundCopy<'_>) {
        let is_torn = copy.harm == Some(check::Harm::Torn);
        self.torn += u64::from(is_torn);
        self.live += u64::from(!is_torn);
        if self.alone && copy.harm.is_some() && !is_torn {
            self.tell(&copy);
        }
        let harm = copy.harm.map(|harm| {
            let is_readable = copy.header.is_some() && harm != check::Harm::Torn;
            let torn = "it was not sealed and reads as if a crash had torn it: ";
            let what = if is_torn { format!("{torn}{}", copy.detail) } else { copy.detail };
            Harm {
                what,
                path: self.full_path(copy.path),
                damaged: is_readable.then_some(copy.damaged),
            }
        });
        self.copies.add(self.drive, copy.id, copy.header.as_ref(), harm, !is_torn);
    }

    fn problem(&mut self, problem: check::Problem) {
        let (kind, level, remedy) = about(problem.trouble);
        let (severity, rank) = severity(level);
        self.document.problems.push(Problem {
            kind,
            severity,
            drive: Some(self.drive.to_string()),
            path: Some(self.full_path(&problem.path)),
            object: None,
            blob: None,
            margin: None,
            lost: Vec::new(),
            message: format!("{}: {}.", problem.path, problem.detail),
            remedy: remedy.to_owned(),
            rank,
        });
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= self.shown + PROGRESS_BYTES {
            self.shown = self.bytes;
            self.show();
        }
    }
}

/// Name for programs, severity, and what repairs it.
fn about(trouble: Trouble) -> (&'static str, Severity, &'static str) {
    const INDEX: &str = "Nothing is lost: the records are read instead. Scrubbing writes the index again once the store is started.";
    let (name, severity, remedy) = match trouble {
        Trouble::UnknownName => {
            ("unknown_name", Severity::Note, "It is left alone; remove it if nobody needs it.")
        }
        Trouble::Quarantined => (
            "quarantined",
            Severity::Note,
            "Nothing reads it any more; remove it when nobody wants to look at it.",
        ),
        Trouble::Padding => {
            ("padding", Severity::Note, "Nothing is lost: the bytes hold nothing. Watch this disk.")
        }
        Trouble::SegmentHeader => (
            "segment_header",
            Severity::Damaged,
            "Nothing is lost: the other copy of the header is good, and scrubbing writes this one again once the store is started.",
        ),
        Trouble::SegmentUnreadable => (
            "segment_unreadable",
            Severity::Damaged,
            "What was in it is made again from other drives once the store is started, which puts the file aside in quarantine.",
        ),
        Trouble::SegmentMisplaced => (
            "segment_misplaced",
            Severity::Damaged,
            "Move the file to the drive and the name that its header says, before the store is started, which would put it aside in quarantine.",
        ),
        Trouble::Trailer => ("segment_trailer", Severity::Damaged, INDEX),
        Trouble::Tables => ("segment_tables", Severity::Damaged, INDEX),
        Trouble::IndexPage => ("segment_page", Severity::Damaged, INDEX),
        Trouble::Unfinished => (
            "segment_unfinished",
            Severity::Note,
            "Nothing is lost. The index is written again once the store is started.",
        ),
        Trouble::IndexDisagrees => ("segment_index", Severity::Damaged, INDEX),
        Trouble::RecordHeader => (
            "record_header",
            Severity::Damaged,
            "The copy is read by the index; scrubbing makes it again once the store is started.",
        ),
        Trouble::DeleteUnreadable => (
            "delete_unreadable",
            Severity::Damaged,
            "Nothing is lost: the tables of the segment say what was deleted.",
        ),
        Trouble::DeleteDisagrees => (
            "delete_disagrees",
            Severity::Damaged,
            "The segment may be another than the one that was here: put the right file back if you have it. Missing copies are made again once the store is started.",
        ),
        Trouble::Newer => {
            ("file_newer", Severity::Damaged, "Check with the newer version that wrote it.")
        }
        Trouble::ReadFailed => (
            "read_failed",
            Severity::Damaged,
            "The disk is failing: replace it. What it held is made again from other drives.",
        ),
    };
    (name, severity, remedy)
}

/// A problem of records, for the document.
pub(super) fn of_record(problem: objects::check::Problem) -> Problem {
    let (severity, rank) = severity(problem.kind.severity());
    let lost = problem.lost.into_iter().map(|lost| Lost {
        part: lost.part,
        from: lost.bytes.start,
        to: lost.bytes.end,
    });
    Problem {
        kind: problem.kind.name(),
        severity,
        drive: problem.drive.map(|drive| drive.to_string()),
        path: problem.path,
        object: problem.object.map(|object| format!("{}/{}", object.bucket, object.key)),
        blob: problem.blob.map(|blob| blob.to_string()),
        margin: problem.margin,
        lost: lost.collect(),
        message: problem.message,
        remedy: problem.remedy.into_owned(),
        rank,
    }
}

//! Verifies one drive that no store has open, byte by byte, and changes nothing on it.
//!
//! [`DriveCheck`] reads the files itself: nothing is sealed, cut, punched or removed, so that what it says is
//! what a person finds. Every live copy is handed to the [`Observer`] with what is wrong with it; so is all
//! that is wrong with what is not a copy. In memory are, at any time, one index of a segment, a few mebibytes of
//! a file and 16 bytes for each delete whose segment is still there. Not here: which records name a copy.

mod files;
mod frames;
mod kills;
mod sealed;
mod segments;
mod torn;
mod walk;
mod window;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::disk::{Disk, Lock};

use crate::{Identity, OpenError, ShardHeader, ShardId, identity};

/// What is wrong with a drive, apart from its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// A name that nothing of ours has. It is left alone; no damage.
    UnknownName,
    /// A file that was put aside because it was damaged; no damage any more.
    Quarantined,
    /// Bytes that hold nothing and should be zero are not.
    Padding,
    /// One of the two copies of a segment's header.
    SegmentHeader,
    /// Both copies of a segment's header: nothing in the segment can be believed.
    SegmentUnreadable,
    /// The segment's header names another drive or another number: the file was moved here.
    SegmentMisplaced,
    /// The last bytes of a sealed segment.
    Trailer,
    /// The tables of a sealed segment.
    Tables,
    /// A page of a sealed segment's index.
    IndexPage,
    /// A crash came while it was being sealed: parts of its footer were never written. Nothing is missing.
    Unfinished,
    /// Pages, tables and records each verify and do not agree.
    IndexDisagrees,
    /// The header of a live shard's record in a sealed segment; the index still has what it said.
    RecordHeader,
    /// Delete records that cannot be read; the tables still have what they said.
    DeleteUnreadable,
    /// A delete record that names the place of another shard.
    DeleteDisagrees,
    /// A file of a newer format than this program knows.
    Newer,
    /// The disk fails to read it.
    ReadFailed,
}

/// Something wrong with a file that is not a copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub trouble: Trouble,
    /// The file, relative to the drive's directory.
    pub path: String,
    /// Where in it and what it is about, as a sentence without a point.
    pub detail: String,
}

/// What is wrong with a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Some of its frames do not verify.
    Frames,
    /// The file ends before the copy does.
    Cut,
    /// The file goes on behind the copy's end; all of the copy verifies.
    TooLong,
    /// The header of its file does not verify.
    Header,
    /// Its file holds another shard.
    Misplaced,
    /// It stands in a segment that was not sealed and does not verify: the next start takes it for torn by a
    /// crash and drops it. It does not count as live.
    Torn,
    /// The disk fails to read it.
    Unreadable,
}

/// A copy of a shard as it was found. One that is mentioned twice is there twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCopy<'a> {
    /// Which.
    pub id: ShardId,
    /// Its header, from the index or from its file; `None` when nothing says what it is but a name.
    pub header: Option<ShardHeader>,
    /// What is wrong with it.
    pub harm: Option<Harm>,
    /// Frames that do not verify or cannot be read, as ascending ranges that do not touch; with no header all
    /// frames are meant, whatever stands here.
    pub damaged: Vec<Range<u64>>,
    /// The file, relative to the drive's directory.
    pub path: &'a str,
    /// More about the harm, as a sentence without a point; empty without harm.
    pub detail: String,
}

/// Who is told what a check finds.
pub trait Observer {
    /// A copy that is there.
    fn copy(&mut self, copy: FoundCopy<'_>);

    /// Something that is wrong, or worth a note.
    fn problem(&mut self, problem: Problem);

    /// So many bytes more have been read.
    fn read(&mut self, bytes: u64);
}

/// What a check counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriveCounts {
    /// Segments, readable or not.
    pub segments: u64,
    /// Of them, those that the next start will seal.
    pub unsealed: u64,
    /// Files of large shards.
    pub files: u64,
    /// Files in `temp/`, which the next start removes.
    pub temporary: u64,
    /// Bytes of files read.
    pub bytes: u64,
}

/// A drive that is being checked. It holds the drive's lock: no store can open it meanwhile.
pub struct DriveCheck {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    identity: Identity,
    // A drive on a read-only file system, or one that was never opened, has none.
    _lock: Option<Box<dyn Lock>>,
}

impl DriveCheck {
    /// Takes the drive's lock. Its file is not made if it is not there: then no store has ever had the drive open.
    ///
    /// # Errors
    /// `NotFormatted`; `Locked` when a store has it open; `Newer`; `Damaged` when `drive.json` is; `Io`.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, OpenError> {
        let absent = || OpenError::NotFormatted { dir: dir.to_owned() };
        let identity = identity::read(&*disk, dir)?.ok_or_else(absent)?;
        let path = dir.join("lock");
        let is_there = disk.exists(&path).map_err(|e| OpenError::io("look for", &path, &e))?;
        let lock = match is_there.then(|| disk.lock(&path)) {
            None => None,
            Some(Ok(lock)) => Some(lock),
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    return Err(OpenError::Locked { dir: dir.to_owned() });
                }
                // Nobody can be writing there.
                io::ErrorKind::ReadOnlyFilesystem => None,
                _ => return Err(OpenError::io("lock", &path, &error)),
            },
        };
        Ok(Self { disk, dir: dir.to_owned(), identity, _lock: lock })
    }

    /// Who the drive is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Reads and verifies everything. Blocks for as long as that takes. What cannot be read is a problem, and
    /// the rest is checked all the same.
    pub fn run(&self, observer: &mut dyn Observer) -> DriveCounts {
        let mut check = Check {
            disk: &*self.disk,
            dir: &self.dir,
            drive: self.identity.drive,
            observer,
            counts: DriveCounts::default(),
        };
        check.names();
        check.segments();
        check.files();
        check.counts
    }
}

/// A check under way.
struct Check<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    drive: types::DriveId,
    observer: &'a mut dyn Observer,
    counts: DriveCounts,
}

/// What a drive's directory may hold. `meta` and `credentials.json` are beside drives of `serve`.
const KNOWN: [&str; 9] = [
    "drive.json",
    "drive.json.tmp",
    "lock",
    "segments",
    "files",
    "temp",
    QUARANTINE,
    "meta",
    "lost+found",
];

/// Where damaged files are put aside.
const QUARANTINE: &str = "quarantine";

impl Check<'_> {
    fn problem(&mut self, trouble: Trouble, path: &str, detail: impl Into<String>) {
        self.observer.problem(Problem { trouble, path: path.to_owned(), detail: detail.into() });
    }

    /// What is in a directory of the drive; a directory that is not there is empty.
    fn list(&mut self, name: &str) -> Vec<runtime::disk::Entry> {
        match self.disk.list(&self.dir.join(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.problem(Trouble::ReadFailed, name, format!("it cannot be listed: {error}"));
                Vec::new()
            }
        }
    }

    /// Names at the top, leftovers, and what was put aside.
    fn names(&mut self) {
        for entry in self.list("") {
            if !KNOWN.contains(&entry.name.as_str()) && entry.name != "credentials.json" {
                self.problem(Trouble::UnknownName, &entry.name, "this is not of our making");
            }
        }
        for entry in self.list("temp") {
            if entry.name.ends_with(".tmp") {
                self.counts.temporary += 1;
            } else {
                let path = format!("temp/{}", entry.name);
                self.problem(Trouble::UnknownName, &path, "this is not of our making");
            }
        }
        self.quarantined(QUARANTINE, 0);
    }

    fn quarantined(&mut self, dir: &str, depth: u32) {
        for entry in self.list(dir) {
            let path = format!("{dir}/{}", entry.name);
            if entry.is_dir && depth < 4 {
                self.quarantined(&path, depth + 1);
            } else {
                self.problem(
                    Trouble::Quarantined,
                    &path,
                    "it was put aside, as nobody could make sense of it",
                );
            }
        }
    }
}

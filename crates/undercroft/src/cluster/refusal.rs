//! Why a cluster is not opened: what was found, that nothing was changed, and what to do.

use std::path::{Path, PathBuf};

use kv::KvError;
use shards::OpenError;

/// A start that would be wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Drives with data, and no metadata that tells what the data is.
    #[error(
        "there is no metadata in {}, but {} is a drive with data. Starting would make a new, empty cluster \
         and never find that data again. Nothing was changed. If the metadata is elsewhere, name its \
         directory with --meta (or, for dev, the right --dir); if its disk is not mounted, mount it; if it \
         is lost, restore it from a backup",
        meta.display(), drive.display()
    )]
    MetadataLost {
        /// Where metadata was looked for.
        meta: PathBuf,
        /// The drive.
        drive: PathBuf,
    },
    /// The metadata store is in use or cannot be read.
    #[error("the metadata in {} cannot be opened: {error}. Nothing was changed. {advice}", meta.display())]
    Metadata {
        /// The metadata directory.
        meta: PathBuf,
        /// The store's own words.
        error: KvError,
        /// What to do.
        advice: &'static str,
    },
    /// A drive of another cluster.
    #[error(
        "{} is a drive of another cluster ({theirs}; this one is {ours}). Nothing was changed. Leave it out, \
         or start it with the metadata that it belongs to", path.display()
    )]
    ForeignDrive {
        /// Its directory.
        path: PathBuf,
        /// Its cluster.
        theirs: String,
        /// This cluster.
        ours: String,
    },
    /// Two directories that say they are the same drive.
    #[error(
        "{} and {} both say that they are drive {id}: they are the same directory, one is a copy of the \
         other, or one is the old disk of a drive that was made anew and refilled. Nothing was changed. Leave \
         out the one that was not in use last", first.display(), second.display()
    )]
    SameDrive {
        /// One.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// The drive.
        id: types::DriveId,
    },
    /// A directory that is neither a drive nor empty.
    #[error(
        "{} is no drive of this system and is not empty (there is {entry:?}). Nothing was changed. Give an \
         empty or new directory", path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        entry: String,
    },
    /// A directory was to be filled again that is not the empty place of a lost drive.
    #[error(
        "--accept-empty {} is refused: {why}. Nothing was changed. The flag is for the place of a lost drive \
         that is among --data and empty now; start without it", path.display()
    )]
    NotAccepted {
        /// The directory.
        path: PathBuf,
        /// What is there, or why it is no such place.
        why: String,
    },
    /// A directory that cannot be looked into, and is not known to be a drive that failed.
    #[error("{} cannot be used: {why}. Nothing was changed", path.display())]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// A drive is in use, or a new one cannot be made.
    #[error(
        "{0}. Nothing was changed; if another undercroft is running on these directories, stop it first"
    )]
    Drive(OpenError),
    /// Every drive is missing.
    #[error(
        "none of the {drives} drives of this cluster can be read, so there is nothing to serve. Nothing was \
         changed. Mount or bring back the drives and start again.{}",
        list(notes)
    )]
    NothingLeft {
        /// Drives in the layout.
        drives: usize,
        /// What was said of each.
        notes: Vec<String>,
    },
}

impl Refusal {
    /// The metadata store did not open.
    pub(crate) fn metadata(meta: &Path, error: KvError) -> Self {
        let advice = match &error {
            KvError::Unavailable(_) => {
                "Only one process may have it open: two would destroy each other's data"
            }
            KvError::Full(_) => "Make room on its disk and start again",
            KvError::Corrupt(_) => {
                "Keep a copy of the directory as it is, and restore it from a backup"
            }
            KvError::TooLarge(_) | KvError::Compacted(_) | KvError::SnapshotExpired => "Try again",
        };
        Self::Metadata { meta: meta.to_owned(), error, advice }
    }
}

fn list(notes: &[String]) -> String {
    notes.iter().map(|note| format!("\n  {note}")).collect()
}

//! Why a drive could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use types::{DriveId, ErrorKind};

/// Why a drive could not be formatted or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is no `drive.json`: the directory was never formatted, or nothing is mounted there.
    #[error("{} holds no drive: it was never formatted, or its file system is not mounted", dir.display())]
    NotFormatted {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a drive already; it is not overwritten.
    #[error("{} exists: this drive is already in use", path.display())]
    AlreadyFormatted {
        /// Its identity file.
        path: PathBuf,
    },
    /// Another process, or another store of this one, has the drive open.
    #[error("drive {} is in use by another process", dir.display())]
    Locked {
        /// The drive's directory.
        dir: PathBuf,
    },
    /// A file is of a newer version than this program knows.
    #[error("{} has format version {version}, which this program is too old for", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// A file belongs to another drive.
    #[error("{} belongs to drive {owner}, not to this one", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The drive that it names.
        owner: DriveId,
    },
    /// A file that nothing can replace does not decode.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed a call.
    #[error("could not {call} {}: {message}", path.display())]
    Io {
        /// What was tried.
        call: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's message.
        message: String,
    },
}

impl OpenError {
    pub(crate) fn io(call: &'static str, path: &Path, error: &io::Error) -> Self {
        Self::Io { call, path: path.to_owned(), message: error.to_string() }
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFormatted { .. } => ErrorKind::NotFound,
            Self::AlreadyFormatted { .. } | Self::Foreign { .. } => ErrorKind::Invalid,
            Self::Locked { .. } | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Newer { .. } => ErrorKind::NotImplemented,
            Self::Damaged { .. } => ErrorKind::Corrupt,
        }
    }
}

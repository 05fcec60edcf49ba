//! What a shard is, seen from outside the drive.

use types::{BlobId, CopyId, DriveId, ErrorKind, limits};

/// One physical copy of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// The blob it is a piece of.
    pub blob: BlobId,
    /// Which piece: `0..k` data, `k..k+m` parity.
    pub index: u8,
    /// Which physical copy of that piece.
    pub copy: CopyId,
}

/// What stands at the front of a shard on disk: enough to know without any record what the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardHeader {
    /// Which shard.
    pub id: ShardId,
    /// Data shards of the blob (`k`), 1 to 32.
    pub data_shards: u8,
    /// Parity shards of the blob (`m`), 0 to 31.
    pub parity_shards: u8,
    /// Length of the whole blob in bytes.
    pub blob_len: u64,
    /// Length of this shard's payload in bytes, checksums not counted.
    pub payload_len: u64,
    /// Where the writer keeps the blob's record: whoever meets the shard on a drive finds the record by it. Never
    /// interpreted here.
    pub home: u64,
}

impl ShardHeader {
    /// Number of frames: all are full but the last.
    pub fn frames(&self) -> u64 {
        self.payload_len.div_ceil(limits::FRAME_BYTES as u64)
    }

    /// Payload length of frame `number`, in bytes; 0 behind the last.
    pub fn frame_len(&self, number: u64) -> usize {
        let start = number.saturating_mul(limits::FRAME_BYTES as u64);
        self.payload_len.saturating_sub(start).min(limits::FRAME_BYTES as u64) as usize
    }
}

/// Why a drive could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// No such copy here.
    #[error("shard {0:?} is not on this drive")]
    NotFound(ShardId),
    /// The copy is there, but these bytes of it do not verify.
    #[error("shard {id:?} is damaged at frame {frame:?}")]
    Corrupt {
        /// Which copy.
        id: ShardId,
        /// The frame; `None` for its header.
        frame: Option<u64>,
    },
    /// The drive is above its high watermark: it takes no new shards; reads and deletes go on.
    #[error("drive {drive} is full: {available} bytes left")]
    Full {
        /// The drive.
        drive: DriveId,
        /// Bytes left on its file system.
        available: u64,
    },
    /// The drive is missing, stopped or out of reach.
    #[error("drive {0} is not available")]
    Away(DriveId),
    /// The drive's disk failed a call; the file concerned is not used again.
    #[error("drive {drive} failed: {message}")]
    Io {
        /// The drive.
        drive: DriveId,
        /// The operating system's message and which call it was.
        message: String,
    },
    /// More bytes than the header said, fewer at commit, or a frame of the wrong length: a fault of ours.
    #[error("shard {0:?} was written against its header")]
    Misuse(ShardId),
}

impl ShardError {
    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Full { .. } => ErrorKind::Full,
            Self::Away(_) | Self::Io { .. } => ErrorKind::Unavailable,
            Self::Misuse(_) => ErrorKind::Internal,
        }
    }
}

/// How a drive is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveState {
    /// Reads and writes.
    Up,
    /// A write or sync has failed on it; it serves reads and takes no new shards.
    Suspect,
    /// Over the high watermark; it serves reads and deletes and takes no new shards.
    Full,
    /// Not there.
    Away,
}

/// A drive's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveStatus {
    /// How it is.
    pub state: DriveState,
    /// Size of its file system in bytes.
    pub capacity_bytes: u64,
    /// Bytes of that file system still free for use.
    pub available_bytes: u64,
    /// Bytes that live shards take on it, headers and checksums included.
    pub used_bytes: u64,
    /// Live shards on it.
    pub shards: u64,
    /// Bytes in `quarantine/`: what could not be understood and is kept for people.
    pub quarantine_bytes: u64,
}

/// What a drive says of a copy that a record names, judged by index and header and not by its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is here and its header verifies.
    Whole,
    /// It is here, and its header does not verify or its file cannot be read.
    Damaged,
    /// It is not here.
    Absent,
}

/// How much one call of a scrub may do. The first shard is always looked at, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubBudget {
    /// Bytes read.
    pub bytes: u64,
    /// Shards looked at.
    pub shards: usize,
}

/// What a scrub came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Which copy.
    pub id: ShardId,
    /// Its header; `None` when that does not verify.
    pub header: Option<ShardHeader>,
    /// Frames that do not verify or cannot be read, in order; empty when the header is damaged.
    pub damaged: Vec<u64>,
}

impl Scrubbed {
    /// Whether every byte verified.
    pub fn is_whole(&self) -> bool {
        self.header.is_some() && self.damaged.is_empty()
    }
}

/// The outcome of one call of a scrub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubSlice {
    /// What was looked at, in the order of [`ShardId`].
    pub seen: Vec<Scrubbed>,
    /// Go on behind this one; `None` when the end of the drive was reached.
    pub next: Option<ShardId>,
    /// Bytes read from the disk.
    pub bytes: u64,
}

/// What one piece of compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Bytes of live records written again.
    pub moved_bytes: u64,
    /// Bytes of files removed.
    pub freed_bytes: u64,
    /// Whether there is more that is worth it.
    pub more: bool,
}

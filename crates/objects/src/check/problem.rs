//! The problems that a check of records finds: what each is called, how bad it is, and what repairs it.

use std::borrow::Cow;
use std::ops::Range;

use types::{BlobId, DriveId};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is damaged.
    Note,
    /// Something is damaged and everything can be read.
    Damaged,
    /// A record is wrong.
    Record,
    /// Bytes of an object cannot be read.
    Lost,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// A record of a kind that this version does not know.
    UnknownRecord,
    /// A copy that a blob's record names is not on its drive.
    CopyMissing,
    /// A copy that a blob's record names does not verify.
    CopyDamaged,
    /// A copy that a blob's record names is on another drive.
    CopyMoved,
    /// A copy's header contradicts the blob's record.
    CopyDisagrees,
    /// A drive that records name could not be looked at.
    DriveMissing,
    /// Bytes of an object cannot be read.
    ObjectLost,
    /// Bytes of a part of an upload in progress cannot be read.
    PartLost,
    /// A key does not parse.
    Key,
    /// A value does not decode.
    Undecodable,
    /// A counter is not what it counts.
    Counter,
    /// A bucket that is named and not there.
    Bucket,
    /// The directory of bucket names and a bucket contradict each other.
    Directory,
    /// A blob that an object or a part points to has no record.
    BlobMissing,
    /// A blob's record contradicts the object or part that points to it.
    BlobDisagrees,
    /// An object or a part has no reference to what it points to.
    ReferenceMissing,
    /// A reference without its owner, or to what is not there.
    ReferenceDangling,
    /// Bytes beside an object or part that do not belong to it.
    BodyStray,
    /// The manifest of a part set contradicts its parts or its object.
    Manifest,
    /// Something that nothing uses and no garbage record names.
    NotFiled,
    /// What belongs to an upload that is not there.
    UploadStray,
}

impl ProblemKind {
    /// All kinds.
    pub const ALL: [Self; 21] = [
        Self::UnknownRecord,
        Self::CopyMissing,
        Self::CopyDamaged,
        Self::CopyMoved,
        Self::CopyDisagrees,
        Self::DriveMissing,
        Self::ObjectLost,
        Self::PartLost,
        Self::Key,
        Self::Undecodable,
        Self::Counter,
        Self::Bucket,
        Self::Directory,
        Self::BlobMissing,
        Self::BlobDisagrees,
        Self::ReferenceMissing,
        Self::ReferenceDangling,
        Self::BodyStray,
        Self::Manifest,
        Self::NotFiled,
        Self::UploadStray,
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownRecord => "record_unknown",
            Self::CopyMissing => "copy_missing",
            Self::CopyDamaged => "copy_damaged",
            Self::CopyMoved => "copy_moved",
            Self::CopyDisagrees => "copy_disagrees",
            Self::DriveMissing => "drive_missing",
            Self::ObjectLost => "object_lost",
            Self::PartLost => "part_lost",
            Self::Key => "record_key",
            Self::Undecodable => "record_undecodable",
            Self::Counter => "counter_wrong",
            Self::Bucket => "bucket_missing",
            Self::Directory => "bucket_directory",
            Self::BlobMissing => "blob_missing",
            Self::BlobDisagrees => "blob_disagrees",
            Self::ReferenceMissing => "reference_missing",
            Self::ReferenceDangling => "reference_dangling",
            Self::BodyStray => "body_stray",
            Self::Manifest => "manifest_wrong",
            Self::NotFiled => "garbage_not_filed",
            Self::UploadStray => "upload_stray",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::UnknownRecord => Severity::Note,
            Self::CopyMissing
            | Self::CopyDamaged
            | Self::CopyMoved
            | Self::CopyDisagrees
            | Self::DriveMissing => Severity::Damaged,
            Self::ObjectLost | Self::PartLost => Severity::Lost,
            _ => Severity::Record,
        }
    }

    /// What repairs it, unless a problem knows better.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UnknownRecord => "Check with the newer version that wrote it.",
            Self::CopyMissing | Self::CopyDamaged | Self::CopyDisagrees => {
                "It is made again from the other copies once the store is started."
            }
            Self::CopyMoved => {
                "Move the file back to its drive while the store is stopped; or start the store, and the copy is made again."
            }
            Self::DriveMissing => {
                "Bring the drive back, or start the store without it: what it held is made again on others."
            }
            Self::ObjectLost => {
                "Restore this object from a backup, or upload it again; until then, or until it is deleted, reads of these bytes fail."
            }
            Self::PartLost => "Upload this part again, or abort the upload.",
            Self::Key | Self::Undecodable => {
                "Restore the metadata from a backup; what the record said is not known otherwise."
            }
            Self::Counter => {
                "No data is affected: the figures of this bucket stay wrong by as much. Restore the metadata from a backup if they matter."
            }
            Self::Bucket | Self::Directory => "Restore the metadata from a backup.",
            Self::BlobMissing | Self::BlobDisagrees => {
                "Restore this object from a backup, or upload it again."
            }
            Self::ReferenceMissing => {
                "Download the object while it can be read and upload it again: its bytes are not protected from collection."
            }
            Self::ReferenceDangling | Self::NotFiled => {
                "No object is affected: room on the drives is not given back."
            }
            Self::BodyStray => "No object is affected: the bytes take room in the metadata.",
            Self::Manifest => "Download the object if it can be read and upload it again.",
            Self::UploadStray => "No object is affected: the record takes room in the metadata.",
        }
    }
}

/// What of an object cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The part, for objects and uploads that have parts.
    pub part: Option<u16>,
    /// Bytes of the object; of the part while its upload is in progress.
    pub bytes: Range<u64>,
}

/// An object, or an upload in progress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The bucket's name; its id when that is not known.
    pub bucket: String,
    /// The object's key.
    pub key: String,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// On which drive.
    pub drive: Option<DriveId>,
    /// In which file of it.
    pub path: Option<String>,
    /// Which object it is about; the first, when several share what is damaged.
    pub object: Option<Subject>,
    /// Which blob it is about.
    pub blob: Option<BlobId>,
    /// How many more of the blob's shards may be lost before bytes are; negative when bytes are.
    pub margin: Option<i64>,
    /// What of the object is lost.
    pub lost: Vec<Lost>,
    /// What was found, as a sentence.
    pub message: String,
    /// What repairs it, as a sentence.
    pub remedy: Cow<'static, str>,
}

impl Problem {
    /// Of this kind and with this message, without any details.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            drive: None,
            path: None,
            object: None,
            blob: None,
            margin: None,
            lost: Vec::new(),
            message: message.into(),
            remedy: Cow::Borrowed(kind.remedy()),
        }
    }

    /// About this object.
    #[must_use]
    pub(super) fn of(mut self, object: Option<Subject>) -> Self {
        self.object = object;
        self
    }
}

//! The layout: which drives the cluster has. Data and its rules; the choosing is in `rank`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use types::{BlobId, DriveId, ErrorKind, NodeId};

use crate::rank;

/// The drives of a cluster at one epoch, and how they are chosen from.
///
/// Serialised as JSON with a version, `"v": 1`; reading checks everything that [`Layout::check`]
/// checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Layout {
    /// Rises by one with every change.
    pub epoch: u64,
    /// All drives that belong to the cluster. Ids are unique.
    pub drives: Vec<Drive>,
    /// Number of placement groups, 1 to [`Layout::GROUPS_MAX`]. Fixed for the life of a cluster:
    /// changing it moves everything.
    pub groups: u32,
    /// Corrections for the fullest drives, applied in order.
    pub overrides: Vec<Override>,
}

/// One drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drive {
    /// The drive's identity, as in its identity file.
    pub id: DriveId,
    /// The node that it is attached to: a failure domain.
    pub node: NodeId,
    /// A larger failure domain (rack, room); empty when nobody named one.
    #[serde(default)]
    pub zone: String,
    /// A class of drives; empty for the one class that there is unless somebody names more.
    #[serde(default)]
    pub tier: String,
    /// Size in bytes: its share of the data is in proportion. Zero counts as one.
    pub capacity_bytes: u64,
    /// Whether it takes new copies.
    pub state: DriveRole,
    /// Where it was last mounted, for messages to people only.
    #[serde(default)]
    pub path_hint: String,
}

/// What a drive is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriveRole {
    /// Takes new copies and serves what it has.
    Active,
    /// Takes no new copies; serves what it has while that moves away.
    Draining,
    /// Counts as lost: its copies are made again elsewhere.
    Out,
}

/// In one placement group, use one drive instead of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The group, below [`Layout::groups`].
    pub group: u32,
    /// The drive to spare.
    pub from: DriveId,
    /// The drive to use in its place, unless that one is already used or cannot take copies.
    pub to: DriveId,
}

/// Why a layout was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Written by a newer version of this program.
    #[error("layout version {0} is not known to this version of the program")]
    UnknownVersion(u32),
    /// The number of groups is zero or too large.
    #[error("a layout has 1 to {max} placement groups, not {0}", max = Layout::GROUPS_MAX)]
    GroupsOutOfRange(u32),
    /// More drives than supported.
    #[error("a layout has at most {max} drives, not {0}", max = Layout::DRIVES_MAX)]
    TooManyDrives(usize),
    /// The same drive twice.
    #[error("drive {0} stands in the layout twice")]
    DuplicateDrive(DriveId),
    /// A drive that the layout does not have.
    #[error("drive {0} is not in the layout")]
    NoSuchDrive(DriveId),
    /// An override names a group that the layout does not have.
    #[error("there is no placement group {0}")]
    NoSuchGroup(u32),
}

impl LayoutError {
    /// What the caller must do about it.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownVersion(_) => ErrorKind::NotImplemented,
            Self::NoSuchDrive(_) => ErrorKind::NotFound,
            Self::GroupsOutOfRange(_)
            | Self::TooManyDrives(_)
            | Self::DuplicateDrive(_)
            | Self::NoSuchGroup(_) => ErrorKind::Invalid,
        }
    }
}

impl Layout {
    /// Most placement groups.
    pub const GROUPS_MAX: u32 = 1 << 20;
    /// The number of placement groups of a new cluster.
    pub const GROUPS_DEFAULT: u32 = 1 << 14;
    /// Most drives.
    pub const DRIVES_MAX: usize = 1 << 16;

    /// No drives yet, epoch 0, the default number of groups.
    pub fn empty() -> Self {
        Self { epoch: 0, drives: Vec::new(), groups: Self::GROUPS_DEFAULT, overrides: Vec::new() }
    }

    /// Checks what the fields' documentation promises.
    ///
    /// # Errors
    /// The first promise that is broken.
    pub fn check(&self) -> Result<(), LayoutError> {
        if self.groups == 0 || self.groups > Self::GROUPS_MAX {
            return Err(LayoutError::GroupsOutOfRange(self.groups));
        }
        if self.drives.len() > Self::DRIVES_MAX {
            return Err(LayoutError::TooManyDrives(self.drives.len()));
        }
        let mut ids = HashSet::new();
        if let Some(twice) = self.drives.iter().find(|drive| !ids.insert(drive.id)) {
            return Err(LayoutError::DuplicateDrive(twice.id));
        }
        for Override { group, from, to } in &self.overrides {
            if *group >= self.groups {
                return Err(LayoutError::NoSuchGroup(*group));
            }
            if let Some(id) = [from, to].into_iter().find(|id| !ids.contains(id)) {
                return Err(LayoutError::NoSuchDrive(*id));
            }
        }
        Ok(())
    }

    /// The drive with this id.
    pub fn drive(&self, id: DriveId) -> Option<&Drive> {
        self.drives.iter().find(|drive| drive.id == id)
    }

    /// The drives that take new copies.
    pub fn active(&self) -> impl Iterator<Item = &Drive> {
        self.drives.iter().filter(|drive| drive.state == DriveRole::Active)
    }

    /// The nodes that drives of this layout are attached to, in order, each once.
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.drives.iter().map(|drive| drive.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// The layout of the next epoch, with one more drive.
    ///
    /// # Errors
    /// [`LayoutError::DuplicateDrive`], [`LayoutError::TooManyDrives`].
    pub fn with_drive(&self, drive: Drive) -> Result<Self, LayoutError> {
        let mut next = self.next();
        next.drives.push(drive);
        next.check()?;
        Ok(next)
    }

    /// The layout of the next epoch, without a drive and without the overrides that name it.
    ///
    /// # Errors
    /// [`LayoutError::NoSuchDrive`].
    pub fn without_drive(&self, id: DriveId) -> Result<Self, LayoutError> {
        self.drive(id).ok_or(LayoutError::NoSuchDrive(id))?;
        let mut next = self.next();
        next.drives.retain(|drive| drive.id != id);
        next.overrides.retain(|change| change.from != id && change.to != id);
        Ok(next)
    }

    /// The layout of the next epoch, with a drive changed in place (its id stays).
    ///
    /// # Errors
    /// [`LayoutError::NoSuchDrive`].
    pub fn with_change(
        &self,
        id: DriveId,
        change: impl FnOnce(&mut Drive),
    ) -> Result<Self, LayoutError> {
        let mut next = self.next();
        let drive = next.drives.iter_mut().find(|drive| drive.id == id);
        let drive = drive.ok_or(LayoutError::NoSuchDrive(id))?;
        change(drive);
        drive.id = id;
        Ok(next)
    }

    /// The placement group of a blob.
    pub fn group_of(&self, blob: BlobId) -> u32 {
        rank::group_of(blob, self.groups)
    }

    /// Where the copies of a new blob go: up to `count` distinct active drives that are `up`, best
    /// first; fewer when there are not so many.
    ///
    /// No two on one node, then in one zone, while that can be. To replace drives that failed, ask
    /// again with the same `count` and an `up` that leaves them out: the others stay chosen. A
    /// layout with one drive more or less changes little more than that drive's share of the
    /// answers. Both are said of the answer as a set: positions may shift.
    pub fn place(&self, blob: BlobId, count: usize, up: impl Fn(DriveId) -> bool) -> Vec<DriveId> {
        self.place_group(self.group_of(blob), count, up)
    }

    /// As [`Self::place`], for a whole placement group.
    pub fn place_group(
        &self,
        group: u32,
        count: usize,
        up: impl Fn(DriveId) -> bool,
    ) -> Vec<DriveId> {
        rank::place_group(self, group, count, up)
    }

    /// Whether `count` copies can be placed on distinct drives while these drives are `up`.
    pub fn fits(&self, count: usize, up: impl Fn(DriveId) -> bool) -> bool {
        self.room(up) >= count
    }

    /// How many copies of one blob can be placed on distinct drives while these drives are `up`.
    pub fn room(&self, up: impl Fn(DriveId) -> bool) -> usize {
        self.active().filter(|drive| up(drive.id)).count()
    }

    fn next(&self) -> Self {
        Self { epoch: self.epoch.saturating_add(1), ..self.clone() }
    }
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    epoch: u64,
    groups: u32,
    drives: Vec<Drive>,
    #[serde(default)]
    overrides: Vec<Override>,
}

const WIRE_VERSION: u32 = 1;

impl From<Layout> for Wire {
    fn from(Layout { epoch, drives, groups, overrides }: Layout) -> Self {
        Self { v: WIRE_VERSION, epoch, groups, drives, overrides }
    }
}

impl TryFrom<Wire> for Layout {
    type Error = LayoutError;

    fn try_from(Wire { v, epoch, groups, drives, overrides }: Wire) -> Result<Self, LayoutError> {
        if v != WIRE_VERSION {
            return Err(LayoutError::UnknownVersion(v));
        }
        let layout = Self { epoch, drives, groups, overrides };
        layout.check()?;
        Ok(layout)
    }
}

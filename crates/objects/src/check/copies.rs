//! What is known of the copies on the drives: 35 bytes each, and more only of those that are harmed.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use net::{ShardHeader, ShardId, frame};
use types::{BlobId, BucketId, CopyId, DriveId, SessionId, Token, limits};

use crate::schema::Home;

/// What is wrong with a copy, in the words of whoever looked at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// As a sentence without a point.
    pub what: String,
    /// The file.
    pub path: String,
    /// Frames that cannot be used, ascending; `None` for all.
    pub damaged: Option<Vec<Range<u64>>>,
}

/// The copies of all drives that could be looked at.
#[derive(Debug, Default)]
pub struct Copies {
    drives: BTreeMap<DriveId, Drive>,
}

#[derive(Debug, Default)]
struct Drive {
    rows: Vec<Row>,
    harms: HashMap<ShardId, Harm>,
}

/// One copy, packed.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// Blob, index, copy: in the order of [`ShardId`].
    id: [u8; 25],
    /// Of what the header says.
    digest: [u8; 4],
    /// Payload length, 40 bits.
    len: [u8; 5],
    flags: u8,
}

const _: () = assert!(size_of::<Row>() == 35);

const NAMED: u8 = 1;
const HARMED: u8 = 2;
/// Its header is not known.
const BARE: u8 = 4;
/// It does not count as live.
const DEAD: u8 = 8;

/// What a drive says of a copy that a record names.
#[derive(Debug)]
pub(super) enum Look {
    Whole,
    Harmed(Harm),
    /// It verifies, but is of a blob of another length, geometry or home than the record says.
    Disagrees,
    Absent,
    /// Not there, but whole on this drive.
    Elsewhere(DriveId),
    /// The drive could not be looked at.
    Away,
}

/// A copy that no record names.
pub(super) struct Unnamed {
    pub(super) blob: BlobId,
    pub(super) bytes: u64,
}

impl Copies {
    /// A drive that was looked at, with or without copies.
    pub fn add_drive(&mut self, drive: DriveId) {
        self.drives.entry(drive).or_default();
    }

    /// A copy that is on `drive`, in any order. `is_live` is false for one that the drive will not know of once
    /// it is opened.
    pub fn add(
        &mut self,
        drive: DriveId,
        id: ShardId,
        header: Option<&ShardHeader>,
        harm: Option<Harm>,
        is_live: bool,
    ) {
        let drive = self.drives.entry(drive).or_default();
        let mut row = Row { id: pack(&id), digest: [0; 4], len: [0; 5], flags: 0 };
        match header {
            Some(header) => {
                row.digest = digest(header, Home::of(BucketId::new(header.home)).token());
                let len = header.payload_len.min((1 << 40) - 1).to_le_bytes();
                row.len.copy_from_slice(&len[..5]);
            }
            None => row.flags |= BARE,
        }
        row.flags |= if is_live { 0 } else { DEAD };
        if let Some(harm) = harm {
            row.flags |= HARMED;
            drive.harms.insert(id, harm);
        }
        drive.rows.push(row);
    }

    /// To be called when all are added. Of a copy that is there twice the better counts.
    pub(super) fn sort(&mut self) {
        for drive in self.drives.values_mut() {
            drive.rows.sort_unstable_by_key(|row| (row.id, row.flags));
            drive.rows.dedup_by_key(|row| row.id);
            drive.rows.shrink_to_fit();
        }
    }

    /// Live copies, of all drives.
    pub(super) fn live(&self) -> u64 {
        let rows = self.drives.values().flat_map(|drive| &drive.rows);
        rows.filter(|row| row.flags & DEAD == 0).count() as u64
    }

    /// What is known of a copy that a record under `token` names on `drive`; it is named from now on. `header` has
    /// any home.
    pub(super) fn look(&mut self, drive: DriveId, header: &ShardHeader, token: Token) -> Look {
        let key = pack(&header.id);
        let Some(named) = self.drives.get_mut(&drive) else { return Look::Away };
        let Some(row) = named.find(&key) else { return self.elsewhere(drive, &key) };
        row.flags |= NAMED;
        if row.flags & HARMED != 0 {
            return named.harms.get(&header.id).cloned().map_or(Look::Absent, Look::Harmed);
        }
        if row.digest == digest(header, token) { Look::Whole } else { Look::Disagrees }
    }

    fn elsewhere(&mut self, drive: DriveId, key: &[u8; 25]) -> Look {
        let others = self.drives.iter_mut().filter(|(id, _)| **id != drive);
        for (id, other) in others {
            if other.find(key).is_some_and(|row| row.flags & (HARMED | DEAD) == 0) {
                return Look::Elsewhere(*id);
            }
        }
        Look::Absent
    }

    /// A record names this copy, without needing it. Whether it is there.
    pub(super) fn name(&mut self, drive: DriveId, id: &ShardId) -> bool {
        let row = self.drives.get_mut(&drive).and_then(|drive| drive.find(&pack(id)));
        row.map(|row| row.flags |= NAMED).is_some()
    }

    /// Live copies that nothing has named.
    pub(super) fn unnamed(&self) -> impl Iterator<Item = Unnamed> {
        let rows = self.drives.values().flat_map(|drive| &drive.rows);
        rows.filter(|row| row.flags & (NAMED | DEAD) == 0)
            .map(|row| Unnamed { blob: unpack(&row.id).blob, bytes: row.bytes() })
    }

    /// Bytes of live copies that something has named.
    pub(super) fn named_bytes(&self) -> u64 {
        let rows = self.drives.values().flat_map(|drive| &drive.rows);
        rows.filter(|row| row.flags & (NAMED | DEAD) == NAMED).map(Row::bytes).sum()
    }
}

impl Drive {
    fn find(&mut self, key: &[u8; 25]) -> Option<&mut Row> {
        let at = self.rows.binary_search_by_key(key, |row| row.id).ok()?;
        self.rows.get_mut(at)
    }
}

impl Row {
    /// Bytes of its frames, checksums included; 0 when its length is not known.
    fn bytes(&self) -> u64 {
        let mut len = [0; 8];
        len[..5].copy_from_slice(&self.len);
        let len = u64::from_le_bytes(len);
        len + len.div_ceil(limits::FRAME_BYTES as u64) * frame::CHECKSUM_BYTES as u64
    }
}

fn pack(id: &ShardId) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(&id.blob.to_bytes());
    bytes[16] = id.index;
    bytes[17..].copy_from_slice(&id.copy.to_bytes());
    bytes
}

fn unpack(bytes: &[u8; 25]) -> ShardId {
    let number = |from: usize| {
        let mut field = [0; 8];
        field.copy_from_slice(&bytes[from..from + 8]);
        u64::from_be_bytes(field)
    };
    let blob = BlobId { session: SessionId::new(number(0)), sequence: number(8) };
    ShardId { blob, index: bytes[16], copy: CopyId::new(number(17)) }
}

/// FNV-1a over what the header says of the blob. It tells headers of one id apart, which only a fault of ours can
/// make differ; it is no protection against anybody.
fn digest(header: &ShardHeader, token: Token) -> [u8; 4] {
    let numbers = [header.blob_len, header.payload_len, u64::from(token.0)];
    let small = [header.data_shards, header.parity_shards];
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).chain(small);
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_le_bytes()
}

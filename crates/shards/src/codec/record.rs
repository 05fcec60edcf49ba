//! The header of a segment, and the header of a record: of a shard or of a delete, in a segment or in a file
//! of its own.

use types::{DriveId, limits};

use super::{FORMAT_VERSION, Input, Undecodable, checked, encode_shard_id, seal};
use crate::frame::CHECKSUM_BYTES;
use crate::{ShardHeader, ShardId};

/// Length of a record's header.
pub const RECORD_HEADER_BYTES: usize = 88;

/// Length of one copy of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 64;

/// Where a segment's first record begins: behind two copies of the header, in sectors of their own.
pub const SEGMENT_RECORDS_OFFSET: u64 = 2 * COPY_STRIDE as u64;

const COPY_STRIDE: usize = 512;

/// What every record begins with.
pub const RECORD_MAGIC: [u8; 4] = *b"UCsr";
const SEGMENT_MAGIC: [u8; 4] = *b"UCsg";

const KIND_SHARD: u8 = 1;
const KIND_DELETE: u8 = 2;

/// A record's header. It names its own place, so that a copy of it elsewhere does not verify as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The segment it is in; 0 in a file of its own.
    pub segment: u64,
    /// Where in that file it begins, in bytes; 0 in a file of its own.
    pub offset: u64,
    /// Its number within the segment, from 0.
    pub number: u32,
    /// What it says.
    pub body: RecordBody,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// A shard; its frames follow the header.
    Shard(ShardHeader),
    /// A shard is gone. Nothing follows.
    Delete {
        /// Which shard.
        id: ShardId,
        /// The segment that its record is in.
        segment: u64,
        /// The number of its record within that segment.
        number: u32,
        /// Bytes that its record takes there.
        bytes: u64,
    },
}

impl Record {
    /// Bytes from the beginning of this record to the next, padding included; `None` when that is no length
    /// that a record can have.
    pub fn disk_len(&self) -> Option<u64> {
        match &self.body {
            RecordBody::Shard(header) => record_len(header),
            RecordBody::Delete { .. } => Some(RECORD_HEADER_BYTES as u64),
        }
    }
}

/// Bytes that a shard's record takes in a segment, padding included.
fn record_len(header: &ShardHeader) -> Option<u64> {
    Some(padded(header.stored_len().checked_add(RECORD_HEADER_BYTES as u64)?))
}

impl ShardHeader {
    /// Bytes of all its frames with their checksums. Headers that exist have lengths far below overflow.
    pub(crate) fn stored_len(&self) -> u64 {
        self.payload_len.saturating_add(self.frames().saturating_mul(CHECKSUM_BYTES as u64))
    }

    /// Whether the fields are in their ranges and consistent with each other.
    pub(crate) fn is_sound(&self) -> bool {
        let total = usize::from(self.data_shards) + usize::from(self.parity_shards);
        self.data_shards >= 1
            && total <= limits::SHARDS_MAX
            && usize::from(self.id.index) < total
            // The largest blob is far smaller; sums of lengths below this never overflow.
            && self.blob_len <= 1 << 56
            && self.payload_len <= 1 << 56
    }
}

/// `len` rounded up to the alignment of records.
pub fn padded(len: u64) -> u64 {
    len.saturating_add(7) & !7
}

/// The bytes of a record's header, under the salt of its segment (0 in a file of its own).
pub fn encode_record(record: &Record, salt: u64) -> [u8; RECORD_HEADER_BYTES] {
    let (kind, id, k, m, a, b, c) = match record.body {
        RecordBody::Shard(h) => {
            (KIND_SHARD, h.id, h.data_shards, h.parity_shards, h.blob_len, h.payload_len, h.home)
        }
        RecordBody::Delete { id, segment, number, bytes } => {
            (KIND_DELETE, id, 0, 0, segment, u64::from(number), bytes)
        }
    };
    let mut bytes = Vec::with_capacity(RECORD_HEADER_BYTES);
    bytes.extend_from_slice(&RECORD_MAGIC);
    bytes.extend_from_slice(&[FORMAT_VERSION, kind, k, m]);
    bytes.extend_from_slice(&encode_shard_id(&id));
    bytes.extend_from_slice(&[0; 3]);
    bytes.extend_from_slice(&record.number.to_le_bytes());
    for field in [a, b, c, record.segment, record.offset] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    seal(&mut bytes, salt);
    let mut array = [0; RECORD_HEADER_BYTES];
    array.copy_from_slice(&bytes);
    array
}

/// The record header at the beginning of `bytes`, under the salt of its segment (0 in a file of its own).
///
/// # Errors
/// [`Undecodable`]; whether the place it names is the place it was read from is for the caller to check.
pub fn decode_record(bytes: &[u8], salt: u64) -> Result<Record, Undecodable> {
    let bytes = bytes.get(..RECORD_HEADER_BYTES).ok_or(Undecodable::Damaged)?;
    // Cheap first: a scan comes here for every eight bytes.
    if !bytes.starts_with(&RECORD_MAGIC) {
        return Err(Undecodable::Damaged);
    }
    let body = checked(bytes, salt).ok_or(Undecodable::Damaged)?;
    match body.get(4) {
        Some(&version) if version > FORMAT_VERSION => Err(Undecodable::Newer(version)),
        _ => record_fields(body).ok_or(Undecodable::Damaged),
    }
}

fn record_fields(body: &[u8]) -> Option<Record> {
    let mut input = Input(body.get(4..)?);
    let version = input.u8()?;
    let kind = input.u8()?;
    let (data_shards, parity_shards) = (input.u8()?, input.u8()?);
    let id = input.shard_id()?;
    input.zeroes::<3>()?;
    let number = input.u32()?;
    let (a, b, c) = (input.u64()?, input.u64()?, input.u64()?);
    let (segment, offset) = (input.u64()?, input.u64()?);
    let body = match kind {
        KIND_SHARD => {
            let header = ShardHeader {
                id,
                data_shards,
                parity_shards,
                blob_len: a,
                payload_len: b,
                home: c,
            };
            header.is_sound().then_some(RecordBody::Shard(header))?
        }
        KIND_DELETE if data_shards == 0 && parity_shards == 0 => {
            RecordBody::Delete { id, segment: a, number: u32::try_from(b).ok()?, bytes: c }
        }
        _ => return None,
    };
    (version == FORMAT_VERSION).then_some(Record { segment, offset, number, body })
}

/// What stands at the beginning of a segment, twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The drive that wrote it.
    pub drive: DriveId,
    /// Its number, which is also its name.
    pub number: u64,
    /// A random number, the seed of the checksums of all that is ours in this segment.
    pub salt: u64,
}

/// The bytes before a segment's first record: [`SEGMENT_RECORDS_OFFSET`] of them.
pub fn encode_segment_header(header: &SegmentHeader) -> Vec<u8> {
    let mut copy = Vec::with_capacity(COPY_STRIDE);
    copy.extend_from_slice(&SEGMENT_MAGIC);
    copy.extend_from_slice(&[FORMAT_VERSION, 0, 0, 0]);
    copy.extend_from_slice(&header.drive.to_bytes());
    copy.extend_from_slice(&header.number.to_le_bytes());
    copy.extend_from_slice(&header.salt.to_le_bytes());
    copy.extend_from_slice(&[0; 24]);
    seal(&mut copy, 0);
    copy.resize(COPY_STRIDE, 0);
    copy.repeat(2)
}

/// The segment header in the first bytes of a file: the first copy that verifies.
///
/// # Errors
/// [`Undecodable`].
pub fn decode_segment_header(bytes: &[u8]) -> Result<SegmentHeader, Undecodable> {
    let first = decode_copy(bytes);
    if first != Err(Undecodable::Damaged) {
        return first;
    }
    decode_copy(bytes.get(COPY_STRIDE..).unwrap_or_default())
}

fn decode_copy(bytes: &[u8]) -> Result<SegmentHeader, Undecodable> {
    let bytes = bytes.get(..SEGMENT_HEADER_BYTES).ok_or(Undecodable::Damaged)?;
    let body = checked(bytes, 0).ok_or(Undecodable::Damaged)?;
    let fields = || {
        let mut input = Input(body);
        (input.take()? == SEGMENT_MAGIC).then_some(())?;
        let version = input.u8()?;
        if version > FORMAT_VERSION {
            return Some(Err(Undecodable::Newer(version)));
        }
        (version == FORMAT_VERSION).then_some(())?;
        input.zeroes::<3>()?;
        let drive = DriveId::from_bytes(input.take()?);
        let (number, salt) = (input.u64()?, input.u64()?);
        input.zeroes::<24>()?;
        Some(Ok(SegmentHeader { drive, number, salt }))
    };
    fields().unwrap_or(Err(Undecodable::Damaged))
}

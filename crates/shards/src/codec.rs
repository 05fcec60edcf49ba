//! Every byte that this crate writes, except `drive.json`: encoders, and decoders that never panic.
//!
//! The drawings are in `docs/formats.md`. Integers are little-endian, ids big-endian (their own binary form, so
//! that byte order is their order). Decoders check before they trust: a structure that does not verify is an
//! [`Undecodable`], whatever the bytes are. What stands in a segment is sealed under the segment's random salt: the
//! bytes of users stand there too, and none of them may pass for ours. Not here: frames (see [`crate::frame`]) and any file access.

mod footer;
mod record;

pub use footer::{
    DeadRecord, FILTER_BITS_PER_SHARD, FooterTables, INDEX_ENTRY_BYTES, IndexEntry, PAGE_BYTES,
    PAGE_ENTRIES, SessionRange, TRAILER_BYTES, Trailer, decode_page, decode_tables, decode_trailer,
    encode_page, encode_tables, encode_trailer, filter_add, filter_bytes, filter_may_hold,
};
pub use record::{
    RECORD_HEADER_BYTES, RECORD_MAGIC, Record, RecordBody, SEGMENT_HEADER_BYTES,
    SEGMENT_RECORDS_OFFSET, SegmentHeader, decode_record, decode_segment_header, encode_record,
    encode_segment_header, padded,
};

use types::{BlobId, CopyId};

use crate::ShardId;

/// The version that this code writes into records, segments and footers, and the newest that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Length of the binary form of a [`ShardId`] in bytes.
pub const SHARD_ID_BYTES: usize = 25;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// Too short, another magic, a checksum that does not match, or fields that contradict each other.
    #[error("the bytes do not verify")]
    Damaged,
    /// Whole, but of a newer version.
    #[error("format version {0} is newer than this program")]
    Newer(u8),
}

/// The binary form of a shard's id: blob id (16 bytes), index (1), copy id (8). Byte order is the order of
/// [`ShardId`].
pub fn encode_shard_id(id: &ShardId) -> [u8; SHARD_ID_BYTES] {
    let mut bytes = [0; SHARD_ID_BYTES];
    bytes[..16].copy_from_slice(&id.blob.to_bytes());
    bytes[16] = id.index;
    bytes[17..].copy_from_slice(&id.copy.to_bytes());
    bytes
}

/// See [`encode_shard_id`].
pub fn decode_shard_id(bytes: &[u8; SHARD_ID_BYTES]) -> ShardId {
    let mut input = Input(bytes);
    ShardId {
        blob: BlobId::from_bytes(input.take().unwrap_or_default()),
        index: input.u8().unwrap_or_default(),
        copy: CopyId::from_bytes(input.take().unwrap_or_default()),
    }
}

/// Reads fields one behind the other; `None` behind the end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn shard_id(&mut self) -> Option<ShardId> {
        self.take().map(|bytes| decode_shard_id(&bytes))
    }

    /// `N` bytes that this version leaves zero.
    fn zeroes<const N: usize>(&mut self) -> Option<()> {
        (self.take::<N>()? == [0; N]).then_some(())
    }
}

/// Splits off the last 8 bytes, which must be the xxh3-64 of those before under the seed `salt`.
fn checked(bytes: &[u8], salt: u64) -> Option<&[u8]> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    let expected = twox_hash::XxHash3_64::oneshot_with_seed(salt, body);
    (expected == u64::from_le_bytes(*sum)).then_some(body)
}

/// Appends the xxh3-64 of all bytes under the seed `salt`.
fn seal(bytes: &mut Vec<u8>, salt: u64) {
    let sum = twox_hash::XxHash3_64::oneshot_with_seed(salt, bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

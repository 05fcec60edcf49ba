//! The index footer of a sealed segment: pages of sorted entries, tables that stay in memory, and a trailer.

use types::{DriveId, SessionId};

use super::{
    FORMAT_VERSION, Input, RECORD_HEADER_BYTES, SHARD_ID_BYTES, Undecodable, checked,
    decode_shard_id, encode_shard_id, seal,
};
use crate::{ShardHeader, ShardId};

/// Length of an index page; pages begin at multiples of it.
pub const PAGE_BYTES: usize = 4096;

/// Length of an index entry.
pub const INDEX_ENTRY_BYTES: usize = 64;

/// Entries in a full page.
pub const PAGE_ENTRIES: usize = (PAGE_BYTES - PAGE_HEADER_BYTES - 8) / INDEX_ENTRY_BYTES;

/// Length of the trailer, which ends the file.
pub const TRAILER_BYTES: usize = 128;

/// Bits of the filter for each shard of the segment.
pub const FILTER_BITS_PER_SHARD: usize = 10;

const PAGE_HEADER_BYTES: usize = 16;
const FILTER_PROBES: u64 = 7;
const TRAILER_MAGIC: [u8; 4] = *b"UCsf";
const PAGE_MAGIC: [u8; 4] = *b"UCsp";

/// Where a shard is in its segment, and its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The shard's header.
    pub header: ShardHeader,
    /// The number of its record within the segment.
    pub number: u32,
    /// Where its record begins, in bytes from the beginning of the file.
    pub offset: u64,
}

impl IndexEntry {
    /// Where its first frame begins.
    pub fn frames_offset(&self) -> u64 {
        self.offset.saturating_add(RECORD_HEADER_BYTES as u64)
    }
}

/// The bytes of page `page` of the segment with this salt: at most [`PAGE_ENTRIES`] entries, sorted by id; those
/// beyond are left out.
pub fn encode_page(salt: u64, page: u32, entries: &[IndexEntry]) -> Vec<u8> {
    let entries = entries.get(..PAGE_ENTRIES).unwrap_or(entries);
    let mut bytes = Vec::with_capacity(PAGE_BYTES);
    bytes.extend_from_slice(&PAGE_MAGIC);
    bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(&page.to_le_bytes());
    for entry in entries {
        bytes.extend_from_slice(&encode_shard_id(&entry.header.id));
        bytes.extend_from_slice(&[entry.header.data_shards, entry.header.parity_shards, 0]);
        bytes.extend_from_slice(&entry.number.to_le_bytes());
        let ShardHeader { blob_len, payload_len, home, .. } = entry.header;
        for field in [entry.offset, blob_len, payload_len, home] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
    }
    bytes.resize(PAGE_BYTES - 8, 0);
    seal(&mut bytes, salt);
    bytes
}

/// The entries of page `page` of the segment with this salt, sorted by id.
///
/// # Errors
/// [`Undecodable::Damaged`].
pub fn decode_page(salt: u64, page: u32, bytes: &[u8]) -> Result<Vec<IndexEntry>, Undecodable> {
    let fields = || {
        let mut input = Input(checked(bytes.get(..PAGE_BYTES)?, salt)?);
        (input.take()? == PAGE_MAGIC).then_some(())?;
        let count = usize::from(input.u16()?);
        input.zeroes::<6>()?;
        (input.u32()? == page).then_some(())?;
        (count <= PAGE_ENTRIES).then_some(())?;
        let entries = (0..count).map(|_| entry(&mut input)).collect::<Option<Vec<_>>>()?;
        entries.is_sorted_by_key(|e| e.header.id).then_some(entries)
    };
    fields().ok_or(Undecodable::Damaged)
}

fn entry(input: &mut Input<'_>) -> Option<IndexEntry> {
    let id = input.shard_id()?;
    let (data_shards, parity_shards) = (input.u8()?, input.u8()?);
    input.zeroes::<1>()?;
    let (number, offset) = (input.u32()?, input.u64()?);
    let (blob_len, payload_len, home) = (input.u64()?, input.u64()?, input.u64()?);
    let header = ShardHeader { id, data_shards, parity_shards, blob_len, payload_len, home };
    (header.is_sound() && offset <= 1 << 56).then_some(IndexEntry { header, number, offset })
}

/// The span of sequence numbers that a segment holds of one writer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRange {
    /// The session.
    pub session: SessionId,
    /// Lowest sequence number.
    pub first: u64,
    /// Highest sequence number.
    pub last: u64,
}

/// A shard record that a delete record of this segment killed: in this segment or in an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadRecord {
    /// The segment of the dead record.
    pub segment: u64,
    /// Its number there.
    pub number: u32,
    /// Bytes it takes there.
    pub bytes: u32,
}

/// What of a footer stays in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FooterTables {
    /// The first id of each page.
    pub fences: Vec<ShardId>,
    /// The last id of the last page; `None` without pages.
    pub last: Option<ShardId>,
    /// Which blobs can be here, sorted by session.
    pub ranges: Vec<SessionRange>,
    /// What the delete records here say, in their order.
    pub dead: Vec<DeadRecord>,
    /// Bit `n % 64` of word `n / 64`: record `n` is a shard that was live when the segment was sealed.
    pub live: Vec<u64>,
    /// See [`filter_may_hold`].
    pub filter: Vec<u8>,
}

/// The last bytes of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The drive that wrote it.
    pub drive: DriveId,
    /// The segment's number.
    pub segment: u64,
    /// Where the records end.
    pub records_end: u64,
    /// Where the pages begin.
    pub pages_offset: u64,
    /// How many pages.
    pub pages: u32,
    /// How many shards in the pages.
    pub shards: u32,
    /// Bytes that their records take.
    pub shard_bytes: u64,
    /// How many entries of [`FooterTables::ranges`].
    pub ranges: u32,
    /// How many entries of [`FooterTables::dead`].
    pub dead: u32,
    /// How many words of [`FooterTables::live`].
    pub live_words: u32,
    /// How many bytes of [`FooterTables::filter`].
    pub filter_bytes: u32,
    /// Where the tables begin.
    pub tables_offset: u64,
    /// Their length.
    pub tables_len: u64,
    /// xxh3-64 of the tables.
    pub tables_checksum: u64,
}

/// The bytes of the tables.
pub fn encode_tables(tables: &FooterTables) -> Vec<u8> {
    let mut bytes = Vec::new();
    for id in tables.fences.iter().chain(&tables.last) {
        bytes.extend_from_slice(&encode_shard_id(id));
    }
    for range in &tables.ranges {
        bytes.extend_from_slice(&range.session.to_bytes());
        bytes.extend_from_slice(&range.first.to_le_bytes());
        bytes.extend_from_slice(&range.last.to_le_bytes());
    }
    for dead in &tables.dead {
        bytes.extend_from_slice(&dead.segment.to_le_bytes());
        bytes.extend_from_slice(&dead.number.to_le_bytes());
        bytes.extend_from_slice(&dead.bytes.to_le_bytes());
    }
    for word in &tables.live {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&tables.filter);
    bytes
}

/// The tables that `trailer` describes.
///
/// # Errors
/// [`Undecodable::Damaged`].
pub fn decode_tables(trailer: &Trailer, bytes: &[u8]) -> Result<FooterTables, Undecodable> {
    let fields = || {
        (twox_hash::XxHash3_64::oneshot(bytes) == trailer.tables_checksum).then_some(())?;
        (bytes.len() as u64 == trailer.tables_bytes()?).then_some(())?;
        let mut input = Input(bytes);
        let mut id = || Some(decode_shard_id(&input.take::<SHARD_ID_BYTES>()?));
        let fences = (0..trailer.pages).map(|_| id()).collect::<Option<Vec<_>>>()?;
        let last = if trailer.pages > 0 { Some(id()?) } else { None };
        let ranges = (0..trailer.ranges).map(|_| range(&mut input)).collect::<Option<Vec<_>>>()?;
        let dead = (0..trailer.dead).map(|_| dead(&mut input)).collect::<Option<Vec<_>>>()?;
        let live = (0..trailer.live_words).map(|_| input.u64()).collect::<Option<Vec<_>>>()?;
        let filter = input.0.to_vec();
        (fences.is_sorted() && fences.last() <= last.as_ref()).then_some(())?;
        Some(FooterTables { fences, last, ranges, dead, live, filter })
    };
    fields().ok_or(Undecodable::Damaged)
}

fn range(input: &mut Input<'_>) -> Option<SessionRange> {
    let session = SessionId::from_bytes(input.take()?);
    Some(SessionRange { session, first: input.u64()?, last: input.u64()? })
}

fn dead(input: &mut Input<'_>) -> Option<DeadRecord> {
    Some(DeadRecord { segment: input.u64()?, number: input.u32()?, bytes: input.u32()? })
}

impl Trailer {
    /// Length of the tables by their counts.
    fn tables_bytes(&self) -> Option<u64> {
        let ids = u64::from(self.pages) + u64::from(self.pages > 0);
        let fixed = ids * SHARD_ID_BYTES as u64 + u64::from(self.ranges) * 24;
        let lists = u64::from(self.dead) * 16 + u64::from(self.live_words) * 8;
        Some(fixed + lists + u64::from(self.filter_bytes))
    }

    /// Whether the parts follow each other in a file of `file_len` bytes.
    pub(crate) fn fits(&self, file_len: u64) -> bool {
        let pages_end = u64::from(self.pages)
            .checked_mul(PAGE_BYTES as u64)
            .and_then(|len| self.pages_offset.checked_add(len));
        let tables_end = self.tables_offset.checked_add(self.tables_len);
        self.records_end <= self.pages_offset
            && pages_end == Some(self.tables_offset)
            && tables_end.and_then(|end| end.checked_add(TRAILER_BYTES as u64)) == Some(file_len)
            && self.tables_bytes() == Some(self.tables_len)
    }
}

/// The bytes of the trailer, under the segment's salt.
pub fn encode_trailer(trailer: &Trailer, salt: u64) -> [u8; TRAILER_BYTES] {
    let mut bytes = Vec::with_capacity(TRAILER_BYTES);
    bytes.extend_from_slice(&TRAILER_MAGIC);
    bytes.extend_from_slice(&[FORMAT_VERSION, 0, 0, 0]);
    bytes.extend_from_slice(&trailer.drive.to_bytes());
    for field in [trailer.segment, trailer.records_end, trailer.pages_offset] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for field in [trailer.pages, trailer.shards] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(&trailer.shard_bytes.to_le_bytes());
    for field in [trailer.ranges, trailer.dead, trailer.live_words, trailer.filter_bytes] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for field in [trailer.tables_offset, trailer.tables_len, trailer.tables_checksum] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.resize(TRAILER_BYTES - 8, 0);
    seal(&mut bytes, salt);
    let mut array = [0; TRAILER_BYTES];
    array.copy_from_slice(&bytes);
    array
}

/// The trailer in the last [`TRAILER_BYTES`] of the segment with this salt.
///
/// # Errors
/// [`Undecodable`].
pub fn decode_trailer(bytes: &[u8], salt: u64) -> Result<Trailer, Undecodable> {
    let body = match bytes.len() {
        TRAILER_BYTES => checked(bytes, salt).ok_or(Undecodable::Damaged)?,
        _ => return Err(Undecodable::Damaged),
    };
    match (body.starts_with(&TRAILER_MAGIC), body.get(4)) {
        (true, Some(&version)) if version > FORMAT_VERSION => Err(Undecodable::Newer(version)),
        (true, Some(&FORMAT_VERSION)) => trailer_fields(body).ok_or(Undecodable::Damaged),
        _ => Err(Undecodable::Damaged),
    }
}

fn trailer_fields(body: &[u8]) -> Option<Trailer> {
    let mut input = Input(body.get(5..)?);
    input.zeroes::<3>()?;
    let trailer = Trailer {
        drive: DriveId::from_bytes(input.take()?),
        segment: input.u64()?,
        records_end: input.u64()?,
        pages_offset: input.u64()?,
        pages: input.u32()?,
        shards: input.u32()?,
        shard_bytes: input.u64()?,
        ranges: input.u32()?,
        dead: input.u32()?,
        live_words: input.u32()?,
        filter_bytes: input.u32()?,
        tables_offset: input.u64()?,
        tables_len: input.u64()?,
        tables_checksum: input.u64()?,
    };
    input.zeroes::<24>()?;
    Some(trailer)
}

/// Length of a filter for `shards` shards, in bytes; 0 for none.
pub fn filter_bytes(shards: usize) -> usize {
    (shards * FILTER_BITS_PER_SHARD).div_ceil(8)
}

/// Adds `id` to a filter.
pub fn filter_add(filter: &mut [u8], id: &ShardId) {
    for bit in filter_bits(filter.len(), id) {
        if let Some(byte) = filter.get_mut((bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
}

/// Whether `id` may have been added to a filter: false is certain. A Bloom filter of seven probes
/// `h + i * s (mod bits)`, where `h` is the xxh3-64 (seed 0) of the id's binary form and `s` the same with its
/// halves swapped, made odd.
pub fn filter_may_hold(filter: &[u8], id: &ShardId) -> bool {
    !filter.is_empty()
        && filter_bits(filter.len(), id)
            .all(|bit| filter.get((bit / 8) as usize).is_some_and(|b| b & (1 << (bit % 8)) != 0))
}

fn filter_bits(bytes: usize, id: &ShardId) -> impl Iterator<Item = u64> + use<> {
    let hash = twox_hash::XxHash3_64::oneshot(&encode_shard_id(id));
    let step = hash.rotate_left(32) | 1;
    let bits = (bytes as u64).saturating_mul(8).max(1);
    (0..FILTER_PROBES).map(move |i| hash.wrapping_add(step.wrapping_mul(i)) % bits)
}

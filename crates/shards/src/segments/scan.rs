//! Reading a segment without its footer: record by record, and on past what is damaged.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use runtime::disk::File;
use types::limits;

use crate::codec::{
    self, DeadRecord, IndexEntry, RECORD_HEADER_BYTES, Record, RecordBody, SEGMENT_RECORDS_OFFSET,
    Undecodable,
};
use crate::frame::{CHECKSUM_BYTES, Frame};
use crate::{ShardHeader, ShardId};

/// What counts as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A header that verifies: the segment was sealed, so all its records were durable once.
    Headers,
    /// A header and frames that all verify: the segment was not sealed, and a power failure may have torn it.
    WholeRecords,
}

/// What a scan found.
#[derive(Default)]
pub(crate) struct Scan {
    /// Shard records in the order of the file.
    pub(crate) shards: Vec<IndexEntry>,
    /// Deletes in the order of the file: the dead record, and whose it is.
    pub(crate) deletes: Vec<(ShardId, DeadRecord)>,
    /// End of the last record.
    pub(crate) end: u64,
    /// Bytes before `end` that are no record.
    pub(crate) skipped: u64,
}

impl Scan {
    /// The shard records by id.
    pub(crate) fn entries(&self) -> BTreeMap<ShardId, IndexEntry> {
        self.shards.iter().map(|entry| (entry.header.id, *entry)).collect()
    }
}

/// Whether what stands at `offset` is what a process leaves that ended in the middle of a write: the beginning of a
/// record that the file does not hold to its end. Nothing of that was ever acknowledged.
///
/// # Errors
/// When the disk fails a read.
pub(crate) fn is_torn_write(
    file: &dyn File,
    offset: u64,
    number: u64,
    salt: u64,
) -> io::Result<bool> {
    let rest = file.len()?.saturating_sub(offset);
    if rest < RECORD_HEADER_BYTES as u64 {
        return Ok(true);
    }
    let header = file.read_vec(RECORD_HEADER_BYTES, offset, true)?;
    Ok(codec::decode_record(&header, salt).is_ok_and(|record| {
        let is_here = record.segment == number && record.offset == offset;
        is_here && record.disk_len().is_none_or(|len| len > rest)
    }))
}

/// Reads in steps of this many bytes.
const WINDOW_BYTES: u64 = 4 << 20;

/// Scans the records of segment `number` with this salt.
///
/// # Errors
/// When the disk fails a read.
pub(crate) fn scan(file: &dyn File, number: u64, salt: u64, trust: Trust) -> io::Result<Scan> {
    let mut window = Window { file, file_len: file.len()?, start: 0, bytes: Bytes::new() };
    let mut found = Scan { end: SEGMENT_RECORDS_OFFSET, ..Scan::default() };
    let (mut at, mut skipped) = (SEGMENT_RECORDS_OFFSET, 0);
    while at.saturating_add(RECORD_HEADER_BYTES as u64) <= window.file_len {
        match record_at(&mut window, at, number, salt, trust)? {
            Some((record, len)) => {
                found.add(&record);
                at += len;
                found.end = at;
                found.skipped = skipped;
            }
            None => {
                let next = window.next_magic(at + 8)?;
                skipped += next - at;
                at = next;
            }
        }
    }
    Ok(found)
}

impl Scan {
    fn add(&mut self, record: &Record) {
        match record.body {
            RecordBody::Shard(header) => {
                let Record { number, offset, .. } = *record;
                self.shards.push(IndexEntry { header, number, offset });
            }
            RecordBody::Delete { id, segment, number, bytes } => {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                self.deletes.push((id, DeadRecord { segment, number, bytes }));
            }
        }
    }
}

/// The record at `at` and its length, if there is one.
fn record_at(
    window: &mut Window<'_>,
    at: u64,
    segment: u64,
    salt: u64,
    trust: Trust,
) -> io::Result<Option<(Record, u64)>> {
    let header = window.get(at, RECORD_HEADER_BYTES)?;
    let record = match codec::decode_record(&header, salt) {
        Ok(record) if record.segment == segment && record.offset == at => record,
        Ok(_) | Err(Undecodable::Damaged | Undecodable::Newer(_)) => return Ok(None),
    };
    let shard = match record.body {
        RecordBody::Shard(shard) => shard,
        RecordBody::Delete { .. } => return Ok(record.disk_len().map(|len| (record, len))),
    };
    let small = shard.payload_len < limits::SHARD_FILE_MIN_BYTES;
    let Some(len) = record.disk_len().filter(|len| small && at + len <= window.file_len) else {
        return Ok(None);
    };
    if trust == Trust::WholeRecords {
        let frames = window.get(at + RECORD_HEADER_BYTES as u64, shard.stored_len() as usize)?;
        if !frames_verify(&shard, frames) {
            return Ok(None);
        }
    }
    Ok(Some((record, len)))
}

/// Splits the stored bytes of frames `first..` into frames; those that are not there are left out.
pub(crate) fn split_frames(header: &ShardHeader, first: u64, mut bytes: Bytes) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut number = first;
    while number < header.frames() {
        let len = header.frame_len(number);
        if bytes.len() < len + CHECKSUM_BYTES {
            break;
        }
        let payload = bytes.split_to(len);
        let sum = bytes.split_to(CHECKSUM_BYTES);
        let checksum = sum.first_chunk().map_or(0, |sum| u64::from_le_bytes(*sum));
        frames.push(Frame { payload, checksum });
        number += 1;
    }
    frames
}

fn frames_verify(header: &ShardHeader, bytes: Bytes) -> bool {
    let frames = split_frames(header, 0, bytes);
    frames.len() as u64 == header.frames()
        && (0..).zip(&frames).all(|(number, frame)| frame.verifies(&header.id, number))
}

/// A part of the file in memory.
struct Window<'a> {
    file: &'a dyn File,
    file_len: u64,
    start: u64,
    bytes: Bytes,
}

impl Window<'_> {
    /// The next place from `at` on, in steps of the records' alignment, where a record may begin, or the end of
    /// what this looked at.
    fn next_magic(&mut self, at: u64) -> io::Result<u64> {
        if at.saturating_add(RECORD_HEADER_BYTES as u64) > self.file_len {
            return Ok(self.file_len);
        }
        self.get(at, RECORD_HEADER_BYTES)?;
        let bytes = self.bytes.get((at - self.start) as usize..).unwrap_or_default();
        let steps = bytes.chunks_exact(8).position(|chunk| chunk.starts_with(&codec::RECORD_MAGIC));
        Ok(at + steps.unwrap_or(bytes.len() / 8) as u64 * 8)
    }

    /// `len` bytes at `at`, which are inside the file.
    fn get(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        let inside = at >= self.start
            && at.saturating_add(len as u64) <= self.start.saturating_add(self.bytes.len() as u64);
        if !inside {
            let rest = self.file_len.saturating_sub(at);
            let wanted = WINDOW_BYTES.max(len as u64).min(rest);
            self.bytes = Bytes::from(self.file.read_vec(wanted as usize, at, true)?);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        match self.bytes.len().checked_sub(from) {
            Some(have) if have >= len => Ok(self.bytes.slice(from..from + len)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

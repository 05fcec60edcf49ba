//! Going through the records of a segment, from one to the next and on past what is damaged.

use std::io;

use types::limits;

use super::Observer;
use super::window::Window;
use crate::codec::{self, RECORD_HEADER_BYTES, Record, RecordBody};

/// What lies at a place of a segment.
pub(super) enum Step {
    /// A record and its length, padding included.
    Record(Record, u64),
    /// Nothing that verifies up to this place.
    Gap(u64),
    /// Nothing that the disk can read up to this place.
    Unreadable(u64, io::Error),
}

/// Bytes that are passed over where the disk cannot read.
const BAD_BLOCK_BYTES: u64 = 4096;

/// What is at `at`, which is a multiple of 8, looking no further than `end`.
pub(super) fn step(
    window: &mut Window<'_>,
    place: (u64, u64),
    at: u64,
    end: u64,
    observer: &mut dyn Observer,
) -> Step {
    let (segment, salt) = place;
    let header = match window.get(at, RECORD_HEADER_BYTES, observer) {
        Ok(header) => header,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Step::Gap(end),
        Err(error) => {
            let next = (at / BAD_BLOCK_BYTES + 1) * BAD_BLOCK_BYTES;
            return Step::Unreadable(next.min(end), error);
        }
    };
    if let Ok(record) = codec::decode_record(&header, salt) {
        let is_small = match record.body {
            RecordBody::Shard(shard) => shard.payload_len < limits::SHARD_FILE_MIN_BYTES,
            RecordBody::Delete { .. } => true,
        };
        let is_here = record.segment == segment && record.offset == at;
        if let Some(len) = record.disk_len().filter(|_| is_small && is_here) {
            return Step::Record(record, len);
        }
    }
    Step::Gap(next_magic(window, at + 8).min(end))
}

/// The next place where a record may begin, or the end of what is in memory.
fn next_magic(window: &Window<'_>, at: u64) -> u64 {
    let bytes = window.rest(at);
    let steps = bytes.chunks_exact(8).position(|chunk| chunk.starts_with(&codec::RECORD_MAGIC));
    at + steps.unwrap_or(bytes.len() / 8) as u64 * 8
}

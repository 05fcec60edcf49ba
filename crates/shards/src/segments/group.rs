//! The bytes of a group of records, written at once and synced once.

use std::io::{self, IoSlice};
use std::path::Path;

use runtime::disk::File;

use super::Segment;
use crate::codec::{
    self, DeadRecord, IndexEntry, RECORD_HEADER_BYTES, Record, RecordBody, SEGMENT_RECORDS_OFFSET,
};
use crate::{Frame, ShardHeader, ShardId};

/// Where a segment's file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Behind the last record.
    pub(crate) end: u64,
    /// Records so far.
    pub(crate) records: u32,
}

impl Tail {
    /// Of a segment without records.
    pub(crate) const START: Self = Self { end: SEGMENT_RECORDS_OFFSET, records: 0 };
}

/// The bytes of a group, apart from the payloads.
pub(crate) struct Group {
    /// Its shards.
    pub(crate) entries: Vec<IndexEntry>,
    headers: Vec<[u8; RECORD_HEADER_BYTES]>,
    checksums: Vec<[u8; 8]>,
    paddings: Vec<usize>,
    records: u32,
    len: u64,
}

impl Group {
    /// Shards and deletes to stand behind `tail` in `segment`.
    pub(crate) fn new<'a>(
        segment: &Segment,
        tail: Tail,
        shards: impl Iterator<Item = (&'a ShardHeader, &'a [Frame])>,
        deletes: impl Iterator<Item = (ShardId, DeadRecord)>,
    ) -> Self {
        let mut group = Self {
            entries: Vec::new(),
            headers: Vec::new(),
            checksums: Vec::new(),
            paddings: Vec::new(),
            records: 0,
            len: 0,
        };
        for (header, frames) in shards {
            let offset = group.add(segment, tail, RecordBody::Shard(*header));
            let number = tail.records + group.records - 1;
            group.entries.push(IndexEntry { header: *header, number, offset });
            group.checksums.extend(frames.iter().map(|f| f.checksum.to_le_bytes()));
            let stored = header.stored_len();
            group.paddings.push((codec::padded(stored) - stored) as usize);
        }
        for (id, dead) in deletes {
            let DeadRecord { segment: of, number, bytes } = dead;
            let body = RecordBody::Delete { id, segment: of, number, bytes: u64::from(bytes) };
            group.add(segment, tail, body);
        }
        group
    }

    /// Adds a record's header; where it will be.
    fn add(&mut self, segment: &Segment, tail: Tail, body: RecordBody) -> u64 {
        let (offset, number) = (tail.end + self.len, tail.records + self.records);
        let record = Record { segment: segment.number(), offset, number, body };
        self.headers.push(codec::encode_record(&record, segment.salt()));
        self.records += 1;
        self.len += record.disk_len().unwrap_or(0);
        offset
    }

    /// Where the file ends when the group is written.
    pub(crate) fn tail(&self, before: Tail) -> Tail {
        Tail { end: before.end + self.len, records: before.records + self.records }
    }

    /// Writes it behind `tail`, and syncs. Whether it is where it will be looked for: in a file that has kept its
    /// length and its name, `path`. `frames`: of each shard.
    ///
    /// # Errors
    /// Which call failed, and how.
    pub(crate) fn write<'a>(
        &'a self,
        file: &dyn File,
        path: &Path,
        tail: Tail,
        frames: impl Iterator<Item = &'a [Frame]>,
    ) -> Result<bool, (&'static str, io::Error)> {
        if file.len().map_err(|error| ("measure", error))? != tail.end {
            return Ok(false);
        }
        file.write_at(&self.buffers(frames), tail.end).map_err(|error| ("write", error))?;
        file.sync().map_err(|error| ("sync", error))?;
        file.is_at(path).map_err(|error| ("look for", error))
    }

    /// All bytes in the order of the file.
    fn buffers<'a>(&'a self, frames: impl Iterator<Item = &'a [Frame]>) -> Vec<IoSlice<'a>> {
        const ZEROES: [u8; 8] = [0; 8];
        let mut buffers = Vec::with_capacity(self.headers.len() + 2 * self.checksums.len());
        let (mut headers, mut checksums) = (self.headers.iter(), self.checksums.iter());
        for (frames, padding) in frames.zip(&self.paddings) {
            buffers.extend(headers.next().map(|header| IoSlice::new(header)));
            for (frame, checksum) in frames.iter().zip(&mut checksums) {
                buffers.push(IoSlice::new(&frame.payload));
                buffers.push(IoSlice::new(checksum));
            }
            buffers.extend(ZEROES.get(..*padding).map(IoSlice::new));
        }
        buffers.extend(headers.map(|header| IoSlice::new(header)));
        buffers
    }
}

//! The one thread that writes a drive's segments: it takes everything that is queued, writes it in one pass,
//! syncs once, and answers all.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::Mutex;
use runtime::disk::File;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::segment::{ranges, record_bytes};
use super::{Found, Segment, Segments, seal_bytes, segment_path, segments_dir};
use crate::cache::{Key, OpenFiles, Trouble};
use crate::codec::{
    self, DeadRecord, IndexEntry, RECORD_HEADER_BYTES, Record, RecordBody, SEGMENT_RECORDS_OFFSET,
    SegmentHeader,
};
use crate::drive::{Drive, Reservation};
use crate::{Frame, ShardError, ShardHeader, ShardId};

/// A group ends here even when more is queued.
const GROUP_BYTES: u64 = 8 << 20;
/// See [`GROUP_BYTES`].
const GROUP_REQUESTS: usize = 4096;
/// A segment with this many records is sealed, which bounds the index of the open one.
const SEGMENT_RECORDS: u32 = 65_536;
/// Holes begin and end at multiples of this.
const HOLE_BYTES: u64 = 4096;

/// What the thread is asked for.
pub(crate) enum Request {
    /// Writes a shard, if its caller has not taken it back.
    Put(Waiting),
    /// Deletes a shard that is in a segment; whether it was there.
    Delete { id: ShardId, reply: oneshot::Sender<Result<bool, ShardError>> },
    /// Seals the open segment and ends the thread.
    Close { reply: oneshot::Sender<()> },
    /// Ends the thread.
    Stop,
}

/// A whole small shard.
pub(crate) struct Put {
    pub(crate) header: ShardHeader,
    pub(crate) frames: Vec<Frame>,
    pub(crate) room: Reservation,
    /// Bounds the bytes that are queued.
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) reply: oneshot::Sender<Result<(), ShardError>>,
}

/// A shard in the queue: empty once the thread or the caller has taken it.
pub(crate) struct Waiting {
    slot: Arc<Mutex<Option<Put>>>,
    stored_len: u64,
    /// Bounds what is queued, empty or not.
    _place: OwnedSemaphorePermit,
}

/// Takes a shard out of the queue again when dropped: a disk that hangs must not keep the memory of all those
/// who have given it up.
pub(crate) struct Recall(Arc<Mutex<Option<Put>>>);

impl Waiting {
    /// For the queue, and what its caller holds until it is answered.
    pub(crate) fn new(put: Put, place: OwnedSemaphorePermit) -> (Self, Recall) {
        let stored_len = put.header.stored_len();
        let slot = Arc::new(Mutex::new(Some(put)));
        (Self { slot: slot.clone(), stored_len, _place: place }, Recall(slot))
    }
}

impl Drop for Recall {
    fn drop(&mut self) {
        let recalled = self.0.lock().take();
        drop(recalled);
    }
}

struct Kill {
    id: ShardId,
    dead: DeadRecord,
    target: Option<Found>,
    reply: Option<oneshot::Sender<Result<bool, ShardError>>>,
}

pub(crate) struct Appender {
    drive: Arc<Drive>,
    segments: Arc<Segments>,
    cache: Arc<OpenFiles>,
    open: Option<Open>,
    next: u64,
}

struct Open {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    end: u64,
    records: u32,
    dead: Vec<DeadRecord>,
}

impl Appender {
    /// `next`: the number of the next segment.
    pub(crate) fn new(
        drive: Arc<Drive>,
        segments: Arc<Segments>,
        cache: Arc<OpenFiles>,
        next: u64,
    ) -> Self {
        Self { drive, segments, cache, open: None, next }
    }

    /// Writes delete records again that a crash may have left in a file but not on the disk.
    pub(crate) fn relog(&mut self, deletes: &[(ShardId, DeadRecord)]) -> Result<(), ShardError> {
        for chunk in deletes.chunks(GROUP_REQUESTS) {
            let kill = |&(id, dead)| Kill { id, dead, target: None, reply: None };
            self.write(&[], &chunk.iter().map(kill).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// The thread's body: until told to end, or nobody can ask any more.
    pub(crate) fn run(mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut bytes = first.bytes();
            let mut group = vec![first];
            while bytes < GROUP_BYTES && group.len() < GROUP_REQUESTS {
                let Ok(request) = queue.try_recv() else { break };
                bytes += request.bytes();
                group.push(request);
            }
            if self.serve(group) {
                return;
            }
        }
    }

    /// Serves a group; whether it was the last.
    fn serve(&mut self, group: Vec<Request>) -> bool {
        let (mut puts, mut kills, mut absent) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = None;
        for request in group {
            match request {
                Request::Put(waiting) => {
                    let Some(put) = waiting.slot.lock().take() else { continue };
                    match self.check(&put.header, &puts) {
                        Ok(()) => puts.push(put),
                        Err(error) => answer(put.reply, Err(error)),
                    }
                }
                Request::Delete { id, reply } => match self.find(&id) {
                    Ok(Some(found)) => kills.push(Kill::of(id, found, reply)),
                    Ok(None) => match self.segments.doubtful(&id) {
                        Some(found) => kills.push(Kill::of(id, found, reply)),
                        None => absent.push(reply),
                    },
                    Err(error) => answer(reply, Err(error)),
                },
                Request::Close { reply } => last = last.or(Some(Some(reply))),
                Request::Stop => last = last.or(Some(None)),
            }
        }
        let outcome = self.commit(puts, kills);
        for reply in absent {
            answer(reply, outcome.clone().map(|()| false));
        }
        if let Some(Some(reply)) = last {
            self.seal();
            answer(reply, ());
            return true;
        }
        last.is_some()
    }

    fn check(&self, header: &ShardHeader, staged: &[Put]) -> Result<(), ShardError> {
        if self.drive.is_lost() {
            return Err(self.drive.away());
        }
        if self.drive.is_suspect() {
            return Err(self.drive.suspected());
        }
        let is_staged = staged.iter().any(|put| put.header.id == header.id);
        if is_staged || self.find(&header.id)?.is_some() {
            return Err(ShardError::Misuse(header.id));
        }
        Ok(())
    }

    fn find(&self, id: &ShardId) -> Result<Option<Found>, ShardError> {
        match self.segments.find(id, true) {
            // What was in a file that is gone is gone.
            Err(Trouble::Missing) => Ok(None),
            found => found.map_err(|trouble| trouble.into_error(id)),
        }
    }

    /// Makes a group durable and answers it: all of it, or nothing.
    fn commit(&mut self, puts: Vec<Put>, kills: Vec<Kill>) -> Result<(), ShardError> {
        match self.write(&puts, &kills) {
            Ok(entries) => {
                for (put, entry) in puts.into_iter().zip(entries) {
                    put.room.spent();
                    self.drive.count(record_bytes(&entry));
                    drop(put.permit);
                    answer(put.reply, Ok(()));
                }
                self.bury(kills);
                Ok(())
            }
            Err(error) => {
                for put in puts {
                    answer(put.reply, Err(error.clone()));
                }
                for reply in kills.into_iter().filter_map(|kill| kill.reply) {
                    answer(reply, Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Writes a group and syncs once; from then on its shards are in the index. The entries of the puts.
    fn write(&mut self, puts: &[Put], kills: &[Kill]) -> Result<Vec<IndexEntry>, ShardError> {
        if puts.is_empty() && kills.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.try_write(puts, kills)? {
            return Ok(entries);
        }
        // The file was removed, replaced or cut by somebody else; what follows goes to a new one.
        let entries = self.try_write(puts, kills)?;
        entries.ok_or_else(|| self.drive.displaced(&segments_dir(&self.drive.dir)))
    }

    /// `None` when the open segment's file turned out to be another's or nobody's: it is not used again.
    fn try_write(
        &mut self,
        puts: &[Put],
        kills: &[Kill],
    ) -> Result<Option<Vec<IndexEntry>>, ShardError> {
        let is_full = |open: &Open| {
            open.end >= self.drive.options.segment_bytes || open.records >= SEGMENT_RECORDS
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.seal();
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let group = Group::new(&open, puts, kills);
        let path = segment_path(&self.drive.dir, open.segment.number());
        match write_group(&open, &path, &group.buffers(puts)) {
            Ok(true) => {
                if let Err(error) = self.drive.check_in_place() {
                    self.abandon(open, group.entries);
                    return Err(error);
                }
            }
            Ok(false) => {
                self.abandon(open, group.entries);
                self.drive.check_in_place()?;
                tracing::error!(
                    drive = %self.drive.id, path = %path.display(),
                    "the open segment was removed, replaced or cut; what was in it is lost"
                );
                return Ok(None);
            }
            Err((call, error)) => {
                // What of the group is in the file, nobody knows; it is not written to again.
                self.abandon(open, group.entries);
                return Err(self.drive.write_failed(call, &path, &error));
            }
        }
        open.end += group.len;
        open.records += group.records;
        for kill in kills {
            open.dead.push(kill.dead);
            open.segment.add_victim(kill.dead.segment);
        }
        group.entries.iter().for_each(|entry| open.segment.insert(*entry));
        self.open = Some(open);
        Ok(Some(group.entries))
    }

    /// Appends no more to `open`, into which a group with these entries may have gone or not.
    fn abandon(&self, open: Open, entries: Vec<IndexEntry>) {
        self.leave(&open);
        self.segments.doubt(&open.segment, entries);
    }

    /// After the delete records are durable: marks the shards dead, answers, and gives their room back.
    fn bury(&mut self, kills: Vec<Kill>) {
        let mut holes = Vec::new();
        let mut some_empty = false;
        for kill in kills {
            let Some(target) = kill.target else { continue };
            let was_live = target.segment.kill(target.entry.number);
            if was_live {
                self.drive.uncount(record_bytes(&target.entry));
            }
            some_empty |= target.segment.live() == 0;
            if let Some(reply) = kill.reply {
                answer(reply, Ok(was_live));
            }
            holes.push(target);
        }
        if some_empty {
            self.retire();
        }
        for hole in holes {
            self.punch(&hole);
        }
        self.drive.gave_back();
    }

    fn punch(&self, hole: &Found) {
        let from = hole.entry.offset.next_multiple_of(HOLE_BYTES);
        let end = hole.entry.offset.saturating_add(record_bytes(&hole.entry));
        let len = (end - end % HOLE_BYTES).saturating_sub(from);
        if len == 0 || self.segments.get(hole.segment.number()).is_none() {
            return;
        }
        let path = segment_path(&self.drive.dir, hole.segment.number());
        let punched = self.drive.disk.open(&path, true).and_then(|f| f.punch_hole(from, len));
        match punched {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                // Room is lost until the segment goes, and nothing else.
                tracing::warn!(drive = %self.drive.id, path = %path.display(), %error, "no hole punched");
            }
            _ => {}
        }
    }

    /// Removes the segments in which nothing is needed, older ones first: a delete record goes only when the
    /// file with the record that it killed is durably gone.
    fn retire(&mut self) {
        let dir = segments_dir(&self.drive.dir);
        loop {
            let exists = |number| self.segments.get(number).is_some();
            let mut needless = self.segments.closed();
            needless.retain(|segment| segment.is_needless(exists));
            if needless.is_empty() {
                return;
            }
            for segment in &needless {
                let path = segment_path(&self.drive.dir, segment.number());
                match self.drive.disk.remove(&path) {
                    // An earlier attempt got as far as this, and no further.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "segment not removed");
                        return;
                    }
                    Ok(()) => {}
                }
            }
            if let Err(error) = self.drive.disk.sync_dir(&dir) {
                self.drive.write_failed("sync", &dir, &error);
                return;
            }
            for segment in &needless {
                self.segments.remove(segment.number());
                self.cache.remove(&Key::Segment(segment.number()));
            }
        }
    }

    /// Makes a new segment, durably.
    fn create(&mut self) -> Result<Open, ShardError> {
        // Another drive may stand there now.
        self.drive.check_in_place()?;
        let number = self.next;
        self.next += 1;
        let (dir, path) = (segments_dir(&self.drive.dir), segment_path(&self.drive.dir, number));
        let salt = self.drive.runtime.entropy.nonzero_u64();
        let header =
            codec::encode_segment_header(&SegmentHeader { drive: self.drive.id, number, salt });
        let make = || {
            let file = self.drive.disk.create(&path).map_err(|e| ("create", e))?;
            file.write_at(&[IoSlice::new(&header)], 0).map_err(|e| ("write", e))?;
            file.sync().map_err(|e| ("sync", e))?;
            self.drive.disk.sync_dir(&dir).map_err(|e| ("sync", e))?;
            Ok(file)
        };
        let file = make().map_err(|(call, error): (_, io::Error)| {
            let _ = self.drive.disk.remove(&path);
            self.drive.write_failed(call, &path, &error)
        })?;
        let segment = Arc::new(Segment::unsealed(number, salt, BTreeMap::new()));
        self.segments.set_open(segment.clone());
        Ok(Open { segment, file, end: SEGMENT_RECORDS_OFFSET, records: 0, dead: Vec::new() })
    }

    /// Seals the open segment, if there is one. If that fails, its index stays in memory.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (bytes, index, ranges) = seal_bytes(self.drive.id, &open.segment, open.end, &open.dead);
        let written = open
            .file
            .write_at(&[IoSlice::new(&bytes)], open.end)
            .map_err(|error| ("write", error))
            .and_then(|()| open.file.sync().map_err(|error| ("sync", error)));
        match written {
            Ok(()) => open.segment.set_index(index),
            Err((call, error)) => {
                let path = segment_path(&self.drive.dir, open.segment.number());
                open.segment.leave();
                self.drive.write_failed(call, &path, &error);
            }
        }
        self.segments.add_closed(open.segment, &ranges);
    }

    /// Appends no more to `open`; what is durable in it stays readable.
    fn leave(&self, open: &Open) {
        open.segment.leave();
        let ids: Vec<ShardId> = open.segment.entries().iter().map(|e| e.header.id).collect();
        self.segments.add_closed(open.segment.clone(), &ranges(ids.iter()));
    }
}

/// Writes a group behind what is there, and syncs. Whether it is where it will be looked for: in a file that has
/// kept its length and its name.
fn write_group(
    open: &Open,
    path: &Path,
    buffers: &[IoSlice<'_>],
) -> Result<bool, (&'static str, io::Error)> {
    if open.file.len().map_err(|error| ("measure", error))? != open.end {
        return Ok(false);
    }
    open.file.write_at(buffers, open.end).map_err(|error| ("write", error))?;
    open.file.sync().map_err(|error| ("sync", error))?;
    open.file.is_at(path).map_err(|error| ("look for", error))
}

impl Request {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(waiting) => waiting.stored_len,
            Self::Delete { .. } | Self::Close { .. } | Self::Stop => RECORD_HEADER_BYTES as u64,
        }
    }
}

impl Kill {
    fn of(id: ShardId, target: Found, reply: oneshot::Sender<Result<bool, ShardError>>) -> Self {
        let dead = DeadRecord {
            segment: target.segment.number(),
            number: target.entry.number,
            bytes: u32::try_from(record_bytes(&target.entry)).unwrap_or(u32::MAX),
        };
        Self { id, dead, target: Some(target), reply: Some(reply) }
    }
}

/// A caller that has gone away needs no answer.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}

/// The bytes of a group, apart from the payloads.
struct Group {
    entries: Vec<IndexEntry>,
    headers: Vec<[u8; RECORD_HEADER_BYTES]>,
    checksums: Vec<[u8; 8]>,
    paddings: Vec<usize>,
    records: u32,
    len: u64,
}

impl Group {
    fn new(open: &Open, puts: &[Put], kills: &[Kill]) -> Self {
        let mut group = Self {
            entries: Vec::with_capacity(puts.len()),
            headers: Vec::with_capacity(puts.len() + kills.len()),
            checksums: Vec::new(),
            paddings: Vec::new(),
            records: 0,
            len: 0,
        };
        for put in puts {
            let offset = group.add(open, RecordBody::Shard(put.header));
            let number = open.records + group.records - 1;
            group.entries.push(IndexEntry { header: put.header, number, offset });
            group.checksums.extend(put.frames.iter().map(|f| f.checksum.to_le_bytes()));
            let stored = put.header.stored_len();
            group.paddings.push((codec::padded(stored) - stored) as usize);
        }
        for kill in kills {
            let DeadRecord { segment, number, bytes } = kill.dead;
            let bytes = u64::from(bytes);
            group.add(open, RecordBody::Delete { id: kill.id, segment, number, bytes });
        }
        group
    }

    /// Adds a record's header; where it will be.
    fn add(&mut self, open: &Open, body: RecordBody) -> u64 {
        let offset = open.end + self.len;
        let number = open.records + self.records;
        let record = Record { segment: open.segment.number(), offset, number, body };
        self.headers.push(codec::encode_record(&record, open.segment.salt()));
        self.records += 1;
        self.len += record.disk_len().unwrap_or(0);
        offset
    }

    /// All bytes in the order of the file.
    fn buffers<'a>(&'a self, puts: &'a [Put]) -> Vec<IoSlice<'a>> {
        const ZEROES: [u8; 8] = [0; 8];
        let mut buffers = Vec::with_capacity(self.headers.len() + 2 * self.checksums.len());
        let (mut headers, mut checksums) = (self.headers.iter(), self.checksums.iter());
        for (put, padding) in puts.iter().zip(&self.paddings) {
            buffers.extend(headers.next().map(|header| IoSlice::new(header)));
            for (frame, checksum) in put.frames.iter().zip(&mut checksums) {
                buffers.push(IoSlice::new(&frame.payload));
                buffers.push(IoSlice::new(checksum));
            }
            buffers.extend(ZEROES.get(..*padding).map(IoSlice::new));
        }
        buffers.extend(headers.map(|header| IoSlice::new(header)));
        buffers
    }
}

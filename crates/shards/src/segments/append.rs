//! The one thread that writes a drive's segments: it takes everything that is queued, writes it in one pass,
//! syncs once, and answers all.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::Mutex;
use runtime::disk::File;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::group::{Group, Tail};
use super::segment::{ranges, record_bytes};
use super::{Found, Segment, Segments, seal_bytes, segment_path, segments_dir};
use crate::cache::{Key, OpenFiles, Trouble};
use crate::codec::{
    self, DeadRecord, IndexEntry, RECORD_HEADER_BYTES, SegmentHeader, SessionRange,
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
    /// Compaction is about to copy these into `target`, behind `tail`: from now on their deletes count for the copies,
    /// too. Which of them are still there, and where each copy has to be.
    Expect { target: Arc<Segment>, tail: Tail, from: Vec<Found>, reply: oneshot::Sender<Vec<Move>> },
    /// The copies are durable: they replace the originals. Also records deletes again, and removes segments that
    /// nobody needs.
    Adopt {
        target: Option<Arc<Segment>>,
        moves: Vec<Move>,
        deletes: Vec<(ShardId, DeadRecord)>,
        reply: oneshot::Sender<Result<(), ShardError>>,
    },
    /// Seals the open segment and ends the thread.
    Close { reply: oneshot::Sender<()> },
    /// Ends the thread.
    Stop,
}

/// A shard that is copied to another segment.
pub(crate) struct Move {
    pub(crate) from: Found,
    /// Where the copy is.
    pub(crate) to: IndexEntry,
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
    /// Removing a segment's file has failed in a way that nobody knows whether it is there.
    retires_no_more: bool,
}

struct Open {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    tail: Tail,
    dead: Vec<DeadRecord>,
}

impl Appender {
    pub(crate) fn new(drive: Arc<Drive>, segments: Arc<Segments>, cache: Arc<OpenFiles>) -> Self {
        Self { drive, segments, cache, open: None, retires_no_more: false }
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
        let (mut expects, mut adopts) = (Vec::new(), Vec::new());
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
                Request::Delete { id, reply } => match self.segments.find_all(&id) {
                    Ok(found) if found.is_empty() => absent.push(reply),
                    Ok(found) => {
                        let mut reply = Some(reply);
                        kills.extend(found.into_iter().map(|f| Kill::of(id, f, reply.take())));
                    }
                    Err(error) => answer(reply, Err(error)),
                },
                Request::Expect { target, tail, from, reply } => {
                    expects.push((target, tail, from, reply));
                }
                Request::Adopt { target, moves, deletes, reply } => {
                    adopts.push((target, moves, deletes, reply));
                }
                Request::Close { reply } => last = last.or(Some(Some(reply))),
                Request::Stop => last = last.or(Some(None)),
            }
        }
        let outcome = self.commit(puts, kills);
        for reply in absent {
            answer(reply, outcome.clone().map(|()| false));
        }
        // After the deletes of this group: what they kill is not copied.
        for (target, tail, from, reply) in expects {
            answer(reply, self.expect(&target, tail, from));
        }
        for (target, moves, deletes, reply) in adopts {
            answer(reply, self.adopt(target.as_deref(), moves, &deletes));
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
        if self.open.as_ref().is_some_and(|open| is_full(&self.drive, open.tail)) {
            self.seal();
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let shards = puts.iter().map(|put| (&put.header, &put.frames[..]));
        let deletes = kills.iter().map(|kill| (kill.id, kill.dead));
        let group = Group::new(&open.segment, open.tail, shards, deletes);
        let path = segment_path(&self.drive.dir, open.segment.number());
        let frames = puts.iter().map(|put| &put.frames[..]);
        match group.write(&*open.file, &path, open.tail, frames) {
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
        open.tail = group.tail(open.tail);
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
            let bytes = record_bytes(&target.entry);
            let was_live = target.segment.kill(target.entry.number, bytes);
            if was_live {
                self.drive.uncount(bytes);
            }
            self.segments.settled(&kill.id);
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
    pub(crate) fn retire(&mut self) {
        if self.retires_no_more {
            return;
        }
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
                // Whether they are gone, no later sync can tell, so the deletes in other segments are needed.
                self.retires_no_more = true;
                self.drive.write_failed("sync", &dir, &error);
                return;
            }
            for segment in &needless {
                self.segments.remove(segment.number());
                self.cache.remove(&Key::Segment(segment.number()));
            }
        }
    }

    fn create(&self) -> Result<Open, ShardError> {
        let (segment, file) = create(&self.drive, &self.segments)?;
        self.segments.set_open(segment.clone());
        Ok(Open { segment, file, tail: Tail::START, dead: Vec::new() })
    }

    /// Seals the open segment, if there is one. If that fails, its index stays in memory.
    fn seal(&mut self) {
        let Some(open) = self.open.take() else { return };
        let ranges = seal(&self.drive, &open.segment, &*open.file, open.tail, &open.dead);
        self.segments.add_closed(open.segment, &ranges);
    }

    /// See [`Request::Expect`].
    fn expect(&self, target: &Arc<Segment>, mut tail: Tail, from: Vec<Found>) -> Vec<Move> {
        let mut moves = Vec::with_capacity(from.len());
        for found in from.into_iter().filter(|f| f.segment.is_live(f.entry.number)) {
            let to = IndexEntry { number: tail.records, offset: tail.end, ..found.entry };
            tail = Tail { end: tail.end + record_bytes(&to), records: tail.records + 1 };
            moves.push(Move { from: found, to });
        }
        self.segments.doubt(target, moves.iter().map(|one| one.to).collect());
        moves
    }

    /// See [`Request::Adopt`]. What was deleted since the copies were expected stays deleted: those deletes count
    /// for both.
    fn adopt(
        &mut self,
        target: Option<&Segment>,
        moves: Vec<Move>,
        deletes: &[(ShardId, DeadRecord)],
    ) -> Result<(), ShardError> {
        let is_live = |one: &Move| one.from.segment.is_live(one.from.entry.number);
        let moves: Vec<Move> = moves.into_iter().filter(is_live).collect();
        let dead = moves.iter().map(|one| (one.to.header.id, one.from.dead()));
        let all: Vec<_> = dead.chain(deletes.iter().copied()).collect();
        self.relog(&all)?;
        // A reader sees the copy before the original goes: see `Segments::find`.
        if let Some(target) = target {
            moves.iter().for_each(|one| target.insert(one.to));
        }
        self.segments.moved(moves.iter().map(|one| &one.to.header.id));
        for one in &moves {
            one.from.segment.kill(one.from.entry.number, record_bytes(&one.from.entry));
        }
        self.retire();
        self.drive.gave_back();
        Ok(())
    }

    /// Appends no more to `open`; what is durable in it stays readable.
    fn leave(&self, open: &Open) {
        open.segment.leave();
        let ids: Vec<ShardId> = open.segment.entries().iter().map(|e| e.header.id).collect();
        self.segments.add_closed(open.segment.clone(), &ranges(ids.iter()));
    }
}

impl Request {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(waiting) => waiting.stored_len,
            Self::Adopt { moves, deletes, .. } => {
                ((moves.len() + deletes.len()) * RECORD_HEADER_BYTES) as u64
            }
            Self::Delete { .. } | Self::Expect { .. } | Self::Close { .. } | Self::Stop => {
                RECORD_HEADER_BYTES as u64
            }
        }
    }
}

impl Kill {
    fn of(
        id: ShardId,
        target: Found,
        reply: Option<oneshot::Sender<Result<bool, ShardError>>>,
    ) -> Self {
        Self { id, dead: target.dead(), target: Some(target), reply }
    }
}

/// Whether a segment that ends here is sealed.
pub(crate) fn is_full(drive: &Drive, tail: Tail) -> bool {
    tail.end >= drive.options.segment_bytes || tail.records >= SEGMENT_RECORDS
}

/// Makes a new segment's file, durably.
pub(crate) fn create(
    drive: &Drive,
    segments: &Segments,
) -> Result<(Arc<Segment>, Box<dyn File>), ShardError> {
    // Another drive may stand there now.
    drive.check_in_place()?;
    let number = segments.next_number();
    let (dir, path) = (segments_dir(&drive.dir), segment_path(&drive.dir, number));
    let salt = drive.runtime.entropy.nonzero_u64();
    let header = codec::encode_segment_header(&SegmentHeader { drive: drive.id, number, salt });
    let make = || {
        let file = drive.disk.create(&path).map_err(|e| ("create", e))?;
        file.write_at(&[io::IoSlice::new(&header)], 0).map_err(|e| ("write", e))?;
        file.sync().map_err(|e| ("sync", e))?;
        drive.disk.sync_dir(&dir).map_err(|e| ("sync", e))?;
        Ok(file)
    };
    let file = make().map_err(|(call, error): (_, io::Error)| {
        let _ = drive.disk.remove(&path);
        drive.write_failed(call, &path, &error)
    })?;
    Ok((Arc::new(Segment::unsealed(number, salt, BTreeMap::new())), file))
}

/// Writes the footer of a segment. If that fails, its index stays in memory. What it holds.
pub(crate) fn seal(
    drive: &Drive,
    segment: &Segment,
    file: &dyn File,
    tail: Tail,
    dead: &[DeadRecord],
) -> Vec<SessionRange> {
    let (bytes, index, ranges) = seal_bytes(drive.id, segment, tail.end, dead);
    let written = file
        .write_at(&[io::IoSlice::new(&bytes)], tail.end)
        .map_err(|error| ("write", error))
        .and_then(|()| file.sync().map_err(|error| ("sync", error)));
    match written {
        Ok(()) => segment.set_index(index),
        Err((call, error)) => {
            let path = segment_path(&drive.dir, segment.number());
            segment.leave();
            drive.write_failed(call, &path, &error);
        }
    }
    ranges
}

/// A caller that has gone away needs no answer.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    let _ = reply.send(value);
}

//! Compaction: what is left of mostly dead segments, and of many small ones, is copied together into a new segment,
//! and the old files go.
//!
//! A copy is durable before the thread that writes segments records that the original is dead, and the original's
//! file goes only when that record is durable. A crash in between leaves two live records of one shard; either is
//! right, deletes count for both, and the next start drops the copy. A shard that does not verify is not copied:
//! it stays where it is, for repair.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use runtime::disk::File;
use tokio::sync::oneshot;

use crate::cache::Trouble;
use crate::codec::{self, DeadRecord, RECORD_HEADER_BYTES, Record, RecordBody};
use crate::direct::DirectReader;
use crate::frame::CHECKSUM_BYTES;
use crate::segments::{
    self, Found, Group, Move, Request, Segment, Tail, record_bytes, segment_path,
};
use crate::store::Core;
use crate::{Compacted, Frame, ShardError, ShardId};

/// Bytes that are copied and synced at once.
const PIECE_BYTES: u64 = 4 << 20;
/// Records that are copied, or deletes that are recorded again, at once.
const PIECE_RECORDS: usize = 1024;
/// So many segments of like size are worth merging into one.
const MERGE_MIN: usize = 4;
/// A segment this much smaller than a full one is small.
const SMALL_PART: u64 = 4;
/// The smallest segments, all of like size, are this much smaller than a full one.
const SMALLEST_PART: u64 = 4096;
/// Room that copying leaves on the file system, in bytes.
const SPARE_BYTES: u64 = 16 << 20;

/// Compaction under way: at most one on a drive.
#[derive(Default)]
pub(crate) struct Compactor {
    /// Segments still to be emptied.
    sources: VecDeque<Source>,
    target: Option<Target>,
}

struct Source {
    segment: Arc<Segment>,
    /// What is up to here was copied, or cannot be.
    after: Option<ShardId>,
    /// Length of its file.
    file_bytes: u64,
}

/// The segment that copies are written to.
struct Target {
    segment: Arc<Segment>,
    file: Box<dyn File>,
    path: PathBuf,
    tail: Tail,
}

/// A shard to be copied, read and verified.
struct Copy {
    found: Found,
    frames: Vec<Frame>,
}

/// Does pieces of compaction until about `budget` bytes are copied or nothing is worth it. May wait.
pub(crate) fn compact(core: &Core, budget: u64) -> Result<Compacted, ShardError> {
    let mut compactor = core.compactor.lock();
    let mut done = Compacted::default();
    if core.drive.is_suspect() {
        return Ok(done);
    }
    loop {
        if compactor.sources.is_empty() {
            compactor.finish(core)?;
            compactor.sources = choose(core);
        }
        done.more = !compactor.sources.is_empty();
        if !done.more || done.moved_bytes >= budget || !has_room(core) {
            return Ok(done);
        }
        let rest = PIECE_BYTES.min(budget - done.moved_bytes);
        match compactor.step(core, rest, &mut done.moved_bytes) {
            Ok(freed) => done.freed_bytes += freed,
            Err(error) => {
                compactor.give_up(core);
                return Err(error);
            }
        }
    }
}

fn has_room(core: &Core) -> bool {
    core.drive.space().available >= PIECE_BYTES + SPARE_BYTES.min(core.drive.space().total / 8)
}

/// Segments that are worth emptying, oldest first.
///
/// Copying a mostly dead one frees more than it writes. Small ones are merged only with others of like size, so that
/// a byte is copied once for each fourfold growth of the segment that it is in.
fn choose(core: &Core) -> VecDeque<Source> {
    let full = core.drive.options.segment_bytes;
    let exists = |number| core.segments.get(number).is_some();
    let mut chosen: BTreeMap<u64, Arc<Segment>> = BTreeMap::new();
    let mut tiers: BTreeMap<u32, Vec<Arc<Segment>>> = BTreeMap::new();
    for segment in core.segments.closed() {
        let Some(size) = segment.records_bytes() else { continue };
        if segment.is_left() || segment.is_stuck() {
            continue;
        }
        let deletes = u64::from(segment.needed_deletes(exists)) * RECORD_HEADER_BYTES as u64;
        if segment.live() > 0 && (segment.live_bytes() + deletes) * 2 < size {
            chosen.insert(segment.number(), segment);
        } else if size < full / SMALL_PART {
            let tier = (size / (full / SMALLEST_PART).max(1)).checked_ilog(4).map_or(0, |t| t + 1);
            tiers.entry(tier).or_default().push(segment);
        }
    }
    for tier in tiers.into_values().filter(|tier| tier.len() >= MERGE_MIN) {
        chosen.extend(tier.into_iter().map(|segment| (segment.number(), segment)));
    }
    let source = |segment: Arc<Segment>| {
        let path = segment_path(&core.drive.dir, segment.number());
        let file_bytes = core.drive.disk.open(&path, false).and_then(|file| file.len());
        Source { segment, after: None, file_bytes: file_bytes.unwrap_or(0) }
    };
    chosen.into_values().map(source).collect()
}

impl Compactor {
    /// Copies some shards of the first source; when none is left, its deletes are recorded again and the source is
    /// done. Adds to `moved`; bytes of files that went.
    fn step(&mut self, core: &Core, bytes: u64, moved: &mut u64) -> Result<u64, ShardError> {
        let Some(source) = self.sources.front_mut() else { return Ok(0) };
        let segment = source.segment.clone();
        let some = some_of(core, source, bytes)?;
        if some.is_empty() {
            let bytes = source.file_bytes;
            self.sources.pop_front();
            end_source(core, &segment)?;
            let is_gone = core.segments.get(segment.number()).is_none();
            return Ok(if is_gone { bytes } else { 0 });
        }
        let copies = read(core, &segment, some);
        if !copies.is_empty() {
            *moved += self.copy(core, copies)?;
        }
        Ok(0)
    }

    /// Copies these into the target. How many bytes that were.
    fn copy(&mut self, core: &Core, mut copies: Vec<Copy>) -> Result<u64, ShardError> {
        if self.target.as_ref().is_some_and(|target| segments::is_full(&core.drive, target.tail)) {
            self.seal_target(core);
        }
        if self.target.is_none() {
            self.target = Some(Target::create(core)?);
        }
        let Some(target) = &mut self.target else { return Ok(0) };
        let (segment, tail) = (target.segment.clone(), target.tail);
        let moves = ask(core, |reply| {
            let from = copies.iter().map(|copy| copy.found.clone()).collect();
            Request::Expect { target: segment.clone(), tail, from, reply }
        })?;
        // What was deleted meanwhile is not among them.
        let mut left = moves.iter().peekable();
        copies.retain(|copy| {
            left.next_if(|one| one.to.header.id == copy.found.entry.header.id).is_some()
        });
        target.write(core, &copies, &moves)?;
        let bytes = moves.iter().map(|one| record_bytes(&one.to)).sum();
        adopt(core, Some(segment), moves, Vec::new())?;
        Ok(bytes)
    }

    /// A call failed. What was copied and not adopted is in doubt, so its file is not written to again.
    fn give_up(&mut self, core: &Core) {
        self.sources.clear();
        if let Some(Target { segment, .. }) = self.target.take() {
            segment.leave();
            let ids: Vec<ShardId> = segment.entries().iter().map(|e| e.header.id).collect();
            core.segments.add_closed(segment, &segments::ranges(ids.iter()));
        }
    }

    /// Seals the target, if there is one, and has it removed if nothing in it is live.
    fn finish(&mut self, core: &Core) -> Result<(), ShardError> {
        if self.target.is_none() {
            return Ok(());
        }
        self.seal_target(core);
        adopt(core, None, Vec::new(), Vec::new())
    }

    /// Writes the target's footer, if there is one: nothing more will be copied to it.
    pub(crate) fn seal_target(&mut self, core: &Core) {
        if let Some(target) = self.target.take() {
            let Target { segment, file, tail, .. } = target;
            let ranges = segments::seal(&core.drive, &segment, &*file, tail, &[]);
            core.segments.add_closed(segment, &ranges);
        }
    }
}

impl Target {
    fn create(core: &Core) -> Result<Self, ShardError> {
        let (segment, file) = segments::create(&core.drive, &core.segments)?;
        core.segments.set_target(segment.clone());
        let path = segment_path(&core.drive.dir, segment.number());
        Ok(Self { segment, file, path, tail: Tail::START })
    }

    /// Writes copies where they are expected, durably.
    fn write(&mut self, core: &Core, copies: &[Copy], moves: &[Move]) -> Result<(), ShardError> {
        let shards = copies.iter().map(|copy| (&copy.found.entry.header, &copy.frames[..]));
        let group = Group::new(&self.segment, self.tail, shards, std::iter::empty());
        debug_assert!(group.entries.iter().eq(moves.iter().map(|one| &one.to)));
        let frames = copies.iter().map(|copy| &copy.frames[..]);
        let drive = &core.drive;
        match group.write(&*self.file, &self.path, self.tail, frames) {
            Ok(true) => drive.check_in_place()?,
            Ok(false) => return Err(drive.displaced(&self.path)),
            Err((call, error)) => return Err(drive.write_failed(call, &self.path, &error)),
        }
        let tail = group.tail(self.tail);
        drive.wrote(tail.end - self.tail.end);
        self.tail = tail;
        Ok(())
    }
}

/// The next live shards of a source, about `bytes` of them, in the order of the file.
fn some_of(core: &Core, source: &mut Source, bytes: u64) -> Result<Vec<Found>, ShardError> {
    let segment = &source.segment;
    let entries = match segment.list(source.after.as_ref(), PIECE_RECORDS, &core.segments) {
        Ok(entries) => entries,
        Err(Trouble::Gone) => Vec::new(),
        Err(Trouble::Shard(error)) => {
            segment.set_stuck();
            return Err(error);
        }
        Err(Trouble::Missing | Trouble::WouldBlock) => {
            segment.set_stuck();
            Vec::new()
        }
    };
    let (mut some, mut sum) = (Vec::new(), 0);
    for entry in entries {
        if !some.is_empty() && sum >= bytes {
            break;
        }
        sum += record_bytes(&entry);
        source.after = Some(entry.header.id);
        some.push(Found { segment: segment.clone(), entry });
    }
    some.sort_by_key(|found| found.entry.offset);
    Ok(some)
}

/// Reads shards of one segment and leaves out those that do not verify; the segment is stuck with these.
fn read(core: &Core, segment: &Segment, some: Vec<Found>) -> Vec<Copy> {
    let (mut copies, path) = (Vec::new(), segment_path(&core.drive.dir, segment.number()));
    let file = match core.drive.disk.open(&path, false) {
        Ok(file) => file,
        Err(error) => {
            core.drive.read_failed(&path, 0, &error);
            segment.set_stuck();
            return copies;
        }
    };
    let mut reader = DirectReader::new();
    reader.begin(&*file);
    let ends = some.iter().map(|f| f.entry.offset.saturating_add(record_bytes(&f.entry)));
    let until = ends.max().unwrap_or(0);
    for found in some {
        match read_one(&mut reader, &*file, &found, until) {
            Some(frames) => copies.push(Copy { found, frames }),
            // A hole, when it was deleted meanwhile.
            None if !segment.is_live(found.entry.number) => {}
            None => {
                let id = found.entry.header.id;
                tracing::warn!(path = %path.display(), ?id, "a damaged shard is not moved");
                segment.set_stuck();
            }
        }
    }
    copies
}

fn read_one(
    reader: &mut DirectReader,
    file: &dyn File,
    found: &Found,
    until: u64,
) -> Option<Vec<Frame>> {
    let (entry, segment) = (&found.entry, &found.segment);
    let body = RecordBody::Shard(entry.header);
    let (number, offset) = (entry.number, entry.offset);
    let expected = Record { segment: segment.number(), offset, number, body };
    let header = reader.get(file, offset, RECORD_HEADER_BYTES, until).ok()?;
    (codec::decode_record(header, segment.salt()) == Ok(expected)).then_some(())?;
    let (mut frames, mut at) = (Vec::new(), entry.frames_offset());
    for number in 0..entry.header.frames() {
        let len = entry.header.frame_len(number) + CHECKSUM_BYTES;
        let bytes = reader.get(file, at, len, until).ok()?;
        let (payload, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let payload = Bytes::copy_from_slice(payload);
        let frame = Frame { payload, checksum: u64::from_le_bytes(*sum) };
        frame.verifies(&entry.header.id, number).then_some(())?;
        frames.push(frame);
        at = at.saturating_add(len as u64);
    }
    Some(frames)
}

/// A segment whose live shards are all copied: its deletes are recorded elsewhere, and it goes.
fn end_source(core: &Core, segment: &Arc<Segment>) -> Result<(), ShardError> {
    let exists = |number: u64| number != segment.number() && core.segments.get(number).is_some();
    let path = segment_path(&core.drive.dir, segment.number());
    if segment.live() > 0 {
        segment.set_stuck();
        return Ok(());
    }
    if segment.needed_deletes(exists) > 0 {
        let Some(mut deletes) = deletes_of(core, segment, &path) else {
            segment.set_stuck();
            return Ok(());
        };
        deletes.retain(|(_, dead)| exists(dead.segment));
        for some in deletes.chunks(PIECE_RECORDS) {
            adopt(core, None, Vec::new(), some.to_vec())?;
        }
        segment.forget_deletes();
    }
    adopt(core, None, Vec::new(), Vec::new())
}

/// The delete records of a segment; `None` when they cannot all be read.
fn deletes_of(
    core: &Core,
    segment: &Segment,
    path: &std::path::Path,
) -> Option<Vec<(ShardId, DeadRecord)>> {
    let scan = core.drive.disk.open(path, false).and_then(|file| {
        segments::scan(&*file, segment.number(), segment.salt(), segments::Trust::Headers)
    });
    match scan {
        Ok(scan) => {
            let all = segment.needed_deletes(|_| true) as usize;
            (scan.deletes.len() >= all).then_some(scan.deletes)
        }
        Err(error) => {
            core.drive.read_failed(path, 0, &error);
            None
        }
    }
}

fn adopt(
    core: &Core,
    target: Option<Arc<Segment>>,
    moves: Vec<Move>,
    deletes: Vec<(ShardId, DeadRecord)>,
) -> Result<(), ShardError> {
    ask(core, |reply| Request::Adopt { target, moves, deletes, reply })?
}

/// Asks the thread that writes segments, and waits.
fn ask<T>(
    core: &Core,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> Result<T, ShardError> {
    let (reply, answer) = oneshot::channel();
    core.queue.send(request(reply)).map_err(|_| core.drive.away())?;
    answer.blocking_recv().map_err(|_| core.drive.away())
}

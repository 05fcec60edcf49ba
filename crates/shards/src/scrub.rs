//! Looking at what a drive holds as it stands on the disk: [`scrub`] reads every byte, [`presence`] what tells
//! whether a copy is there. Files are opened by their paths and never taken from the cache of open ones, which
//! would not notice that one was removed, cut or replaced. Not here: what is done about damage.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use runtime::disk::File;

use crate::cache::{ReadFailure, Trouble};
use crate::codec::{self, RECORD_HEADER_BYTES, Record, RecordBody, SEGMENT_RECORDS_OFFSET};
use crate::direct::DirectReader;
use crate::drive::Drive;
use crate::files;
use crate::frame::{self, CHECKSUM_BYTES};
use crate::segments::{self, Found, Segment, segment_path};
use crate::store::Core;
use crate::{Presence, ScrubBudget, ScrubSlice, Scrubbed, ShardError, ShardHeader, ShardId};

/// Shards of one slice, whatever the budget.
const SHARDS_MAX: usize = 65_536;

/// What lies between two shards is read, too, when it is shorter.
const GAP_BYTES: u64 = 64 * 1024;

/// After so many reads of one shard have failed, what is left of it is not tried.
const FAILURES_MAX: usize = 4;

/// A look at a shard.
enum Seen {
    Shard(Scrubbed),
    /// It is not there, and need not be: it was deleted.
    Gone,
}

/// Verifies shards behind `after`, from the disk. May wait.
pub(crate) fn scrub(
    core: &Core,
    after: Option<ShardId>,
    budget: ScrubBudget,
) -> Result<ScrubSlice, ShardError> {
    if after.is_none() {
        core.files.find_dirs()?;
    }
    let limit = budget.shards.clamp(1, SHARDS_MAX);
    let mut small = core.segments.list(after.as_ref(), limit)?;
    let large = core.files.names(after.as_ref(), limit)?;
    let mut ids: Vec<ShardId> = small.keys().copied().chain(large).collect();
    ids.sort_unstable();
    ids.dedup();
    let is_last = ids.len() < limit;
    ids.truncate(limit);

    let mut reader = DirectReader::new();
    let mut seen: BTreeMap<ShardId, Scrubbed> = BTreeMap::new();
    let mut chosen: Vec<Found> = Vec::new();
    let (mut next, mut bytes, all) = (None, 0, ids.len());
    for (n, id) in ids.into_iter().enumerate() {
        if n > 0 && bytes + reader.bytes >= budget.bytes {
            break;
        }
        next = if is_last && n + 1 == all { None } else { Some(id) };
        match small.remove(&id) {
            Some(found) => {
                bytes += found.entry.header.stored_len();
                chosen.push(found);
            }
            None => {
                if let Seen::Shard(shard) = verify_file(core, &mut reader, &id) {
                    seen.insert(id, shard);
                }
            }
        }
    }
    verify_records(core, &mut reader, chosen, &mut seen)?;
    let bytes = reader.bytes + check_indexes(core, after, next);
    Ok(ScrubSlice { seen: seen.into_values().collect(), next, bytes })
}

/// Checks the footers of the segments whose lowest shard is behind `after` and up to `next`, so that each is looked
/// at once in a pass. Bytes read.
fn check_indexes(core: &Core, after: Option<ShardId>, next: Option<ShardId>) -> u64 {
    let mut bytes = 0;
    for segment in core.segments.closed() {
        let is_due = match segment.bounds() {
            None => after.is_none(),
            Some((first, _)) => after.is_none_or(|a| first > a) && next.is_none_or(|n| first <= n),
        };
        if is_due {
            // What failed is in the log, and says nothing of the shards.
            bytes += segments::check(&core.segments, &segment).unwrap_or_default();
        }
    }
    bytes
}

/// Verifies shards in segments, file by file and in the order in which they stand there.
fn verify_records(
    core: &Core,
    reader: &mut DirectReader,
    mut chosen: Vec<Found>,
    seen: &mut BTreeMap<ShardId, Scrubbed>,
) -> Result<(), ShardError> {
    chosen.sort_by_key(|found| (found.segment.number(), found.entry.offset));
    for run in chosen.chunk_by(|a, b| a.segment.number() == b.segment.number()) {
        let Some(segment) = run.first().map(|found| found.segment.clone()) else { continue };
        let file = open_segment(&core.drive, &segment);
        if let Some(file) = &file {
            reader.begin(&**file);
        }
        for (found, until) in run.iter().zip(read_ahead(run)) {
            let verified = verify_record(&core.drive, reader, file.as_deref(), found, until);
            if verified.is_whole() {
                seen.insert(verified.id, verified);
            } else if let Seen::Shard(shard) = confirm(core, found, verified)? {
                seen.insert(shard.id, shard);
            }
        }
    }
    Ok(())
}

/// How far to read on at each shard of a run: to the end of those that follow each other.
fn read_ahead(run: &[Found]) -> Vec<u64> {
    let mut ends: Vec<u64> = run.iter().map(end_of).collect();
    for n in (1..run.len()).rev() {
        if run[n].entry.offset.saturating_sub(ends[n - 1]) < GAP_BYTES {
            ends[n - 1] = ends[n];
        }
    }
    ends
}

fn end_of(found: &Found) -> u64 {
    found.entry.frames_offset().saturating_add(found.entry.header.stored_len())
}

/// A shard that was deleted or moved while it was read is not damaged.
fn confirm(core: &Core, found: &Found, verified: Scrubbed) -> Result<Seen, ShardError> {
    if found.segment.is_live(found.entry.number) {
        return Ok(Seen::Shard(verified));
    }
    let moved = match core.segments.find(&verified.id, true) {
        Ok(Some(moved)) => moved,
        Ok(None) | Err(Trouble::Gone | Trouble::WouldBlock) => return Ok(Seen::Gone),
        Err(Trouble::Missing) => return Ok(Seen::Shard(verified)),
        Err(Trouble::Shard(error)) => return Err(error),
    };
    let file = open_segment(&core.drive, &moved.segment);
    let mut reader = DirectReader::new();
    let until = end_of(&moved);
    Ok(Seen::Shard(verify_record(&core.drive, &mut reader, file.as_deref(), &moved, until)))
}

/// The segment's file as its path leads to it now; `None` when it is gone, is another's or cannot be opened.
fn open_segment(drive: &Drive, segment: &Segment) -> Option<Box<dyn File>> {
    let path = segment_path(&drive.dir, segment.number());
    let open = || -> io::Result<(Box<dyn File>, Vec<u8>)> {
        let file = drive.disk.open(&path, false)?;
        let len = file.len()?.min(SEGMENT_RECORDS_OFFSET);
        let head = file.read_vec(len as usize, 0, true)?;
        Ok((file, head))
    };
    match open() {
        Ok((file, head)) => {
            // With both copies damaged the records must speak for themselves.
            let is_other = codec::decode_segment_header(&head).is_ok_and(|header| {
                (header.drive, header.number, header.salt)
                    != (drive.id, segment.number(), segment.salt())
            });
            (!is_other).then_some(file)
        }
        Err(error) => {
            drive.read_failed(&path, 0, &error);
            None
        }
    }
}

fn verify_record(
    drive: &Drive,
    reader: &mut DirectReader,
    file: Option<&dyn File>,
    found: &Found,
    until: u64,
) -> Scrubbed {
    let (id, entry) = (found.entry.header.id, &found.entry);
    let lost = Scrubbed { id, header: None, damaged: Vec::new() };
    let Some(file) = file else { return lost };
    let (number, offset) = (entry.number, entry.offset);
    let body = RecordBody::Shard(entry.header);
    let expected = Record { segment: found.segment.number(), offset, number, body };
    let path = segment_path(&drive.dir, found.segment.number());
    let record = match reader.get(file, offset, RECORD_HEADER_BYTES, until) {
        Ok(bytes) => codec::decode_record(bytes, found.segment.salt()).ok(),
        Err(ReadFailure::Failed(error)) => {
            drive.read_failed(&path, offset, &error);
            None
        }
        Err(ReadFailure::Short | ReadFailure::WouldBlock) => None,
    };
    if record != Some(expected) {
        return lost;
    }
    let frames = Frames { file, path: &path, offset: entry.frames_offset(), until };
    Scrubbed {
        id,
        header: Some(entry.header),
        damaged: frames.damaged(drive, reader, &entry.header),
    }
}

fn verify_file(core: &Core, reader: &mut DirectReader, id: &ShardId) -> Seen {
    let (drive, path) = (&core.drive, core.files.path(id));
    let file = match drive.disk.open(&path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Seen::Gone,
        Err(error) => {
            drive.read_failed(&path, 0, &error);
            return Seen::Shard(Scrubbed { id: *id, header: None, damaged: Vec::new() });
        }
    };
    reader.begin(&*file);
    let until = file.len().unwrap_or(RECORD_HEADER_BYTES as u64);
    let header = match reader.get(&*file, 0, RECORD_HEADER_BYTES, until) {
        Ok(bytes) => files::decode_header(id, bytes),
        Err(ReadFailure::Failed(error)) => {
            drive.read_failed(&path, 0, &error);
            None
        }
        Err(ReadFailure::Short | ReadFailure::WouldBlock) => None,
    };
    let damaged = header.map_or_else(Vec::new, |header| {
        let frames =
            Frames { file: &*file, path: &path, offset: RECORD_HEADER_BYTES as u64, until };
        frames.damaged(drive, reader, &header)
    });
    Seen::Shard(Scrubbed { id: *id, header, damaged })
}

/// Where frames are.
struct Frames<'a> {
    file: &'a dyn File,
    path: &'a Path,
    /// Where the first one begins.
    offset: u64,
    until: u64,
}

impl Frames<'_> {
    /// Those that do not verify.
    fn damaged(&self, drive: &Drive, reader: &mut DirectReader, header: &ShardHeader) -> Vec<u64> {
        let (mut damaged, mut at, mut failures) = (Vec::new(), self.offset, 0);
        for number in 0..header.frames() {
            if failures >= FAILURES_MAX {
                damaged.push(number);
                continue;
            }
            let len = header.frame_len(number) + CHECKSUM_BYTES;
            let is_whole = match reader.get(self.file, at, len, self.until) {
                Ok(bytes) => verifies(&header.id, number, bytes),
                Err(ReadFailure::Failed(error)) => {
                    drive.read_failed(self.path, at, &error);
                    failures += 1;
                    false
                }
                Err(ReadFailure::Short | ReadFailure::WouldBlock) => false,
            };
            if !is_whole {
                damaged.push(number);
            }
            at = at.saturating_add(len as u64);
        }
        damaged
    }
}

fn verifies(id: &ShardId, number: u64, frame: &[u8]) -> bool {
    frame.split_last_chunk::<CHECKSUM_BYTES>().is_some_and(|(payload, sum)| {
        frame::checksum(id, number, payload) == u64::from_le_bytes(*sum)
    })
}

/// Whether these copies are there. May wait.
pub(crate) fn presence(core: &Core, ids: &[ShardId]) -> Result<Vec<Presence>, ShardError> {
    // The length of each segment's file, as its path leads to it now.
    let mut lengths: HashMap<u64, Option<u64>> = HashMap::new();
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(match core.segments.find(id, true) {
            Ok(Some(place)) => {
                let number = place.segment.number();
                let len = match lengths.get(&number) {
                    Some(len) => *len,
                    None => {
                        let len = segment_len(&core.drive, &place.segment);
                        *lengths.entry(number).or_insert(len)
                    }
                };
                let is_there = len.is_some_and(|len| end_of(&place) <= len);
                // It may have been deleted or moved, and its file removed, after it was found.
                match is_there || place.segment.is_live(place.entry.number) {
                    true if is_there => Presence::Whole,
                    true => Presence::Damaged,
                    false => presence_again(core, id)?,
                }
            }
            Ok(None) | Err(Trouble::Gone | Trouble::WouldBlock) => core.files.presence(id),
            Err(Trouble::Missing | Trouble::Shard(_)) => Presence::Damaged,
        });
    }
    Ok(found)
}

fn presence_again(core: &Core, id: &ShardId) -> Result<Presence, ShardError> {
    match core.segments.find(id, true) {
        Ok(Some(_)) => Ok(Presence::Whole),
        Ok(None) | Err(Trouble::Gone | Trouble::WouldBlock) => Ok(core.files.presence(id)),
        Err(Trouble::Missing | Trouble::Shard(_)) => Ok(Presence::Damaged),
    }
}

fn segment_len(drive: &Drive, segment: &Segment) -> Option<u64> {
    let file = open_segment(drive, segment)?;
    file.len().ok()
}

//! Repairing what a sealed segment says of itself (headers, index pages, tables, trailer) from its records, which
//! are the truth. Not here: repair of shards, which takes other drives.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, IoSlice};
use std::sync::Arc;

use runtime::disk::File;

use super::segment::record_bytes;
use super::{Segment, Segments, scan, seal_bytes, segment_path};
use crate::cache::Trouble;
use crate::codec::{
    self, DeadRecord, FooterTables, IndexEntry, PAGE_BYTES, SEGMENT_RECORDS_OFFSET, SegmentHeader,
    TRAILER_BYTES, Trailer, Undecodable,
};
use crate::drive::Drive;
use crate::{ShardError, ShardId};

/// Where the pages of an index are: the first one's offset, and how many.
pub(super) type Pages = (u64, usize);

/// Whose file it is that stands under a segment's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The segment's own. `damaged`: which of the two copies of its header do not verify.
    Ours { damaged: [bool; 2] },
    /// It says that it is another segment.
    Foreign,
}

/// Everything that can be told of a segment from its file.
pub(super) struct Gathered {
    /// Its shards, the dead ones too.
    pub(super) entries: BTreeMap<ShardId, IndexEntry>,
    dead: Vec<DeadRecord>,
    /// Behind all records that are known.
    end: u64,
}

/// A segment's footer as its file has it.
struct Footer {
    trailer: Option<Trailer>,
    tables: Option<FooterTables>,
    /// Whether the pages, too, are whole.
    is_whole: bool,
    bytes: u64,
}

/// Reads the headers and the footer of a segment that is not appended to, and writes them again from its records
/// if they are damaged. How many bytes were read. May wait.
pub(crate) fn check(all: &Segments, segment: &Arc<Segment>) -> Result<u64, ShardError> {
    let (drive, path) = (&*all.drive, segment_path(&all.drive.dir, segment.number()));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(drive.read_failed(&path, 0, &error)),
    };
    let file = match drive.disk.open(&path, false) {
        Ok(file) => file,
        Err(error) => return failed(error),
    };
    let look = || Ok((owner(&*file, drive, segment)?, footer(&*file, segment)?));
    let (owner, footer) = match look() {
        Ok(found) => found,
        Err(error) => return failed(error),
    };
    let Owner::Ours { damaged } = owner else {
        tracing::error!(path = %path.display(), "another segment's file stands here; it is left alone");
        return Ok(footer.bytes);
    };
    if segment.is_left() {
        return Ok(footer.bytes);
    }
    // Without a good copy of the header, only a trailer under the right salt proves whose file it is.
    if damaged == [true, false] || damaged == [false, true] || footer.trailer.is_some() {
        rewrite_headers(drive, segment, damaged)?;
    }
    let is_ours = damaged != [true, true] || footer.trailer.is_some();
    if is_ours && !(footer.is_whole && segment.pages().is_some()) {
        tracing::warn!(path = %path.display(), "the index is damaged; it is written again from the records");
        match gather(&*file, segment, segment.pages().or(footer.pages())) {
            Ok(gathered) => rewrite_footer(drive, segment, gathered, &footer)?,
            Err(error) => return failed(error),
        }
    }
    Ok(footer.bytes)
}

/// Whose file this is.
pub(super) fn owner(file: &dyn File, drive: &Drive, segment: &Segment) -> io::Result<Owner> {
    let len = file.len()?.min(SEGMENT_RECORDS_OFFSET);
    let bytes = file.read_vec(len as usize, 0, true)?;
    let ours = header(drive, segment);
    let (first, second) = bytes.split_at(bytes.len().min(SEGMENT_RECORDS_OFFSET as usize / 2));
    let is_foreign =
        |copy: &[u8]| codec::decode_segment_header(copy).is_ok_and(|header| header != ours);
    if is_foreign(first) || is_foreign(second) {
        return Ok(Owner::Foreign);
    }
    let damaged = [first, second].map(|copy| codec::decode_segment_header(copy) != Ok(ours));
    Ok(Owner::Ours { damaged })
}

fn header(drive: &Drive, segment: &Segment) -> SegmentHeader {
    SegmentHeader { drive: drive.id, number: segment.number(), salt: segment.salt() }
}

/// The trailer at the end of a segment's file of `len` bytes.
pub(super) fn read_trailer(
    file: &dyn File,
    len: u64,
    number: u64,
    salt: u64,
) -> io::Result<Result<Trailer, Undecodable>> {
    let Some(offset) = len.checked_sub(TRAILER_BYTES as u64) else {
        return Ok(Err(Undecodable::Damaged));
    };
    let trailer = codec::decode_trailer(&file.read_vec(TRAILER_BYTES, offset, true)?, salt);
    Ok(trailer.and_then(|trailer| {
        let is_sound = trailer.segment == number && trailer.fits(len);
        is_sound.then_some(trailer).ok_or(Undecodable::Damaged)
    }))
}

fn footer(file: &dyn File, segment: &Segment) -> io::Result<Footer> {
    let trailer = read_trailer(file, file.len()?, segment.number(), segment.salt())?.ok();
    let Some(trailer) = trailer else {
        return Ok(Footer { trailer: None, tables: None, is_whole: false, bytes: 0 });
    };
    let tables = file.read_vec(trailer.tables_len as usize, trailer.tables_offset, true)?;
    let tables = codec::decode_tables(&trailer, &tables).ok();
    let mut shards = 0;
    for page in 0..trailer.pages {
        let offset = trailer.pages_offset + u64::from(page) * PAGE_BYTES as u64;
        let bytes = file.read_vec(PAGE_BYTES, offset, true)?;
        shards += codec::decode_page(segment.salt(), page, &bytes).map_or(0, |page| page.len());
    }
    let is_whole = tables.is_some() && shards == trailer.shards as usize;
    let bytes = trailer.tables_offset - trailer.pages_offset + trailer.tables_len;
    Ok(Footer { trailer: Some(trailer), tables, is_whole, bytes })
}

impl Footer {
    fn pages(&self) -> Option<Pages> {
        self.trailer.map(|trailer| (trailer.pages_offset, trailer.pages as usize))
    }
}

/// Reads all record headers, and the pages that are whole: they know of shards whose own header is damaged.
pub(super) fn gather(
    file: &dyn File,
    segment: &Segment,
    pages: Option<Pages>,
) -> io::Result<Gathered> {
    let scan = scan::scan(file, segment.number(), segment.salt(), scan::Trust::Headers)?;
    let mut entries = scan.entries();
    let (pages_offset, count) = pages.unwrap_or((0, 0));
    for page in 0..count {
        let offset = pages_offset + (page * PAGE_BYTES) as u64;
        let bytes = match file.read_vec(PAGE_BYTES, offset, true) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            bytes => bytes?,
        };
        for entry in codec::decode_page(segment.salt(), page as u32, &bytes).unwrap_or_default() {
            entries.entry(entry.header.id).or_insert(entry);
        }
    }
    let ends = entries.values().map(|entry| entry.offset.saturating_add(record_bytes(entry)));
    let end = ends.fold(scan.end, u64::max);
    let dead = scan.deletes.iter().map(|(_, dead)| *dead).collect();
    Ok(Gathered { entries, dead, end })
}

/// The index of a segment in memory, from its records: the last resort when a page does not verify.
pub(super) fn rescan(all: &Segments, segment: &Segment) -> Result<(), Trouble> {
    let (number, file) = (segment.number(), all.file(segment, true)?);
    tracing::warn!(drive = %all.drive.id, segment = number, "index page damaged, scanning");
    let gathered = owner(&*file.file, &all.drive, segment).and_then(|owner| match owner {
        Owner::Ours { .. } => gather(&*file.file, segment, segment.pages()).map(Some),
        Owner::Foreign => Ok(None),
    });
    match gathered {
        Ok(Some(gathered)) => adopt(&all.drive, segment, gathered.entries),
        Ok(None) => return Err(Trouble::Missing),
        Err(error) => return Err(all.drive.read_failed(&file.path, 0, &error).into()),
    }
    Ok(())
}

/// Makes `entries` the segment's index. Live shards that are not among them are lost.
fn adopt(drive: &Drive, segment: &Segment, entries: BTreeMap<ShardId, IndexEntry>) {
    let lost = segment.set_entries(entries);
    if lost > 0 {
        tracing::error!(drive = %drive.id, segment = segment.number(), lost, "shards without a trace");
    }
    (0..lost).for_each(|_| drive.uncount(0));
}

fn rewrite_headers(drive: &Drive, segment: &Segment, damaged: [bool; 2]) -> Result<(), ShardError> {
    let bytes = codec::encode_segment_header(&header(drive, segment));
    let path = segment_path(&drive.dir, segment.number());
    let (first, second) = bytes.split_at(bytes.len() / 2);
    // One at a time, so that one is always whole.
    for (copy, offset, _) in [(first, 0, damaged[0]), (second, first.len() as u64, damaged[1])]
        .into_iter()
        .filter(|(_, _, is_damaged)| *is_damaged)
    {
        tracing::warn!(path = %path.display(), offset, "a damaged segment header is written again");
        write(drive, segment, copy, offset, None)?;
    }
    Ok(())
}

fn rewrite_footer(
    drive: &Drive,
    segment: &Segment,
    gathered: Gathered,
    old: &Footer,
) -> Result<(), ShardError> {
    let Gathered { entries, mut dead, mut end } = gathered;
    adopt(drive, segment, entries);
    let known: HashSet<(u64, u32)> = dead.iter().map(|dead| (dead.segment, dead.number)).collect();
    let more = old.tables.iter().flat_map(|tables| &tables.dead);
    dead.extend(more.filter(|dead| !known.contains(&(dead.segment, dead.number))));
    let (records_end, pages_offset) =
        old.trailer.map_or((0, 0), |trailer| (trailer.records_end, trailer.pages_offset));
    end = end.max(records_end);
    // There may be a record of which nothing is known.
    let pages_offset = pages_offset.max(segment.sealed_at());
    if end.next_multiple_of(PAGE_BYTES as u64) < pages_offset {
        end = pages_offset;
    }
    let (bytes, index, _) = seal_bytes(drive.id, segment, end, &dead);
    write(drive, segment, &bytes, end, Some(end + bytes.len() as u64))?;
    segment.set_index(index);
    Ok(())
}

/// Writes into a segment's file, which is not written to again if that fails.
fn write(
    drive: &Drive,
    segment: &Segment,
    bytes: &[u8],
    offset: u64,
    len: Option<u64>,
) -> Result<(), ShardError> {
    let path = segment_path(&drive.dir, segment.number());
    let write = || {
        let file = drive.disk.open(&path, true).map_err(|e| ("open", e))?;
        file.write_at(&[IoSlice::new(bytes)], offset).map_err(|e| ("write", e))?;
        len.map_or(Ok(()), |len| file.set_len(len)).map_err(|e| ("cut", e))?;
        file.sync().map_err(|e| ("sync", e))
    };
    write().map_err(|(call, error): (_, io::Error)| {
        segment.leave();
        drive.write_failed(call, &path, &error)
    })
}

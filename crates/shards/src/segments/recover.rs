//! What a store does with its segments when it opens: reads the footers, scans what was not sealed, and seals
//! it.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use runtime::disk::File;

use super::scan::{self, Scan, Trust};
use super::segment::{ranges, record_bytes};
use super::{
    Appender, Found, Segment, Segments, reindex, seal_bytes, segment_number, segment_path,
    segments_dir,
};
use crate::cache::OpenFiles;
use crate::codec::{self, DeadRecord, FooterTables, SEGMENT_RECORDS_OFFSET, Trailer, Undecodable};
use crate::drive::Drive;
use crate::{OpenError, ShardError, ShardId, quarantine};

/// A segment as the disk has it.
enum Loaded {
    /// Its footer is good.
    Sealed(Trailer, FooterTables),
    /// It was sealed, but the footer is damaged.
    Damaged(Scan),
    /// It was not sealed.
    Open(Scan),
    /// It has no header and no records: it was being made.
    Unfinished,
    /// Nothing in it can be told from what users wrote: why.
    Unreadable(&'static str),
    /// It is another segment's file, of this drive or another: the error if there is no other segment.
    Alien(OpenError),
}

/// A segment that has to be sealed.
struct Unsealed {
    segment: Arc<Segment>,
    end: u64,
    deletes: Vec<(ShardId, DeadRecord)>,
}

/// Loads all segments into `segments`. Returns what will append to them.
pub(crate) fn recover(
    drive: &Arc<Drive>,
    segments: &Arc<Segments>,
    cache: &Arc<OpenFiles>,
) -> Result<Appender, OpenError> {
    let dir = segments_dir(&drive.dir);
    drive.disk.create_dir_all(&dir).map_err(|e| OpenError::io("make", &dir, &e))?;
    let names = drive.disk.list(&dir).map_err(|e| OpenError::io("list", &dir, &e))?;
    let numbers = names.iter().filter_map(|entry| segment_number(&entry.name));
    let mut dead: Vec<(Arc<Segment>, DeadRecord)> = Vec::new();
    let mut unsealed: Vec<Unsealed> = Vec::new();
    let kept = quarantine::look(drive).map_err(|e| OpenError::io("list", &drive.dir, &e))?;
    kept.into_iter().for_each(|number| segments.used_number(number));
    let mut aliens: Vec<(u64, OpenError)> = Vec::new();
    for number in numbers {
        segments.used_number(number);
        if let Some(error) = load_one(drive, segments, number, &mut dead, &mut unsealed)? {
            aliens.push((number, error));
        }
    }
    for (number, error) in aliens {
        // Without any segment of its own, it is the drive's identity that may be wrong.
        if segments.closed().is_empty() {
            return Err(error);
        }
        keep(drive, number, "this is another segment's file")?;
    }
    for (owner, record) in dead {
        owner.add_victim(record.segment);
        // A new segment of that number would lose what this record kills.
        segments.used_number(record.segment);
        let (target, bytes) = (segments.get(record.segment), u64::from(record.bytes));
        if target.is_some_and(|target| target.kill(record.number, bytes)) {
            drive.uncount(bytes);
        }
    }
    let mut appender = Appender::new(drive.clone(), segments.clone(), cache.clone());
    relog(drive, segments, &mut appender, &unsealed)?;
    for item in unsealed {
        seal(drive, &item);
    }
    appender.retire();
    Ok(appender)
}

/// Shards of unsealed segments that stand in a sealed one, too: compaction had copied them and did not get as far as
/// recording that the originals are dead. The originals are durable for certain, so the copies go.
fn copies(segments: &Segments, unsealed: &[Unsealed]) -> Vec<(ShardId, Found)> {
    let all = unsealed.iter().flat_map(|item| {
        let segment = &item.segment;
        segment.entries().into_iter().map(|entry| Found { segment: segment.clone(), entry })
    });
    let all = all.map(|found| (found.entry.header.id, found));
    all.filter(|(id, _)| segments.is_sealed(id)).collect()
}

fn load_one(
    drive: &Drive,
    segments: &Segments,
    number: u64,
    dead: &mut Vec<(Arc<Segment>, DeadRecord)>,
    unsealed: &mut Vec<Unsealed>,
) -> Result<Option<OpenError>, OpenError> {
    let path = segment_path(&drive.dir, number);
    let file = drive.disk.open(&path, false).map_err(|e| OpenError::io("open", &path, &e))?;
    let (loaded, salt) = load(drive, &*file, number, &path)?;
    match loaded {
        Loaded::Sealed(trailer, mut tables) => {
            drive.count_many(trailer.shards, trailer.shard_bytes);
            let (ranges, killed) =
                (std::mem::take(&mut tables.ranges), std::mem::take(&mut tables.dead));
            let segment = Arc::new(Segment::sealed(number, salt, &trailer, tables));
            segments.add_closed(segment.clone(), &ranges);
            dead.extend(killed.into_iter().map(|record| (segment.clone(), record)));
        }
        Loaded::Damaged(scan) => {
            tracing::warn!(path = %path.display(), "footer damaged, the segment was scanned");
            let segment = add_scanned(drive, segments, number, salt, &scan);
            dead.extend(scan.deletes.iter().map(|(_, record)| (segment.clone(), *record)));
        }
        Loaded::Unfinished => {
            drive.disk.remove(&path).map_err(|e| OpenError::io("remove", &path, &e))?;
        }
        Loaded::Open(scan) => {
            if scan.skipped > 0 {
                tracing::warn!(path = %path.display(), bytes = scan.skipped, "torn records left out");
            }
            let segment = add_scanned(drive, segments, number, salt, &scan);
            dead.extend(scan.deletes.iter().map(|(_, record)| (segment.clone(), *record)));
            unsealed.push(Unsealed { segment, end: scan.end, deletes: scan.deletes });
        }
        Loaded::Unreadable(why) => keep(drive, number, why)?,
        Loaded::Alien(error) => return Ok(Some(error)),
    }
    Ok(None)
}

fn keep(drive: &Drive, number: u64, why: &str) -> Result<(), OpenError> {
    let path = segment_path(&drive.dir, number);
    quarantine::keep_segment(drive, number, why).map_err(|e| OpenError::io("set aside", &path, &e))
}

fn add_scanned(
    drive: &Drive,
    segments: &Segments,
    number: u64,
    salt: u64,
    scan: &Scan,
) -> Arc<Segment> {
    let entries: BTreeMap<_, _> = scan.entries();
    let (live, spans) = (entries.len() as u32, ranges(entries.keys()));
    drive.count_many(live, entries.values().map(record_bytes).sum());
    let segment = Arc::new(Segment::unsealed(number, salt, entries));
    segments.add_closed(segment.clone(), &spans);
    segment
}

/// What the file is, and its salt.
fn load(
    drive: &Drive,
    file: &dyn File,
    number: u64,
    path: &Path,
) -> Result<(Loaded, u64), OpenError> {
    let failed = |error: io::Error| OpenError::io("read", path, &error);
    let newer = |version: u8| OpenError::Newer { path: path.to_owned(), version: version.into() };
    let len = file.len().map_err(failed)?;
    let head = file.read_vec(len.min(SEGMENT_RECORDS_OFFSET) as usize, 0, true).map_err(failed)?;
    let salt = match codec::decode_segment_header(&head) {
        Ok(header) if header.drive != drive.id => {
            let error = OpenError::Foreign { path: path.to_owned(), owner: header.drive };
            return Ok((Loaded::Alien(error), 0));
        }
        Ok(header) if header.number != number => {
            return Ok((Loaded::Alien(OpenError::Damaged { path: path.to_owned() }), 0));
        }
        Ok(header) => header.salt,
        Err(Undecodable::Newer(version)) => return Err(newer(version)),
        // It was being made: records are written only behind a durable header.
        Err(Undecodable::Damaged) if len <= SEGMENT_RECORDS_OFFSET => {
            return Ok((Loaded::Unfinished, 0));
        }
        Err(Undecodable::Damaged) => {
            return Ok((Loaded::Unreadable("both copies of its header are damaged"), 0));
        }
    };
    match reindex::read_trailer(file, len, number, salt).map_err(failed)? {
        Ok(trailer) => {
            let tables = file
                .read_vec(trailer.tables_len as usize, trailer.tables_offset, true)
                .map_err(failed)?;
            if let Ok(tables) = codec::decode_tables(&trailer, &tables) {
                return Ok((Loaded::Sealed(trailer, tables), salt));
            }
            let scan = scan::scan(file, number, salt, Trust::Headers).map_err(failed)?;
            Ok((Loaded::Damaged(scan), salt))
        }
        Err(Undecodable::Newer(version)) => Err(newer(version)),
        Err(Undecodable::Damaged) => {
            let scan = scan::scan(file, number, salt, Trust::WholeRecords).map_err(failed)?;
            let loaded = if !scan.shards.is_empty() || !scan.deletes.is_empty() {
                Loaded::Open(scan)
            } else if is_nothing(file, SEGMENT_RECORDS_OFFSET, number, salt).map_err(failed)? {
                Loaded::Unfinished
            } else {
                Loaded::Unreadable("none of its records verifies")
            };
            Ok((loaded, salt))
        }
    }
}

/// Delete records of segments that were not sealed may be in the page cache and not on the disk, when a sync
/// failed before the process ended. They have been believed now, so they are written again, elsewhere.
fn relog(
    drive: &Drive,
    segments: &Segments,
    appender: &mut Appender,
    unsealed: &[Unsealed],
) -> Result<(), OpenError> {
    let mut deletes: Vec<_> = unsealed.iter().flat_map(|item| item.deletes.clone()).collect();
    deletes.retain(|(_, dead)| segments.get(dead.segment).is_some());
    let copies = copies(segments, unsealed);
    deletes.extend(copies.iter().map(|(id, copy)| (*id, copy.dead())));
    match appender.relog(&deletes) {
        Ok(()) => {
            for (_, copy) in copies {
                let bytes = record_bytes(&copy.entry);
                if copy.segment.kill(copy.entry.number, bytes) {
                    drive.uncount(bytes);
                }
            }
            Ok(())
        }
        Err(ShardError::Full { .. }) => {
            tracing::warn!(drive = %drive.id, "no room to write delete records again");
            Ok(())
        }
        Err(error) => Err(OpenError::Io {
            call: "write",
            path: segments_dir(&drive.dir),
            message: error.to_string(),
        }),
    }
}

/// Whether what stands behind the last record is no loss: zeroes, or a write that never came to its end.
fn is_nothing(file: &dyn File, offset: u64, number: u64, salt: u64) -> io::Result<bool> {
    Ok(scan::is_torn_write(file, offset, number, salt)? || quarantine::is_zero(file, offset)?)
}

/// Keeps what stands behind the last record of a segment, unless it is nothing.
fn keep_tail(drive: &Drive, item: &Unsealed, path: &Path) -> io::Result<()> {
    let file = drive.disk.open(path, false)?;
    let (number, salt) = (item.segment.number(), item.segment.salt());
    if is_nothing(&*file, item.end, number, salt)? {
        return Ok(());
    }
    quarantine::keep_tail(drive, number, item.end)
}

/// Cuts the torn tail and writes the footer. When that fails the index stays in memory, and the next start
/// tries again.
fn seal(drive: &Drive, item: &Unsealed) {
    let path = segment_path(&drive.dir, item.segment.number());
    let dead: Vec<DeadRecord> = item.deletes.iter().map(|(_, record)| *record).collect();
    if let Err(error) = keep_tail(drive, item, &path) {
        // Without a copy nothing is cut.
        item.segment.leave();
        drive.write_failed("copy the end of", &path, &error);
        return;
    }
    let (bytes, index, _) = seal_bytes(drive.id, &item.segment, item.end, &dead);
    let write = || {
        let file = drive.disk.open(&path, true).map_err(|e| ("open", e))?;
        file.set_len(item.end).map_err(|e| ("cut", e))?;
        file.write_at(&[IoSlice::new(&bytes)], item.end).map_err(|e| ("write", e))?;
        file.sync().map_err(|e| ("sync", e))
    };
    match write() {
        Ok(()) => item.segment.set_index(index),
        Err((call, error)) => {
            item.segment.leave();
            let _ = drive.write_failed(call, &path, &error);
        }
    }
}

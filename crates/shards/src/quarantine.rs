//! `quarantine/`: files and parts of files that could not be understood, kept for people to look at. Bounded; the
//! oldest go first. Nothing here is ever read again by the program.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use runtime::disk::File;

use crate::drive::Drive;
use crate::segments::{segment_path, segments_dir};

/// Bytes that are kept, unless one file alone is longer.
const LIMIT_BYTES: u64 = 1 << 30;

/// Bytes that are copied at once.
const STEP_BYTES: u64 = 1 << 20;

/// One thing that is kept.
struct Kept {
    /// Rises with time.
    turn: u64,
    /// The segment that it came from.
    segment: u64,
    path: PathBuf,
    bytes: u64,
}

fn dir(drive: &Drive) -> PathBuf {
    drive.dir.join("quarantine")
}

/// Measures what is kept. The numbers of the segments that it came from.
pub(crate) fn look(drive: &Drive) -> io::Result<Vec<u64>> {
    let kept = list(drive)?;
    let bytes = kept.iter().map(|kept| kept.bytes).sum();
    drive.quarantine_bytes.store(bytes, Ordering::Relaxed);
    if bytes > 0 {
        tracing::warn!(drive = %drive.id, bytes, path = %dir(drive).display(), "there are files in quarantine");
    }
    Ok(kept.into_iter().map(|kept| kept.segment).collect())
}

/// What is kept, oldest first. Other names are not ours.
fn list(drive: &Drive) -> io::Result<Vec<Kept>> {
    let dir = dir(drive);
    let entries = match drive.disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        let Some((turn, segment)) = numbers(&entry.name) else { continue };
        let path = dir.join(&entry.name);
        let bytes = drive.disk.open(&path, false)?.len()?;
        kept.push(Kept { turn, segment, path, bytes });
    }
    kept.sort_by_key(|kept| kept.turn);
    Ok(kept)
}

/// The numbers that a name begins with.
fn numbers(name: &str) -> Option<(u64, u64)> {
    let hex = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    let (turn, rest) = name.split_once('-')?;
    let (segment, _) = rest.split_once(['-', '.'])?;
    Some((hex(turn)?, hex(segment)?))
}

/// Makes room for `bytes` more. The number of the next one.
fn prepare(drive: &Drive, bytes: u64) -> io::Result<u64> {
    let dir = dir(drive);
    drive.disk.create_dir_all(&dir)?;
    let kept = list(drive)?;
    let turn = kept.last().map_or(0, |kept| kept.turn.saturating_add(1));
    let mut sum = kept.iter().map(|kept| kept.bytes).sum::<u64>();
    for old in kept {
        if sum.saturating_add(bytes) <= LIMIT_BYTES {
            break;
        }
        tracing::warn!(path = %old.path.display(), "the quarantine is full, its oldest file goes");
        drive.disk.remove(&old.path)?;
        sum -= old.bytes;
    }
    drive.quarantine_bytes.store(sum.saturating_add(bytes), Ordering::Relaxed);
    Ok(turn)
}

/// Moves the file of segment `number` there, because of `why`.
pub(crate) fn keep_segment(drive: &Drive, number: u64, why: &str) -> io::Result<()> {
    let path = segment_path(&drive.dir, number);
    let bytes = drive.disk.open(&path, false)?.len()?;
    let turn = prepare(drive, bytes)?;
    let kept = dir(drive).join(format!("{turn:016x}-{number:016x}.seg"));
    tracing::error!(
        path = %path.display(), kept = %kept.display(), bytes,
        "{why}; its shards count as lost here, the file is kept in quarantine"
    );
    drive.disk.rename(&path, &kept)?;
    drive.disk.sync_dir(&dir(drive))?;
    drive.disk.sync_dir(&segments_dir(&drive.dir))
}

/// Copies what is in segment `number` from `offset` on there, durably. The file is as it was.
pub(crate) fn keep_tail(drive: &Drive, number: u64, offset: u64) -> io::Result<()> {
    let path = segment_path(&drive.dir, number);
    let file = drive.disk.open(&path, false)?;
    let end = file.len()?;
    let bytes = end - offset;
    let turn = prepare(drive, bytes)?;
    let kept = dir(drive).join(format!("{turn:016x}-{number:016x}-{offset:016x}.part"));
    tracing::warn!(
        path = %path.display(), kept = %kept.display(), offset, bytes,
        "what stands behind the last whole record is cut off and kept in quarantine"
    );
    let copy = drive.disk.create(&kept)?;
    let mut at = offset;
    while at < end {
        let bytes = file.read_vec(STEP_BYTES.min(end - at) as usize, at, true)?;
        copy.write_at(&[IoSlice::new(&bytes)], at - offset)?;
        at += bytes.len() as u64;
    }
    copy.sync()?;
    drive.disk.sync_dir(&dir(drive))
}

/// Whether there is nothing but zeroes from `offset` on.
pub(crate) fn is_zero(file: &dyn File, offset: u64) -> io::Result<bool> {
    let (mut at, end) = (offset, file.len()?);
    while at < end {
        let bytes = file.read_vec(STEP_BYTES.min(end - at) as usize, at, true)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += bytes.len() as u64;
    }
    Ok(true)
}

//! What all parts of a store share: the disk, the drive's health, its room and its counters.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Runtime;
use runtime::disk::{Disk, Space};
use types::DriveId;

use crate::{DriveState, DriveStatus, ShardError, StoreOptions};

/// The file system is asked for its room again after this long, or after [`REFRESH_BYTES`].
const REFRESH_AFTER: Duration = Duration::from_millis(500);

/// Reads that failed in so many places within [`READ_FAILURES_WITHIN`] make a drive suspect.
const READ_FAILURES_MAX: usize = 8;
/// See [`READ_FAILURES_MAX`].
const READ_FAILURES_WITHIN: Duration = Duration::from_secs(60);
/// Failures this near each other in a file are one place.
const READ_SPOT_BYTES: u64 = 16 << 20;

/// See [`REFRESH_AFTER`].
const REFRESH_BYTES: u64 = 32 << 20;

pub(crate) struct Drive {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) runtime: Runtime,
    pub(crate) dir: PathBuf,
    pub(crate) id: DriveId,
    pub(crate) options: StoreOptions,
    /// Bytes of live shards.
    used_bytes: AtomicU64,
    /// Live shards.
    shards: AtomicU64,
    /// Bytes in `quarantine/`.
    pub(crate) quarantine_bytes: AtomicU64,
    suspect: AtomicBool,
    read_failures: Mutex<ReadFailures>,
    closed: AtomicBool,
    room: Mutex<Room>,
    /// Bytes written since the last look at the file system.
    written: AtomicU64,
    /// Bytes promised to shards that are still being written.
    reserved: AtomicU64,
}

/// Where and when reads failed, oldest first, each place once.
#[derive(Default)]
struct ReadFailures(VecDeque<(Duration, PathBuf, u64)>);

impl ReadFailures {
    /// Adds a place; how many there were lately.
    fn add(&mut self, now: Duration, path: &Path, spot: u64) -> usize {
        self.0.retain(|(at, known, at_spot)| {
            let is_recent = now.saturating_sub(*at) <= READ_FAILURES_WITHIN;
            is_recent && (known != path || *at_spot != spot)
        });
        self.0.push_back((now, path.to_owned(), spot));
        if self.0.len() > READ_FAILURES_MAX {
            self.0.pop_front();
        }
        self.0.len()
    }
}

struct Room {
    space: Space,
    at: Duration,
}

impl Drive {
    /// # Errors
    /// When the file system does not answer.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        runtime: Runtime,
        dir: &Path,
        id: DriveId,
        options: StoreOptions,
    ) -> io::Result<Self> {
        let room = Room { space: disk.space(dir)?, at: runtime.clock.monotonic() };
        Ok(Self {
            disk,
            runtime,
            dir: dir.to_owned(),
            id,
            options,
            used_bytes: AtomicU64::new(0),
            shards: AtomicU64::new(0),
            quarantine_bytes: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            read_failures: Mutex::default(),
            closed: AtomicBool::new(false),
            room: Mutex::new(room),
            written: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
        })
    }

    /// A shard of `bytes` on disk is live from now on.
    pub(crate) fn count(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shards.fetch_add(1, Ordering::Relaxed);
    }

    /// So many shards of so many bytes are live.
    pub(crate) fn count_many(&self, shards: u32, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shards.fetch_add(u64::from(shards), Ordering::Relaxed);
    }

    /// A shard that [`Drive::count`] counted is gone.
    pub(crate) fn uncount(&self, bytes: u64) {
        let less = |by: u64| move |n: u64| Some(n.saturating_sub(by));
        let _ = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(bytes));
        let _ = self.shards.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(1));
    }

    /// No request is served from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Fails once the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), ShardError> {
        if self.closed.load(Ordering::SeqCst) { Err(self.away()) } else { Ok(()) }
    }

    pub(crate) fn away(&self) -> ShardError {
        ShardError::Away(self.id)
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::SeqCst)
    }

    /// What is answered to those who would write on a suspect drive.
    pub(crate) fn suspected(&self) -> ShardError {
        let message = "calls failed on it earlier, it takes no new shards".to_owned();
        ShardError::Io { drive: self.id, message }
    }

    /// A read of the file at `path`, somewhere around `offset`, failed. One bad spot, however often it is read, is
    /// no bad drive; many within a minute are.
    pub(crate) fn read_failed(&self, path: &Path, offset: u64, error: &io::Error) -> ShardError {
        tracing::warn!(drive = %self.id, path = %path.display(), offset, %error, "read failed");
        let is_gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
        if !is_gone.contains(&error.kind()) {
            let (now, spot) = (self.runtime.clock.monotonic(), offset / READ_SPOT_BYTES);
            let spots = self.read_failures.lock().add(now, path, spot);
            if spots >= READ_FAILURES_MAX && !self.suspect.swap(true, Ordering::SeqCst) {
                tracing::error!(drive = %self.id, spots, "reads fail all over it: the drive is suspect");
            }
        }
        self.io("read", path, error)
    }

    /// A write, a sync or a change of names failed: the drive is suspect from now on. A full disk is not a
    /// broken one: it is only full.
    pub(crate) fn write_failed(&self, call: &str, path: &Path, error: &io::Error) -> ShardError {
        if is_full(error) && !call.starts_with("sync") {
            tracing::warn!(drive = %self.id, path = %path.display(), "the file system is full");
            return ShardError::Full { drive: self.id, available: self.look().available };
        }
        tracing::error!(drive = %self.id, path = %path.display(), %error, call, "the drive is suspect");
        self.suspect.store(true, Ordering::SeqCst);
        self.io(call, path, error)
    }

    fn io(&self, call: &str, path: &Path, error: &io::Error) -> ShardError {
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        let message = format!("{call} {}: {error}", name.display());
        ShardError::Io { drive: self.id, message }
    }

    /// Room for a new shard of `bytes`, or why there is none.
    pub(crate) fn admit(self: &Arc<Self>, bytes: u64) -> Result<Reservation, ShardError> {
        self.check_open()?;
        if self.is_suspect() {
            return Err(self.suspected());
        }
        let space = self.space();
        let after = space.available.saturating_sub(bytes);
        if self.is_over(space.total, after) {
            // The figure may be old; deletes may have made room.
            let space = self.look();
            if self.is_over(space.total, space.available.saturating_sub(bytes)) {
                return Err(ShardError::Full { drive: self.id, available: space.available });
            }
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reservation { drive: self.clone(), bytes: AtomicU64::new(bytes) })
    }

    fn is_over(&self, total: u64, available: u64) -> bool {
        let used = 1.0 - available as f64 / total.max(1) as f64;
        used > self.options.high_watermark || available < self.options.min_free_bytes
    }

    /// Room on the file system by the last look, less what was written and promised since.
    fn space(&self) -> Space {
        let written = self.written.load(Ordering::Relaxed);
        let (space, at) = {
            let room = self.room.lock();
            (room.space, room.at)
        };
        let age = self.runtime.clock.monotonic().saturating_sub(at);
        if age >= REFRESH_AFTER || written >= REFRESH_BYTES {
            return self.look();
        }
        self.less_promised(space, written)
    }

    fn less_promised(&self, space: Space, written: u64) -> Space {
        let promised = self.reserved.load(Ordering::Relaxed).saturating_add(written);
        Space { available: space.available.saturating_sub(promised), ..space }
    }

    /// Asks the file system.
    fn look(&self) -> Space {
        let at = self.runtime.clock.monotonic();
        let mut room = self.room.lock();
        if let Ok(space) = self.disk.space(&self.dir) {
            *room = Room { space, at };
            self.written.store(0, Ordering::Relaxed);
        }
        let space = room.space;
        drop(room);
        self.less_promised(space, self.written.load(Ordering::Relaxed))
    }

    pub(crate) fn status(&self) -> DriveStatus {
        let space = self.space();
        let state = if self.closed.load(Ordering::SeqCst) {
            DriveState::Away
        } else if self.is_suspect() {
            DriveState::Suspect
        } else if self.is_over(space.total, space.available) {
            DriveState::Full
        } else {
            DriveState::Up
        };
        DriveStatus {
            state,
            capacity_bytes: space.total,
            available_bytes: space.available,
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            shards: self.shards.load(Ordering::Relaxed),
            quarantine_bytes: self.quarantine_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Whether the file system said that it has no room (or the quota none).
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Room promised to a shard that is being written; given back when dropped.
pub(crate) struct Reservation {
    drive: Arc<Drive>,
    bytes: AtomicU64,
}

impl Reservation {
    /// The bytes are on the disk now: they are promised no more.
    pub(crate) fn spent(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        self.drive.written.fetch_add(bytes, Ordering::Relaxed);
        self.drive.reserved.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.drive.reserved.fetch_sub(self.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

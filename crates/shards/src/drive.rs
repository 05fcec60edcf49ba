//! What all parts of a store share: the disk, the drive's health, its room and its counters.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use runtime::Runtime;
use runtime::disk::{Disk, Lock, Space};
use types::DriveId;

use crate::{DriveState, DriveStatus, ShardError, StoreOptions};

/// The file system is asked for its room, and whether it is there, again after this long, or after
/// [`REFRESH_BYTES`].
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
    /// Its directory is not at its place any more.
    lost: AtomicBool,
    lock: RwLock<Option<Arc<dyn Lock>>>,
    room: Mutex<Room>,
    /// Whether somebody is about to look at the file system.
    is_looking: AtomicBool,
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
    /// `lock` is held until [`Drive::unlock`].
    ///
    /// # Errors
    /// When the file system does not answer.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        runtime: Runtime,
        dir: &Path,
        id: DriveId,
        lock: Box<dyn Lock>,
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
            lost: AtomicBool::new(false),
            lock: RwLock::new(Some(Arc::from(lock))),
            room: Mutex::new(room),
            is_looking: AtomicBool::new(false),
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

    /// Lets another process have the drive.
    pub(crate) fn unlock(&self) {
        let lock = self.lock.write().take();
        drop(lock);
    }

    /// Whether the drive's directory is where it was when it was opened. The lock's file tells: it is open, so that
    /// no other can have its number. May wait.
    pub(crate) fn is_in_place(&self) -> io::Result<bool> {
        let lock = self.lock.read().clone();
        lock.map_or(Ok(false), |lock| lock.is_at(&self.dir.join("lock")))
    }

    /// Whether [`Drive::is_in_place`] was found not to be.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Fails when the drive's directory is gone: what was written since then is nowhere. May wait.
    pub(crate) fn check_in_place(&self) -> Result<(), ShardError> {
        match self.is_in_place() {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.lose()),
            Err(error) => Err(self.suspect("look for", &self.dir.join("lock"), &error)),
        }
    }

    /// The drive is away from now on, for good: what comes back in its place is opened anew.
    fn lose(&self) -> ShardError {
        // Not when the store has let the lock go itself.
        if self.lock.read().is_some() && !self.lost.swap(true, Ordering::SeqCst) {
            tracing::error!(
                drive = %self.id, path = %self.dir.display(),
                "the drive's directory was removed, replaced or unmounted; the drive is away"
            );
        }
        self.close();
        self.away()
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

    /// A write, a sync or a change of names failed: the drive is suspect from now on, or not there any more. A
    /// full disk is not a broken one: it is only full. May wait.
    pub(crate) fn write_failed(&self, call: &str, path: &Path, error: &io::Error) -> ShardError {
        if is_full(error) && !call.starts_with("sync") {
            tracing::warn!(drive = %self.id, path = %path.display(), "the file system is full");
            self.look();
            return ShardError::Full { drive: self.id, available: self.space().available };
        }
        match self.is_in_place() {
            Ok(false) => self.lose(),
            Ok(true) | Err(_) => self.suspect(call, path, error),
        }
    }

    fn suspect(&self, call: &str, path: &Path, error: &io::Error) -> ShardError {
        tracing::error!(drive = %self.id, path = %path.display(), %error, call, "the drive is suspect");
        self.suspect.store(true, Ordering::SeqCst);
        self.io(call, path, error)
    }

    fn io(&self, call: &str, path: &Path, error: &io::Error) -> ShardError {
        let name = path.strip_prefix(&self.dir).unwrap_or(path);
        let message = format!("{call} {}: {error}", name.display());
        ShardError::Io { drive: self.id, message }
    }

    /// Bytes went to the disk that nobody had promised.
    pub(crate) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Somebody else changes what is in `dir`, again and again.
    pub(crate) fn displaced(&self, dir: &Path) -> ShardError {
        self.io("write", dir, &io::Error::other("its files are removed while they are written"))
    }

    /// Room for a new shard of `bytes`, or why there is none, by the last look.
    pub(crate) fn admit(self: &Arc<Self>, bytes: u64) -> Result<Reservation, ShardError> {
        self.check_open()?;
        if self.is_suspect() {
            return Err(self.suspected());
        }
        let space = self.space();
        if self.is_over(space.total, space.available.saturating_sub(bytes)) {
            return Err(ShardError::Full { drive: self.id, available: space.available });
        }
        self.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reservation { drive: self.clone(), bytes: AtomicU64::new(bytes) })
    }

    fn is_over(&self, total: u64, available: u64) -> bool {
        let used = 1.0 - available as f64 / total.max(1) as f64;
        used > self.options.high_watermark || available < self.options.min_free_bytes
    }

    /// Room on the file system by the last look, less what was written and promised since.
    pub(crate) fn space(&self) -> Space {
        let space = self.room.lock().space;
        let written = self.written.load(Ordering::Relaxed);
        let promised = self.reserved.load(Ordering::Relaxed).saturating_add(written);
        Space { available: space.available.saturating_sub(promised), ..space }
    }

    /// Whether it is time for a look, and nobody else is about to. Who is told so calls [`Drive::look`].
    pub(crate) fn wants_look(&self) -> bool {
        let age = self.runtime.clock.monotonic().saturating_sub(self.room.lock().at);
        let is_old = age >= REFRESH_AFTER || self.written.load(Ordering::Relaxed) >= REFRESH_BYTES;
        is_old && !self.is_looking.swap(true, Ordering::SeqCst)
    }

    /// Asks the file system how much room there is, and whether the drive is still at its place. May wait.
    pub(crate) fn look(&self) {
        let (at, written) = (self.runtime.clock.monotonic(), self.written.load(Ordering::Relaxed));
        let space = self.disk.space(&self.dir);
        if matches!(self.is_in_place(), Ok(false)) {
            self.lose();
        }
        let mut room = self.room.lock();
        room.at = at;
        if let Ok(space) = space {
            room.space = space;
            self.written.fetch_sub(written, Ordering::Relaxed);
        }
        drop(room);
        self.is_looking.store(false, Ordering::SeqCst);
    }

    /// Room was given back: a drive that takes no shards, or soon will not, has another look. May wait.
    pub(crate) fn gave_back(&self) {
        let space = self.space();
        if self.is_over(space.total, space.available.saturating_sub(REFRESH_BYTES)) {
            self.look();
        }
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

//! The store of one drive: what the rest of the program calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use runtime::disk::Disk;
use runtime::{Runtime, Thread, spawn_thread};
use tokio::sync::{Semaphore, oneshot, watch};
use types::limits;

use crate::cache::{OpenFile, OpenFiles, ReadFailure, Trouble};
use crate::codec::RECORD_HEADER_BYTES;
use crate::compact::{self, Compactor};
use crate::drive::Drive;
use crate::files::Files;
use crate::frame::CHECKSUM_BYTES;
use crate::pool::Pool;
use crate::segments::{self, Appender, Request, Segments};
use crate::sink::ShardSink;
use crate::{
    Compacted, DriveStatus, Frame, Identity, OpenError, Presence, ScrubBudget, ScrubSlice,
    ShardError, ShardHeader, ShardId, identity, scrub,
};

/// Reads of at most this many frames are tried at once, on the caller's thread, from the page cache.
const INLINE_FRAMES: u64 = 4;

/// Frames that one read returns at most: 16 MiB.
const READ_FRAMES_MAX: u64 = 256;

/// Copies that one look for them covers; between looks others have their turn.
const PRESENCE_IDS: usize = 256;

/// Calls that may wait for a thread at once: with a disk that hangs, more are not even queued.
const CALLS_MAX: usize = 1024;

/// How long closing waits for the disk.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// KiB of small shards that may wait for the thread that writes segments.
pub(crate) const QUEUE_KIB: usize = 64 * 1024;

/// How a store behaves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Used part of the file system, 0 to 1, above which the drive takes no new shards.
    pub high_watermark: f64,
    /// Free bytes below which the drive takes no new shards, whatever the watermark.
    pub min_free_bytes: u64,
    /// Threads for reads that have to wait for the device.
    pub read_threads: usize,
    /// Threads for shards with files of their own, and for deletes.
    pub write_threads: usize,
    /// Most files kept open for reading.
    pub open_files: usize,
    /// Size from which on a segment is sealed, in bytes.
    pub segment_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            high_watermark: 0.95,
            min_free_bytes: 256 << 20,
            read_threads: 4,
            write_threads: 8,
            open_files: 128,
            segment_bytes: 256 << 20,
        }
    }
}

/// An open drive. Its calls may be made from any number of tasks.
///
/// Dropping it without [`Store::close`] is safe at any time, as safe as a crash is: the next start has more to
/// read.
pub struct Store {
    identity: Identity,
    core: Arc<Core>,
    appender: Mutex<Option<Thread>>,
    counted: watch::Receiver<bool>,
}

/// What the parts of a store share.
pub(crate) struct Core {
    pub(crate) drive: Arc<Drive>,
    pub(crate) segments: Arc<Segments>,
    pub(crate) files: Arc<Files>,
    pub(crate) reads: Pool,
    pub(crate) writes: Pool,
    /// One thread for what nobody waits for.
    pub(crate) background: Pool,
    pub(crate) compactor: Mutex<Compactor>,
    pub(crate) queue: Sender<Request>,
    pub(crate) queue_room: Arc<Semaphore>,
    /// Places for calls in the queues of `reads` and `writes`.
    calls: Arc<Semaphore>,
}

impl Store {
    /// Makes `dir` (made if absent) a drive, durably.
    ///
    /// # Errors
    /// [`OpenError::AlreadyFormatted`] when it is one; `Io`.
    pub fn format(disk: Arc<dyn Disk>, dir: &Path, new: &Identity) -> Result<(), OpenError> {
        disk.create_dir_all(dir).map_err(|e| OpenError::io("make", dir, &e))?;
        identity::write(&*disk, dir, new)
    }

    /// Who the drive at `dir` is; `None` when it was never formatted, or is not mounted.
    ///
    /// # Errors
    /// `Newer`, `Damaged`, `Io`.
    pub fn identity(disk: Arc<dyn Disk>, dir: &Path) -> Result<Option<Identity>, OpenError> {
        identity::read(&*disk, dir)
    }

    /// Opens the drive at `dir`: locks it, reads the footers of its segments, and repairs what a crash left.
    /// Blocks; the time is bounded by the footers and one unsealed segment.
    ///
    /// # Errors
    /// All of [`OpenError`] but `AlreadyFormatted`.
    pub fn open(
        disk: Arc<dyn Disk>,
        runtime: Runtime,
        dir: &Path,
        options: StoreOptions,
    ) -> Result<Arc<Self>, OpenError> {
        let absent = || OpenError::NotFormatted { dir: dir.to_owned() };
        let identity = identity::read(&*disk, dir)?.ok_or_else(absent)?;
        let lock = disk.lock(&dir.join("lock")).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked { dir: dir.to_owned() },
            _ => OpenError::io("lock", dir, &error),
        })?;
        let failed = |call| move |e: std::io::Error| OpenError::io(call, dir, &e);
        let cache = Arc::new(OpenFiles::new(options.open_files));
        let drive =
            Drive::new(disk, runtime, dir, identity.drive, lock, options).map_err(failed("ask"))?;
        let drive = Arc::new(drive);
        let files = Arc::new(Files::open(drive.clone(), cache.clone())?);
        let segments = Arc::new(Segments::new(drive.clone(), cache.clone()));
        let appender = segments::recover(&drive, &segments, &cache)?;
        let (queue, requests) = channel();
        let threads = |name: &str, n| Pool::new(name, n).map_err(failed("start threads for"));
        let core = Arc::new(Core {
            reads: threads("shard-read", drive.options.read_threads)?,
            writes: threads("shard-write", drive.options.write_threads)?,
            background: threads("shard-back", 1)?,
            compactor: Mutex::default(),
            queue,
            queue_room: Arc::new(Semaphore::new(QUEUE_KIB)),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            drive,
            segments,
            files,
        });
        let thread = spawn_appender(appender, requests).map_err(failed("start threads for"))?;
        let (done, counted) = watch::channel(false);
        count(&core, done);
        Ok(Arc::new(Self { identity, core, appender: Mutex::new(Some(thread)), counted }))
    }

    /// Who this drive is.
    pub fn drive_identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the directory that this store has open is still at its place: not when it was removed, renamed or
    /// replaced, or its file system unmounted. When nobody can say, it is taken to be there. Blocks.
    pub fn is_in_place(&self) -> bool {
        self.core.drive.is_in_place().unwrap_or(true)
    }

    /// Whether the store has found that its directory is not at its place any more, and has closed itself for good:
    /// see [`Store::is_in_place`]. Asking often enough has it look about every half second; does not block.
    pub fn is_lost(&self) -> bool {
        self.keep_looking();
        self.core.drive.is_lost()
    }

    /// Writes `drive.json` again, which was lost or damaged while this store had the drive open. Blocks.
    ///
    /// # Errors
    /// `Io`.
    pub fn restore_identity(&self) -> Result<(), OpenError> {
        identity::replace(&*self.core.drive.disk, &self.core.drive.dir, &self.identity)
    }

    /// Begins a shard. Does not block.
    ///
    /// # Errors
    /// `Full`, `Away` when closed, `Io` when the drive is suspect, `Misuse` when the header's fields are out of
    /// their ranges.
    pub fn create(&self, header: ShardHeader) -> Result<ShardSink, ShardError> {
        if !header.is_sound() {
            return Err(ShardError::Misuse(header.id));
        }
        let bytes = header.stored_len().saturating_add(RECORD_HEADER_BYTES as u64);
        self.keep_looking();
        let reservation = self.core.drive.admit(bytes)?;
        Ok(ShardSink::new(self.core.clone(), header, reservation))
    }

    /// Reads `count` frames from `first` on, fewer at the end of the shard and never more than 256, unverified.
    /// They are slices of one buffer.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` when the file ends too early; `Io`; `Away` when closed.
    pub async fn read(
        &self,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        let count = u64::from(count).min(READ_FRAMES_MAX);
        let inline = count <= INLINE_FRAMES;
        self.look(id, inline, move |core, wait| core.read(&id, first, count, wait)).await
    }

    /// The header of a shard, verified.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Io`, `Away` when closed.
    pub async fn header(&self, id: ShardId) -> Result<ShardHeader, ShardError> {
        self.look(id, true, move |core, wait| core.place(&id, wait).map(|place| place.header)).await
    }

    /// The frames of a shard that do not verify, in order; none when it is whole. Frames behind an early end of
    /// the file count as damaged.
    ///
    /// # Errors
    /// As [`Store::read`], but for `Corrupt` frames.
    pub async fn verify(&self, id: ShardId) -> Result<Vec<u64>, ShardError> {
        const STEP: u32 = 64;
        let header = self.header(id).await?;
        let mut damaged = Vec::new();
        let mut first = 0;
        while first < header.frames() {
            let end = header.frames().min(first + u64::from(STEP));
            match self.read(id, first, STEP).await {
                Ok(frames) => {
                    let numbered = (first..).zip(&frames);
                    damaged.extend(numbered.filter(|(n, f)| !f.verifies(&id, *n)).map(|(n, _)| n));
                }
                Err(ShardError::Corrupt { .. }) => {
                    damaged.extend(self.damaged_singly(id, first, end).await?);
                }
                Err(error) => return Err(error),
            }
            first = end;
        }
        Ok(damaged)
    }

    async fn damaged_singly(
        &self,
        id: ShardId,
        first: u64,
        end: u64,
    ) -> Result<Vec<u64>, ShardError> {
        let mut damaged = Vec::new();
        for number in first..end {
            match self.read(id, number, 1).await {
                Ok(frames) if frames.iter().all(|frame| frame.verifies(&id, number)) => {}
                Ok(_) | Err(ShardError::Corrupt { .. }) => damaged.push(number),
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Removes a shard, durably; whether it was there.
    ///
    /// # Errors
    /// `Io` when nobody can say whether it will still be there after a crash; `Away` when closed.
    pub async fn delete(&self, id: ShardId) -> Result<bool, ShardError> {
        let find = move |core: &Core, wait| match core.segments.find(&id, wait) {
            // What was in a file that is gone is gone.
            Err(Trouble::Missing) => Ok(false),
            found => Ok(found?.is_some()),
        };
        if !self.look(id, true, find).await? {
            let was_there = self.in_pool(&self.core.writes, move |core| core.files.delete(&id));
            if was_there.await? {
                return Ok(true);
            }
        }
        // Also when it is nowhere: it may be queued, or a failed write may have left it on the disk.
        let (reply, answer) = oneshot::channel();
        let sent = self.core.queue.send(Request::Delete { id, reply });
        sent.map_err(|_| self.core.drive.away())?;
        answer.await.unwrap_or_else(|_| Err(self.core.drive.away()))
    }

    /// Headers behind `after` in the order of [`ShardId`], at most `limit`, verified. Shards whose header is
    /// damaged are left out.
    ///
    /// # Errors
    /// `Io`, `Away` when closed.
    pub async fn list(
        &self,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        self.in_pool(&self.core.reads, move |core| {
            let mut found = BTreeMap::new();
            let small = core.segments.list(after.as_ref(), limit)?;
            found.extend(small.into_iter().map(|(id, found)| (id, found.entry.header)));
            core.files.list(after.as_ref(), limit, &mut found)?;
            Ok(found.into_values().take(limit).collect())
        })
        .await
    }

    /// Whether these copies are here, in the order asked for, judged by index and header and by the files being
    /// there and long enough; no frame is read.
    ///
    /// # Errors
    /// `Away` when closed.
    pub async fn presence(&self, ids: Vec<ShardId>) -> Result<Vec<Presence>, ShardError> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(PRESENCE_IDS) {
            let some = some.to_vec();
            let job = move |core: &Core| scrub::presence(core, &some);
            found.extend(self.in_pool(&self.core.reads, job).await?);
        }
        Ok(found)
    }

    /// Verifies every frame of the shards behind `after`, as many as `budget` lets: from the disk, past the page cache
    /// where the file system can, whatever files are open. The indexes of segments are verified, too, and written
    /// again when they are damaged.
    ///
    /// # Errors
    /// `Io` when what is there cannot even be listed; `Away` when closed.
    pub async fn scrub(
        &self,
        after: Option<ShardId>,
        budget: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError> {
        let job = move |core: &Core| scrub::scrub(core, after, budget);
        self.in_pool(&self.core.background, job).await
    }

    /// Copies what is left of mostly dead segments, and of many small ones, together, about `budget_bytes` of it, and
    /// removes the files that are empty then. Nothing is done on a suspect drive, or without room for copies.
    ///
    /// # Errors
    /// `Io` and `Full` when a copy cannot be written, nothing is lost then; `Away` when closed.
    pub async fn compact(&self, budget_bytes: u64) -> Result<Compacted, ShardError> {
        let job = move |core: &Core| compact::compact(core, budget_bytes);
        self.in_pool(&self.core.background, job).await
    }

    /// The drive's figures. Just after the store has opened, `shards` and `used_bytes` are still growing:
    /// see [`Store::counted`].
    pub fn status(&self) -> DriveStatus {
        self.keep_looking();
        self.core.drive.status()
    }

    /// Returns when all shards that were there at the start are counted, or the store is closed.
    pub async fn counted(&self) {
        let mut counted = self.counted.clone();
        // An error means that the count was given up: the store is closing.
        let _ = counted.wait_for(|done| *done).await;
    }

    /// Refuses new requests, finishes the old, seals the open segment, ends the threads and lets the lock go.
    /// Shards that are not committed are lost. Closing twice is harmless. With a disk that hangs it gives up after
    /// ten seconds; the lock is then held until the disk answers or the process ends.
    pub async fn close(&self) {
        let drive = &self.core.drive;
        drive.close();
        let close = async {
            let (done, sealed) = oneshot::channel::<()>();
            let core = self.core.clone();
            self.core.background.submit(move || {
                core.compactor.lock().seal_target(&core);
                drop(done);
            });
            let _ = sealed.await;
            let (reply, sealed) = oneshot::channel();
            if self.core.queue.send(Request::Close { reply }).is_ok() {
                // An error means that the thread had ended before.
                let _ = sealed.await;
            }
            let (done, ended) = oneshot::channel();
            self.end(move || {
                let _ = done.send(());
            });
            let _ = ended.await;
        };
        tokio::select! {
            () = close => {}
            () = drive.runtime.clock.sleep(CLOSE_DEADLINE) => {
                tracing::error!(
                    drive = %drive.id,
                    "the disk does not answer; the drive is given up without being closed, and stays locked"
                );
                self.end(|| {});
            }
        }
    }

    /// Has a thread wait for all others, let the lock go and call `done`. Only the first call does anything but
    /// call `done`.
    fn end(&self, done: impl FnOnce() + Send + 'static) {
        self.core.drive.close();
        // An error means that the thread has ended.
        let _ = self.core.queue.send(Request::Stop);
        let Some(thread) = self.appender.lock().take() else { return done() };
        let core = self.core.clone();
        let end = move || {
            thread.join();
            [&core.background, &core.writes, &core.reads].into_iter().for_each(Pool::close);
            core.drive.unlock();
            done();
        };
        match spawn_thread("shard-end", end) {
            Ok(thread) => thread.detach(),
            Err(error) => {
                tracing::error!(%error, "no thread to close a drive with; it stays locked")
            }
        }
    }

    /// Has a thread look at the file system now and then.
    fn keep_looking(&self) {
        if self.core.drive.wants_look() {
            let drive = self.core.drive.clone();
            self.core.reads.submit(move || drive.look());
        }
    }

    /// Runs `job` at once if `inline` and it needs no waiting, else in the pool of readers.
    async fn look<T: Send + 'static>(
        &self,
        id: ShardId,
        inline: bool,
        job: impl Fn(&Core, bool) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, ShardError> {
        self.core.drive.check_open()?;
        if inline {
            match job(&self.core, false) {
                Err(Trouble::WouldBlock) => {}
                done => return done.map_err(|trouble| trouble.into_error(&id)),
            }
        }
        let job = move |core: &Core| job(core, true).map_err(|trouble| trouble.into_error(&id));
        self.in_pool(&self.core.reads, job).await
    }

    async fn in_pool<T: Send + 'static>(
        &self,
        pool: &Pool,
        job: impl FnOnce(&Core) -> Result<T, ShardError> + Send + 'static,
    ) -> Result<T, ShardError> {
        self.core.drive.check_open()?;
        self.keep_looking();
        let place = self.core.calls.clone().acquire_owned().await;
        let place = place.map_err(|_| self.core.drive.away())?;
        let (reply, answer) = oneshot::channel();
        let core = self.core.clone();
        pool.submit(move || {
            let _place = place;
            // The caller may have gone away, before this or meanwhile.
            if !reply.is_closed() {
                let _ = reply.send(job(&core));
            }
        });
        answer.await.unwrap_or_else(|_| Err(self.core.drive.away()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let (done, ended) = channel();
        self.end(move || {
            let _ = done.send(());
        });
        // A disk that hangs keeps its threads, and nobody else.
        let _ = ended.recv_timeout(CLOSE_DEADLINE);
    }
}

fn spawn_appender(appender: Appender, requests: Receiver<Request>) -> std::io::Result<Thread> {
    spawn_thread("shard-append", move || appender.run(&requests))
}

/// Counts the large shards, a directory at a time, between other work.
fn count(core: &Arc<Core>, done: watch::Sender<bool>) {
    let again = core.clone();
    core.reads.submit(move || {
        if again.drive.check_open().is_err() {
            return;
        }
        if again.files.count_next() {
            // Nobody may be waiting for it.
            let _ = done.send(true);
        } else {
            count(&again, done);
        }
    });
}

/// Where the frames of a shard are.
struct Place {
    header: ShardHeader,
    file: Arc<OpenFile>,
    frames_offset: u64,
}

impl Core {
    fn place(&self, id: &ShardId, wait: bool) -> Result<Place, Trouble> {
        while let Some(found) = self.segments.find(id, wait)? {
            match self.segments.file(&found.segment, wait) {
                Ok(file) => {
                    let frames_offset = found.entry.frames_offset();
                    return Ok(Place { header: found.entry.header, file, frames_offset });
                }
                // It was moved or deleted meanwhile, and the file removed.
                Err(Trouble::Gone) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let file = self.files.file(id, wait)?;
        let header = file.header.ok_or(ShardError::NotFound(*id))?;
        Ok(Place { header, file, frames_offset: RECORD_HEADER_BYTES as u64 })
    }

    fn read(
        &self,
        id: &ShardId,
        first: u64,
        count: u64,
        wait: bool,
    ) -> Result<Vec<Frame>, Trouble> {
        let place = self.place(id, wait)?;
        let last = first.saturating_add(count).min(place.header.frames());
        if first >= last {
            return Ok(Vec::new());
        }
        const STRIDE: u64 = (limits::FRAME_BYTES + CHECKSUM_BYTES) as u64;
        let end = (last * STRIDE).min(place.header.stored_len());
        let start = first * STRIDE;
        let (len, offset) = ((end - start) as usize, place.frames_offset.saturating_add(start));
        let bytes = match place.file.file.read_vec(len, offset, wait).map_err(ReadFailure::from) {
            Ok(bytes) => Bytes::from(bytes),
            Err(ReadFailure::WouldBlock) => return Err(Trouble::WouldBlock),
            Err(ReadFailure::Short) => {
                return Err(ShardError::Corrupt { id: *id, frame: Some(first) }.into());
            }
            Err(ReadFailure::Failed(error)) => {
                return Err(self.drive.read_failed(&place.file.path, offset, &error).into());
            }
        };
        Ok(segments::split_frames(&place.header, first, bytes))
    }
}

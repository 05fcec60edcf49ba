//! Writing a large shard: a queue that is bounded in frames, emptied by the write threads.
//!
//! Writes go past the page cache: copying into it costs more processor time than all the rest of a write, it
//! pushes out what is being read, and the sync at the end would find everything still to do.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use runtime::disk::File;
use tokio::sync::{Semaphore, oneshot};

use super::{Files, encode_header};
use crate::codec::RECORD_HEADER_BYTES;
use crate::drive::Reservation;
use crate::{Frame, ShardError, ShardHeader};

/// Frames that may wait for one shard: 4 MiB.
pub(crate) const QUEUE_FRAMES: usize = 64;

/// A large shard on its way to the disk.
pub(crate) struct LargeFile {
    files: Arc<Files>,
    header: ShardHeader,
    queue: Mutex<Queue>,
    /// Room in the queue, in frames.
    pub(crate) room: Semaphore,
    /// Used by the one thread that serves this file at a time.
    output: Mutex<Option<Output>>,
    reservation: Reservation,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    ending: Option<Ending>,
    /// Somebody serves this file, or will.
    is_scheduled: bool,
    failure: Option<ShardError>,
}

enum Ending {
    Commit(oneshot::Sender<Result<(), ShardError>>),
    Abandon,
}

struct Output {
    path: PathBuf,
    file: Box<dyn File>,
    /// Bytes of the file so far, those in `rest` included.
    end: u64,
    /// What did not fill a block yet; less than one.
    rest: Vec<u8>,
}

/// What [`LargeFile::serve`] has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more: call again.
    More,
    /// Nothing to do now; whoever queues next schedules it.
    Idle,
}

impl LargeFile {
    pub(crate) fn new(files: Arc<Files>, header: ShardHeader, reservation: Reservation) -> Self {
        Self {
            files,
            header,
            queue: Mutex::default(),
            room: Semaphore::new(QUEUE_FRAMES),
            output: Mutex::default(),
            reservation,
        }
    }

    /// Queues frames, for which the caller has taken room. Whether to schedule the file.
    pub(crate) fn push(&self, frames: impl IntoIterator<Item = Frame>) -> Result<bool, ShardError> {
        let mut queue = self.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        queue.frames.extend(frames);
        Ok(!std::mem::replace(&mut queue.is_scheduled, true))
    }

    /// Queues the commit. Whether to schedule the file.
    pub(crate) fn commit(&self, reply: oneshot::Sender<Result<(), ShardError>>) -> bool {
        self.files.commits.begin(self.header.id);
        self.end(Ending::Commit(reply))
    }

    /// Drops what is queued, and the file. Whether to schedule it.
    pub(crate) fn abandon(&self) -> bool {
        self.queue.lock().frames.clear();
        self.end(Ending::Abandon)
    }

    fn end(&self, ending: Ending) -> bool {
        let mut queue = self.queue.lock();
        queue.ending = Some(ending);
        !std::mem::replace(&mut queue.is_scheduled, true)
    }

    /// Writes what is queued, or ends the file. May wait.
    pub(crate) fn serve(&self) -> Step {
        let (frames, ending) = {
            let mut queue = self.queue.lock();
            let frames = std::mem::take(&mut queue.frames);
            let ending = if frames.is_empty() { queue.ending.take() } else { None };
            if frames.is_empty() && ending.is_none() {
                queue.is_scheduled = false;
                return Step::Idle;
            }
            (frames, ending)
        };
        let failure = self.queue.lock().failure.clone();
        let mut output = self.output.lock();
        match ending {
            None if failure.is_none() => {
                if let Err(error) = self.write(&mut output, &frames) {
                    self.fail(error);
                }
            }
            None => {}
            Some(Ending::Abandon) => self.discard(&mut output),
            Some(Ending::Commit(reply)) => {
                let outcome = match failure {
                    None => self.finish(&mut output),
                    Some(failure) => Err(failure),
                };
                self.discard(&mut output);
                self.files.commits.end(&self.header.id);
                let _ = reply.send(outcome);
            }
        }
        self.room.add_permits(frames.len());
        Step::More
    }

    fn fail(&self, error: ShardError) {
        let mut queue = self.queue.lock();
        self.room.add_permits(queue.frames.len());
        queue.frames.clear();
        queue.failure = Some(error);
    }

    fn write(
        &self,
        output: &mut Option<Output>,
        frames: &VecDeque<Frame>,
    ) -> Result<(), ShardError> {
        let drive = &self.files.drive;
        let output = match output {
            Some(output) => output,
            None => output.insert(self.create()?),
        };
        let mut staging = self.files.stagings.take();
        staging.push(&std::mem::take(&mut output.rest));
        let mut at = output.end - staging.bytes().len() as u64;
        let header = encode_header(&self.header);
        let header: &[u8] = if output.end == 0 { &header } else { &[] };
        let mut put = |mut bytes: &[u8]| {
            output.end += bytes.len() as u64;
            while !bytes.is_empty() {
                bytes = bytes.get(staging.push(bytes)..).unwrap_or_default();
                if staging.is_full() {
                    write_direct(output.file.as_ref(), staging.bytes(), at)?;
                    at += staging.bytes().len() as u64;
                    staging.clear();
                }
            }
            Ok(())
        };
        let written = put(header).and_then(|()| {
            frames.iter().try_for_each(|frame| {
                put(&frame.payload)?;
                put(&frame.checksum.to_le_bytes())
            })
        });
        let (blocks, rest) = staging.bytes().split_at(staging.whole_blocks());
        let written = written.and_then(|()| match blocks {
            [] => Ok(()),
            blocks => write_direct(output.file.as_ref(), blocks, at),
        });
        output.rest = rest.to_vec();
        self.files.stagings.give_back(staging);
        written.map_err(|error| drive.write_failed("write", &output.path, &error))
    }

    fn create(&self) -> Result<Output, ShardError> {
        let (drive, path) = (&self.files.drive, self.files.temp_path());
        match drive.disk.create(&path) {
            Ok(file) => {
                // Where it cannot be done the same writes go through the page cache.
                file.set_direct(true)
                    .map_err(|error| drive.write_failed("set up", &path, &error))?;
                Ok(Output { path, file, end: 0, rest: Vec::new() })
            }
            Err(error) => Err(drive.write_failed("create", &path, &error)),
        }
    }

    /// Makes the shard durable under its name.
    fn finish(&self, output: &mut Option<Output>) -> Result<(), ShardError> {
        let drive = &self.files.drive;
        let Some(open) = output.as_ref() else { return Err(ShardError::Misuse(self.header.id)) };
        debug_assert_eq!(open.end, self.header.stored_len() + RECORD_HEADER_BYTES as u64);
        write_end(open).map_err(|error| drive.write_failed("write", &open.path, &error))?;
        open.file.sync().map_err(|error| drive.write_failed("sync", &open.path, &error))?;
        self.reservation.spent();
        self.files.publish(&open.path, &self.header)?;
        // The name is not in `temp/` any more.
        *output = None;
        Ok(())
    }

    /// Removes the temporary file, if there is one. A name that stays is removed when the store opens.
    fn discard(&self, output: &mut Option<Output>) {
        if let Some(output) = output.take() {
            drop(output.file);
            let _ = self.files.drive.disk.remove(&output.path);
        }
    }
}

/// Writes whole blocks past the page cache, or through it where the file system wants another alignment.
fn write_direct(file: &dyn File, blocks: &[u8], at: u64) -> io::Result<()> {
    match file.write_at(&[IoSlice::new(blocks)], at) {
        // Refused before anything was written: this is no failure of the disk.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            file.set_direct(false)?;
            file.write_at(&[IoSlice::new(blocks)], at)
        }
        outcome => outcome,
    }
}

/// Writes what did not fill a block; only a write through the page cache can end within one.
fn write_end(output: &Output) -> io::Result<()> {
    if output.rest.is_empty() {
        return Ok(());
    }
    output.file.set_direct(false)?;
    output.file.write_at(&[IoSlice::new(&output.rest)], output.end - output.rest.len() as u64)
}

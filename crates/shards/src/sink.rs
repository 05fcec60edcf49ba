//! A shard while it is being written.

use std::sync::Arc;

use tokio::sync::oneshot;
use types::limits;

use crate::drive::Reservation;
use crate::files::{LargeFile, QUEUE_FRAMES, Step};
use crate::segments::{Put, Request, Waiting};
use crate::store::{Core, QUEUE_KIB};
use crate::{Frame, ShardError, ShardHeader};

/// A shard being written to a drive. Dropping it before [`ShardSink::commit`] leaves nothing.
pub struct ShardSink {
    core: Arc<Core>,
    header: ShardHeader,
    /// Frames accepted so far.
    accepted: u64,
    target: Target,
}

enum Target {
    /// Kept until the commit.
    Small(Vec<Frame>, Reservation),
    /// Written as it comes.
    Large(Arc<LargeFile>),
    Committed,
}

impl ShardSink {
    pub(crate) fn new(core: Arc<Core>, header: ShardHeader, reservation: Reservation) -> Self {
        let target = if header.payload_len < limits::SHARD_FILE_MIN_BYTES {
            Target::Small(Vec::with_capacity(header.frames() as usize), reservation)
        } else {
            Target::Large(Arc::new(LargeFile::new(core.files.clone(), header, reservation)))
        };
        Self { core, header, accepted: 0, target }
    }

    /// Hands over the next frames. Returns when they are accepted (not yet durable) and there is room for more.
    ///
    /// # Errors
    /// `Misuse` when a frame has not the length that the header gives it; a failure of an earlier write.
    pub async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError> {
        let mut number = self.accepted;
        for frame in &frames {
            let expected = self.header.frame_len(number);
            if expected == 0 || frame.payload.len() != expected {
                return Err(ShardError::Misuse(self.header.id));
            }
            number += 1;
        }
        self.accepted = number;
        match &mut self.target {
            Target::Small(kept, _) => kept.extend(frames),
            Target::Large(file) => {
                let file = file.clone();
                self.core.drive.check_open()?;
                queue_frames(&self.core, &file, frames).await?;
            }
            Target::Committed => return Err(ShardError::Misuse(self.header.id)),
        }
        Ok(())
    }

    /// Returns when the whole shard is durable: bytes, index entry and directory entry.
    ///
    /// # Errors
    /// `Misuse` when frames are missing or the drive has this copy already; `Full`, `Io`, `Away`. Then the shard
    /// is not there, or is whole and unknown to all.
    pub async fn commit(mut self) -> Result<(), ShardError> {
        if self.accepted != self.header.frames() {
            return Err(ShardError::Misuse(self.header.id));
        }
        self.core.drive.check_open()?;
        let (reply, answer) = oneshot::channel();
        match std::mem::replace(&mut self.target, Target::Committed) {
            Target::Small(frames, room) => {
                let kib = (self.header.stored_len() / 1024 + 2).min(QUEUE_KIB as u64) as u32;
                let away = || self.core.drive.away();
                let permit = self.core.queue_room.clone().acquire_many_owned(kib).await;
                let mut permit = permit.map_err(|_| away())?;
                let place = permit.split(1).ok_or_else(away)?;
                let put = Put { header: self.header, frames, room, permit, reply };
                let (waiting, recall) = Waiting::new(put, place);
                self.core.queue.send(Request::Put(waiting)).map_err(|_| away())?;
                let answered = answer.await.unwrap_or_else(|_| Err(away()));
                drop(recall);
                return answered;
            }
            Target::Large(file) => {
                if file.commit(reply) {
                    schedule(&self.core, file);
                }
            }
            Target::Committed => return Err(ShardError::Misuse(self.header.id)),
        }
        answer.await.unwrap_or_else(|_| Err(self.core.drive.away()))
    }
}

impl Drop for ShardSink {
    fn drop(&mut self) {
        if let Target::Large(file) = std::mem::replace(&mut self.target, Target::Committed)
            && file.abandon()
        {
            schedule(&self.core, file);
        }
    }
}

async fn queue_frames(
    core: &Arc<Core>,
    file: &Arc<LargeFile>,
    frames: Vec<Frame>,
) -> Result<(), ShardError> {
    let mut frames = frames.into_iter();
    while frames.len() > 0 {
        let step = frames.len().min(QUEUE_FRAMES / 2);
        let room = file.room.acquire_many(step as u32).await.map_err(|_| core.drive.away())?;
        // Given back by the thread that has written them.
        room.forget();
        if file.push(frames.by_ref().take(step))? {
            schedule(core, file.clone());
        }
    }
    Ok(())
}

/// Has the write threads serve `file` until nothing is left, one step at a time so that files take turns.
fn schedule(core: &Arc<Core>, file: Arc<LargeFile>) {
    let again = core.clone();
    core.writes.submit(move || {
        if file.serve() == Step::More {
            schedule(&again, file);
        }
    });
}

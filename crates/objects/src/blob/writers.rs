//! The shard writers of one blob: fed in step, replaced while that is still possible, committed together.

use std::collections::HashSet;
use std::time::Duration;

use erasure::{BlobShape, Geometry};
use futures::StreamExt;
use futures::future::OptionFuture;
use futures::stream::FuturesUnordered;
use net::{Carrier, ShardError, ShardHeader, ShardId, ShardWriter};
use tracing::{error, warn};
use types::{BlobId, BucketId, CopyId, DriveId};

use super::cutter::Batch;
use super::drives::Choice;
use super::{Inner, ShardCopy, VoidCopy};
use crate::error::StoreError;

/// No step takes longer than this, however few shards have taken it.
const STEP_MAX: Duration = Duration::from_secs(60);

/// What is being written.
#[derive(Clone, Copy)]
pub(super) struct What {
    pub(super) blob: BlobId,
    /// Length in bytes.
    pub(super) len: u64,
    /// The bucket under which its record will be.
    pub(super) home: BucketId,
}

/// All shards of one blob being written. A drive that fails is replaced by the next one for as long as every byte
/// of its shard is at hand, which is while the first batch is under way (about 1 MiB of the blob; memory for more
/// would be taken from other requests). A shard that is lost later is left out: as long as a write quorum is left
/// the write goes on, and repair fills the shard in. What was made, or may have been made, by writers that
/// did not end in a commit becomes void.
pub(super) struct Writers<'a> {
    store: &'a Inner,
    what: What,
    choice: Choice,
    shards: Vec<Shard>,
    /// Drives that failed this blob.
    failed: HashSet<DriveId>,
    /// All that was fed so far, if that is one batch: a new writer can still begin.
    replay: Option<Batch>,
    fed: usize,
    any_full: bool,
    /// Copies that may be durable, until it is settled which of them count.
    begun: Vec<VoidCopy>,
}

struct Shard {
    id: ShardId,
    drive: DriveId,
    state: State,
}

enum State {
    New,
    Open(Box<dyn ShardWriter>),
    Durable,
    Lost(ShardError),
}

/// A step that all shards take.
#[derive(Clone, Copy)]
struct Step<'b> {
    /// For shards that have a writer.
    feed: Option<&'b Batch>,
    /// For shards that begin now.
    catch_up: Option<&'b Batch>,
    commit: bool,
}

impl<'a> Writers<'a> {
    /// Begins a shard on each chosen drive, or on the next best one.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::TooFewDrives`]; the drives that failed are added to `failed`.
    pub(super) async fn open(
        store: &'a Inner,
        what: What,
        choice: Choice,
        failed: &mut HashSet<DriveId>,
    ) -> Result<Self, StoreError> {
        let mut writers = Self {
            store,
            what,
            shards: Vec::new(),
            failed: failed.clone(),
            replay: None,
            fed: 0,
            any_full: false,
            begun: Vec::new(),
            choice,
        };
        writers.shards = (0..)
            .zip(writers.choice.drives.clone())
            .map(|(index, drive)| writers.new_shard(index, drive))
            .collect();
        let opened = writers.step(Step { feed: None, catch_up: None, commit: false }).await;
        failed.extend(&writers.failed);
        opened.map(|()| writers)
    }

    /// Hands the next batch to every shard.
    ///
    /// # Errors
    /// As [`Self::open`]: fewer shards than a write quorum are left.
    pub(super) async fn feed(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.fed += 1;
        self.replay = (self.fed == 1).then(|| batch.clone());
        let catch_up = self.replay.clone();
        let catch_up = catch_up.as_ref();
        self.step(Step { feed: Some(&batch), catch_up, commit: false }).await
    }

    /// Makes all shards durable: the copies, and the indexes of shards that were lost.
    ///
    /// # Errors
    /// As [`Self::feed`]; what was already durable has been removed, or is void.
    pub(super) async fn commit(mut self) -> Result<(Vec<ShardCopy>, Vec<u8>), StoreError> {
        let replay = self.replay.clone();
        let step = Step { feed: None, catch_up: replay.as_ref(), commit: true };
        let committed = self.step(step).await;
        let copies = self.shards.iter().filter(|shard| matches!(shard.state, State::Durable));
        let mut copies: Vec<ShardCopy> = copies.map(Shard::copy).collect();
        copies.sort_unstable_by_key(|copy| copy.index);
        if let Err(error) = committed {
            let begun = std::mem::take(&mut self.begun);
            self.store.remove(begun).await;
            return Err(error);
        }
        // What is left was not durable in time, and may be some day.
        self.begun.retain(|begun| !copies.iter().any(|copy| copy.void(begun.shard.blob) == *begun));
        let total = self.choice.geometry.total() as u8;
        let is_missing = |index: &u8| !copies.iter().any(|copy| copy.index == *index);
        let missing = (0..total).filter(is_missing).collect();
        Ok((copies, missing))
    }

    /// How the blob is cut.
    pub(super) fn geometry(&self) -> Geometry {
        self.choice.geometry
    }

    fn new_shard(&self, index: u8, drive: DriveId) -> Shard {
        let copy = CopyId::new(self.store.runtime.entropy.nonzero_u64());
        Shard { id: ShardId { blob: self.what.blob, index, copy }, drive, state: State::New }
    }

    fn header(&self, id: ShardId) -> ShardHeader {
        let geometry = self.geometry();
        let shape = BlobShape { geometry, len: self.what.len };
        ShardHeader {
            id,
            data_shards: geometry.data() as u8,
            parity_shards: geometry.parity() as u8,
            blob_len: self.what.len,
            payload_len: shape.shard_len(),
            home: self.what.home.get(),
        }
    }

    /// Takes one step with every shard that is not lost, all at the same time.
    async fn step(&mut self, step: Step<'_>) -> Result<(), StoreError> {
        let quorum = self.geometry().write_quorum();
        let (clock, carrier) = (self.store.runtime.clock.clone(), self.store.carrier.clone());
        let (lost, alive): (Vec<Shard>, Vec<Shard>) =
            std::mem::take(&mut self.shards).into_iter().partition(Shard::is_lost);
        let mut used: HashSet<DriveId> = alive.iter().map(|shard| shard.drive).collect();
        let mut behind: Vec<(ShardId, DriveId)> = Vec::new();
        let mut running = FuturesUnordered::new();
        let start = |shard: Shard, header: ShardHeader| shard.advance(&*carrier, header, step);
        for shard in alive {
            self.note_begun(&shard, step);
            behind.push((shard.id, shard.drive));
            let header = self.header(shard.id);
            running.push(start(shard, header));
        }
        self.shards = lost;
        let (mut done, mut graced, mut timed_out) = (0, false, false);
        let mut grace = OptionFuture::from(None);
        let began = clock.monotonic();
        let mut limit = std::pin::pin!(clock.sleep(STEP_MAX));
        while !timed_out && !running.is_empty() && done + running.len() >= quorum {
            tokio::select! {
                biased;
                Some(shard) = running.next() => {
                    behind.retain(|(id, _)| *id != shard.id);
                    if matches!(shard.state, State::Durable) {
                        self.store.drives.came_along(shard.drive);
                    }
                    match self.replace(&shard, &mut used) {
                        Some(new) => {
                            self.note_begun(&new, step);
                            behind.push((new.id, new.drive));
                            let header = self.header(new.id);
                            running.push(start(new, header));
                        }
                        None => {
                            done += usize::from(!shard.is_lost());
                            self.shards.push(shard);
                        }
                    }
                    if done == quorum && !graced {
                        graced = true;
                        let wait = self.store.drives.grace(behind.iter().map(|(_, drive)| *drive));
                        grace = OptionFuture::from(Some(clock.sleep(wait)));
                    }
                }
                Some(()) = &mut grace => timed_out = true,
                () = &mut limit => timed_out = true,
            }
        }
        drop(running);
        for (id, drive) in behind {
            // Those that nobody waits for, because there are too few anyway, have done nothing wrong.
            if timed_out {
                let ago = clock.monotonic().saturating_sub(began);
                self.store.drives.left_behind(drive, ago);
                self.note_loss(id, drive, &ShardError::Away(drive));
            }
            self.shards.push(Shard { id, drive, state: State::Lost(ShardError::Away(drive)) });
        }
        if done >= quorum { Ok(()) } else { Err(self.shortage()) }
    }

    /// For a shard that has just been lost, one in its place, if there is a drive for it and every byte of it
    /// is still at hand.
    fn replace(&mut self, shard: &Shard, used: &mut HashSet<DriveId>) -> Option<Shard> {
        let State::Lost(error) = &shard.state else { return None };
        self.note_loss(shard.id, shard.drive, error);
        used.remove(&shard.drive);
        if self.fed > 0 && self.replay.is_none() {
            return None;
        }
        let drive = self.store.drives.replacement(&self.choice, &self.failed, used)?;
        used.insert(drive);
        Some(self.new_shard(shard.id.index, drive))
    }

    fn note_begun(&mut self, shard: &Shard, step: Step<'_>) {
        if step.commit {
            self.begun.push(shard.copy().void(shard.id.blob));
        }
    }

    fn note_loss(&mut self, id: ShardId, drive: DriveId, cause: &ShardError) {
        match cause {
            ShardError::Misuse(_) => error!(%drive, shard = ?id, "{cause}"),
            _ => warn!(%drive, shard = ?id, %cause, "a shard could not be written"),
        }
        self.any_full |= matches!(cause, ShardError::Full { .. });
        self.failed.insert(drive);
        self.store.drives.forget();
    }

    fn shortage(&self) -> StoreError {
        if self.any_full { StoreError::Full } else { StoreError::TooFewDrives }
    }
}

impl Drop for Writers<'_> {
    fn drop(&mut self) {
        self.store.void.add(self.begun.drain(..));
    }
}

impl Shard {
    fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(_))
    }

    fn copy(&self) -> ShardCopy {
        ShardCopy { index: self.id.index, drive: self.drive, copy: self.id.copy }
    }

    async fn advance(self, carrier: &dyn Carrier, header: ShardHeader, step: Step<'_>) -> Self {
        let Self { id, drive, state } = self;
        let state = match advanced(state, carrier, drive, header, step).await {
            Ok(state) => state,
            Err(error) => State::Lost(error),
        };
        Self { id, drive, state }
    }
}

async fn advanced(
    state: State,
    carrier: &dyn Carrier,
    drive: DriveId,
    header: ShardHeader,
    step: Step<'_>,
) -> Result<State, ShardError> {
    let (mut writer, batch) = match state {
        State::New => (carrier.create(drive, header).await?, step.catch_up),
        State::Open(writer) => (writer, step.feed),
        state @ (State::Durable | State::Lost(_)) => return Ok(state),
    };
    if let Some(batch) = batch {
        writer.write(batch.frames(&header.id)).await?;
    }
    if !step.commit {
        return Ok(State::Open(writer));
    }
    writer.commit().await?;
    Ok(State::Durable)
}

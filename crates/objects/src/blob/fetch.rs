//! Fetching one window of stripes: runs the grid's decisions against the drives.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use erasure::{BlobShape, Codec};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use net::{Frame, ShardError, ShardId};
use tracing::{debug, error, warn};
use types::BlobId;

use super::plan::{Ask, Grid, Next, Trust};
use super::{Damage, DamageKind, Inner, OnDamage, Relocate, ShardCopy, StoredBlob};
use crate::error::ReadError;

/// A shard that was overtaken is left alone for so many windows.
const AVOID_WINDOWS: u32 = 16;
/// A drive that has not answered a read by now will not.
const READ_MAX: Duration = Duration::from_secs(30);

/// Fetches windows of one blob, one after the other, and remembers what it learns about the shards.
pub(super) struct Fetcher {
    store: Arc<Inner>,
    id: BlobId,
    shape: BlobShape,
    codec: Codec,
    shards: Vec<Shard>,
    on_damage: OnDamage,
    /// `None` once it has been used.
    relocate: Option<Relocate>,
    /// The true copies could not be looked up: what is missing may just be elsewhere, or the blob deleted.
    unsure: bool,
}

/// What a read knows of one shard.
#[derive(Clone, Copy, Default)]
struct Shard {
    place: Option<ShardCopy>,
    /// Why it is not used any more.
    out: Option<DamageKind>,
    /// Windows for which it is asked last.
    avoid: u32,
    reported: bool,
}

/// A read under way.
struct Pending {
    ask: Ask,
    since: Duration,
}

struct Reply {
    ask: Ask,
    place: ShardCopy,
    took: Duration,
    frames: Result<Vec<Frame>, ShardError>,
}

type Running = FuturesUnordered<BoxFuture<'static, Reply>>;

impl Fetcher {
    pub(super) fn new(
        store: Arc<Inner>,
        blob: StoredBlob,
        on_damage: OnDamage,
        relocate: Option<Relocate>,
    ) -> Self {
        let shape = BlobShape { geometry: blob.geometry, len: blob.len };
        let codec = store.codec(blob.geometry, blob.matrix);
        let mut shards = vec![Shard::default(); blob.geometry.total()];
        for copy in blob.copies {
            if let Some(shard) = shards.get_mut(usize::from(copy.index)) {
                shard.place = Some(copy);
            }
        }
        Self { store, id: blob.id, shape, codec, shards, on_damage, relocate, unsure: false }
    }

    pub(super) fn id(&self) -> BlobId {
        self.id
    }

    pub(super) fn shape(&self) -> BlobShape {
        self.shape
    }

    /// The bytes of `range` that lie in `stripes`, verified, in order.
    pub(super) async fn fetch(
        &mut self,
        stripes: Range<u64>,
        range: &Range<u64>,
    ) -> Result<VecDeque<Bytes>, ReadError> {
        let mut grid = self.grid(&stripes, range);
        let clock = self.store.runtime.clock.clone();
        let late_after = self.store.latency.late_after();
        let mut running = Running::new();
        let mut pending: Vec<Pending> = Vec::new();
        let mut timer = clock.sleep(READ_MAX);
        loop {
            match grid.next() {
                Next::Complete => break,
                Next::Hopeless(_) if self.relocated(&mut grid).await => continue,
                Next::Hopeless(row) => return Err(self.verdict(&grid, row)),
                Next::Wait(asks) if asks.is_empty() => {}
                Next::Wait(asks) => {
                    for ask in asks {
                        self.start(ask, stripes.start, &mut grid, &running, &mut pending);
                    }
                    let now = clock.monotonic();
                    timer = clock.sleep(next_look(&pending, now, late_after, &grid));
                }
            }
            tokio::select! {
                biased;
                Some(reply) = running.next() => {
                    pending.retain(|pending| pending.ask != reply.ask);
                    self.take_in(reply, stripes.start, &mut grid).await;
                }
                () = &mut timer => {
                    let now = clock.monotonic();
                    self.judge(&mut pending, now, late_after, &mut grid);
                    timer = clock.sleep(next_look(&pending, now, late_after, &grid));
                }
            }
        }
        self.remember_late(&pending, &grid);
        self.assemble(&grid, stripes, range)
    }

    fn grid(&mut self, stripes: &Range<u64>, range: &Range<u64>) -> Grid {
        let rows = (stripes.end - stripes.start) as usize;
        let touched = |stripe: u64, shard: usize| {
            let frame = self.shape.frame_range(stripe, shard);
            frame.start.max(range.start) < frame.end.min(range.end)
        };
        // A range is contiguous, so the frames of one shard that it touches are, too.
        let wanted = (0..self.shape.geometry.data()).map(|shard| {
            let row_touched = |row: &usize| touched(stripes.start + *row as u64, shard);
            let first = (0..rows).find(row_touched).unwrap_or(0);
            first..(first..rows).rfind(row_touched).map_or(first, |last| last + 1)
        });
        let wanted = wanted.collect();
        let (latency, now) = (&self.store.latency, self.store.runtime.clock.monotonic());
        let trust = self.shards.iter_mut().map(|shard| match (shard.place, shard.out) {
            (None, _) | (_, Some(_)) => Trust::Out,
            (Some(_), None) if shard.avoid > 0 => {
                shard.avoid -= 1;
                Trust::Slow
            }
            (Some(place), None) if latency.is_late(place.drive, now) => Trust::Slow,
            (Some(_), None) => Trust::Good,
        });
        Grid::new(rows, wanted, trust.collect())
    }

    fn start(
        &self,
        ask: Ask,
        base: u64,
        grid: &mut Grid,
        running: &Running,
        pending: &mut Vec<Pending>,
    ) {
        let Some(place) = self.shards.get(ask.shard).and_then(|shard| shard.place) else {
            ask.stripes.clone().for_each(|row| grid.lost(ask.shard, row));
            return;
        };
        let (carrier, clock) = (self.store.carrier.clone(), self.store.runtime.clock.clone());
        let since = clock.monotonic();
        pending.push(Pending { ask: ask.clone(), since });
        let id = self.shard_id(place);
        running.push(Box::pin(async move {
            let (first, count) = (base + ask.stripes.start as u64, ask.stripes.len() as u32);
            let frames = carrier.read(place.drive, id, first, count).await;
            let took = clock.monotonic().saturating_sub(since);
            Reply { ask, place, took, frames }
        }));
    }

    async fn take_in(&mut self, reply: Reply, base: u64, grid: &mut Grid) {
        let Reply { ask, place, took, frames } = reply;
        match frames {
            Ok(frames) => {
                self.store.latency.answered(place.drive, took);
                self.verify(frames, &ask, place, base, grid);
            }
            Err(error) => {
                ask.stripes.clone().for_each(|row| grid.lost(ask.shard, row));
                let kind = match error {
                    ShardError::NotFound(_) => DamageKind::Missing,
                    ShardError::Corrupt { .. } => DamageKind::Corrupt,
                    ShardError::Away(_) => DamageKind::Away,
                    ShardError::Full { .. } | ShardError::Io { .. } | ShardError::Misuse(_) => {
                        DamageKind::Failed
                    }
                };
                if kind == DamageKind::Missing {
                    self.relocated(grid).await;
                }
                self.give_up(ask.shard, place, kind, grid);
            }
        }
        // An answer of a copy that the shard has meanwhile turned out not to be: the right one is still to be asked.
        let now = self.shards.get(ask.shard).and_then(|shard| shard.place);
        if now.is_some_and(|now| now != place) {
            grid.revive(ask.shard);
        }
    }

    fn verify(
        &mut self,
        frames: Vec<Frame>,
        ask: &Ask,
        place: ShardCopy,
        base: u64,
        grid: &mut Grid,
    ) {
        let id = self.shard_id(place);
        let mut frames = frames.into_iter();
        let mut damaged = false;
        for row in ask.stripes.clone() {
            let stripe = base + row as u64;
            let sound = |frame: &Frame| {
                frame.payload.len() == self.shape.frame_len(stripe) && frame.verifies(&id, stripe)
            };
            match frames.next().filter(sound) {
                Some(frame) => grid.arrived(ask.shard, row, frame.payload),
                None => {
                    damaged = true;
                    grid.lost(ask.shard, row);
                }
            }
        }
        if damaged {
            self.report(place, DamageKind::Corrupt);
        }
    }

    /// Stops using a copy, unless the shard has turned out to be elsewhere.
    fn give_up(&mut self, shard: usize, place: ShardCopy, kind: DamageKind, grid: &mut Grid) {
        if self.shards.get(shard).is_some_and(|shard| shard.place == Some(place)) {
            self.shards[shard].out = Some(kind);
            grid.set_trust(shard, Trust::Out);
            if kind != DamageKind::Missing || !self.unsure {
                self.report(place, kind);
            }
        }
    }

    fn report(&mut self, copy: ShardCopy, kind: DamageKind) {
        let Some(shard) = self.shards.get_mut(usize::from(copy.index)) else { return };
        if !std::mem::replace(&mut shard.reported, true) {
            match kind {
                // Said once for the drive, not for each of its shards.
                DamageKind::Away => {
                    debug!(blob = %self.id, index = copy.index, drive = %copy.drive, "read around an absent drive");
                }
                _ => {
                    warn!(blob = %self.id, index = copy.index, drive = %copy.drive, ?kind, "a shard could not be used");
                }
            }
            (self.on_damage)(self.id, Damage { copy, kind });
        }
    }

    /// Looks the copies up again, once. Whether any shard is elsewhere than was thought.
    async fn relocated(&mut self, grid: &mut Grid) -> bool {
        let Some(relocate) = self.relocate.take() else { return false };
        let Some(copies) = relocate(self.id).await else {
            self.unsure = true;
            return false;
        };
        let mut moved = false;
        for copy in copies {
            let index = usize::from(copy.index);
            let Some(shard) = self.shards.get_mut(index) else { continue };
            if shard.place != Some(copy) {
                *shard = Shard { place: Some(copy), ..Shard::default() };
                grid.revive(index);
                moved = true;
            }
        }
        moved
    }

    /// Marks what is late, and gives up what will not come.
    fn judge(
        &mut self,
        pending: &mut Vec<Pending>,
        now: Duration,
        late_after: Duration,
        grid: &mut Grid,
    ) {
        for Pending { ask, since } in pending.iter() {
            let waited = now.saturating_sub(*since);
            if waited >= READ_MAX {
                ask.stripes.clone().for_each(|row| grid.lost(ask.shard, row));
                if let Some(place) = self.shards.get(ask.shard).and_then(|shard| shard.place) {
                    self.give_up(ask.shard, place, DamageKind::Away, grid);
                }
            } else if waited >= late_after && grid.trust(ask.shard) == Trust::Good {
                debug!(blob = %self.id, shard = ask.shard, "a shard is late, asking others too");
                grid.set_trust(ask.shard, Trust::Slow);
            }
        }
        pending.retain(|pending| now.saturating_sub(pending.since) < READ_MAX);
    }

    /// What others overtook is left alone for a while; and its time so far is a measurement too.
    fn remember_late(&mut self, pending: &[Pending], grid: &Grid) {
        let now = self.store.runtime.clock.monotonic();
        for Pending { ask, since } in pending {
            if grid.trust(ask.shard) == Trust::Slow {
                self.store.latency.record(now.saturating_sub(*since));
                let shard = &mut self.shards[ask.shard];
                shard.avoid = AVOID_WINDOWS;
                if let Some(place) = shard.place {
                    self.store.latency.overtaken(place.drive, now);
                }
            }
        }
    }

    /// Why a stripe cannot be read: for ever, or until drives come back.
    fn verdict(&self, grid: &Grid, row: usize) -> ReadError {
        let may_come_back = |(index, shard): &(usize, &Shard)| {
            let gone = matches!(shard.out, Some(DamageKind::Away | DamageKind::Failed));
            gone && grid.frame(*index, row).is_none()
        };
        // Frames that nobody waits for any more may be whole, too.
        let here = (0..self.shards.len()).filter(|&index| grid.is_coming(index, row)).count();
        let away = self.shards.iter().enumerate().filter(may_come_back).count();
        let verdict = match here + away >= self.shape.geometry.data() {
            true => ReadError::Unavailable,
            false => ReadError::Corrupt,
        };
        error!(blob = %self.id, whole = here, away, %verdict, "a blob could not be read");
        verdict
    }

    fn assemble(
        &self,
        grid: &Grid,
        stripes: Range<u64>,
        range: &Range<u64>,
    ) -> Result<VecDeque<Bytes>, ReadError> {
        let mut pieces = VecDeque::with_capacity(stripes.clone().count() * grid.data_shards());
        for (row, stripe) in stripes.enumerate() {
            let mut made = self.rebuild(grid, row)?.into_iter();
            for shard in grid.wanted(row) {
                let frame = match grid.frame(shard, row) {
                    Some(frame) => frame.clone(),
                    None => made.next().map(Bytes::from).ok_or(ReadError::Corrupt)?,
                };
                let at = self.shape.frame_range(stripe, shard);
                let from = at.start.max(range.start) - at.start;
                let to = at.end.min(range.end) - at.start;
                pieces.push_back(frame.slice(from as usize..to as usize));
            }
        }
        Ok(pieces)
    }

    /// The wanted frames of a row that did not come, in order.
    fn rebuild(&self, grid: &Grid, row: usize) -> Result<Vec<Vec<u8>>, ReadError> {
        let absent: Vec<usize> =
            grid.wanted(row).filter(|&shard| grid.frame(shard, row).is_none()).collect();
        if absent.is_empty() {
            return Ok(Vec::new());
        }
        let frames: Vec<Option<&[u8]>> = (0..self.shards.len())
            .map(|shard| grid.frame(shard, row).map(|frame| frame.as_ref()))
            .collect();
        self.codec.reconstruct(&frames, &absent).map_err(|cause| {
            error!(blob = %self.id, %cause, "verified frames could not be decoded");
            ReadError::Corrupt
        })
    }

    fn shard_id(&self, place: ShardCopy) -> ShardId {
        ShardId { blob: self.id, index: place.index, copy: place.copy }
    }
}

/// When the next pending read becomes late, or is to be given up.
fn next_look(pending: &[Pending], now: Duration, late_after: Duration, grid: &Grid) -> Duration {
    let looks = pending.iter().map(|Pending { ask, since }| {
        let waits = if grid.trust(ask.shard) == Trust::Good { late_after } else { READ_MAX };
        (*since + waits).saturating_sub(now)
    });
    looks.min().unwrap_or(late_after)
}

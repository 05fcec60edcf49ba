//! Drives in memory. What others can see of a call waits at the desk; beginning and filling a shard does not, because
//! nobody sees a shard before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use net::{
    Carrier, Compacted, DriveState, DriveStatus, Frame, Presence, ScrubBudget, ScrubSlice,
    Scrubbed, ShardError, ShardHeader, ShardId, ShardWriter,
};
use parking_lot::Mutex;
use types::DriveId;

use crate::desk::{Call, Desk};

type Shards = BTreeMap<ShardId, (ShardHeader, Vec<Frame>)>;

/// See the module.
pub struct Drives {
    desk: Arc<Desk>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    drives: BTreeMap<DriveId, Shards>,
    away: BTreeSet<DriveId>,
}

impl State {
    fn drive(&mut self, drive: DriveId) -> Result<&mut Shards, ShardError> {
        if self.away.contains(&drive) {
            return Err(ShardError::Away(drive));
        }
        self.drives.get_mut(&drive).ok_or(ShardError::Away(drive))
    }

    fn shard(
        &mut self,
        drive: DriveId,
        id: ShardId,
    ) -> Result<&mut (ShardHeader, Vec<Frame>), ShardError> {
        self.drive(drive)?.get_mut(&id).ok_or(ShardError::NotFound(id))
    }
}

fn verify((header, frames): &(ShardHeader, Vec<Frame>)) -> Vec<u64> {
    let sound = |number: u64| {
        let frame = frames.get(number as usize);
        frame.is_some_and(|frame| {
            frame.payload.len() == header.frame_len(number) && frame.verifies(&header.id, number)
        })
    };
    (0..header.frames()).filter(|number| !sound(*number)).collect()
}

impl Drives {
    /// Empty drives.
    pub fn new(desk: Arc<Desk>, drives: impl Iterator<Item = DriveId>) -> Self {
        let drives = drives.map(|drive| (drive, Shards::new())).collect();
        let state = State { drives, away: BTreeSet::new() };
        Self { desk, state: Arc::new(Mutex::new(state)) }
    }

    /// Takes a drive away, or brings it back with all it has.
    pub fn set_away(&self, drive: DriveId, away: bool) {
        let mut state = self.state.lock();
        if away {
            state.away.insert(drive)
        } else {
            state.away.remove(&drive)
        };
    }

    /// The first drive that has a shard.
    pub fn first_used(&self) -> DriveId {
        let state = self.state.lock();
        let used = state.drives.iter().find(|(_, shards)| !shards.is_empty());
        *used.expect("there are shards").0
    }

    /// Puts an empty drive in the place of one.
    pub fn wipe(&self, drive: DriveId) {
        self.state.lock().drives.entry(drive).or_default().clear();
    }

    /// Flips a bit of every shard of a drive.
    pub fn rot(&self, drive: DriveId) {
        let mut state = self.state.lock();
        for (_, frames) in state.drives.entry(drive).or_default().values_mut() {
            for frame in frames {
                let mut payload = frame.payload.to_vec();
                payload[0] ^= 1;
                frame.payload = Bytes::from(payload);
            }
        }
    }

    /// Every shard, with its drive and whether all of its frames verify.
    pub fn all(&self) -> Vec<(DriveId, ShardHeader, bool)> {
        let state = self.state.lock();
        let of = |(drive, shards): (&DriveId, &Shards)| {
            let drive = *drive;
            let seen =
                |shard: &(ShardHeader, Vec<Frame>)| (drive, shard.0, verify(shard).is_empty());
            shards.values().map(seen).collect::<Vec<_>>()
        };
        state.drives.iter().flat_map(of).collect()
    }
}

#[async_trait::async_trait]
impl Carrier for Drives {
    async fn create(
        &self,
        drive: DriveId,
        header: ShardHeader,
    ) -> Result<Box<dyn ShardWriter>, ShardError> {
        self.state.lock().drive(drive)?;
        let (desk, state) = (self.desk.clone(), self.state.clone());
        Ok(Box::new(Writer { desk, state, drive, header, frames: Vec::new() }))
    }

    async fn read(
        &self,
        drive: DriveId,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        self.desk.point(Call::ShardRead).await;
        let mut state = self.state.lock();
        let (_, frames) = state.shard(drive, id)?;
        Ok(frames.iter().skip(first as usize).take(count as usize).cloned().collect())
    }

    async fn header(&self, drive: DriveId, id: ShardId) -> Result<ShardHeader, ShardError> {
        self.desk.point(Call::ShardHeader).await;
        self.state.lock().shard(drive, id).map(|(header, _)| *header)
    }

    async fn delete(&self, drive: DriveId, id: ShardId) -> Result<bool, ShardError> {
        self.desk.point(Call::ShardDelete).await;
        Ok(self.state.lock().drive(drive)?.remove(&id).is_some())
    }

    async fn list(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        self.desk.point(Call::ShardList).await;
        let mut state = self.state.lock();
        let behind = |id: &ShardId| after.is_none_or(|after| *id > after);
        let shards = state.drive(drive)?.iter().filter(|(id, _)| behind(id));
        Ok(shards.map(|(_, (header, _))| *header).take(limit).collect())
    }

    async fn presence(
        &self,
        drive: DriveId,
        ids: Vec<ShardId>,
    ) -> Result<Vec<Presence>, ShardError> {
        self.desk.point(Call::ShardPresence).await;
        let mut state = self.state.lock();
        let shards = state.drive(drive)?;
        let presence = |id| {
            if shards.contains_key(id) { Presence::Whole } else { Presence::Absent }
        };
        Ok(ids.iter().map(presence).collect())
    }

    async fn scrub(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        budget: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError> {
        self.desk.point(Call::ShardScrub).await;
        let mut state = self.state.lock();
        let mut slice = ScrubSlice::default();
        let behind = |id: &ShardId| after.is_none_or(|after| *id > after);
        let mut left = state.drive(drive)?.iter().filter(|(id, _)| behind(id)).peekable();
        while let Some((&id, shard)) = left.next() {
            slice.bytes += shard.0.payload_len;
            slice.seen.push(Scrubbed { id, header: Some(shard.0), damaged: verify(shard) });
            if slice.seen.len() >= budget.shards.max(1) || slice.bytes >= budget.bytes {
                slice.next = left.peek().map(|_| id);
                break;
            }
        }
        Ok(slice)
    }

    async fn compact(&self, _: DriveId, _: u64) -> Result<Compacted, ShardError> {
        Ok(Compacted::default())
    }

    async fn status(&self, drive: DriveId) -> DriveStatus {
        let mut state = self.state.lock();
        let (state, shards) = match state.drive(drive) {
            Ok(shards) => (DriveState::Up, shards.len() as u64),
            Err(_) => (DriveState::Away, 0),
        };
        let room = 1 << 40;
        DriveStatus {
            state,
            capacity_bytes: room,
            available_bytes: room,
            used_bytes: 0,
            quarantine_bytes: 0,
            shards,
        }
    }
}

struct Writer {
    desk: Arc<Desk>,
    state: Arc<Mutex<State>>,
    drive: DriveId,
    header: ShardHeader,
    frames: Vec<Frame>,
}

#[async_trait::async_trait]
impl ShardWriter for Writer {
    async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError> {
        // A copy: a real drive does not keep the writer's buffers for ever.
        let copied =
            |frame: Frame| Frame { payload: Bytes::copy_from_slice(&frame.payload), ..frame };
        self.frames.extend(frames.into_iter().map(copied));
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), ShardError> {
        self.desk.point(Call::ShardCommit).await;
        let shard = (self.header, std::mem::take(&mut self.frames));
        if !verify(&shard).is_empty() {
            return Err(ShardError::Misuse(self.header.id));
        }
        self.state.lock().drive(self.drive)?.insert(self.header.id, shard);
        Ok(())
    }
}

//! Drives in memory, with faults to order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use net::{
    Carrier, Compacted, DriveState, DriveStatus, Frame, Presence, ScrubBudget, ScrubSlice,
    ShardError, ShardHeader, ShardId, ShardWriter,
};
use parking_lot::Mutex;
use types::DriveId;

use super::drive;
use crate::blob::ShardCopy;

/// What a drive does wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub(super) away: bool,
    /// Says it is up, and refuses every new shard as full.
    pub(super) full_at_create: bool,
    pub(super) fail_at_create: bool,
    /// Every writer's write of this number (from 0) fails.
    pub(super) fail_at_write: Option<usize>,
    pub(super) fail_at_commit: bool,
    pub(super) hang_at_write: Option<usize>,
    pub(super) hang_at_commit: bool,
    pub(super) hang_at_read: bool,
    pub(super) fail_at_read: bool,
    /// Reported by `status` when not up.
    pub(super) state: Option<DriveState>,
}

#[derive(Default)]
struct TestDrive {
    faults: Faults,
    shards: BTreeMap<ShardId, (ShardHeader, Vec<Frame>)>,
}

/// A read that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) index: u8,
    pub(super) first: u64,
    pub(super) count: u32,
}

pub(super) struct TestDrives {
    drives: Arc<Mutex<BTreeMap<DriveId, TestDrive>>>,
    asked: Mutex<Vec<Asked>>,
    writers: Arc<AtomicUsize>,
}

impl TestDrives {
    pub(super) fn new(count: usize) -> Self {
        let drives = (0..count).map(|number| (drive(number), TestDrive::default())).collect();
        Self {
            drives: Arc::new(Mutex::new(drives)),
            asked: Mutex::default(),
            writers: Arc::default(),
        }
    }

    pub(super) fn set(&self, drive: DriveId, faults: Faults) {
        self.drives.lock().entry(drive).or_default().faults = faults;
    }

    /// Shards on all drives, committed ones.
    pub(super) fn shards(&self) -> usize {
        self.drives.lock().values().map(|drive| drive.shards.len()).sum()
    }

    /// Writers that were neither committed nor dropped.
    pub(super) fn open_writers(&self) -> usize {
        self.writers.load(Ordering::SeqCst)
    }

    /// The reads since the last call.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock())
    }

    pub(super) fn remove(&self, id: ShardId, copy: ShardCopy) -> (ShardHeader, Vec<Frame>) {
        let mut drives = self.drives.lock();
        let drive = drives.get_mut(&copy.drive).expect("a drive");
        drive.shards.remove(&id).expect("the copy is there")
    }

    /// Puts the frames of a copy under another copy's name, on another drive.
    pub(super) fn insert(
        &self,
        id: ShardId,
        drive: DriveId,
        header: ShardHeader,
        frames: &[Frame],
    ) {
        let resealed = (0..).zip(frames);
        let resealed = resealed.map(|(n, frame)| Frame::seal(&id, n, frame.payload.clone()));
        let shard = (ShardHeader { id, ..header }, resealed.collect());
        self.drives.lock().entry(drive).or_default().shards.insert(id, shard);
    }

    /// Puts frames under a copy's name as they are.
    pub(super) fn put_raw(&self, id: ShardId, drive: DriveId, raw: Vec<Frame>) {
        let mut drives = self.drives.lock();
        let shard = drives.get_mut(&drive).and_then(|drive| drive.shards.get_mut(&id));
        shard.expect("the copy is there").1 = raw;
    }

    /// Flips a bit of one frame.
    pub(super) fn corrupt(&self, id: ShardId, copy: ShardCopy, frame: usize) {
        let mut drives = self.drives.lock();
        let drive = drives.get_mut(&copy.drive).expect("a drive");
        let (_, frames) = drive.shards.get_mut(&id).expect("the copy is there");
        let frame = frames.get_mut(frame).expect("the frame is there");
        let mut payload = frame.payload.to_vec();
        let middle = payload.len() / 2;
        payload[middle] ^= 0x10;
        frame.payload = Bytes::from(payload);
    }

    /// Cuts the last frames of a copy off.
    pub(super) fn truncate(&self, id: ShardId, copy: ShardCopy, frames: usize) {
        let mut drives = self.drives.lock();
        let drive = drives.get_mut(&copy.drive).expect("a drive");
        drive.shards.get_mut(&id).expect("the copy is there").1.truncate(frames);
    }

    pub(super) fn drives_used(&self) -> HashSet<DriveId> {
        let drives = self.drives.lock();
        drives.iter().filter(|(_, drive)| !drive.shards.is_empty()).map(|(id, _)| *id).collect()
    }

    fn faults(&self, drive: DriveId) -> Result<Faults, ShardError> {
        let faults = self.drives.lock().get(&drive).map(|drive| drive.faults.clone());
        faults.filter(|faults| !faults.away).ok_or(ShardError::Away(drive))
    }
}

fn io(drive: DriveId) -> ShardError {
    ShardError::Io { drive, message: "as ordered".to_owned() }
}

#[async_trait::async_trait]
impl Carrier for TestDrives {
    async fn create(
        &self,
        drive: DriveId,
        header: ShardHeader,
    ) -> Result<Box<dyn ShardWriter>, ShardError> {
        let faults = self.faults(drive)?;
        if faults.full_at_create {
            return Err(ShardError::Full { drive, available: 0 });
        }
        if faults.fail_at_create {
            return Err(io(drive));
        }
        self.writers.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(TestWriter {
            drives: self.drives.clone(),
            drive,
            header,
            frames: Vec::new(),
            writes: 0,
            faults,
            writers: self.writers.clone(),
        }))
    }

    async fn read(
        &self,
        drive: DriveId,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        self.asked.lock().push(Asked { index: id.index, first, count });
        let faults = self.faults(drive)?;
        if faults.hang_at_read {
            std::future::pending::<()>().await;
        }
        if faults.fail_at_read {
            return Err(io(drive));
        }
        let drives = self.drives.lock();
        let shard = drives.get(&drive).and_then(|drive| drive.shards.get(&id));
        let (_, frames) = shard.ok_or(ShardError::NotFound(id))?;
        Ok(frames.iter().skip(first as usize).take(count as usize).cloned().collect())
    }

    async fn header(&self, drive: DriveId, id: ShardId) -> Result<ShardHeader, ShardError> {
        let drives = self.drives.lock();
        let shard = drives.get(&drive).and_then(|drive| drive.shards.get(&id));
        shard.map(|(header, _)| *header).ok_or(ShardError::NotFound(id))
    }

    async fn delete(&self, drive: DriveId, id: ShardId) -> Result<bool, ShardError> {
        self.faults(drive)?;
        let mut drives = self.drives.lock();
        Ok(drives.get_mut(&drive).is_some_and(|drive| drive.shards.remove(&id).is_some()))
    }

    async fn list(
        &self,
        _: DriveId,
        _: Option<ShardId>,
        _: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        Ok(Vec::new())
    }

    async fn presence(
        &self,
        drive: DriveId,
        ids: Vec<ShardId>,
    ) -> Result<Vec<Presence>, ShardError> {
        self.faults(drive)?;
        let drives = self.drives.lock();
        let is_here = |id| drives.get(&drive).is_some_and(|drive| drive.shards.contains_key(id));
        let presence = |id| if is_here(id) { Presence::Whole } else { Presence::Absent };
        Ok(ids.iter().map(presence).collect())
    }

    async fn scrub(
        &self,
        _: DriveId,
        _: Option<ShardId>,
        _: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError> {
        Ok(ScrubSlice::default())
    }

    async fn compact(&self, _: DriveId, _: u64) -> Result<Compacted, ShardError> {
        Ok(Compacted::default())
    }

    async fn status(&self, drive: DriveId) -> DriveStatus {
        let state = match self.faults(drive) {
            Ok(faults) => faults.state.unwrap_or(DriveState::Up),
            Err(_) => DriveState::Away,
        };
        DriveStatus {
            state,
            capacity_bytes: 0,
            available_bytes: 0,
            used_bytes: 0,
            shards: 0,
            quarantine_bytes: 0,
        }
    }
}

struct TestWriter {
    drives: Arc<Mutex<BTreeMap<DriveId, TestDrive>>>,
    drive: DriveId,
    header: ShardHeader,
    frames: Vec<Frame>,
    writes: usize,
    faults: Faults,
    writers: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl ShardWriter for TestWriter {
    async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError> {
        // Give the others a turn, as a real drive would.
        tokio::task::yield_now().await;
        if self.faults.hang_at_write == Some(self.writes) {
            std::future::pending::<()>().await;
        }
        if self.faults.fail_at_write == Some(self.writes) {
            return Err(io(self.drive));
        }
        self.writes += 1;
        for frame in frames {
            let number = self.frames.len() as u64;
            if frame.payload.len() != self.header.frame_len(number)
                || !frame.verifies(&self.header.id, number)
            {
                return Err(ShardError::Misuse(self.header.id));
            }
            // A copy: a real drive does not keep the writer's buffers for ever.
            let payload = Bytes::copy_from_slice(&frame.payload);
            self.frames.push(Frame { payload, ..frame });
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), ShardError> {
        tokio::task::yield_now().await;
        if self.faults.hang_at_commit {
            std::future::pending::<()>().await;
        }
        if self.faults.fail_at_commit {
            return Err(io(self.drive));
        }
        if self.frames.len() as u64 != self.header.frames() {
            return Err(ShardError::Misuse(self.header.id));
        }
        let shard = (self.header, std::mem::take(&mut self.frames));
        let mut drives = self.drives.lock();
        drives.entry(self.drive).or_default().shards.insert(self.header.id, shard);
        Ok(())
    }
}

impl Drop for TestWriter {
    fn drop(&mut self) {
        self.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

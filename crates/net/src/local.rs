//! The carrier inside one process: direct calls on the stores of this process's drives.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use shards::{
    Compacted, DriveState, DriveStatus, Frame, Presence, ScrubBudget, ScrubSlice, ShardError,
    ShardHeader, ShardId, ShardSink, Store,
};
use types::DriveId;

use crate::{Carrier, ShardWriter};

/// Serves requests on the drives of this process. A drive that it does not have is away.
pub struct LocalCarrier {
    stores: Arc<Stores>,
}

type Stores = RwLock<HashMap<DriveId, Arc<Store>>>;

impl LocalCarrier {
    /// A carrier to `stores`.
    pub fn new(stores: HashMap<DriveId, Arc<Store>>) -> Self {
        Self { stores: Arc::new(RwLock::new(stores)) }
    }

    /// Takes a drive away: from now on it is [`ShardError::Away`], also for shards being written to it. Its
    /// store, if there was one, is handed back open.
    pub fn detach(&self, drive: DriveId) -> Option<Arc<Store>> {
        self.stores.write().remove(&drive)
    }

    /// Adds a drive, or brings it back. The store that it replaces is handed back open.
    pub fn attach(&self, drive: DriveId, store: Arc<Store>) -> Option<Arc<Store>> {
        self.stores.write().insert(drive, store)
    }

    /// The drives that are there, in no order.
    pub fn drives(&self) -> Vec<DriveId> {
        self.stores.read().keys().copied().collect()
    }

    /// The open store of a drive that is there.
    pub fn store_of(&self, drive: DriveId) -> Option<Arc<Store>> {
        self.stores.read().get(&drive).cloned()
    }

    fn store(&self, drive: DriveId) -> Result<Arc<Store>, ShardError> {
        self.store_of(drive).ok_or(ShardError::Away(drive))
    }
}

#[async_trait::async_trait]
impl Carrier for LocalCarrier {
    async fn create(
        &self,
        drive: DriveId,
        header: ShardHeader,
    ) -> Result<Box<dyn ShardWriter>, ShardError> {
        let store = self.store(drive)?;
        let sink = store.create(header)?;
        Ok(Box::new(LocalWriter { stores: self.stores.clone(), drive, store, sink }))
    }

    async fn read(
        &self,
        drive: DriveId,
        id: ShardId,
        first: u64,
        count: u32,
    ) -> Result<Vec<Frame>, ShardError> {
        self.store(drive)?.read(id, first, count).await
    }

    async fn header(&self, drive: DriveId, id: ShardId) -> Result<ShardHeader, ShardError> {
        self.store(drive)?.header(id).await
    }

    async fn delete(&self, drive: DriveId, id: ShardId) -> Result<bool, ShardError> {
        self.store(drive)?.delete(id).await
    }

    async fn list(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardHeader>, ShardError> {
        self.store(drive)?.list(after, limit).await
    }

    async fn presence(
        &self,
        drive: DriveId,
        ids: Vec<ShardId>,
    ) -> Result<Vec<Presence>, ShardError> {
        self.store(drive)?.presence(ids).await
    }

    async fn scrub(
        &self,
        drive: DriveId,
        after: Option<ShardId>,
        budget: ScrubBudget,
    ) -> Result<ScrubSlice, ShardError> {
        self.store(drive)?.scrub(after, budget).await
    }

    async fn compact(&self, drive: DriveId, budget_bytes: u64) -> Result<Compacted, ShardError> {
        self.store(drive)?.compact(budget_bytes).await
    }

    async fn status(&self, drive: DriveId) -> DriveStatus {
        match self.store(drive) {
            Ok(store) => store.status(),
            Err(_) => DriveStatus {
                state: DriveState::Away,
                capacity_bytes: 0,
                available_bytes: 0,
                used_bytes: 0,
                shards: 0,
                quarantine_bytes: 0,
            },
        }
    }
}

struct LocalWriter {
    stores: Arc<Stores>,
    drive: DriveId,
    store: Arc<Store>,
    sink: ShardSink,
}

/// Fails when the drive is away, or has another store by now: what the former one took is gone with it.
fn check_attached(stores: &Stores, drive: DriveId, store: &Arc<Store>) -> Result<(), ShardError> {
    let is_there = stores.read().get(&drive).is_some_and(|now| Arc::ptr_eq(now, store));
    if is_there { Ok(()) } else { Err(ShardError::Away(drive)) }
}

#[async_trait::async_trait]
impl ShardWriter for LocalWriter {
    async fn write(&mut self, frames: Vec<Frame>) -> Result<(), ShardError> {
        check_attached(&self.stores, self.drive, &self.store)?;
        self.sink.write(frames).await
    }

    async fn commit(self: Box<Self>) -> Result<(), ShardError> {
        let Self { stores, drive, store, sink } = *self;
        check_attached(&stores, drive, &store)?;
        sink.commit().await?;
        check_attached(&stores, drive, &store)
    }
}

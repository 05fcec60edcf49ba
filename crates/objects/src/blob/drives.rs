//! Which drives a new blob goes to, and how it is cut for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use erasure::Geometry;
use futures::future::join_all;
use net::{Carrier, DriveState};
use parking_lot::Mutex;
use placement::Layout;
use runtime::Clock;
use types::{BlobId, DriveId};

use crate::error::StoreError;

/// Once enough shards have taken a step, the others have this long to follow, or are left behind.
const GRACE: Duration = Duration::from_secs(2);
/// The same for drives that were left behind a moment ago.
const SHORT_GRACE: Duration = Duration::from_millis(50);
/// How long that moment is.
const STRAGGLER_FOR: Duration = Duration::from_secs(10);
/// How long an answer about the drives' states is used again.
const FRESH: Duration = Duration::from_secs(1);

/// The drives of a layout and, remembered for a moment, how they are.
pub(super) struct Drives {
    carrier: Arc<dyn Carrier>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    states: Mutex<Option<Known>>,
    /// Drives that did not come along within the whole grace, and until when (on the monotonic clock) nobody
    /// waits so long for them again.
    stragglers: Mutex<HashMap<DriveId, Duration>>,
}

#[derive(Clone)]
struct Known {
    at: Duration,
    up: Arc<HashSet<DriveId>>,
    full: usize,
}

/// Where a blob goes. Asking again for a replacement takes what has failed meanwhile into account.
pub(super) struct Choice {
    /// How it is cut.
    pub(super) geometry: Geometry,
    /// One drive for each shard, by index.
    pub(super) drives: Vec<DriveId>,
    blob: BlobId,
    up: Arc<HashSet<DriveId>>,
}

impl Drives {
    pub(super) fn new(carrier: Arc<dyn Carrier>, clock: Arc<dyn Clock>, layout: Layout) -> Self {
        Self { carrier, clock, layout, states: Mutex::new(None), stragglers: Mutex::default() }
    }

    /// The drives for a new blob that should have the geometry `wish`, none of them in `failed`.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::TooFewDrives`].
    pub(super) async fn choose(
        &self,
        blob: BlobId,
        wish: Geometry,
        failed: &HashSet<DriveId>,
    ) -> Result<Choice, StoreError> {
        let known = self.known().await;
        let usable = |drive| known.up.contains(&drive) && !failed.contains(&drive);
        let room = self.layout.room(usable);
        let Some(geometry) = wish.fitting(room) else {
            let would_fit = wish.fitting(room + known.full).is_some();
            return Err(if would_fit { StoreError::Full } else { StoreError::TooFewDrives });
        };
        let drives = self.layout.place(blob, geometry.total(), usable);
        Ok(Choice { geometry, drives, blob, up: known.up.clone() })
    }

    /// The next best drive for a shard of a blob whose drive failed: neither `failed` nor `used`.
    pub(super) fn replacement(
        &self,
        choice: &Choice,
        failed: &HashSet<DriveId>,
        used: &HashSet<DriveId>,
    ) -> Option<DriveId> {
        let usable = |drive| choice.up.contains(&drive) && !failed.contains(&drive);
        let order = self.layout.place(choice.blob, choice.geometry.total(), usable);
        order.into_iter().find(|drive| !used.contains(drive))
    }

    /// Makes the next choice ask all drives again: one of them was not as it was thought to be.
    pub(super) fn forget(&self) {
        *self.states.lock() = None;
    }

    /// How long to wait for these drives, now that enough others are done.
    pub(super) fn grace(&self, mut drives: impl Iterator<Item = DriveId>) -> Duration {
        let (stragglers, now) = (self.stragglers.lock(), self.clock.monotonic());
        let is_straggler = |drive| stragglers.get(&drive).is_some_and(|&until| now < until);
        if drives.all(is_straggler) { SHORT_GRACE } else { GRACE }
    }

    /// This drive was left behind after a step that had begun `ago`; only who had the whole grace counts.
    pub(super) fn left_behind(&self, drive: DriveId, ago: Duration) {
        if ago >= GRACE {
            let until = self.clock.monotonic() + STRAGGLER_FOR;
            self.stragglers.lock().insert(drive, until);
        }
    }

    /// This drive has made a shard durable in time.
    pub(super) fn came_along(&self, drive: DriveId) {
        self.stragglers.lock().remove(&drive);
    }

    async fn known(&self) -> Known {
        let now = self.clock.monotonic();
        let known = self.states.lock().clone();
        if let Some(known) = known.filter(|known| now.saturating_sub(known.at) < FRESH) {
            return known;
        }
        let states = join_all(
            self.layout
                .active()
                .map(|drive| async { (drive.id, self.carrier.status(drive.id).await.state) }),
        );
        let states = states.await;
        let up = states.iter().filter(|(_, state)| *state == DriveState::Up);
        let known = Known {
            at: now,
            up: Arc::new(up.map(|(drive, _)| *drive).collect()),
            full: states.iter().filter(|(_, state)| *state == DriveState::Full).count(),
        };
        *self.states.lock() = Some(known.clone());
        known
    }
}

//! What the background workers of the engine share: their options, and what they know of each other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use net::DriveState;
use parking_lot::Mutex;
use placement::DriveRole;
use tokio::sync::Notify;
use types::{BlobId, DriveId};

use crate::blob::VoidQueue;
use crate::engine::Engine;

/// How the background workers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpkeepOptions {
    /// In which time every frame of every drive is verified once.
    pub scrub_pass: Duration,
    /// How long a drive may be away before its copies are made again elsewhere.
    pub out_after: Duration,
}

impl Default for UpkeepOptions {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { scrub_pass: 14 * DAY, out_after: Duration::from_secs(600) }
    }
}

/// What the workers know of each other.
pub(crate) struct Shared {
    /// Blobs that are being repaired or encoded again now: copies of them that no record names yet are not orphans.
    in_repair: Mutex<HashSet<BlobId>>,
    /// A repair task was filed, or those that wait may be worth another look.
    pub(crate) repair_filed: Notify,
    /// A pass over all blob records was asked for.
    pub(crate) sweep_asked: Notify,
    /// How often a pass was asked for.
    pub(crate) sweeps: AtomicU64,
    /// Copies to be deleted, because no record will ever name them.
    pub(crate) void: Arc<VoidQueue>,
    /// Drives that are not as they should be, and since when.
    pub(crate) absences: Absences,
}

impl Shared {
    pub(crate) fn new(void: Arc<VoidQueue>) -> Self {
        Self {
            in_repair: Mutex::default(),
            repair_filed: Notify::new(),
            sweep_asked: Notify::new(),
            sweeps: AtomicU64::new(0),
            void,
            absences: Absences::default(),
        }
    }

    /// Marks `blob` as being repaired; `None` when it is already.
    pub(crate) fn begin_repair(&self, blob: BlobId) -> Option<InRepair<'_>> {
        self.in_repair.lock().insert(blob).then_some(InRepair { shared: self, blob })
    }

    /// Whether `blob` is being repaired or encoded again now.
    pub(crate) fn is_in_repair(&self, blob: BlobId) -> bool {
        self.in_repair.lock().contains(&blob)
    }
}

/// A blob that is being repaired; no longer when this is dropped.
pub(crate) struct InRepair<'a> {
    shared: &'a Shared,
    blob: BlobId,
}

impl Drop for InRepair<'_> {
    fn drop(&mut self) {
        self.shared.in_repair.lock().remove(&self.blob);
    }
}

/// Drives that are away or suspect, and since when this process has seen them so, on the monotonic clock.
#[derive(Default)]
pub(crate) struct Absences {
    since: Mutex<HashMap<DriveId, Absence>>,
}

#[derive(Clone, Copy)]
struct Absence {
    since: Duration,
    /// Whether somebody was told that it is out.
    told: bool,
}

/// What has changed since drives were last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// A drive is there again.
    pub(crate) returned: bool,
    /// A drive has been away for so long that its copies are to be made again elsewhere.
    pub(crate) gone_out: bool,
}

impl Absences {
    /// Takes note of how the drives are now.
    pub(crate) fn observe(
        &self,
        states: &[(DriveId, DriveState)],
        now: Duration,
        out_after: Duration,
    ) -> Changes {
        let (mut since, mut changes) = (self.since.lock(), Changes::default());
        for (drive, state) in states {
            if matches!(state, DriveState::Up | DriveState::Full) {
                changes.returned |= since.remove(drive).is_some();
                continue;
            }
            let absence = since.entry(*drive).or_insert(Absence { since: now, told: false });
            if !absence.told && now >= absence.since + out_after {
                absence.told = true;
                changes.gone_out = true;
            }
        }
        changes
    }

    /// How long this drive has been away or suspect; `None` when it is not.
    pub(crate) fn length(&self, drive: DriveId, now: Duration) -> Option<Duration> {
        self.since.lock().get(&drive).map(|absence| now.saturating_sub(absence.since))
    }
}

impl Engine {
    /// Asks for a pass over all blob records, which files repair tasks for copies that are not where they should
    /// be: a drive has come back, or has been replaced by an empty one. Tasks that wait are looked at again.
    pub fn sweep(&self) {
        let shared = &self.inner.upkeep;
        shared.sweeps.fetch_add(1, Ordering::AcqRel);
        shared.sweep_asked.notify_one();
        shared.repair_filed.notify_one();
    }

    /// Whether the copies on `drive` count as lost for good: it is not in the layout, or out of it, or has been away
    /// or suspect for too long. A pass over all blob records files them as missing.
    pub(crate) fn is_out(&self, drive: DriveId) -> bool {
        let inner = &self.inner;
        let role = inner.layout.drive(drive).map(|drive| drive.state);
        if role.is_none_or(|role| role == DriveRole::Out) {
            return true;
        }
        let now = inner.runtime.clock.monotonic();
        let away = inner.upkeep.absences.length(drive, now);
        away.is_some_and(|away| away >= inner.options.out_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_out_once_and_returns_once() {
        let (absences, drive) = (Absences::default(), DriveId::new(1));
        let second = Duration::from_secs;
        let observe = |state, at| absences.observe(&[(drive, state)], second(at), second(10));
        let nothing = Changes::default();
        assert_eq!(observe(DriveState::Up, 0), nothing);
        assert_eq!(observe(DriveState::Away, 5), nothing);
        assert_eq!(observe(DriveState::Suspect, 14), nothing);
        assert_eq!(absences.length(drive, second(14)), Some(second(9)));
        assert_eq!(observe(DriveState::Away, 15), Changes { gone_out: true, ..nothing });
        assert_eq!(observe(DriveState::Away, 16), nothing);
        assert_eq!(observe(DriveState::Full, 17), Changes { returned: true, ..nothing });
        assert_eq!(absences.length(drive, second(17)), None);
        assert_eq!(observe(DriveState::Up, 18), nothing);
    }
}

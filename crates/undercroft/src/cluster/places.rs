//! Where the drives are and what is to be said of each: written by the start and the watch, read by the reports.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use types::DriveId;

/// The place of a drive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its directory; `None` when it is not among those that this process was given.
    pub(crate) path: Option<PathBuf>,
    /// Why it is not as it should be, and what can be done, without a full stop; `None` when all is well.
    pub(crate) trouble: Option<String>,
}

/// The places of all drives of the layout.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: RwLock<HashMap<DriveId, Place>>,
}

impl Places {
    /// What is known of a drive.
    pub(crate) fn get(&self, drive: DriveId) -> Place {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(&drive).cloned().unwrap_or_default()
    }

    /// From now on this is known of it.
    pub(crate) fn set(&self, drive: DriveId, place: Place) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        places.insert(drive, place);
    }

    /// Changes what is said of it; whether that is new.
    pub(crate) fn say(&self, drive: DriveId, trouble: Option<String>) -> bool {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(drive).or_default();
        let is_new = place.trouble != trouble;
        place.trouble = trouble;
        is_new
    }
}

//! A cluster that is not running, for those who only look at it: nothing is made, and no session is ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use kv::lsm::{Lsm, LsmOptions};
use placement::Layout;
use runtime::Runtime;
use runtime::disk::Disk;

use super::control::{ClusterRecord, Control};
use super::{Refusal, survey};
use crate::config::Mode;

/// The metadata of a cluster that is not running.
pub(crate) struct AtRest {
    /// The store. Opening it has replayed its journal, as every start does.
    pub(crate) kv: Arc<Lsm>,
    /// What is recorded about the cluster.
    pub(crate) record: Option<ClusterRecord>,
    /// Its drives.
    pub(crate) layout: Option<Layout>,
}

/// A look at everything takes as long as it takes.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Opens the metadata in `meta`, which must be there.
///
/// # Errors
/// When there is none, it cannot be opened, or the control records cannot be read.
pub(crate) async fn metadata_at_rest(
    disk: &dyn Disk,
    meta: &Path,
    runtime: Runtime,
) -> anyhow::Result<AtRest> {
    let store = meta.join("kv");
    if !survey::has_content(disk, &store)? {
        bail!("there is no metadata in {}", meta.display());
    }
    let options = LsmOptions { snapshot_life: SNAPSHOT_LIFE, ..LsmOptions::default() };
    let kv = Lsm::open(&store, runtime.clone(), options)
        .map_err(|error| Refusal::metadata(meta, error))?;
    let mut control = Control::new(kv.clone(), runtime);
    let (record, layout) = (control.record().await?, control.layout().await?);
    Ok(AtRest { kv, record, layout })
}

/// Where drives are or may be, and how the layout remembers each place.
///
/// # Errors
/// When the directory of `dev` cannot be listed.
pub(crate) fn drive_dirs(
    disk: &dyn Disk,
    mode: &Mode,
    layout: Option<&Layout>,
) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let slots = survey::slots(disk, mode, layout)?;
    Ok(slots.into_iter().map(|slot| (slot.path, slot.hint)).collect())
}

//! Opens a cluster whose drives and metadata are all on this machine: takes the locks, reads what belongs to
//! it, admits new drives, and tells in plain words what is missing. Nothing that exists is ever formatted.

mod control;
mod plan;
mod refusal;
mod survey;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use erasure::Geometry;
use kv::Kv;
use kv::lsm::{Lsm, LsmOptions};
use net::LocalCarrier;
use placement::{Drive, DriveRole, Layout};
use runtime::Runtime;
use runtime::disk::Disk;
use shards::{Identity, OpenError, Store, StoreOptions};
use types::{AccountId, DriveId, NodeId};

pub(crate) use control::ClusterRecord;
pub(crate) use refusal::Refusal;

use crate::config::Mode;
use control::Control;
use plan::{Join, Plan};
use survey::Seen;

/// An open cluster.
pub(crate) struct Cluster {
    /// The metadata store.
    pub(crate) kv: Arc<Lsm>,
    /// The way to the drives.
    pub(crate) carrier: Arc<LocalCarrier>,
    /// All drives that belong to it.
    pub(crate) layout: Layout,
    /// What is recorded about it.
    pub(crate) record: ClusterRecord,
    /// How new blobs are cut.
    pub(crate) geometry: Geometry,
    /// Where each open drive is.
    pub(crate) paths: HashMap<DriveId, PathBuf>,
    /// What a person should know about this start, a sentence each.
    pub(crate) notes: Vec<String>,
    /// Whether this start made it.
    pub(crate) is_new: bool,
    stores: Vec<Arc<Store>>,
}

/// What opening needs.
pub(crate) struct Opener<'a> {
    /// Which drives to look for.
    pub(crate) mode: &'a Mode,
    /// The metadata directory.
    pub(crate) meta: &'a Path,
    /// Clock and entropy.
    pub(crate) runtime: Runtime,
    /// The disk that everything is on.
    pub(crate) disk: Arc<dyn Disk>,
}

/// How long closing the metadata store may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

impl Opener<'_> {
    /// Opens the cluster, making it first if there is nothing.
    ///
    /// # Errors
    /// A [`Refusal`] when starting would be wrong; other errors when the disk or the metadata store fails.
    pub(crate) async fn open(self) -> anyhow::Result<Cluster> {
        let store = self.meta.join("kv");
        let had_metadata = survey::has_content(&*self.disk, &store)?;
        if !had_metadata {
            // What would be refused later is refused before anything is made.
            plan::plan(&Layout::empty(), "", self.look_for_orphans()?)?;
        }
        self.disk.create_dir_all(self.meta).with_context(|| cannot("make", self.meta))?;
        let kv = Lsm::open(&store, self.runtime.clone(), LsmOptions::default())
            .map_err(|error| Refusal::metadata(self.meta, error))?;
        let opened = self.open_with(kv.clone()).await;
        if opened.is_err() {
            // Best effort: what failed above is what a person must hear of.
            let _ = kv.close(CLOSE_DEADLINE).await;
        }
        opened
    }

    async fn open_with(self, kv: Arc<Lsm>) -> anyhow::Result<Cluster> {
        // This process holds the store's lock: whoever had a session here before is gone for ever.
        kv.end_all_sessions().await.context("ending the writer sessions of former processes")?;
        let mut control = Control::new(kv.clone(), self.runtime.clone());
        let stored_layout = control.layout().await?;
        let (record, is_new) = match control.record().await? {
            Some(record) => (record, stored_layout.is_none()),
            None => {
                // Without a record there must be no drive either: it would belong to lost metadata.
                self.look_for_orphans()?;
                (control.create_record().await?, true)
            }
        };
        let slots = survey::slots(&*self.disk, self.mode, stored_layout.as_ref())?;
        let seen = survey::look(&self.disk, slots);
        let layout = stored_layout.clone().unwrap_or_else(Layout::empty);
        let plan = plan::plan(&layout, &record.id, seen)?;
        let mut opening =
            Opening { paths: HashMap::new(), stores: HashMap::new(), notes: Vec::new() };
        let layout = self.open_drives(&record, layout, plan, &mut opening)?;
        let Opening { paths, stores, notes } = opening;
        if stores.is_empty() {
            return Err(Refusal::NothingLeft { drives: layout.drives.len(), notes }.into());
        }
        let geometry = Geometry::default_for(layout.active().count());
        let record = control.publish(record, stored_layout.as_ref(), &layout, geometry).await?;
        control.end().await?;
        let all = stores.values().cloned().collect();
        let carrier = Arc::new(LocalCarrier::new(stores));
        Ok(Cluster { kv, carrier, layout, record, geometry, paths, notes, is_new, stores: all })
    }

    /// Carries out a plan; gives the layout with the drives that joined.
    fn open_drives(
        &self,
        record: &ClusterRecord,
        mut layout: Layout,
        plan: Plan,
        opening: &mut Opening,
    ) -> anyhow::Result<Layout> {
        opening.notes.extend(plan.notes);
        for (slot, id) in plan.open {
            match self.open_store(&slot.path) {
                Ok(store) => {
                    if layout.drive(id).is_some_and(|drive| drive.path_hint != slot.hint) {
                        layout = layout.with_change(id, |drive| drive.path_hint = slot.hint.clone())?;
                    }
                    opening.add(id, slot.path, store);
                }
                Err(error @ OpenError::Locked { .. }) => return Err(Refusal::Drive(error).into()),
                Err(error) => opening.notes.push(format!(
                    "Drive {id} cannot be opened and counts as missing; nothing on it was changed: {error}."
                )),
            }
        }
        let serve_node = self.serve_node(&layout);
        let first_start = layout.drives.is_empty();
        for Join { slot, identity } in plan.join {
            let path = &slot.path;
            let identity = match identity {
                Some(identity) => identity,
                None => self.format(record, path, serve_node)?,
            };
            let store = self.open_store(path).map_err(Refusal::Drive)?;
            let space = self.disk.space(path).with_context(|| cannot("measure", path))?;
            let drive = Drive {
                id: identity.drive,
                node: identity.node,
                zone: String::new(),
                tier: String::new(),
                capacity_bytes: space.total,
                state: DriveRole::Active,
                path_hint: slot.hint,
            };
            layout = layout.with_drive(drive)?;
            if !first_start {
                let path = path.display();
                opening
                    .notes
                    .push(format!("Drive {} ({path}) has joined the cluster.", identity.drive));
            }
            opening.add(identity.drive, slot.path, store);
        }
        Ok(layout)
    }

    fn format(
        &self,
        record: &ClusterRecord,
        path: &Path,
        serve_node: Option<NodeId>,
    ) -> anyhow::Result<Identity> {
        let entropy = &self.runtime.entropy;
        let identity = Identity {
            v: shards::DRIVE_VERSION,
            cluster: record.id.clone(),
            drive: DriveId::new(entropy.nonzero_u64()),
            node: serve_node.unwrap_or_else(|| NodeId::new(entropy.nonzero_u64())),
            created_at_ms: self.runtime.clock.now().0,
        };
        Store::format(self.disk.clone(), path, &identity).map_err(Refusal::Drive)?;
        Ok(identity)
    }

    fn open_store(&self, path: &Path) -> Result<Arc<Store>, OpenError> {
        Store::open(self.disk.clone(), self.runtime.clone(), path, StoreOptions::default())
    }

    /// With `serve`, all drives of this machine are one node; with `dev`, each is a node of its own (`None`).
    fn serve_node(&self, layout: &Layout) -> Option<NodeId> {
        match self.mode {
            Mode::Dev { .. } => None,
            Mode::Serve { .. } => {
                let known = layout.drives.first().map(|drive| drive.node);
                Some(known.unwrap_or_else(|| NodeId::new(self.runtime.entropy.nonzero_u64())))
            }
        }
    }

    /// What is at the places of drives, as long as none of it is a drive: without metadata nobody could tell
    /// what its data is.
    fn look_for_orphans(&self) -> anyhow::Result<Vec<Seen>> {
        let slots = survey::slots(&*self.disk, self.mode, None)?;
        let seen = survey::look(&self.disk, slots);
        match seen.iter().find(|seen| seen.identity().is_some()) {
            None => Ok(seen),
            Some(seen) => {
                let (meta, drive) = (self.meta.to_owned(), seen.slot.path.clone());
                Err(Refusal::MetadataLost { meta, drive }.into())
            }
        }
    }
}

/// Drives opened so far.
struct Opening {
    paths: HashMap<DriveId, PathBuf>,
    stores: HashMap<DriveId, Arc<Store>>,
    notes: Vec<String>,
}

impl Opening {
    fn add(&mut self, id: DriveId, path: PathBuf, store: Arc<Store>) {
        self.paths.insert(id, path);
        self.stores.insert(id, store);
    }
}

impl Cluster {
    /// Drives of the layout that are not open.
    pub(crate) fn missing(&self) -> usize {
        self.layout.drives.iter().filter(|drive| !self.paths.contains_key(&drive.id)).count()
    }

    /// The account of keys that name none.
    pub(crate) fn root_account(&self) -> AccountId {
        self.record.root_account
    }

    /// Closes drives and metadata, in this order. Whatever was acknowledged is durable already.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        for store in &self.stores {
            store.close().await;
        }
        self.kv.close(CLOSE_DEADLINE).await.context("closing the metadata store")
    }
}

/// For error messages: `cannot make DIR`.
fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

#[cfg(test)]
mod tests;

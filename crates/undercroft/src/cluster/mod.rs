//! Opens a cluster whose drives and metadata are all on this machine: takes the locks, reads what belongs to
//! it, admits new drives, and tells in plain words what is missing. Nothing that exists is ever formatted.
//! Not here: what happens to drives while the process runs (see [`crate::watch`]).

mod control;
mod maker;
mod offline;
mod places;
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
use shards::{OpenError, Store};
use types::{AccountId, DriveId, NodeId};

pub(crate) use control::ClusterRecord;
pub(crate) use maker::{Maker, on_thread};
pub(crate) use offline::{AtRest, drive_dirs, metadata_at_rest};
pub(crate) use places::{Place, Places};
pub(crate) use refusal::Refusal;
pub(crate) use survey::{Found, look_at};

use crate::config::Mode;
use control::Control;
use plan::{Join, Missing, Plan, Refill};
use survey::{Seen, Slot};

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
    /// Where each drive is, and what is to be said of it.
    pub(crate) places: Arc<Places>,
    /// Makes and opens its drives.
    pub(crate) maker: Maker,
    /// What a person should know about this start, a sentence each.
    pub(crate) notes: Vec<String>,
    /// Whether this start made it.
    pub(crate) is_new: bool,
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

/// How long closing the metadata store, or a drive, may take.
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
            plan::plan(&Layout::empty(), "", self.look_for_orphans()?, self.refill())?;
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
        let plan = plan::plan(&layout, &record.id, seen, self.refill())?;
        let maker = Maker::new(self.disk.clone(), self.runtime.clone(), record.id.clone());
        let mut opening = Opening::new(maker);
        let layout = self.open_drives(layout, plan, &mut opening)?;
        let Opening { maker, places, stores, notes } = opening;
        if stores.is_empty() {
            return Err(Refusal::NothingLeft { drives: layout.drives.len(), notes }.into());
        }
        let geometry = Geometry::default_for(layout.active().count());
        let record = control.publish(record, stored_layout.as_ref(), &layout, geometry).await?;
        control.end().await?;
        let (carrier, places) = (Arc::new(LocalCarrier::new(stores)), Arc::new(places));
        Ok(Cluster { kv, carrier, layout, record, geometry, places, maker, notes, is_new })
    }

    /// Carries out a plan; gives the layout with the drives that joined.
    fn open_drives(
        &self,
        mut layout: Layout,
        plan: Plan,
        opening: &mut Opening,
    ) -> anyhow::Result<Layout> {
        plan.missing.into_iter().for_each(|missing| opening.miss(missing));
        for (slot, id) in plan.open {
            layout = opening.open(layout, slot, id)?;
        }
        for (slot, id) in plan.refill {
            layout = opening.refill(layout, slot, id)?;
        }
        let serve_node = self.serve_node(&layout);
        let first_start = layout.drives.is_empty();
        for Join { slot, identity } in plan.join {
            let path = &slot.path;
            let identity = match identity {
                Some(identity) => identity,
                None => {
                    let id = || self.runtime.entropy.nonzero_u64();
                    let node = serve_node.unwrap_or_else(|| NodeId::new(id()));
                    let made = opening.maker.make(path, DriveId::new(id()), node);
                    made.map_err(Refusal::Drive)?
                }
            };
            let store = opening.maker.open(path).map_err(Refusal::Drive)?;
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

    fn refill(&self) -> Refill<'_> {
        match self.mode {
            Mode::Dev { .. } => Refill::All,
            Mode::Serve { accept_empty, .. } => Refill::Only(accept_empty),
        }
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
    maker: Maker,
    places: Places,
    stores: HashMap<DriveId, Arc<Store>>,
    notes: Vec<String>,
}

impl Opening {
    fn new(maker: Maker) -> Self {
        Self { maker, places: Places::default(), stores: HashMap::new(), notes: Vec::new() }
    }

    /// Opens a drive of the layout; one that cannot be opened is missing.
    fn open(&mut self, layout: Layout, slot: Slot, id: DriveId) -> anyhow::Result<Layout> {
        match self.maker.open(&slot.path) {
            Ok(store) => {
                self.add(id, slot.path, store);
                let is_moved = layout.drive(id).is_some_and(|drive| drive.path_hint != slot.hint);
                let moved = || layout.with_change(id, |drive| drive.path_hint = slot.hint.clone());
                if is_moved { Ok(moved()?) } else { Ok(layout) }
            }
            Err(error @ OpenError::Locked { .. }) => Err(Refusal::Drive(error).into()),
            Err(error) => {
                let why = format!("it cannot be opened, and nothing on it was changed: {error}");
                self.miss(Missing { drive: id, path: Some(slot.path), why });
                Ok(layout)
            }
        }
    }

    /// Makes a lost drive anew in the place where it was.
    fn refill(&mut self, layout: Layout, slot: Slot, id: DriveId) -> anyhow::Result<Layout> {
        let Some(node) = layout.drive(id).map(|drive| drive.node) else { return Ok(layout) };
        match self.maker.make(&slot.path, id, node) {
            Ok(_) => {
                self.notes.push(refilled(id, &slot.path));
                self.open(layout, slot, id)
            }
            Err(error) => {
                let why = format!("it was lost, and cannot be made anew: {error}");
                self.miss(Missing { drive: id, path: Some(slot.path), why });
                Ok(layout)
            }
        }
    }

    fn add(&mut self, id: DriveId, path: PathBuf, store: Arc<Store>) {
        self.places.set(id, Place { path: Some(path), trouble: None });
        self.stores.insert(id, store);
    }

    fn miss(&mut self, Missing { drive, path, why }: Missing) {
        self.notes.push(format!("Drive {drive} is missing: {why}."));
        self.places.set(drive, Place { path, trouble: Some(why) });
    }
}

impl Cluster {
    /// Drives of the layout that are not open.
    pub(crate) fn missing(&self) -> usize {
        let open = self.carrier.drives();
        self.layout.drives.iter().filter(|drive| !open.contains(&drive.id)).count()
    }

    /// The account of keys that name none.
    pub(crate) fn root_account(&self) -> AccountId {
        self.record.root_account
    }

    /// Closes drives and metadata, in this order. Whatever was acknowledged is durable already, so a drive that
    /// hangs is left alone after a while.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        let drives = self.carrier.drives();
        let stores = drives.into_iter().filter_map(|id| self.carrier.detach(id));
        let closing: Vec<_> = stores.map(|store| self.maker.close(store)).collect();
        for closed in closing {
            let closed = self.maker.within(CLOSE_DEADLINE, closed).await;
            if !matches!(closed, Some(Ok(()))) {
                tracing::warn!("a drive does not close: its next start has more to read");
            }
        }
        self.kv.close(CLOSE_DEADLINE).await.context("closing the metadata store")
    }
}

/// What is said of a drive that was made anew.
pub(crate) fn refilled(id: DriveId, path: &Path) -> String {
    let path = path.display();
    format!("Drive {id} was lost: {path} was empty. It was made anew there, and repair refills it.")
}

/// What is at the place of a drive instead of it, and what a person can do; without a full stop. With `is_dev`
/// empty places fill themselves.
pub(crate) fn vacancy(path: &Path, found: &Found, is_dev: bool) -> String {
    plan::vacancy(path, found, if is_dev { Refill::All } else { Refill::Only(&[]) })
}

/// For error messages: `cannot make DIR`.
fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

#[cfg(test)]
mod tests;

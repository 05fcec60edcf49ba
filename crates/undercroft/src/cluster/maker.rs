//! Makes, opens and closes the drives of one cluster; the start and the watch both do it this way.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::disk::Disk;
use runtime::{Runtime, spawn_thread};
use shards::{Identity, OpenError, Store, StoreOptions};
use tokio::sync::oneshot;
use types::{DriveId, NodeId};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Maker {
    disk: Arc<dyn Disk>,
    runtime: Runtime,
    cluster: String,
}

impl Maker {
    /// For the cluster with this id.
    pub(crate) fn new(disk: Arc<dyn Disk>, runtime: Runtime, cluster: String) -> Self {
        Self { disk, runtime, cluster }
    }

    /// The disk that the drives are on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The cluster's id.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Clock and entropy.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Makes the directory at `path` (made if absent) this drive. Blocks.
    ///
    /// # Errors
    /// As [`Store::format`]; an existing drive is never overwritten.
    pub(crate) fn make(
        &self,
        path: &Path,
        drive: DriveId,
        node: NodeId,
    ) -> Result<Identity, OpenError> {
        let identity = Identity {
            v: shards::DRIVE_VERSION,
            cluster: self.cluster.clone(),
            drive,
            node,
            created_at_ms: self.runtime.clock.now().0,
        };
        Store::format(self.disk.clone(), path, &identity)?;
        Ok(identity)
    }

    /// Opens the drive at `path`. Blocks.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<Store>, OpenError> {
        Store::open(self.disk.clone(), self.runtime.clone(), path, StoreOptions::default())
    }

    /// Closes a store on a thread of its own; the answer comes when it is closed, which it may never be when its
    /// disk hangs. An error means that there are no threads left.
    pub(crate) fn close(&self, store: Arc<Store>) -> oneshot::Receiver<()> {
        let runtime = tokio::runtime::Handle::current();
        on_thread("drive-close", move || runtime.block_on(store.close()))
    }

    /// What `waited` comes to, unless that takes longer than `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        waited: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            done = waited => Some(done),
            () = self.runtime.clock.sleep(limit) => None,
        }
    }
}

/// Runs `job`, which may hang in a call of the operating system for ever, on a thread that nobody waits for. An
/// error means that there are no threads left.
pub(crate) fn on_thread<T: Send + 'static>(
    name: &str,
    job: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (reply, answer) = oneshot::channel();
    let started = spawn_thread(name, move || {
        // Nobody may be waiting any more.
        let _ = reply.send(job());
    });
    match started {
        Ok(thread) => thread.detach(),
        Err(error) => tracing::warn!(%error, name, "the system gives no threads"),
    }
    answer
}

//! Watches the drives of a running server: one whose directory has vanished, was replaced or was unmounted is taken
//! out of service, and comes back when it can, without a restart.
//!
//! Not here: drives that fail single calls (the store of each calls itself suspect), and bringing their copies back,
//! which is repair's work once a sweep was asked for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use net::LocalCarrier;
use runtime::{Progress, Worker};
use shards::{OpenError, Store};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use types::{DriveId, NodeId};

use crate::cluster::{Cluster, Found, Maker, Places, look_at, on_thread, refilled, vacancy};

/// How often each drive is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a look, a start or an end that is under way is asked for its outcome, while it is young.
const POLL: Duration = Duration::from_millis(20);
/// From this age on it is slow: it is asked for less often, and it is said.
const SLOW: Duration = Duration::from_secs(10);
/// A drive that could not be opened is tried again after this.
const RETRY: Duration = Duration::from_secs(10);
/// After a drive came back there is a second sweep this much later: what was being written while the drive was lost
/// may count on copies that went with it, and be recorded only behind the first sweep.
const SECOND_SWEEP: Duration = Duration::from_secs(15);

/// See the module.
pub(crate) struct DriveWatch {
    shared: Shared,
    drives: Vec<Watched>,
    sweep_again_at: Option<Duration>,
}

/// What the looks at all drives share.
struct Shared {
    maker: Maker,
    carrier: Arc<LocalCarrier>,
    places: Arc<Places>,
    /// With `dev`, empty places of drives fill themselves.
    is_dev: bool,
    /// The metadata directory: where it is gone, nothing is made anew beside it.
    meta: PathBuf,
    /// Asks for a pass over all records that files what is missing.
    sweep: Box<dyn Fn() + Send>,
}

/// A drive with a known place.
struct Watched {
    id: DriveId,
    node: NodeId,
    path: PathBuf,
    /// What is under way on a thread of its own, and since when. A disk may hang in any of it for ever.
    task: Option<(Task, Duration)>,
    next_look: Duration,
    /// The last look had doubts.
    is_doubtful: bool,
}

enum Task {
    Look(oneshot::Receiver<Sight>),
    Close(oneshot::Receiver<()>),
    Open(oneshot::Receiver<Result<Arc<Store>, OpenError>>),
    Restore(oneshot::Receiver<Result<(), OpenError>>),
}

/// What was seen at a drive's place.
#[derive(Debug)]
struct Sight {
    found: Found,
    /// Whether that is the very directory that the open store has, and has had all the time.
    is_ours: bool,
    /// Whether the metadata directory is there.
    has_meta: bool,
}

/// What follows from a [`Sight`].
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// All is well.
    Fine,
    /// It is in service and its directory is there, but `drive.json` in it is not what it was.
    Doubtful(String),
    /// It is in service and its directory is not there any more.
    Lost(String),
    /// It is out of service, and for this reason stays so.
    Away(String),
    /// It is out of service, and back at its place.
    Back,
    /// It is out of service, and its place is empty and ours to fill.
    Refill,
}

impl DriveWatch {
    /// Over the drives of `cluster`, whose metadata is in `meta`. `sweep` is called when a drive has come back.
    pub(crate) fn new(
        cluster: &Cluster,
        is_dev: bool,
        meta: &Path,
        sweep: impl Fn() + Send + 'static,
    ) -> Self {
        let place = |drive: &placement::Drive| {
            let path = cluster.places.get(drive.id).path?;
            let (id, node) = (drive.id, drive.node);
            let next_look = Duration::ZERO;
            Some(Watched { id, node, path, task: None, next_look, is_doubtful: false })
        };
        let shared = Shared {
            maker: cluster.maker.clone(),
            carrier: cluster.carrier.clone(),
            places: cluster.places.clone(),
            is_dev,
            meta: meta.to_owned(),
            sweep: Box::new(sweep),
        };
        let drives = cluster.layout.drives.iter().filter_map(place).collect();
        Self { shared, drives, sweep_again_at: None }
    }
}

#[async_trait::async_trait]
impl Worker for DriveWatch {
    fn name(&self) -> &'static str {
        "drive-watch"
    }

    fn about(&self) -> &'static str {
        "Notices drives that vanish, and takes them back into service when they return."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        let now = self.shared.maker.runtime().clock.monotonic();
        let mut has_returned = false;
        let mut pause = INTERVAL;
        for drive in &mut self.drives {
            has_returned |= drive.go_on(&self.shared, now);
            if drive.task.as_ref().is_some_and(|(_, since)| now < *since + SLOW) {
                pause = POLL;
            }
        }
        let is_due = self.sweep_again_at.is_some_and(|at| at <= now);
        if has_returned || is_due {
            self.sweep_again_at = has_returned.then(|| now + SECOND_SWEEP);
            (self.shared.sweep)();
        }
        Ok(Progress::Idle(pause))
    }

    fn round_asked(&mut self) {
        self.drives.iter_mut().for_each(|drive| drive.next_look = Duration::ZERO);
    }
}

impl Watched {
    /// Takes what has come of the task under way, if anything has, or begins a look if it is time. Does not block.
    /// Whether the drive has come back into service.
    fn go_on(&mut self, shared: &Shared, now: Duration) -> bool {
        let Some((task, since)) = &mut self.task else {
            if self.next_look <= now {
                self.look(shared, now);
            }
            return false;
        };
        let (is_slow, mut has_returned) = (now >= *since + SLOW, false);
        let ended = match task {
            Task::Look(answer) => taken(answer).map(|seen| self.seen(shared, seen, now)),
            Task::Close(answer) => taken(answer).map(|_| self.rest(now, Duration::ZERO)),
            Task::Restore(answer) => taken(answer).map(|done| self.restored(shared, done, now)),
            Task::Open(answer) => taken(answer).map(|opened| {
                has_returned = self.opened(shared, opened, now);
            }),
        };
        if ended.is_none() && is_slow {
            self.say_slow(shared);
        }
        has_returned
    }

    fn rest(&mut self, now: Duration, pause: Duration) {
        (self.task, self.next_look) = (None, now + pause);
    }

    fn look(&mut self, shared: &Shared, now: Duration) {
        let (maker, path, meta) = (shared.maker.clone(), self.path.clone(), shared.meta.clone());
        let store = shared.carrier.store_of(self.id);
        let looked = on_thread("drive-look", move || Sight {
            found: look_at(maker.disk(), &path),
            is_ours: store.is_some_and(|store| !store.is_lost() && store.is_in_place()),
            has_meta: maker.disk().exists(&meta).unwrap_or(false),
        });
        self.task = Some((Task::Look(looked), now));
    }

    fn seen(&mut self, shared: &Shared, seen: Option<Sight>, now: Duration) {
        self.rest(now, INTERVAL);
        // Without an answer there are no threads, which was logged.
        let Some(sight) = seen else { return };
        let others = shared.carrier.drives().iter().any(|id| *id != self.id);
        let may_refill = shared.is_dev && sight.has_meta && others;
        let is_attached = shared.carrier.store_of(self.id).is_some();
        let expected = (shared.maker.cluster(), self.id);
        let lacks = |found: &Found| vacancy(&self.path, found, shared.is_dev);
        let was_doubtful = std::mem::take(&mut self.is_doubtful);
        match judge(expected, is_attached, &sight, may_refill, lacks) {
            Verdict::Fine => {
                shared.places.say(self.id, None);
            }
            Verdict::Doubtful(why) => {
                self.is_doubtful = true;
                self.say(shared, why);
                // Somebody may be removing the directory just now: the second look in doubt tells.
                if was_doubtful {
                    self.restore(shared, now);
                }
            }
            Verdict::Away(why) => self.say(shared, why),
            Verdict::Lost(why) => self.lose(shared, why, now),
            Verdict::Back => self.open(shared, false, now),
            Verdict::Refill => self.open(shared, true, now),
        }
    }

    /// Writes `drive.json` again: the next start knows the drive by it.
    fn restore(&mut self, shared: &Shared, now: Duration) {
        let Some(store) = shared.carrier.store_of(self.id) else { return };
        let restored = on_thread("drive-restore", move || store.restore_identity());
        self.task = Some((Task::Restore(restored), now));
    }

    fn restored(
        &mut self,
        shared: &Shared,
        restored: Option<Result<(), OpenError>>,
        now: Duration,
    ) {
        self.rest(now, INTERVAL);
        match restored {
            Some(Ok(())) => {
                tracing::warn!(drive = %self.id, path = %self.path.display(), "drive.json was written again");
            }
            Some(Err(error)) => {
                self.say(shared, format!("its drive.json cannot be restored: {error}"))
            }
            None => {}
        }
    }

    /// Says in the log, once, and in reports, until something else is said, what is wrong.
    fn say(&self, shared: &Shared, why: String) {
        if shared.places.say(self.id, Some(why.clone())) {
            tracing::warn!(drive = %self.id, path = %self.path.display(), "{why}");
        }
    }

    fn say_slow(&self, shared: &Shared) {
        let what = match &self.task {
            Some((Task::Close(_), _)) => {
                "it was lost, and what had it open does not end: the server must be restarted before it is used again"
            }
            Some((Task::Open(_), _)) => "it is being opened, which takes long",
            Some((Task::Look(_) | Task::Restore(_), _)) | None => "its directory does not answer",
        };
        self.say(shared, what.to_owned());
    }

    /// Takes the drive out of service. Nothing else is done at its place before its former store has ended: that
    /// one knows its files by their paths.
    fn lose(&mut self, shared: &Shared, why: String, now: Duration) {
        tracing::error!(drive = %self.id, path = %self.path.display(), "drive lost: {why}");
        shared.places.say(self.id, Some(why));
        if let Some(store) = shared.carrier.detach(self.id) {
            self.task = Some((Task::Close(shared.maker.close(store)), now));
        }
    }

    fn open(&mut self, shared: &Shared, is_refill: bool, now: Duration) {
        let (maker, path, id, node) = (shared.maker.clone(), self.path.clone(), self.id, self.node);
        let opened = on_thread("drive-open", move || {
            if is_refill {
                maker.make(&path, id, node)?;
                tracing::warn!("{}", refilled(id, &path));
            }
            maker.open(&path)
        });
        self.task = Some((Task::Open(opened), now));
    }

    fn opened(
        &mut self,
        shared: &Shared,
        opened: Option<Result<Arc<Store>, OpenError>>,
        now: Duration,
    ) -> bool {
        self.rest(now, RETRY);
        let store = match opened {
            Some(Ok(store)) => store,
            Some(Err(error)) => {
                let why = format!("it cannot be opened, and nothing on it was changed: {error}");
                self.say(shared, why);
                return false;
            }
            None => return false,
        };
        let identity = store.drive_identity();
        if identity.drive != self.id || identity.cluster != shared.maker.cluster() {
            // It was exchanged between the look and the opening: the next look tells.
            self.task = Some((Task::Close(shared.maker.close(store)), now));
            return false;
        }
        self.next_look = now + INTERVAL;
        shared.carrier.attach(self.id, store);
        shared.places.say(self.id, None);
        tracing::info!(drive = %self.id, path = %self.path.display(), "drive back in service");
        true
    }
}

/// What has come: `None` when nothing has yet, `Some(None)` when nothing ever will.
fn taken<T>(answer: &mut oneshot::Receiver<T>) -> Option<Option<T>> {
    match answer.try_recv() {
        Ok(outcome) => Some(Some(outcome)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => Some(None),
    }
}

/// What to do about a drive. `lacks` puts into words what is at its place instead of it.
fn judge(
    (cluster, drive): (&str, DriveId),
    is_attached: bool,
    sight: &Sight,
    may_refill: bool,
    lacks: impl Fn(&Found) -> String,
) -> Verdict {
    let is_it = match &sight.found {
        Found::Drive(identity) => identity.cluster == cluster && identity.drive == drive,
        _ => false,
    };
    match (is_attached, &sight.found) {
        (true, _) if is_it && sight.is_ours => Verdict::Fine,
        (true, _) if is_it => Verdict::Lost(
            "its directory was away for a moment, or exchanged for another".to_owned(),
        ),
        (true, found) if sight.is_ours => Verdict::Doubtful(lacks(found)),
        (true, found) => Verdict::Lost(lacks(found)),
        (false, _) if is_it => Verdict::Back,
        (false, Found::Empty) if may_refill => Verdict::Refill,
        (false, found) => Verdict::Away(lacks(found)),
    }
}

#[cfg(test)]
mod tests;

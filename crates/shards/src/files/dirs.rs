//! Directories of large shards: which there are, who is at work in them, and their syncs, shared by all who need
//! one at the same time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;

use parking_lot::{Condvar, Mutex};

use super::{DirKey, dir_path};
use crate::ShardError;
use crate::drive::Drive;

/// The directories that are there. One is removed only when nobody is at work in it.
#[derive(Default)]
pub(super) struct Dirs(Mutex<BTreeMap<DirKey, Dir>>);

#[derive(Default)]
struct Dir {
    /// Whether it is known to be there durably: of one that was found when the store opened the name may be in the
    /// page cache only.
    is_durable: bool,
    /// How many are at work in it.
    users: usize,
}

impl Dirs {
    /// Adds one that was found; whether it was not known.
    pub(super) fn add(&self, key: DirKey) -> bool {
        let mut dirs = self.0.lock();
        let known = dirs.len();
        dirs.entry(key).or_default();
        dirs.len() > known
    }

    /// Begins work in a directory, which is made if it is not there. May wait.
    pub(super) fn enter(&self, drive: &Drive, key: DirKey) -> Result<(), ShardError> {
        let mut dirs = self.0.lock();
        if dirs.get(&key).is_none_or(|dir| !dir.is_durable) {
            make(drive, key)?;
        }
        let dir = dirs.entry(key).or_default();
        dir.is_durable = true;
        dir.users += 1;
        Ok(())
    }

    /// Begins work in a directory, if there is one.
    pub(super) fn enter_existing(&self, key: DirKey) -> bool {
        self.0.lock().get_mut(&key).map(|dir| dir.users += 1).is_some()
    }

    /// Makes a directory in which the caller is at work and which somebody else has removed. May wait.
    pub(super) fn make_again(&self, drive: &Drive, key: DirKey) -> Result<(), ShardError> {
        let _dirs = self.0.lock();
        make(drive, key)
    }

    /// Ends work in a directory.
    pub(super) fn leave(&self, key: DirKey) {
        if let Some(dir) = self.0.lock().get_mut(&key) {
            dir.users = dir.users.saturating_sub(1);
        }
    }

    /// Removes a directory if it is empty and nobody is at work in it, and that of its session, too. Its removals
    /// must be durable: what is not in a directory that is not there needs no sync to be gone. May wait.
    pub(super) fn prune(&self, drive: &Drive, key: DirKey) {
        let mut dirs = self.0.lock();
        if dirs.get(&key).is_none_or(|dir| dir.users > 0) {
            return;
        }
        let path = dir_path(drive, key);
        match drive.disk.remove_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return,
            _ => dirs.remove(&key),
        };
        let is_last = dirs.range((key.0, 0)..=(key.0, u64::MAX)).next().is_none();
        if let Some(session) = path.parent().filter(|_| is_last) {
            // It stays when somebody else has put something there.
            let _ = drive.disk.remove_dir(session);
        }
    }

    /// Those from `from` on, in order.
    pub(super) fn behind(&self, from: Bound<DirKey>) -> Vec<DirKey> {
        self.0.lock().range((from, Bound::Unbounded)).map(|(key, _)| *key).collect()
    }

    /// The first from `from` on.
    pub(super) fn first(&self, from: Bound<DirKey>) -> Option<DirKey> {
        self.0.lock().range((from, Bound::Unbounded)).next().map(|(key, _)| *key)
    }
}

fn make(drive: &Drive, key: DirKey) -> Result<(), ShardError> {
    let path = dir_path(drive, key);
    let made = drive.disk.create_dir_all(&path);
    made.map_err(|error| drive.write_failed("make", &path, &error))
}

#[derive(Default)]
pub(super) struct DirSync {
    dirs: Mutex<HashMap<DirKey, Progress>>,
    changed: Condvar,
}

/// A sync covers all tickets that were handed out before it began.
#[derive(Default)]
struct Progress {
    handed_out: u64,
    done: u64,
    is_running: bool,
    /// A sync has failed: what the directory holds on disk is unknown, and no later sync can tell.
    failure: Option<(io::ErrorKind, String)>,
}

impl DirSync {
    /// To be taken right after a change of the directory.
    pub(super) fn ticket(&self, key: DirKey) -> u64 {
        let mut dirs = self.dirs.lock();
        let progress = dirs.entry(key).or_default();
        progress.handed_out += 1;
        progress.handed_out
    }

    /// Returns when all changes made before `ticket` was taken are durable. `run` syncs the directory; it is
    /// called once for all who wait.
    pub(super) fn sync(
        &self,
        key: DirKey,
        ticket: u64,
        run: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut dirs = self.dirs.lock();
        loop {
            let progress = dirs.entry(key).or_default();
            if let Some((kind, message)) = &progress.failure {
                return Err(io::Error::new(*kind, message.clone()));
            }
            if progress.done >= ticket {
                return Ok(());
            }
            if progress.is_running {
                self.changed.wait(&mut dirs);
                continue;
            }
            progress.is_running = true;
            let covered = progress.handed_out;
            drop(dirs);
            let outcome = run();
            dirs = self.dirs.lock();
            let progress = dirs.entry(key).or_default();
            progress.is_running = false;
            match outcome {
                Ok(()) => progress.done = covered,
                Err(error) => progress.failure = Some((error.kind(), error.to_string())),
            }
            self.changed.notify_all();
        }
    }

    /// Whether the directory was synced since the store opened, and every change since is durable.
    pub(super) fn is_clean(&self, key: DirKey) -> bool {
        let dirs = self.dirs.lock();
        dirs.get(&key).is_some_and(|progress| {
            progress.done > 0 && progress.done == progress.handed_out && progress.failure.is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use types::SessionId;

    use super::*;

    const KEY: DirKey = (SessionId::new(1), 2);

    #[test]
    fn those_who_come_during_a_sync_share_the_next() {
        let syncs = DirSync::default();
        let runs = AtomicU64::new(0);
        let (started, wait_started) = std::sync::mpsc::channel();
        let (go, wait_go) = std::sync::mpsc::channel::<()>();
        let wait_go = Mutex::new(wait_go);
        std::thread::scope(|scope| {
            let (syncs, runs, wait_go) = (&syncs, &runs, &wait_go);
            scope.spawn(move || {
                let first = syncs.sync(KEY, syncs.ticket(KEY), || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    started.send(()).expect("the test listens");
                    wait_go.lock().recv().map_err(io::Error::other)
                });
                first.expect("the first sync");
            });
            wait_started.recv().expect("the first sync runs");
            for _ in 0..5 {
                scope.spawn(move || {
                    let rest = syncs.sync(KEY, syncs.ticket(KEY), || {
                        runs.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    rest.expect("a later sync");
                });
            }
            // All five hold a ticket before the first sync ends.
            while syncs.dirs.lock().get(&KEY).map(|p| p.handed_out) != Some(6) {
                std::thread::yield_now();
            }
            go.send(()).expect("the first sync waits");
        });
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert!(syncs.is_clean(KEY));
    }

    #[test]
    fn a_failed_sync_is_final() {
        let syncs = DirSync::default();
        assert!(!syncs.is_clean(KEY), "nothing is known before the first sync");
        assert!(syncs.sync(KEY, syncs.ticket(KEY), || Err(io::Error::other("no"))).is_err());
        assert!(syncs.sync(KEY, syncs.ticket(KEY), || Ok(())).is_err(), "it is not tried again");
        assert!(!syncs.is_clean(KEY));
    }
}

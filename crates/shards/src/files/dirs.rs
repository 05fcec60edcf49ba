//! Syncs of directories, shared by all who need one at the same time.

use std::collections::HashMap;
use std::io;

use parking_lot::{Condvar, Mutex};

use super::DirKey;

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

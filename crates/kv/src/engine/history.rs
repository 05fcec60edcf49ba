//! The newest changes, kept in memory for watchers; bounded by [`HISTORY_EVENTS`] and [`HISTORY_BYTES`].

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use types::Revision;

use crate::{Event, Key, KvError, Watcher};

/// Most events kept.
const HISTORY_EVENTS: usize = 65_536;
/// Most bytes of keys and values kept.
const HISTORY_BYTES: usize = 8 << 20;
/// A watcher's page ends with the revision that reaches this many events.
const PAGE_EVENTS: usize = 1024;

/// All changes of one revision, in key order.
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) events: Vec<Event>,
}

impl Change {
    fn bytes(&self) -> usize {
        let value = |event: &Event| event.value.as_ref().map_or(0, |value| value.len());
        self.events.iter().map(|event| event.key.as_bytes().len() + value(event)).sum()
    }
}

struct Ring {
    changes: VecDeque<Change>,
    events: usize,
    bytes: usize,
    /// All changes behind this revision are here.
    floor: Revision,
    newest: Revision,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    newest: Revision,
    closed: bool,
}

/// The ring and the bell that wakes its watchers.
pub(crate) struct History {
    ring: Mutex<Ring>,
    head: watch::Sender<Head>,
}

impl History {
    /// Empty, from `newest` on.
    pub(crate) fn new(newest: Revision) -> Arc<Self> {
        let ring = Ring { changes: VecDeque::new(), events: 0, bytes: 0, floor: newest, newest };
        let (head, _) = watch::channel(Head { newest, closed: false });
        Arc::new(Self { ring: Mutex::new(ring), head })
    }

    /// Adds changes, oldest first, and drops the oldest of all beyond the bounds.
    pub(crate) fn push(&self, changes: Vec<Change>) {
        let Some(newest) = changes.last().map(|change| change.revision) else { return };
        {
            let mut ring = self.ring.lock();
            for change in changes {
                // Batches without writes have nothing to show, and would not count towards the bounds.
                if change.events.is_empty() {
                    continue;
                }
                ring.events += change.events.len();
                ring.bytes += change.bytes();
                ring.changes.push_back(change);
            }
            while ring.events > HISTORY_EVENTS || ring.bytes > HISTORY_BYTES {
                let Some(oldest) = ring.changes.pop_front() else { break };
                ring.events -= oldest.events.len();
                ring.bytes -= oldest.bytes();
                ring.floor = oldest.revision;
            }
            ring.newest = newest;
        }
        self.head.send_replace(Head { newest, closed: false });
    }

    /// Tells all watchers that no more will come.
    pub(crate) fn close(&self) {
        self.head.send_modify(|head| head.closed = true);
    }

    /// A watcher of what lies under `prefix` behind `after`.
    pub(crate) fn watch(
        self: &Arc<Self>,
        prefix: &Key,
        after: Revision,
    ) -> Result<HistoryWatcher, KvError> {
        let floor = self.ring.lock().floor;
        if after < floor {
            return Err(KvError::Compacted(floor));
        }
        Ok(HistoryWatcher {
            history: self.clone(),
            head: self.head.subscribe(),
            prefix: prefix.clone(),
            after,
        })
    }

    /// Events under `prefix` behind `after`, and up to which revision that is all of them.
    fn read(&self, prefix: &Key, after: Revision) -> Result<(Vec<Event>, Revision), KvError> {
        let ring = self.ring.lock();
        if after < ring.floor {
            return Err(KvError::Compacted(ring.floor));
        }
        let mut found = Vec::new();
        let first = ring.changes.partition_point(|change| change.revision <= after);
        for change in ring.changes.iter().skip(first) {
            let under = |event: &&Event| event.key.as_bytes().starts_with(prefix.as_bytes());
            found.extend(change.events.iter().filter(under).cloned());
            if found.len() >= PAGE_EVENTS {
                return Ok((found, change.revision));
            }
        }
        Ok((found, ring.newest.max(after)))
    }
}

/// See [`Watcher`].
pub(crate) struct HistoryWatcher {
    history: Arc<History>,
    head: watch::Receiver<Head>,
    prefix: Key,
    after: Revision,
}

#[async_trait::async_trait]
impl Watcher for HistoryWatcher {
    async fn next(&mut self) -> Result<ControlFlow<(), Vec<Event>>, KvError> {
        loop {
            // What is marked as seen here is older than what is read below, so nothing is slept through.
            let head = *self.head.borrow_and_update();
            let (events, upto) = self.history.read(&self.prefix, self.after)?;
            self.after = upto;
            if !events.is_empty() {
                return Ok(ControlFlow::Continue(events));
            }
            if head.closed || self.head.changed().await.is_err() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn change(revision: u64, path: &str, value_len: usize) -> Change {
        let event = Event {
            key: Key::control(path).expect("a key"),
            value: Some(Bytes::from(vec![0; value_len])),
            revision: Revision(revision),
        };
        Change { revision: Revision(revision), events: vec![event] }
    }

    #[tokio::test]
    async fn a_watcher_that_falls_behind_is_told_so() {
        let history = History::new(Revision(4));
        let prefix = Key::control("/a").expect("a key");
        assert!(matches!(
            history.watch(&prefix, Revision(3)),
            Err(KvError::Compacted(Revision(4)))
        ));
        let mut watcher = history.watch(&prefix, Revision(4)).expect("is kept");
        history.push(vec![change(5, "/a1", 1), change(6, "/b", 1)]);
        let ControlFlow::Continue(events) = watcher.next().await.expect("events") else {
            panic!("still open")
        };
        assert_eq!(events.len(), 1);
        history.push((7..=26).map(|n| change(n, "/a2", HISTORY_BYTES / 10)).collect());
        assert!(matches!(watcher.next().await, Err(KvError::Compacted(_))));
        history.close();
        let mut late = history.watch(&prefix, Revision(26)).expect("is kept");
        assert!(matches!(late.next().await, Ok(ControlFlow::Break(()))));
    }
}

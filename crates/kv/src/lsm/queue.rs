//! The bounded queue in front of the commit thread.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use types::{BatchId, Revision, SessionId, UnixMillis};

use crate::engine::closed;
use crate::{Batch, KvError, Outcome};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, KvError>>;

/// What the commit thread is asked to do.
pub(super) enum Request {
    Commit { id: BatchId, batch: Batch, bytes: usize, reply: Reply<Outcome> },
    OpenSession { id: SessionId, label: String, now: UnixMillis, reply: Reply<()> },
    ReportOldestRead { id: SessionId, oldest: Revision, reply: Reply<()> },
    EndSession { id: SessionId, reply: Reply<Revision> },
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

/// Why the queue takes nothing more.
#[derive(Clone, Debug)]
pub(super) enum Shut {
    /// It was closed.
    Closed,
    /// A write failed; the text says how.
    Failed(String),
    /// A write failed for want of room.
    Full(String),
}

impl Shut {
    /// As the trait says it.
    pub(super) fn error(&self) -> KvError {
        match self {
            Self::Closed => closed(),
            Self::Failed(why) => KvError::Unavailable(format!(
                "read-only since a write failed, until the process is started again: {why}"
            )),
            Self::Full(why) => KvError::Full(why.clone()),
        }
    }
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    bytes: usize,
    /// Batches queued or being committed, by how often.
    pending: HashMap<BatchId, u32>,
    /// The commit thread sleeps until there are this many requests.
    wake_at: usize,
    shut: Option<Shut>,
    /// Whether the commit thread is to end; after a failure it does not until it is told.
    closed: bool,
}

/// Bounds, in requests and bytes.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) requests: usize,
    pub(super) bytes: usize,
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    bounds: Bounds,
}

/// How the commit thread waits for a group.
#[derive(Clone, Copy)]
pub(super) struct Gather {
    /// Requests that it would like to see before it begins.
    pub(super) target: usize,
    /// How long it waits for them once there is one.
    pub(super) patience: Duration,
    /// How long it waits for the first.
    pub(super) idle: Duration,
    /// What one group may hold.
    pub(super) bounds: Bounds,
}

impl Queue {
    /// Empty and open.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), bounds }
    }

    /// Adds a request, or gives it back with the reason.
    #[allow(clippy::result_large_err, reason = "the request goes back to its caller at once")]
    pub(super) fn push(&self, request: Request) -> Result<(), (Request, KvError)> {
        let bytes = request.bytes();
        let mut state = self.state.lock();
        if let Some(shut) = &state.shut {
            let error = shut.error();
            return Err((request, error));
        }
        if state.requests.len() >= self.bounds.requests || state.bytes + bytes > self.bounds.bytes {
            let error = KvError::Unavailable("too many commits are waiting".to_owned());
            return Err((request, error));
        }
        if let Request::Commit { id, .. } = &request {
            *state.pending.entry(*id).or_default() += 1;
        }
        state.bytes += bytes;
        state.requests.push_back(request);
        if state.requests.len() >= state.wake_at {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Whether the batch is queued or being committed.
    pub(super) fn is_pending(&self, id: BatchId) -> bool {
        self.state.lock().pending.contains_key(&id)
    }

    /// The next group; empty when nothing came in `gather.idle`, and `None` when the queue is closed and
    /// empty.
    pub(super) fn take(&self, gather: Gather) -> Option<Vec<Request>> {
        let mut state = self.state.lock();
        state.wake_at = 1;
        while state.requests.is_empty() {
            if state.closed {
                return None;
            }
            if self.ready.wait_for(&mut state, gather.idle).timed_out() {
                break;
            }
        }
        if !state.requests.is_empty() && state.requests.len() < gather.target {
            state.wake_at = gather.target;
            self.ready.wait_for(&mut state, gather.patience);
        }
        state.wake_at = usize::MAX;
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < gather.bounds.requests && bytes < gather.bounds.bytes {
            let Some(request) = state.requests.pop_front() else { break };
            bytes += request.bytes();
            group.push(request);
        }
        state.bytes -= bytes;
        Some(group)
    }

    /// Says that batches that were taken are decided.
    pub(super) fn settle(&self, ids: &[BatchId]) {
        let mut state = self.state.lock();
        for id in ids {
            if let Some(count) = state.pending.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    state.pending.remove(id);
                }
            }
        }
    }

    /// Takes nothing more; what is queued stays. The first reason stands, but a failure replaces a close.
    pub(super) fn shut(&self, why: Shut) {
        let mut state = self.state.lock();
        state.closed |= matches!(why, Shut::Closed);
        if matches!(state.shut, None | Some(Shut::Closed)) {
            state.shut = Some(why);
        }
        self.ready.notify_one();
    }

    /// Drops what is queued; whoever waits for it sees the answer's channel close.
    pub(super) fn drop_all(&self) {
        let mut state = self.state.lock();
        state.requests.clear();
        state.bytes = 0;
    }

    /// Why it is shut.
    pub(super) fn why_shut(&self) -> Option<Shut> {
        self.state.lock().shut.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: Gather = Gather {
        target: 1,
        patience: Duration::ZERO,
        idle: Duration::from_millis(1),
        bounds: Bounds { requests: 2, bytes: 100 },
    };

    fn id(sequence: u64) -> BatchId {
        BatchId { session: SessionId::new(1), sequence }
    }

    fn commit(sequence: u64, bytes: usize) -> Request {
        let (reply, _) = oneshot::channel();
        Request::Commit { id: id(sequence), batch: Batch::default(), bytes, reply }
    }

    #[test]
    fn bounds_are_kept_and_what_is_pending_is_known() {
        let queue = Queue::new(Bounds { requests: 3, bytes: 100 });
        assert!(queue.push(commit(1, 60)).is_ok());
        assert!(queue.push(commit(2, 41)).is_err(), "too many bytes");
        assert!(queue.push(commit(1, 20)).is_ok());
        assert!(queue.push(commit(3, 20)).is_ok());
        assert!(queue.push(commit(4, 0)).is_err(), "too many requests");
        assert!(queue.is_pending(id(1)) && !queue.is_pending(id(4)));
        assert_eq!(queue.take(GATHER).map(|group| group.len()), Some(2));
        queue.settle(&[id(1)]);
        assert!(queue.is_pending(id(1)), "it was queued twice");
        queue.settle(&[id(1)]);
        assert!(!queue.is_pending(id(1)));
        assert!(queue.push(commit(5, 80)).is_ok());
    }

    #[test]
    fn a_shut_queue_is_emptied_and_then_over() {
        let queue = Queue::new(Bounds { requests: 3, bytes: 100 });
        assert_eq!(queue.take(GATHER).map(|group| group.len()), Some(0), "idle");
        assert!(queue.push(commit(1, 1)).is_ok());
        queue.shut(Shut::Closed);
        assert!(queue.push(commit(2, 1)).is_err());
        assert_eq!(queue.take(GATHER).map(|group| group.len()), Some(1));
        assert!(queue.take(GATHER).is_none());
        queue.shut(Shut::Full("full".to_owned()));
        queue.shut(Shut::Closed);
        assert!(
            matches!(queue.why_shut(), Some(Shut::Full(_))),
            "the failure is the better reason"
        );
    }
}

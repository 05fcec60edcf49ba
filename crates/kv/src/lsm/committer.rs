//! The commit thread: takes what is queued, evaluates it in order, writes one batch of the library, syncs
//! once, shows it, and answers all. The only thread that writes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::disk::{Disk, Lock};
use types::BatchId;

use super::Shared;
use super::queue::{Bounds, Gather, Reply, Request, Shut};
use super::store::{Store, View};
use crate::engine::{Decided, Group, Memo};
use crate::{Batch, KvError, Outcome, Write};

/// What one group may hold: bounds the memory of a group and the time until its first answer.
const GROUP: Bounds = Bounds { requests: 512, bytes: 8 << 20 };
/// Conflicts that wait for a commit to travel with.
const CARRIED_MAX: usize = 65_536;
/// How often an idle thread looks after snapshots.
const IDLE: Duration = Duration::from_secs(1);
/// How long a group waits for as many requests as the last one had.
const PATIENCE: Duration = Duration::from_micros(150);

/// An answer that waits until what it says is durable.
enum Answer {
    Outcome(BatchId, Result<Outcome, KvError>, Reply<Outcome>),
    Unit(Result<(), KvError>, Reply<()>),
    Revision(Result<types::Revision, KvError>, Reply<types::Revision>),
}

/// The thread's own state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) reserve_bytes: u64,
    /// Conflicts that were answered and are not stored yet.
    pub(super) carried: HashMap<BatchId, Memo>,
    /// Held until the files are closed.
    pub(super) _lock: Box<dyn Lock>,
}

/// Also when the thread panics: nobody waits for an answer that will not come.
impl Drop for Committer {
    fn drop(&mut self) {
        self.shared.queue.shut(Shut::Closed);
        self.shared.queue.drop_all();
        self.shared.history.close();
        *self.shared.store.lock() = None;
    }
}

impl Committer {
    /// Runs until the queue is shut and empty.
    pub(super) fn run(mut self) {
        let mut target = 1;
        loop {
            let gather = Gather { target, patience: PATIENCE, idle: IDLE, bounds: GROUP };
            let Some(requests) = self.shared.queue.take(gather) else { break };
            self.shared.snapshots.expire(self.shared.clock.monotonic());
            if !requests.is_empty() {
                target = requests.len();
                self.commit(requests);
            }
        }
        self.shared.snapshots.clear();
        *self.shared.view.write() = None;
    }

    fn commit(&mut self, requests: Vec<Request>) {
        if let Some(shut @ (Shut::Failed(_) | Shut::Full(_))) = self.shared.queue.why_shut() {
            return self.refuse(requests, &shut);
        }
        let Some(view) = self.shared.view.read().clone() else { return };
        let low = self.low_on_space();
        let table = self.shared.sessions.lock();
        let mut group = Group::new(&*view, &table);
        let answers: Vec<Answer> =
            requests.into_iter().map(|request| evaluate(&mut group, request, low)).collect();
        let decided = group.decide();
        drop(table);
        if decided.is_durable_work() {
            let mut batch = self.store.batch();
            for (id, memo) in &self.carried {
                batch.put_outcome(*id, *memo);
            }
            batch.fill(&decided);
            if let Err(error) = self.shared.write(batch) {
                return self.fail(answers, &error);
            }
            self.carried.clear();
            let view = self.store.view(decided.revision);
            *self.shared.view.write() = Some(view);
            self.shared.commits.fetch_add(decided.commits, Ordering::Relaxed);
            self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        } else if self.carried.len() < CARRIED_MAX {
            self.carried.extend(&decided.outcomes);
        }
        self.publish(decided);
        self.answer(answers);
    }

    /// Shows what is durable to everybody but the readers, who have their view.
    fn publish(&self, decided: Decided) {
        {
            let mut table = self.shared.sessions.lock();
            decided.sessions.into_values().for_each(|record| table.put(record));
            for (id, memo) in decided.outcomes {
                table.remember(id, memo);
            }
        }
        self.shared.history.push(decided.changes);
    }

    fn answer(&self, answers: Vec<Answer>) {
        let ids: Vec<BatchId> = answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Outcome(id, ..) => Some(*id),
                _ => None,
            })
            .collect();
        self.shared.queue.settle(&ids);
        // A caller that has gone does not want its answer.
        for answer in answers {
            match answer {
                Answer::Outcome(_, outcome, reply) => drop(reply.send(outcome)),
                Answer::Unit(result, reply) => drop(reply.send(result)),
                Answer::Revision(result, reply) => drop(reply.send(result)),
            }
        }
    }

    /// A write failed: nobody can say what of the group is on the disk, and nothing more is written until
    /// the store is opened again. A failed sync is never retried.
    fn fail(&self, answers: Vec<Answer>, error: &KvError) {
        tracing::error!(%error, "the metadata store is read-only since a write failed");
        let shut = match error {
            KvError::Full(why) => Shut::Full(why.clone()),
            other => Shut::Failed(other.to_string()),
        };
        self.shared.queue.shut(shut.clone());
        let answers = answers
            .into_iter()
            .map(|answer| match answer {
                Answer::Outcome(id, Ok(Outcome::Committed(_) | Outcome::Conflict(_)), reply)
                    if !self.shared.is_decided(id) =>
                {
                    self.shared.doubtful.lock().insert(id);
                    Answer::Outcome(id, Ok(Outcome::Unknown), reply)
                }
                // What was fenced by an end that may not be durable is as much in doubt.
                Answer::Outcome(id, Ok(Outcome::Fenced), reply) => {
                    Answer::Outcome(id, Ok(Outcome::Unknown), reply)
                }
                Answer::Outcome(..) => answer,
                Answer::Unit(_, reply) => Answer::Unit(Err(shut.error()), reply),
                Answer::Revision(_, reply) => Answer::Revision(Err(shut.error()), reply),
            })
            .collect();
        self.answer(answers);
    }

    /// Answers what came after a failure: none of it was or will be written.
    fn refuse(&self, requests: Vec<Request>, shut: &Shut) {
        let answers = requests
            .into_iter()
            .map(|request| match request {
                Request::Commit { id, reply, .. } => {
                    Answer::Outcome(id, self.shared.known(id, shut.error()), reply)
                }
                Request::OpenSession { reply, .. } | Request::ReportOldestRead { reply, .. } => {
                    Answer::Unit(Err(shut.error()), reply)
                }
                Request::EndSession { reply, .. } => Answer::Revision(Err(shut.error()), reply),
            })
            .collect();
        self.answer(answers);
    }

    fn low_on_space(&self) -> Space {
        match self.disk.space(&self.dir) {
            Ok(space) if space.available < self.reserve_bytes / 4 => Space::None,
            Ok(space) if space.available < self.reserve_bytes => Space::Low,
            Ok(_) => Space::Enough,
            Err(error) => {
                tracing::debug!(%error, "cannot tell how much room is left");
                Space::Enough
            }
        }
    }
}

/// How much room is left on the file system, against the reserve.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    Enough,
    /// Only batches that remove something are taken.
    Low,
    /// No batch is taken; sessions still end.
    None,
}

impl Space {
    fn check(self, batch: &Batch) -> Result<(), KvError> {
        let removes = |write: &Write| matches!(write, Write::Delete(_) | Write::DeleteRange(_));
        let fits = match self {
            Self::Enough => true,
            Self::Low => batch.writes.iter().any(removes),
            Self::None => false,
        };
        if fits {
            return Ok(());
        }
        Err(KvError::Full("the file system has less room left than is kept in reserve".to_owned()))
    }
}

fn evaluate(group: &mut Group<'_, View>, request: Request, space: Space) -> Answer {
    match request {
        Request::Commit { id, batch, reply, .. } => {
            let outcome = match group.decided(id) {
                Some(outcome) => Ok(outcome),
                None => space.check(&batch).and_then(|()| group.commit(id, batch)),
            };
            Answer::Outcome(id, outcome, reply)
        }
        Request::OpenSession { id, label, now, reply } => {
            Answer::Unit(group.open_session(id, label, now), reply)
        }
        Request::ReportOldestRead { id, oldest, reply } => {
            Answer::Unit(group.report_oldest_read(id, oldest), reply)
        }
        Request::EndSession { id, reply } => Answer::Revision(group.end_session(id), reply),
    }
}

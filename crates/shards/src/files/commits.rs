//! Large shards whose commit is under way: a delete that finds no file yet must keep it from appearing later, also
//! when whoever asked for the commit has gone away.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::ShardId;

#[derive(Default)]
pub(super) struct Commits(Mutex<HashMap<ShardId, Commit>>);

#[derive(Default)]
struct Commit {
    /// How many there are: a second one will be refused, but it is there.
    count: usize,
    is_doomed: bool,
}

impl Commits {
    /// A commit was asked for.
    pub(super) fn begin(&self, id: ShardId) {
        self.0.lock().entry(id).or_default().count += 1;
    }

    /// A commit was answered.
    pub(super) fn end(&self, id: &ShardId) {
        let mut commits = self.0.lock();
        if let Some(commit) = commits.get_mut(id) {
            commit.count = commit.count.saturating_sub(1);
            if commit.count == 0 {
                commits.remove(id);
            }
        }
    }

    /// The commits of this shard that are under way will fail, if they have not made its file yet.
    pub(super) fn doom(&self, id: &ShardId) {
        if let Some(commit) = self.0.lock().get_mut(id) {
            commit.is_doomed = true;
        }
    }

    pub(super) fn is_doomed(&self, id: &ShardId) -> bool {
        self.0.lock().get(id).is_some_and(|commit| commit.is_doomed)
    }
}

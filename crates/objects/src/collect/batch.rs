//! Small changes, put together in batches: one whose guards do not hold is left out, and the others are done.

use futures::{StreamExt as _, stream};
use kv::{Batch, Guard, Write};
use types::limits;

use crate::commit::Verdict;
use crate::engine::Engine;
use crate::error::Failure;

/// Batches under way at once: commits are durable in groups.
const AT_ONCE: usize = 4;
/// Bytes of a batch are far below the limit: no value here is longer than a record.
const OPS_MAX: usize = limits::KV_BATCH_MAX_OPS;

/// A change that is right by itself, and nothing when a guard of it does not hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) guards: Vec<Guard>,
    pub(super) writes: Vec<Write>,
}

impl Item {
    fn ops(&self) -> usize {
        self.guards.len() + self.writes.len()
    }
}

impl Engine {
    /// Commits items, each alone or with others. The numbers of those that were done; the others are as they were,
    /// or nobody can say: whoever looks again sees it.
    ///
    /// # Errors
    /// When a commit fails altogether.
    pub(super) async fn commit_items(&self, items: &[Item]) -> Result<Vec<usize>, Failure> {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for (at, item) in items.iter().enumerate() {
            match batches.last_mut().filter(|_| item.ops() <= room) {
                Some(batch) => batch.push(at),
                None => {
                    batches.push(vec![at]);
                    room = OPS_MAX;
                }
            }
            room = room.saturating_sub(item.ops());
        }
        let commit = |batch| self.commit_batch(items, batch);
        let done: Vec<_> =
            stream::iter(batches).map(commit).buffer_unordered(AT_ONCE).collect().await;
        let mut all = Vec::with_capacity(items.len());
        for batch in done {
            all.extend(batch?);
        }
        all.sort_unstable();
        Ok(all)
    }

    async fn commit_batch(
        &self,
        items: &[Item],
        mut which: Vec<usize>,
    ) -> Result<Vec<usize>, Failure> {
        while !which.is_empty() {
            let mut batch = Batch::default();
            let mut owners = Vec::new();
            for (at, item) in which.iter().filter_map(|&at| Some((at, items.get(at)?))) {
                owners.extend(item.guards.iter().map(|_| at));
                batch.guards.extend(item.guards.iter().cloned());
                batch.writes.extend(item.writes.iter().cloned());
            }
            match self.commit_once(batch).await {
                Ok(Verdict::Committed(_)) => return Ok(which),
                Ok(Verdict::Conflict(guard)) => {
                    let owner = owners.get(guard).copied();
                    which.retain(|at| Some(*at) != owner);
                    if owner.is_none() {
                        return Ok(Vec::new());
                    }
                }
                Err(Failure::Unknown) => return Ok(Vec::new()),
                Err(failure) => return Err(failure),
            }
        }
        Ok(which)
    }
}

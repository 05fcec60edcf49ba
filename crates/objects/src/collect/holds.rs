//! The horizon of collection, and the holds that keep it back.

use kv::{Batch, Direction, Write};
use types::{Revision, UnixMillis};

use crate::commit::Verdict;
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::Record as _;
use crate::schema::hold::{self, Hold, Orphans, Switch};

/// Holds per look-up.
const PAGE: usize = 256;

impl Engine {
    /// Holds back, until `until`, the collection of everything that goes from now on. Metadata that is read after
    /// this has returned keeps all its shards while the hold stands. Its id.
    ///
    /// # Errors
    /// [`Failure`]; after [`Failure::Unknown`] it may stand.
    pub async fn put_hold(&self, reason: &str, until: UnixMillis) -> Result<u64, Failure> {
        let id = self.inner.runtime.entropy.nonzero_u64();
        // What is collected by a look at the holds from before this commits had lost its last reference by then, so
        // whoever reads afterwards does not see it referenced.
        let revision = self.inner.kv.revision().await?;
        let reason = reason.to_owned();
        let hold = Hold { v: 1, revision, reason, created_at_ms: self.now(), until_ms: until };
        let mut batch = Batch::default();
        batch.unchanged(hold::key(id), None).put(hold::key(id), hold.encode());
        match self.commit_once(batch).await? {
            Verdict::Committed(_) => Ok(id),
            Verdict::Conflict(_) => Err(Failure::Contended),
        }
    }

    /// All holds, by id, also those that have ended by themselves.
    ///
    /// # Errors
    /// [`Failure::Damaged`] when one cannot be read.
    pub async fn holds(&self) -> Result<Vec<(u64, Hold)>, Failure> {
        let mut holds = Vec::new();
        let mut range = Some(hold::range());
        while let Some(rest) = range.take() {
            let page = self.inner.kv.scan(&rest, PAGE, Direction::Forward).await?;
            for entry in &page.entries {
                let id = hold::parse_key(entry.key.as_bytes()).ok_or(Failure::Damaged("hold"))?;
                holds.push((id, Hold::decode(&entry.value)?));
            }
            let last = page.entries.last().filter(|_| page.more);
            range = last.and_then(|last| rest.starting_at(last.key.successor()));
        }
        Ok(holds)
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// [`Failure`]; after [`Failure::Unknown`] it may still stand.
    pub async fn remove_hold(&self, id: u64) -> Result<(), Failure> {
        let mut batch = Batch::default();
        batch.write(Write::Delete(hold::key(id)));
        self.commit_once(batch).await.map(drop)
    }

    /// What was filed up to this revision, itself included, may be collected: no read that is open or will be opened
    /// anywhere looks at anything older, and no hold keeps it. It never becomes less by itself; a session that opens
    /// later begins at a later revision.
    ///
    /// # Errors
    /// [`Failure::Fenced`] when this engine's own session has ended; [`Failure::Damaged`] when a hold cannot be read.
    pub(crate) async fn horizon(&self) -> Result<Revision, Failure> {
        let sessions = self.inner.kv.sessions().await?;
        let live = sessions.iter().filter(|session| session.ended.is_none());
        if !live.clone().any(|session| session.id == self.session()) {
            return Err(Failure::Fenced);
        }
        let oldest = live.map(|session| session.oldest_read).min().unwrap_or(Revision(0));
        let now = self.now();
        let holds = self.holds().await?.into_iter().filter(|(_, hold)| hold.until_ms > now);
        let held = holds.map(|(_, hold)| Revision(hold.revision.0.saturating_sub(1))).min();
        Ok(held.map_or(oldest, |held| held.min(oldest)))
    }

    /// Whether shards that no record names may go at all.
    pub(crate) async fn may_collect_orphans(&self) -> Result<bool, Failure> {
        let found = self.inner.kv.get(&hold::switch_key()).await?;
        Ok(match found {
            Some(found) => Switch::decode(&found.value)?.orphans == Orphans::On,
            None => true,
        })
    }
}

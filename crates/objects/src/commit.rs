//! Committing: what became of a batch, and when to evaluate it again.
//!
//! An operation reads, evaluates its conditions, builds a batch and hands it to its [`Attempts`]. On a conflict it
//! does all of that again, with the same durable blob. Not here: what the batches say.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv::{Batch, Key, Outcome, Write};
use tokio::sync::{Mutex, OwnedMutexGuard};
use types::Revision;

use crate::body::Pending;
use crate::engine::Engine;
use crate::error::Failure;

/// Most times that one operation is evaluated.
const ATTEMPTS_MAX: u32 = 32;
/// How often a batch of unknown outcome is repeated under its id.
const REPEATS_MAX: u32 = 4;
/// Attempts without a pause; each further one may wait twice as long.
const PROMPT_ATTEMPTS: u32 = 3;
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Locks that operations on one key queue at once they have met a conflict: without them, the slowest of many
/// writers could lose every time. They are about fairness only; guards are what makes commits exact.
pub(crate) struct Gates(Vec<Arc<Mutex<()>>>);

impl Default for Gates {
    fn default() -> Self {
        Self((0..256).map(|_| Arc::default()).collect())
    }
}

impl Gates {
    async fn enter(&self, key: &Key) -> Option<OwnedMutexGuard<()>> {
        let mut hasher = DefaultHasher::new();
        key.as_bytes().hash(&mut hasher);
        let gate = self.0.get(hasher.finish() as usize % self.0.len().max(1))?;
        Some(gate.clone().lock_owned().await)
    }
}

/// What became of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is durable.
    Committed(Revision),
    /// This guard did not hold: read and evaluate again.
    Conflict(usize),
}

/// The attempts of one operation on one key.
pub(crate) struct Attempts<'a> {
    engine: &'a Engine,
    key: Key,
    made: u32,
    gate: Option<OwnedMutexGuard<()>>,
}

impl<'a> Attempts<'a> {
    /// `key` is what the operation is about: those that conflict over it queue.
    pub(crate) fn new(engine: &'a Engine, key: Key) -> Self {
        Self { engine, key, made: 0, gate: None }
    }

    /// Commits `batch`, which names no blob that is pending.
    ///
    /// # Errors
    /// [`Failure::Contended`] when this was the last attempt; [`Failure::Unknown`] when nobody can say;
    /// otherwise nothing was written.
    pub(crate) async fn commit(&mut self, batch: Batch) -> Result<Verdict, Failure> {
        let verdict = self.engine.commit_once(batch).await?;
        if let Verdict::Conflict(_) = verdict {
            self.after_conflict().await?;
        }
        Ok(verdict)
    }

    /// Commits `batch`, which makes `pending` part of the store: it is discarded when it is certain that it
    /// never will be, kept for another attempt after a conflict, and let be in all other cases.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub(crate) async fn commit_blob(
        &mut self,
        batch: Batch,
        pending: &mut Pending,
    ) -> Result<Verdict, Failure> {
        // While the outcome is open, not even the caller's going away may discard the blob.
        pending.release();
        let verdict = match self.engine.commit_once(batch).await {
            Ok(verdict) => verdict,
            Err(Failure::Unknown) => return Err(Failure::Unknown),
            Err(failure) => {
                pending.hold();
                return Err(failure);
            }
        };
        if let Verdict::Conflict(_) = verdict {
            pending.hold();
            self.after_conflict().await?;
        }
        Ok(verdict)
    }

    async fn after_conflict(&mut self) -> Result<(), Failure> {
        let inner = &self.engine.inner;
        inner.figures.conflicts.fetch_add(1, Ordering::Relaxed);
        self.made += 1;
        if self.made >= ATTEMPTS_MAX {
            return Err(Failure::Contended);
        }
        if self.gate.is_none() {
            self.gate = inner.gates.enter(&self.key).await;
        }
        if let Some(doublings) = self.made.checked_sub(PROMPT_ATTEMPTS) {
            self.engine.pause(Duration::from_millis(1) * (1 << doublings.min(8))).await;
        }
        Ok(())
    }
}

impl Engine {
    /// Waits a random time up to `most`, at most [`PAUSE_MAX`].
    async fn pause(&self, most: Duration) {
        let runtime = &self.inner.runtime;
        let micros = (most.min(PAUSE_MAX).as_micros() as u64).max(1);
        let pause = Duration::from_micros(runtime.entropy.nonzero_u64() % micros);
        runtime.clock.sleep(pause).await;
    }

    /// Commits `batch` under a fresh id; while the outcome is unknown, repeats it under the same.
    ///
    /// # Errors
    /// [`Failure::Unknown`] when nobody can say; otherwise nothing was written.
    pub(crate) async fn commit_once(&self, batch: Batch) -> Result<Verdict, Failure> {
        let id = self.next_batch_id();
        let files = batch.writes.iter().any(|write| matches!(write, Write::PutStamped(..)));
        let mut repeats = 0;
        loop {
            // Once an outcome was unknown, only a definite one counts: an error or a fence met by the
            // repetition says nothing of the first attempt.
            match self.inner.kv.commit(id, batch.clone()).await {
                Ok(Outcome::Committed(revision)) => {
                    self.inner.reads.saw(revision);
                    if files {
                        self.inner.collect.note_filed();
                    }
                    return Ok(Verdict::Committed(revision));
                }
                Ok(Outcome::Conflict(guard)) => return Ok(Verdict::Conflict(guard)),
                Ok(Outcome::Fenced) if repeats == 0 => return Err(Failure::Fenced),
                Err(error) if repeats == 0 => return Err(Failure::Kv(error)),
                Ok(Outcome::Fenced | Outcome::Unknown) | Err(_) => repeats += 1,
            }
            if repeats > REPEATS_MAX {
                self.inner.figures.unknown_outcomes.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(?id, "the outcome of a commit is not known");
                return Err(Failure::Unknown);
            }
            self.pause(Duration::from_millis(2) * (1 << repeats)).await;
        }
    }
}

//! Repair: makes blobs whole again, those first that could lose the fewest more shards.
//!
//! A task in the metadata only says where to look. What is to be done is decided by comparing the blob's record with
//! what the drives have ([`plan`]); then the missing shards are made from the others and committed under the
//! record's revision ([`mend`]). Every new copy has a copy id of its own, so that a late return of an old one harms
//! nothing. A blob that cannot be helped now rests for a while that grows, and is looked at again at once when a
//! drive comes back.

mod file;
mod mend;
mod plan;
mod queue;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use net::DriveState;
use parking_lot::Mutex;
use runtime::{Gauge, Progress, Urgency, Worker};
use types::{BlobId, DriveId};

use crate::engine::Engine;
use crate::error::Failure;

pub(crate) use file::{Finding, replace_tasks};
use mend::{Doubt, Look, Mended, Now};
pub(crate) use mend::{Job, TURN};
use queue::{Queue, Queued};

/// Tasks looked at together.
const AT_ONCE: usize = 64;
/// Small blobs made whole together.
const SMALL_AT_ONCE: usize = 32;
/// Up to this length a blob is small.
const SMALL_BYTES: u64 = 1 << 20;
/// How often the tasks are gone over when nothing was filed here.
const ROUND: Duration = Duration::from_secs(10);
/// How often somebody asks whether something was filed.
const LOOK: Duration = Duration::from_secs(1);
/// Blobs that wait to be encoded again, remembered until the repairs are done.
const REENCODES_MAX: usize = 256;
/// Blobs known to be lost that are remembered, so that each is told once.
const LOST_MAX: usize = 100_000;

/// Drains the repair tasks.
pub(crate) struct Repairer {
    engine: Engine,
    queue: Queue,
    now: Now,
    /// When the drives were last looked at.
    looked: Option<Duration>,
    /// When the next round begins; `None` while one is under way.
    rest_until: Option<Duration>,
    /// The number of sweeps that were asked for when the tasks were last woken.
    sweeps: u64,
    asked: bool,
    /// Whether tasks went since the last census.
    changed: bool,
    /// Large blobs that were looked at: one is made whole in a step.
    large: VecDeque<Job>,
    reencodes: VecDeque<Job>,
    /// Whether one was encoded again in this round: there may be more than were remembered.
    reencoded: bool,
    /// Whether the queue has given out all tasks of this round.
    round_over: bool,
    lost: HashSet<BlobId>,
    doubts: Mutex<Vec<Doubt>>,
    bytes: u64,
}

impl Repairer {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            queue: Queue::default(),
            now: Now::default(),
            looked: None,
            rest_until: None,
            sweeps: 0,
            asked: false,
            changed: false,
            large: VecDeque::new(),
            reencodes: VecDeque::new(),
            reencoded: false,
            round_over: false,
            lost: HashSet::new(),
            doubts: Mutex::default(),
            bytes: 0,
        }
    }

    fn monotonic(&self) -> Duration {
        self.engine.inner.runtime.clock.monotonic()
    }

    /// Looks how the drives are, once in a while.
    async fn look_at_drives(&mut self) {
        let now = self.monotonic();
        if self.looked.is_some_and(|at| now < at + LOOK) {
            return;
        }
        self.looked = Some(now);
        let engine = &self.engine;
        let statuses = engine.drive_statuses().await;
        let states: Vec<(DriveId, DriveState)> =
            statuses.iter().map(|(drive, status)| (drive.id, status.state)).collect();
        let out_after = engine.inner.options.out_after;
        let changes = engine.inner.upkeep.absences.observe(&states, now, out_after);
        // Also drives that records name and the layout does not are out; those are found one by one.
        let out = states.iter().map(|(drive, _)| *drive).filter(|drive| engine.is_out(*drive));
        self.now =
            Now { out: Arc::new(out.collect()), states: Arc::new(states.into_iter().collect()) };
        if changes.returned || changes.gone_out {
            tracing::info!(
                ?changes,
                "drives have changed: all blobs are compared with what the drives have"
            );
            engine.sweep();
        }
    }

    /// Takes note of what others asked for.
    fn listen(&mut self) {
        let shared = &self.engine.inner.upkeep;
        let sweeps = shared.sweeps.load(Ordering::Acquire);
        let filed = shared.repair_filed.notified().now_or_never().is_some();
        if std::mem::take(&mut self.asked) || sweeps != self.sweeps {
            self.sweeps = sweeps;
            self.queue.wake();
        } else if filed {
            self.queue.restart();
        } else if self.rest_until.is_none_or(|until| self.monotonic() < until) {
            return;
        }
        (self.rest_until, self.round_over) = (None, false);
    }

    async fn work(&mut self) -> Result<Progress, Failure> {
        self.look_at_drives().await;
        if let Some(job) = self.large.pop_front() {
            let held = self.engine.inner.blobs.budget().acquire_patiently(job.memory_bytes()).await;
            let mended = self.engine.mend(&job, held, true, &self.doubts).await;
            self.note(&job, mended).await?;
            return Ok(Progress::More);
        }
        self.listen();
        if self.rest_until.is_some() {
            return Ok(Progress::Idle(LOOK));
        }
        self.engine.settle(&self.doubts).await?;
        if !self.round_over {
            let (kv, now) = (self.engine.inner.kv.clone(), self.monotonic());
            let tasks = self.queue.next(kv.as_ref(), AT_ONCE, now).await.map_err(Failure::from)?;
            self.round_over = tasks.is_empty();
            self.follow(tasks).await?;
        } else if let Some(job) = self.reencodes.pop_front() {
            if self.engine.reencode(&job).await? {
                (self.changed, self.reencoded) = (true, true);
            } else {
                self.queue.rest(job.id(), self.monotonic());
            }
        } else {
            return self.end_round().await;
        }
        Ok(Progress::More)
    }

    async fn follow(&mut self, tasks: Vec<Queued>) -> Result<(), Failure> {
        if tasks.is_empty() {
            return Ok(());
        }
        let (small, large) = self.look(tasks).await?;
        for jobs in small.chunks(SMALL_AT_ONCE) {
            self.mend_together(jobs).await?;
        }
        self.large.extend(large);
        Ok(())
    }

    /// Nothing is left that can be done now: the figures are brought up to date.
    async fn end_round(&mut self) -> Result<Progress, Failure> {
        self.round_over = false;
        if std::mem::take(&mut self.reencoded) {
            return Ok(Progress::More);
        }
        if std::mem::take(&mut self.changed) {
            self.engine.take_census().await?;
        }
        self.rest_until = Some(self.monotonic() + ROUND);
        Ok(Progress::Idle(LOOK))
    }

    /// Looks at the blobs of some tasks, in one turn. The jobs that are left: small ones and large ones.
    async fn look(&mut self, tasks: Vec<Queued>) -> Result<(Vec<Job>, Vec<Job>), Failure> {
        let looks = {
            let engine = &self.engine;
            let _turn = engine.inner.throttle.turn(Urgency::Repair).await;
            join_all(tasks.iter().map(|queued| engine.look_at(queued, &self.now))).await
        };
        let (mut small, mut large, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (queued, look) in tasks.iter().zip(looks) {
            if !seen.insert(queued.blob) {
                continue;
            }
            match look {
                Ok(Look::Done) => self.forget(queued.blob),
                Ok(Look::Wait) => {
                    self.found(queued.blob);
                    self.queue.rest(queued.blob, self.monotonic());
                }
                Ok(Look::Mend(job)) if job.blob.location.len <= SMALL_BYTES => small.push(*job),
                Ok(Look::Mend(job)) => large.push(*job),
                Ok(Look::Lost(job)) => self.lost(&job).await?,
                Ok(Look::Reencode(job)) => self.wait_for_reencode(*job),
                Err(failure @ Failure::Damaged(_)) => {
                    tracing::error!(blob = %queued.blob, %failure, "a repair task cannot be followed");
                    self.queue.rest(queued.blob, self.monotonic());
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((small, large))
    }

    async fn mend_together(&mut self, jobs: &[Job]) -> Result<(), Failure> {
        let engine = &self.engine;
        let budget = engine.inner.blobs.budget();
        let mut held = Vec::with_capacity(jobs.len());
        for job in jobs {
            held.push(budget.acquire_patiently(job.memory_bytes()).await);
        }
        let mended = {
            let _turn = engine.inner.throttle.turn(Urgency::Repair).await;
            let mend = |(job, held)| engine.mend(job, held, false, &self.doubts);
            join_all(jobs.iter().zip(held).map(mend)).await
        };
        let mut noted = Ok(());
        for (job, mended) in jobs.iter().zip(mended) {
            noted = noted.and(self.note(job, mended).await);
        }
        noted
    }

    async fn note(&mut self, job: &Job, mended: Result<Mended, Failure>) -> Result<(), Failure> {
        match mended? {
            Mended::Yes { bytes, whole } => {
                self.found(job.id());
                self.bytes += bytes;
                let figures = &self.engine.inner.figures;
                figures.repaired_bytes.fetch_add(bytes, Ordering::Relaxed);
                if whole {
                    figures.repaired_blobs.fetch_add(1, Ordering::Relaxed);
                    self.forget(job.id());
                } else {
                    self.queue.rest(job.id(), self.monotonic());
                }
            }
            Mended::Again => self.engine.inner.upkeep.repair_filed.notify_one(),
            Mended::No => self.queue.rest(job.id(), self.monotonic()),
            Mended::Lost => self.lost(job).await?,
        }
        Ok(())
    }

    /// A task is done.
    fn forget(&mut self, blob: BlobId) {
        self.queue.forget(blob);
        self.changed = true;
        self.found(blob);
    }

    /// It is not lost, or is no longer wanted.
    fn found(&mut self, blob: BlobId) {
        if self.lost.remove(&blob) {
            self.count_lost();
        }
    }

    async fn lost(&mut self, job: &Job) -> Result<(), Failure> {
        self.queue.rest(job.id(), self.monotonic());
        if self.lost.len() < LOST_MAX && self.lost.insert(job.id()) {
            self.count_lost();
            let owners = self.engine.owners_for_people(job.home, job.id()).await?;
            tracing::error!(blob = %job.id(), bytes = job.blob.location.len, %owners,
                "fewer shards of a blob are whole than it takes to read it: unless a drive that has more of them \
                 comes back, these objects are lost. Its task is kept");
        }
        self.engine.mark_lost(job).await
    }

    fn count_lost(&self) {
        let figures = &self.engine.inner.figures;
        figures.unrecoverable.store(self.lost.len() as u64, Ordering::Relaxed);
    }

    fn wait_for_reencode(&mut self, job: Job) {
        let known = self.reencodes.iter().any(|other| other.id() == job.id());
        if !self.engine.may_reencode(|drive| self.now.states.get(&drive).copied()) {
            self.queue.rest(job.id(), self.monotonic());
        } else if !known && self.reencodes.len() < REENCODES_MAX {
            self.reencodes.push_back(job);
        }
    }
}

#[async_trait::async_trait]
impl Worker for Repairer {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn about(&self) -> &'static str {
        "Makes shards again that are missing or damaged, those of the most endangered objects first."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        self.work().await.map_err(|failure| failure.to_string())
    }

    fn round_asked(&mut self) {
        self.asked = true;
    }

    fn gauge(&self) -> Gauge {
        Gauge { done: self.bytes, round: None, unit: "bytes" }
    }
}

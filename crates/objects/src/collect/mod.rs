//! Collection: what nothing refers to any more goes, when that is proven, and never sooner.
//!
//! Taking a reference away files garbage at the revision of that batch. The collector tours the garbage that was filed
//! up to the *horizon* (see [`crate::reads`] and [`Engine::horizon`]): no read is open that may still need it. It
//! goes in small batches, each right by itself and harmless when repeated, so that the process may end anywhere:
//!
//! * A blob or part set that is referenced: only the garbage record goes. Who takes the last reference away files
//!   another.
//! * One that is not: it is filed once more, as *unreferenced*, because the last reference may have gone later than
//!   the revision in the record that was met. A reference is made with what it refers to, or by a batch that guards
//!   that there is another (a copy guards its source): so what has none will never get one again.
//! * An unreferenced blob: its record goes, if nobody has changed it meanwhile, and its copies become garbage.
//! * An unreferenced part set: its manifest goes, then its parts page by page; their blobs become garbage.
//! * Copies: each is deleted on its drive. The record stays as long as a drive of the layout has not answered.
//!
//! Beside that, copies that this process knows to be void are deleted here. Not here: shards that no record names
//! (`orphans`), and giving space back inside segments (`compact`).

mod batch;
mod blobs;
mod compact;
mod copies;
mod holds;
mod orphans;
mod pages;
mod sets;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv::Key;
use runtime::{Gauge, Progress, Urgency, Worker};

pub(crate) use compact::Compactor;
pub use orphans::{Orphan, OrphanJudge};

use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::garbage::Candidate;
use batch::Item;
use copies::{Silent, VoidLeft};
use pages::Filed;

/// Garbage records looked at in one step.
const PAGE: usize = 256;
/// How often it is looked whether something was filed.
const LOOK: Duration = Duration::from_millis(500);
/// How often there is a tour without a cause: other processes file too, drives come back, holds end.
const TOUR_INTERVAL: Duration = Duration::from_secs(5);
/// A tour that came to nothing is not repeated before this many times as long as it took.
const TOUR_REST: u32 = 10;

/// What the collector is told.
#[derive(Default)]
pub(crate) struct Shared {
    /// Batches of this process that filed garbage.
    filed: AtomicU64,
}

impl Shared {
    /// Garbage was filed.
    pub(crate) fn note_filed(&self) {
        self.filed.fetch_add(1, Ordering::AcqRel);
    }
}

/// The worker.
pub(crate) struct Collector {
    engine: Engine,
    tour: Option<Tour>,
    /// When the next tour begins at the latest, on the monotonic clock.
    next: Duration,
    /// [`Shared::filed`] as of the begin of the last tour.
    seen: u64,
    void: VoidLeft,
    done: u64,
}

/// A tour over all garbage.
struct Tour {
    from: Option<Key>,
    began: Duration,
    /// Changes made.
    did: u64,
    /// Drives that have not answered: they are not asked again.
    silent: Silent,
    unreadable: u64,
}

impl Collector {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine,
            tour: None,
            next: Duration::ZERO,
            seen: 0,
            void: VoidLeft::default(),
            done: 0,
        }
    }

    /// Begins a tour if it is time to.
    async fn begin(&mut self) -> Result<Option<Tour>, Failure> {
        let inner = &self.engine.inner;
        let now = inner.runtime.clock.monotonic();
        let filed = inner.collect.filed.load(Ordering::Acquire);
        if filed == self.seen && now < self.next {
            return Ok(None);
        }
        // Counted before the tour looks: what is filed meanwhile gives cause for another.
        self.seen = filed;
        // So that what was just deleted goes at once when nobody reads it.
        self.engine.report_oldest_read().await?;
        let silent = Silent::default();
        Ok(Some(Tour { from: None, began: now, did: 0, silent, unreadable: 0 }))
    }

    /// One page of a tour. Whether there is more.
    async fn page(&mut self, tour: &mut Tour) -> Result<bool, Failure> {
        let engine = self.engine.clone();
        let horizon = engine.horizon().await?;
        let page = pages::read(engine.inner.kv.as_ref(), tour.from.as_ref(), horizon, PAGE).await?;
        tour.unreadable += page.unreadable;
        let (mut blobs, mut sets, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        for filed in page.filed {
            match filed.candidate {
                Candidate::Blob(_) => blobs.push(filed),
                Candidate::PartSet(_) | Candidate::Remainder(_) => sets.push(filed),
                Candidate::Copies(_) => copies.push(filed),
            }
        }
        if !blobs.is_empty() {
            let _turn = engine.inner.throttle.turn(Urgency::Upkeep).await;
            let (did, buried) = engine.collect_blobs(blobs).await?;
            tour.did += did;
            copies.extend(buried);
        }
        tour.did += engine.collect_copies(copies, &mut tour.silent).await?;
        for filed in sets {
            tour.did += engine.collect_set(&filed).await?;
        }
        tour.from = page.next;
        Ok(tour.from.is_some())
    }

    /// What follows a tour.
    fn rest_after(&mut self, tour: &Tour) -> Progress {
        self.done += tour.did;
        if tour.unreadable > 0 {
            tracing::warn!(
                records = tour.unreadable,
                "garbage records cannot be read; what they name is kept"
            );
        }
        let now = self.engine.inner.runtime.clock.monotonic();
        if tour.did > 0 {
            // What was done has made more garbage that may go.
            self.next = now;
            return Progress::More;
        }
        let took = now.saturating_sub(tour.began);
        self.next = now + TOUR_INTERVAL.max(took * TOUR_REST);
        Progress::Idle(LOOK)
    }
}

#[async_trait::async_trait]
impl Worker for Collector {
    fn name(&self) -> &'static str {
        "collect"
    }

    fn about(&self) -> &'static str {
        "Removes what nothing refers to any more, once no read needs it."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        self.engine.collect_void(&mut self.void).await;
        let mut tour = match self.tour.take() {
            Some(tour) => tour,
            None => match self.begin().await.map_err(|failure| failure.to_string())? {
                Some(tour) => tour,
                None => return Ok(Progress::Idle(LOOK)),
            },
        };
        match self.page(&mut tour).await {
            Ok(true) => {
                self.tour = Some(tour);
                Ok(Progress::More)
            }
            Ok(false) => Ok(self.rest_after(&tour)),
            Err(failure) => {
                self.next = Duration::ZERO;
                Err(failure.to_string())
            }
        }
    }

    fn round_asked(&mut self) {
        self.next = Duration::ZERO;
    }

    fn gauge(&self) -> Gauge {
        Gauge { done: self.done, round: None, unit: "records" }
    }
}

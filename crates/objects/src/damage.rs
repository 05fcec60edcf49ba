//! What reads found damaged, on its way to becoming repair tasks; and the census of tasks.
//!
//! A read only notes a blob here; a worker files the tasks, a few at a time, each blob once in a while. Not here:
//! how tasks are filed and what becomes of them (`repair`).

use std::collections::{BTreeMap, HashMap};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use runtime::{Progress, Worker};
use types::{BlobId, CopyId};

use crate::blob::{Damage, DamageKind, Held, OnDamage, Relocate};
use crate::engine::Engine;
use crate::error::Failure;
use crate::model::OutputStream;
use crate::repair::Finding;
use crate::schema::blob::{self, Blob};
use crate::schema::counter::{self, Counter};
use crate::schema::repair::{Fault, Missed, Reason};
use crate::schema::{BlobLocation, Home, Kind, Record as _};
use crate::tour;

/// Blobs that may wait here; what is over is found again by the next read or by scrubbing.
const WAITING_MAX: usize = 10_000;
/// Tasks filed in one step.
const FILED_PER_STEP: usize = 16;
/// How long a blob is not filed again.
const QUIET: Duration = Duration::from_secs(600);
const INTERVAL: Duration = Duration::from_secs(1);

/// Blobs whose damage is not filed yet.
#[derive(Default)]
pub(crate) struct DamageQueue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<BlobId, Found>,
    /// When a blob was last filed, by the monotonic clock.
    filed: HashMap<BlobId, Duration>,
}

struct Found {
    home: Home,
    copies: BTreeMap<(u8, CopyId), Fault>,
}

impl Found {
    fn finding(&self, blob: BlobId) -> Finding {
        let copies = self.copies.iter();
        let copies = copies.map(|(&(index, copy), &fault)| Missed { index, copy, fault });
        Finding { home: self.home, blob, reason: Reason::Read, copies: copies.collect() }
    }
}

/// What a read's damage is to a repair.
pub(crate) fn missed(damage: Damage) -> Missed {
    let fault = match damage.kind {
        DamageKind::Missing => Fault::Missing,
        DamageKind::Corrupt | DamageKind::Failed => Fault::Corrupt,
        DamageKind::Away => Fault::Away,
    };
    Missed { index: damage.copy.index, copy: damage.copy.copy, fault }
}

impl DamageQueue {
    fn note(&self, home: Home, id: BlobId, missed: Missed, now: Duration) {
        let mut state = self.state.lock();
        let quiet = state.filed.get(&id).is_some_and(|&at| now < at + QUIET);
        let room = state.waiting.len() < WAITING_MAX;
        if !quiet && (room || state.waiting.contains_key(&id)) {
            let fresh = || Found { home, copies: BTreeMap::new() };
            let found = state.waiting.entry(id).or_insert_with(fresh);
            let fault = found.copies.entry((missed.index, missed.copy)).or_insert(missed.fault);
            *fault = missed.fault.min(*fault);
        }
    }

    /// This blob has been repaired: what is found from now on is news.
    pub(crate) fn repaired(&self, id: BlobId) {
        self.state.lock().filed.remove(&id);
    }

    fn take(&self, now: Duration) -> Vec<(BlobId, Found)> {
        let mut state = self.state.lock();
        let ids: Vec<BlobId> = state.waiting.keys().take(FILED_PER_STEP).copied().collect();
        if state.filed.len() >= WAITING_MAX {
            state.filed.retain(|_, &mut at| now < at + QUIET);
            // Forgetting costs no more than filing a blob twice.
            if state.filed.len() >= WAITING_MAX {
                state.filed.clear();
            }
        }
        state.filed.extend(ids.iter().map(|&id| (id, now)));
        ids.into_iter().filter_map(|id| Some((id, state.waiting.remove(&id)?))).collect()
    }

    fn give_back(&self, id: BlobId, found: Found) {
        let mut state = self.state.lock();
        state.filed.remove(&id);
        state.waiting.insert(id, found);
    }
}

impl Engine {
    /// Begins to read `range` of a blob: the first bytes have been read and verified when this returns.
    pub(crate) async fn open_blob(
        &self,
        home: Home,
        blob: &BlobLocation,
        range: Range<u64>,
    ) -> Result<OutputStream, Failure> {
        let (on_damage, relocate) = self.callbacks(home);
        Ok(self.inner.blobs.open(blob.to_stored(), range, on_damage, Some(relocate)).await?)
    }

    /// As [`Self::open_blob`], beginning with the first poll; `base` pays for it.
    pub(crate) fn read_blob(
        &self,
        home: Home,
        blob: &BlobLocation,
        range: Range<u64>,
        base: Arc<Held>,
    ) -> OutputStream {
        let (on_damage, relocate) = self.callbacks(home);
        self.inner.blobs.read(blob.to_stored(), range, on_damage, Some(relocate), base)
    }

    /// What a read of a blob calls when it meets damage, or does not find a copy where it should be.
    pub(crate) fn callbacks(&self, home: Home) -> (OnDamage, Relocate) {
        let (engine, first) = (self.clone(), AtomicBool::new(true));
        let on_damage: OnDamage = Arc::new(move |id, damage| {
            if first.swap(false, Ordering::Relaxed) {
                engine.inner.figures.degraded_reads.fetch_add(1, Ordering::Relaxed);
            }
            tracing::debug!(blob = %id, ?damage, "a shard could not be read");
            let now = engine.inner.runtime.clock.monotonic();
            engine.inner.damage.note(home, id, missed(damage), now);
        });
        let engine = self.clone();
        let relocate: Relocate = Arc::new(move |id| {
            let engine = engine.clone();
            async move {
                let found = engine.inner.kv.get(&blob::key(home, id)).await.ok()??;
                Some(Blob::decode(&found.value).ok()?.location.shard_copies())
            }
            .boxed()
        });
        (on_damage, relocate)
    }
}

/// Files repair tasks for what reads have found.
pub(crate) struct Filer {
    engine: Engine,
}

impl Filer {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait::async_trait]
impl Worker for Filer {
    fn name(&self) -> &'static str {
        "repair-filer"
    }

    fn about(&self) -> &'static str {
        "Files repair tasks for damage that reads have met."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        let inner = &self.engine.inner;
        let taken = inner.damage.take(inner.runtime.clock.monotonic());
        let findings: Vec<Finding> = taken.iter().map(|(id, found)| found.finding(*id)).collect();
        match self.engine.file_repair(&findings).await {
            Ok(_) => Ok(Progress::Idle(INTERVAL)),
            // What does not decode will not do so next time either.
            Err(failure @ Failure::Damaged(_)) => Err(failure.to_string()),
            Err(failure) => {
                taken.into_iter().for_each(|(id, found)| inner.damage.give_back(id, found));
                Err(failure.to_string())
            }
        }
    }
}

/// Counts the objects and the repair tasks that wait, in the whole store.
pub(crate) struct Census {
    engine: Engine,
}

const CENSUS_INTERVAL: Duration = Duration::from_secs(15);
/// The census rests this many times as long as it took.
const CENSUS_REST: u32 = 50;

impl Census {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[async_trait::async_trait]
impl Worker for Census {
    fn name(&self) -> &'static str {
        "repair-census"
    }

    fn about(&self) -> &'static str {
        "Counts objects and waiting repair tasks."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        let clock = &self.engine.inner.runtime.clock;
        let began = clock.monotonic();
        self.engine.take_census().await.map_err(|e| e.to_string())?;
        let took = clock.monotonic().saturating_sub(began);
        Ok(Progress::Idle(CENSUS_INTERVAL.max(took * CENSUS_REST)))
    }
}

impl Engine {
    /// Counts objects and waiting repair tasks, for the figures.
    pub(crate) async fn take_census(&self) -> Result<(), kv::KvError> {
        let counted = count(self.inner.kv.as_ref()).await?;
        let figures = &self.inner.figures;
        figures.under_replicated.store(counted.repairs, Ordering::Relaxed);
        figures.objects.store(counted.objects, Ordering::Relaxed);
        Ok(())
    }
}

/// What a census found.
#[derive(Default)]
struct Counted {
    repairs: u64,
    objects: u64,
}

/// One tour over counters and repair tasks.
async fn count(kv: &dyn kv::Kv) -> Result<Counted, kv::KvError> {
    let mut counted = Counted::default();
    let mut visit = |kind, key: &[u8], value: &[u8], _| {
        if kind == Kind::Repair {
            counted.repairs += 1;
        } else if counter::parse_key(key).is_some_and(|(_, which)| which == Counter::Objects) {
            let value = kv::decode_counter(value).unwrap_or(0);
            counted.objects += u64::try_from(value).unwrap_or(0);
        }
        ControlFlow::Continue(())
    };
    tour::visit(kv, &[Kind::Counter, Kind::Repair], &mut visit).await?;
    Ok(counted)
}

//! The worker `scrub`: verifies every frame of every drive, slice by slice, and compares the shards with the records.
//!
//! One drive at a time, in small pieces, each in a turn of the throttle. Where it is on each drive is recorded after
//! each slice. A drive that is away is left out until it is back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use kv::Batch;
use net::{DriveState, ScrubBudget, ScrubSlice, ShardError};
use runtime::{Gauge, Progress, Urgency, Worker};
use types::DriveId;

use super::add;
use super::pace::{self, Size, Tour};
use crate::engine::Engine;
use crate::error::Failure;
use crate::schema::Record as _;
use crate::schema::scrub as schema;

/// The most that one piece reads.
const PIECE_BYTES: u64 = 8 << 20;
/// The most shards of one piece.
const PIECE_SHARDS: u64 = 256;
/// A piece of full size has as many parts; smaller pieces have fewer.
const PARTS: u64 = 64;
/// A piece that takes longer is given up: the drive hangs. A large shard on a slow disk takes its time.
const PATIENCE: Duration = Duration::from_secs(300);
/// How soon a drive that has come is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Verifies all shards.
pub(crate) struct Scrub {
    engine: Engine,
    tours: BTreeMap<DriveId, Tour>,
    /// The drive whose slice is under way.
    current: Option<DriveId>,
    is_asked: bool,
    size: Size,
    bytes: u64,
}

impl Scrub {
    pub(crate) fn new(engine: Engine) -> Self {
        let (tours, current, size) = (BTreeMap::new(), None, Size::new(1, PARTS));
        Self { engine, tours, current, is_asked: false, size, bytes: 0 }
    }

    fn now(&self) -> Duration {
        self.engine.inner.runtime.clock.monotonic()
    }

    /// Takes note of which drives there are.
    async fn look_at_drives(&mut self) -> Result<(), Failure> {
        let every = pace::interval(self.engine.inner.options.scrub_pass);
        let statuses = self.engine.drive_statuses().await;
        let away = |status: &net::DriveStatus| status.state == DriveState::Away;
        let there = |id: &DriveId| statuses.iter().any(|(drive, s)| drive.id == *id && !away(s));
        self.tours.retain(|id, _| there(id));
        for (drive, status) in &statuses {
            if away(status) {
                continue;
            }
            if !self.tours.contains_key(&drive.id) {
                let progress = self.recorded(drive.id).await?;
                let now = self.now();
                self.tours.insert(drive.id, Tour::new(drive.id, progress, now, every));
            }
            if let Some(tour) = self.tours.get_mut(&drive.id) {
                tour.used = status.used_bytes;
            }
        }
        if std::mem::take(&mut self.is_asked) {
            self.tours.values_mut().for_each(Tour::hurry);
        }
        Ok(())
    }

    async fn recorded(&self, drive: DriveId) -> Result<schema::Progress, Failure> {
        let Some(found) = self.engine.inner.kv.get(&schema::key(drive)).await? else {
            return Ok(schema::Progress::default());
        };
        Ok(schema::Progress::decode(&found.value).unwrap_or_else(|error| {
            tracing::warn!(%drive, %error, "the scrub of the drive begins anew");
            schema::Progress::default()
        }))
    }

    /// Begins the slice that is due first; `Err` says for how long none is.
    fn begin_slice(&mut self) -> Result<DriveId, Duration> {
        let (now, wall) = (self.now(), self.engine.now());
        let pass = self.engine.inner.options.scrub_pass;
        let Some(tour) = self.tours.values_mut().min_by_key(|tour| tour.due(now)) else {
            return Err(LOOK_EVERY);
        };
        if tour.due(now) > now {
            return Err((tour.due(now) - now).min(LOOK_EVERY));
        }
        tour.begin(pass, now, wall);
        Ok(*self.current.insert(tour.drive))
    }

    /// Verifies a piece of the slice under way.
    async fn piece(&mut self, drive: DriveId) -> Result<(), String> {
        let engine = self.engine.clone();
        let Some(tour) = self.tours.get(&drive) else {
            self.current = None;
            return Ok(());
        };
        let (after, parts) = (tour.after, self.size.get());
        let budget = ScrubBudget {
            bytes: tour.piece(PIECE_BYTES * parts / PARTS),
            shards: usize::try_from(PIECE_SHARDS * parts / PARTS).unwrap_or(1),
        };
        let look = async {
            let slice = engine.inner.carrier.scrub(drive, after, budget).await?;
            let verdict = engine.judge(drive, &slice.seen).await;
            Ok((slice, verdict))
        };
        let turn = engine.throttle().turn(Urgency::Upkeep).await;
        let began = self.now();
        let looked = engine.patiently(drive, PATIENCE, look).await;
        self.size.took(self.now().saturating_sub(began));
        drop(turn);
        let (slice, verdict) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                self.break_off(drive);
                // It is told elsewhere that a drive is away.
                let is_away = matches!(error, ShardError::Away(_));
                return if is_away { Ok(()) } else { Err(error.to_string()) };
            }
        };
        let settle = async {
            let verdict = verdict?;
            engine.file_repair(&verdict.findings).await?;
            engine.settle_strays(drive, &verdict.strays).await?;
            Ok::<usize, Failure>(verdict.findings.len())
        };
        let settled = engine.patiently(drive, PATIENCE, settle.map(Ok)).await;
        // When this fails, the piece is verified again.
        let damaged = settled.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        self.account(drive, &slice, damaged).await.map_err(|failure| failure.to_string())
    }

    /// Goes on behind a piece.
    async fn account(
        &mut self,
        drive: DriveId,
        slice: &ScrubSlice,
        damaged: usize,
    ) -> Result<(), Failure> {
        let (now, wall) = (self.now(), self.engine.now());
        let figures = &self.engine.inner.scrub;
        let frames = slice.seen.iter().filter_map(|seen| seen.header).map(|header| header.frames());
        figures.frames.fetch_add(frames.sum(), Ordering::Relaxed);
        figures.bytes.fetch_add(slice.bytes, Ordering::Relaxed);
        self.bytes += slice.bytes;
        let Some(tour) = self.tours.get_mut(&drive) else { return Ok(()) };
        // A drive that does not go on would be read for ever.
        let next = slice.next.filter(|next| Some(*next) > tour.after);
        tour.progress.shards += slice.seen.len() as u64;
        tour.progress.damaged += damaged as u64;
        if !tour.advance(next, slice.bytes, now, wall) {
            return Ok(());
        }
        self.current = None;
        if next.is_none() {
            add(&figures.passes, 1);
            let (shards, damaged) = (tour.progress.shards, tour.progress.damaged);
            tracing::info!(%drive, shards, damaged, "all of a drive was verified");
        }
        let record = tour.progress.encode();
        let mut batch = Batch::default();
        batch.put(schema::key(drive), record);
        self.engine.commit_once(batch).await.map(drop)
    }

    /// Ends the slice under way.
    fn break_off(&mut self, drive: DriveId) {
        let now = self.now();
        self.current = None;
        if let Some(tour) = self.tours.get_mut(&drive) {
            tour.give_up(now);
        }
    }
}

#[async_trait::async_trait]
impl Worker for Scrub {
    fn name(&self) -> &'static str {
        "scrub"
    }

    fn about(&self) -> &'static str {
        "Verifies all bytes on all drives, and that a record names them."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        if self.is_asked {
            self.current = None;
        }
        let drive = match self.current {
            Some(drive) => drive,
            None => {
                self.look_at_drives().await.map_err(|failure| failure.to_string())?;
                match self.begin_slice() {
                    Ok(drive) => drive,
                    Err(rest) => return Ok(Progress::Idle(rest)),
                }
            }
        };
        self.piece(drive).await.map(|()| Progress::More)
    }

    fn round_asked(&mut self) {
        self.is_asked = true;
    }

    fn gauge(&self) -> Gauge {
        let rounds = self.tours.values().map(Tour::round);
        let round = rounds.fold((0, 0), |sum, round| (sum.0 + round.0, sum.1 + round.1));
        Gauge { done: self.bytes, round: Some(round), unit: "bytes" }
    }
}

//! The worker `sweep`: goes over all blob records, asks the drives for the copies that they name, and files repair
//! tasks for those that are lost. Once soon after a start, whenever somebody asks, and once in the time of a scrub
//! pass.
//!
//! A record is read before the drives are asked, and its copies were durable before it was written: so a copy that is
//! absent is lost, or was replaced meanwhile. Filing reads the record again and ignores copies that it does not
//! name any more.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use kv::{Direction, Key};
use net::{Presence, ShardError, ShardId};
use runtime::{Gauge, Progress, Urgency, Worker};
use types::{BucketId, DriveId, Token};

use super::add;
use super::pace::Size;
use crate::engine::Engine;
use crate::error::Failure;
use crate::repair::Finding;
use crate::schema::blob::{self, Blob};
use crate::schema::bucket;
use crate::schema::repair::{Fault, Missed, Reason};
use crate::schema::{BlobLocation, CopyPlace, Home, Kind, Record as _, kind_of, kind_range};
use crate::tour;

/// The first round begins so long after a start: drives may still be coming.
const AFTER_START: Duration = Duration::from_secs(10);
/// How soon it is noticed that a round was asked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rounds follow each other no faster, however short a scrub pass is.
const ROUND_EVERY_MIN: Duration = Duration::from_secs(600);
/// A drive that takes longer to say what it has is left out.
const PATIENCE: Duration = Duration::from_secs(60);
/// Blobs of a piece.
const PIECE_MIN: u64 = 8;
/// See [`PIECE_MIN`].
const PIECE_MAX: u64 = 1024;
/// Buckets that are remembered.
const HOMES_MAX: usize = 4096;

/// Looks for all copies.
pub(crate) struct Sweep {
    engine: Engine,
    round: Option<Round>,
    /// When the next round begins at the latest, on the monotonic clock.
    due: Duration,
    is_asked: bool,
    size: Size,
    done: u64,
    /// Blobs of the last round.
    last: Option<u64>,
    /// A bucket of each token. Another of the same token would lead to the same records.
    homes: HashMap<Token, Home>,
}

/// A round under way.
#[derive(Default)]
struct Round {
    /// The first record that was not looked at.
    from: Option<Key>,
    blobs: u64,
    filed: usize,
    /// What a drive said that could not be asked.
    error: Option<String>,
}

/// Blob records that lie side by side.
#[derive(Default)]
struct Page {
    blobs: Vec<(Token, BlobLocation)>,
    next: Option<Key>,
}

/// What is lost of a blob.
struct Loss {
    token: Token,
    location: BlobLocation,
    copies: Vec<Missed>,
}

impl Sweep {
    pub(crate) fn new(engine: Engine) -> Self {
        let due = engine.inner.runtime.clock.monotonic() + AFTER_START;
        let (size, homes) = (Size::new(PIECE_MIN, PIECE_MAX), HashMap::new());
        Self { engine, round: None, due, is_asked: false, size, done: 0, last: None, homes }
    }

    fn now(&self) -> Duration {
        self.engine.inner.runtime.clock.monotonic()
    }

    fn should_begin(&mut self) -> bool {
        // All are taken: one round answers them together.
        let asked = self.engine.inner.upkeep.sweep_asked.notified().now_or_never().is_some();
        std::mem::take(&mut self.is_asked) || asked || self.now() >= self.due
    }

    /// Looks for the copies of a page of blobs.
    async fn piece(&mut self, round: &mut Round) -> Result<(), Failure> {
        let engine = self.engine.clone();
        let turn = engine.throttle().turn(Urgency::Upkeep).await;
        let began = self.now();
        let page = engine.blob_page(round.from.as_ref(), self.size.get()).await?;
        let count = page.blobs.len();
        let (losses, error) = engine.losses(page.blobs).await;
        self.size.took(self.now().saturating_sub(began));
        drop(turn);
        let mut findings = Vec::with_capacity(losses.len());
        for loss in losses {
            let missing =
                loss.copies.iter().filter(|missed| missed.fault != Fault::Corrupt).count();
            add(&engine.inner.scrub.missing, missing);
            add(&engine.inner.scrub.corrupt, loss.copies.len() - missing);
            findings.extend(self.finding(loss).await?);
        }
        round.filed += engine.file_repair(&findings).await?;
        add(&engine.inner.scrub.blobs, count);
        self.done += count as u64;
        round.blobs += count as u64;
        round.from = page.next;
        round.error = error.or(round.error.take());
        Ok(())
    }

    async fn finding(&mut self, loss: Loss) -> Result<Option<Finding>, Failure> {
        let id = loss.location.id;
        let home = match self.homes.get(&loss.token) {
            Some(home) => Some(*home),
            None => self.engine.home_of_blob(loss.token, &loss.location).await?,
        };
        let Some(home) = home else {
            tracing::error!(blob = %id, "all copies of a blob are lost, and nobody knows its bucket");
            return Ok(None);
        };
        if self.homes.len() >= HOMES_MAX {
            self.homes.clear();
        }
        self.homes.insert(loss.token, home);
        Ok(Some(Finding { home, blob: id, reason: Reason::Scrub, copies: loss.copies }))
    }

    fn end(&mut self, round: Round) -> Result<Progress, String> {
        self.last = Some(round.blobs);
        let every = self.engine.inner.options.scrub_pass.max(ROUND_EVERY_MIN);
        self.due = self.now() + every;
        if round.filed > 0 {
            tracing::info!(
                blobs = round.blobs,
                filed = round.filed,
                "copies are missing; repairs are filed"
            );
        }
        match round.error {
            Some(error) => Err(format!("not every drive could be asked: {error}")),
            None => Ok(Progress::Idle(LOOK_EVERY)),
        }
    }
}

impl Engine {
    /// At most `limit` blob records from the first key at or behind `from` on.
    async fn blob_page(&self, from: Option<&Key>, limit: u64) -> Result<Page, Failure> {
        let mut page = Page::default();
        let mut visit = |_, key: &[u8], value: &[u8], _| {
            if page.blobs.len() as u64 >= limit {
                page.next = Key::new(key.to_vec()).ok();
                return ControlFlow::Break(());
            }
            match (kind_of(key), Blob::decode(value)) {
                (Some((token, _)), Ok(blob)) => page.blobs.push((token, blob.location)),
                (_, Err(error)) => {
                    let blob = blob::parse_key(key);
                    tracing::error!(?blob, %error, "a blob's record is damaged");
                }
                (None, Ok(_)) => {}
            }
            ControlFlow::Continue(())
        };
        tour::visit_from(self.inner.kv.as_ref(), &[Kind::Blob], from, &mut visit).await?;
        Ok(page)
    }

    /// What is lost of these blobs, and what a drive said that could not be asked.
    async fn losses(&self, blobs: Vec<(Token, BlobLocation)>) -> (Vec<Loss>, Option<String>) {
        let mut by_drive: BTreeMap<DriveId, Vec<(usize, CopyPlace)>> = BTreeMap::new();
        for (at, (_, location)) in blobs.iter().enumerate() {
            for place in &location.copies {
                by_drive.entry(place.drive).or_default().push((at, *place));
            }
        }
        let mut lost: Vec<Vec<Missed>> = blobs.iter().map(|_| Vec::new()).collect();
        let mut error = None;
        let ask = by_drive.into_iter().map(|(drive, places)| self.lost_on(drive, places, &blobs));
        for answer in join_all(ask).await {
            match answer {
                Ok(found) => found.into_iter().for_each(|(at, missed)| {
                    lost.get_mut(at).into_iter().for_each(|lost| lost.push(missed));
                }),
                // It is told elsewhere, and asked again when it is back or has been away for too long.
                Err(ShardError::Away(_)) => {}
                Err(failed) => error = Some(failed.to_string()),
            }
        }
        let losses = blobs.into_iter().zip(lost).map(|((token, location), copies)| Loss {
            token,
            location,
            copies,
        });
        let losses = losses.filter(|loss| !loss.copies.is_empty() || loss.location.lacks_shards());
        (losses.collect(), error)
    }

    /// Which of these copies on `drive` are lost; each with the number of its blob.
    async fn lost_on(
        &self,
        drive: DriveId,
        places: Vec<(usize, CopyPlace)>,
        blobs: &[(Token, BlobLocation)],
    ) -> Result<Vec<(usize, Missed)>, ShardError> {
        let missed =
            |place: &CopyPlace, fault| Missed { index: place.index, copy: place.copy, fault };
        if self.is_out(drive) {
            return Ok(places.iter().map(|(at, p)| (*at, missed(p, Fault::Away))).collect());
        }
        let id = |(at, place): &(usize, CopyPlace)| {
            let (_, location) = blobs.get(*at)?;
            Some(ShardId { blob: location.id, index: place.index, copy: place.copy })
        };
        let ids: Vec<ShardId> = places.iter().filter_map(id).collect();
        let ask = self.inner.carrier.presence(drive, ids);
        let presences = self.patiently(drive, PATIENCE, ask).await?;
        let lost = places.iter().zip(presences).filter_map(|((at, place), presence)| {
            let fault = match presence {
                Presence::Whole => return None,
                Presence::Damaged => Fault::Corrupt,
                Presence::Absent => Fault::Missing,
            };
            Some((*at, missed(place, fault)))
        });
        Ok(lost.collect())
    }

    /// A bucket under whose token the blob's record is: by a header of the blob, or by the buckets of that token.
    async fn home_of_blob(
        &self,
        token: Token,
        location: &BlobLocation,
    ) -> Result<Option<Home>, Failure> {
        for place in &location.copies {
            let id = ShardId { blob: location.id, index: place.index, copy: place.copy };
            if let Ok(header) = self.inner.carrier.header(place.drive, id).await {
                let home = Home::of(BucketId::new(header.home));
                if home.token() == token {
                    return Ok(Some(home));
                }
            }
        }
        let range = kind_range(token, Kind::Bucket);
        let page = self.inner.kv.scan(&range, 1, Direction::Forward).await?;
        Ok(page
            .entries
            .first()
            .and_then(|entry| bucket::parse_key(entry.key.as_bytes()))
            .map(Home::of))
    }
}

impl BlobLocation {
    /// Whether there are shards of which it names no copy.
    fn lacks_shards(&self) -> bool {
        let total = self.geometry.total();
        (0..total).any(|index| !self.copies.iter().any(|copy| usize::from(copy.index) == index))
    }
}

#[async_trait::async_trait]
impl Worker for Sweep {
    fn name(&self) -> &'static str {
        "sweep"
    }

    fn about(&self) -> &'static str {
        "Looks on the drives for all copies that the records name, and files repairs for lost ones."
    }

    async fn step(&mut self) -> Result<Progress, String> {
        let mut round = match self.round.take() {
            Some(round) => round,
            None if self.should_begin() => Round::default(),
            None => return Ok(Progress::Idle(LOOK_EVERY)),
        };
        let outcome = self.piece(&mut round).await;
        if outcome.is_ok() && round.from.is_none() {
            return self.end(round);
        }
        self.round = Some(round);
        outcome.map(|()| Progress::More).map_err(|failure| failure.to_string())
    }

    fn round_asked(&mut self) {
        self.is_asked = true;
    }

    fn gauge(&self) -> Gauge {
        let position = self.round.as_ref().map(|round| round.blobs);
        let round = self.last.map(|last| {
            let position = position.unwrap_or(last);
            (position, last.max(position))
        });
        Gauge { done: self.done, round, unit: "blobs" }
    }
}

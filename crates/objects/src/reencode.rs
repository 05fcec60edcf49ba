//! Encoding blobs again that were written with a smaller geometry than was wanted, because too few drives were up.
//!
//! A blob's geometry never changes: its bytes are written as a new blob, and then its owners (objects, and parts of
//! uploads) are switched over to that one, each by a guarded batch of its own in which nothing else about it
//! changes. The old blob loses its references one by one, and is garbage with the last. A stop in between leaves
//! two blobs with fewer owners each.
//!
//! Not here: when that is done (`repair`).

use std::ops::ControlFlow;

use erasure::Geometry;
use futures::{SinkExt as _, StreamExt as _};
use kv::{Direction, Guard};
use net::DriveState;
use runtime::Urgency;
use types::{BlobId, DriveId, UploadId};

use crate::blob::StoredBlob;
use crate::body::Pending;
use crate::commit::Verdict;
use crate::digest::Hasher;
use crate::engine::Engine;
use crate::error::{BodyError, Failure, ReadError};
use crate::ledger::{Current, Ledger, Place};
use crate::model::{BodyStream, OutputStream};
use crate::repair::{Job, TURN, replace_tasks};
use crate::schema::blob::{self, Blob};
use crate::schema::bucket::{self, Bucket};
use crate::schema::manifest::{self, Manifest};
use crate::schema::object::Body;
use crate::schema::part::{self, Part};
use crate::schema::reference::{self, Owner, Reference, Target};
use crate::schema::{BlobLocation, Home, Record as _, upload};

/// Owners looked up at once.
const PAGE_OWNERS: usize = 64;
/// How often one owner is looked at again because it has changed.
const ATTEMPTS: usize = 8;
/// Owners that are named to people.
const NAMED_MAX: usize = 4;

/// A blob on its way from one encoding to another.
struct Move<'a> {
    home: Home,
    old: BlobId,
    new: StoredBlob,
    wanted: Geometry,
    /// The new blob until its record is committed.
    pending: Option<&'a mut Pending>,
    /// Owners that were switched.
    switched: usize,
    /// Owners that are about to go themselves.
    left: usize,
}

/// An owner and all that changes when it is switched, but for the blobs' own records.
type Switch = Option<Ledger>;

impl Engine {
    /// Whether enough drives are up for what a blob should have been.
    pub(crate) fn may_reencode(&self, is_up: impl Fn(DriveId) -> Option<DriveState>) -> bool {
        let room = self.inner.layout.room(|drive| is_up(drive) == Some(DriveState::Up));
        room >= self.inner.blobs.geometry().total()
    }

    /// Encodes the blob of a job again, and removes its tasks. Whether that is done; else it is to be tried again
    /// later.
    ///
    /// # Errors
    /// As the metadata store has them; what has been done is kept.
    pub(crate) async fn reencode(&self, job: &Job) -> Result<bool, Failure> {
        let (home, id) = (job.home, job.id());
        let Some(_mark) = self.inner.upkeep.begin_repair(id) else { return Ok(false) };
        let Some(found) = self.inner.kv.get(&blob::key(home, id)).await? else { return Ok(true) };
        let location = Blob::decode(&found.value)?.location;
        if !self.has_owner(home, &location).await? {
            return Ok(false);
        }
        let new = match self.write_again(home, &location).await {
            Ok(new) => new,
            Err(failure @ (Failure::Read(_) | Failure::Store(_))) => {
                tracing::info!(blob = %id, %failure, "a blob could not be encoded again now");
                return Ok(false);
            }
            Err(failure) => return Err(failure),
        };
        let mut pending = Pending::new(new.clone(), self.inner.blobs.clone());
        if new.geometry.total() <= location.geometry.total() {
            return Ok(false);
        }
        let wanted = self.inner.blobs.geometry();
        let pending = Some(&mut pending);
        let mut moving = Move { home, old: id, new, wanted, pending, switched: 0, left: 0 };
        if self.switch_owners(&mut moving).await?.is_break() || moving.left > 0 {
            return Ok(false);
        }
        tracing::info!(blob = %id, geometry = %location.geometry, into = %moving.new.id,
            as_geometry = %moving.new.geometry, owners = moving.switched, "a blob was encoded again");
        let tasks = self.tasks_of(home, &location).await?;
        let mut ledger = Ledger::new(self.now());
        // A copy that was made meanwhile has the old blob, too, and is to be switched another time.
        ledger.guard(Guard::EmptyRange(reference::range(home, Target::Blob(id))));
        replace_tasks(&mut ledger, home, id, &tasks, None);
        Ok(matches!(self.commit_once(ledger.finish()).await?, Verdict::Committed(_)))
    }

    /// Writes the bytes of a blob as a new one.
    async fn write_again(&self, home: Home, old: &BlobLocation) -> Result<StoredBlob, Failure> {
        let blobs = &self.inner.blobs;
        blobs.forget_drives();
        let (on_damage, relocate) = self.callbacks(home);
        let stream = blobs.open(old.to_stored(), 0..old.len, on_damage, Some(relocate)).await?;
        let (send, receive) = futures::channel::mpsc::channel(0);
        let write = async move {
            let mut body: BodyStream = Box::pin(receive);
            // With the body the channel ends, so that nobody goes on reading for nothing.
            blobs.write(home.bucket(), old.len, &mut body, &mut Hasher::new(false, None)).await
        };
        let (read, written) = futures::join!(self.pump(stream, send), write);
        match (read, written) {
            (Err(error), written) => {
                if let Ok(written) = written {
                    blobs.discard(&written).await;
                }
                Err(error.into())
            }
            (Ok(()), written) => Ok(written?),
        }
    }

    /// Reads in turns with other background work.
    async fn pump(
        &self,
        mut stream: OutputStream,
        mut send: futures::channel::mpsc::Sender<Result<bytes::Bytes, BodyError>>,
    ) -> Result<(), ReadError> {
        let clock = &self.inner.runtime.clock;
        loop {
            let _turn = self.inner.throttle.turn(Urgency::Upkeep).await;
            let until = clock.monotonic() + TURN;
            while clock.monotonic() < until {
                let (piece, error) = match stream.next().await {
                    Some(Ok(bytes)) => (Ok(bytes), None),
                    Some(Err(error)) => (Err(BodyError::Incomplete), Some(error)),
                    None => return Ok(()),
                };
                // Nobody listens when the write has failed: it says why.
                let ended = send.send(piece).await.is_err();
                match error {
                    Some(error) => return Err(error),
                    None if ended => return Ok(()),
                    None => {}
                }
            }
        }
    }

    /// Whether there is an owner that can be switched.
    async fn has_owner(&self, home: Home, old: &BlobLocation) -> Result<bool, Failure> {
        let range = reference::range(home, Target::Blob(old.id));
        let page = self.inner.kv.scan(&range, PAGE_OWNERS, Direction::Forward).await?;
        for entry in &page.entries {
            if self.switch(home, entry.key.as_bytes(), &entry.value, old.id, old).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(page.more)
    }

    /// Switches all owners, one by one. `Break`: the new blob cannot be used any more, or nobody can say.
    async fn switch_owners(&self, moving: &mut Move<'_>) -> Result<ControlFlow<()>, Failure> {
        let mut range = reference::range(moving.home, Target::Blob(moving.old));
        loop {
            let page = self.inner.kv.scan(&range, PAGE_OWNERS, Direction::Forward).await?;
            for entry in &page.entries {
                let flow = self.switch_owner(moving, entry.key.as_bytes(), &entry.value).await?;
                if flow.is_break() {
                    return Ok(flow);
                }
            }
            let last = page.entries.last().filter(|_| page.more);
            match last.and_then(|last| range.starting_at(last.key.successor())) {
                Some(rest) => range = rest,
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    async fn switch_owner(
        &self,
        moving: &mut Move<'_>,
        key: &[u8],
        value: &[u8],
    ) -> Result<ControlFlow<()>, Failure> {
        let location = BlobLocation::of(&moving.new);
        for _ in 0..ATTEMPTS {
            let switch = self.switch(moving.home, key, value, moving.old, &location).await?;
            let Some(mut ledger) = switch else {
                moving.left += usize::from(self.inner.kv.get(&key_of(key)?).await?.is_some());
                return Ok(ControlFlow::Continue(()));
            };
            if moving.pending.is_some() {
                ledger.record_blob(moving.home, &moving.new, moving.wanted);
            } else {
                // Collection rests on it that what has no reference never gets one again.
                let range = reference::range(moving.home, Target::Blob(moving.new.id));
                let page = self.inner.kv.scan(&range, 1, Direction::Forward).await?;
                match page.entries.into_iter().next() {
                    Some(other) => ledger.guard(Guard::Exists(other.key)),
                    // Its owners were all deleted: it is garbage.
                    None => return Ok(ControlFlow::Break(())),
                }
            }
            if let Some(pending) = &mut moving.pending {
                pending.release();
            }
            match self.commit_once(ledger.finish()).await {
                Ok(Verdict::Committed(_)) => {
                    if moving.pending.take().is_some() {
                        self.note_written(&moving.new);
                    }
                    moving.switched += 1;
                    return Ok(ControlFlow::Continue(()));
                }
                Ok(Verdict::Conflict(_)) => {
                    if let Some(pending) = &mut moving.pending {
                        pending.hold();
                    }
                }
                // If it did happen the owner has its new blob; if not, the new blob is without an owner until the
                // session ends. Neither is harmed by trying again later.
                Err(Failure::Unknown) => return Ok(ControlFlow::Break(())),
                Err(failure) => {
                    if let Some(pending) = &mut moving.pending {
                        pending.hold();
                    }
                    return Err(failure);
                }
            }
        }
        moving.left += 1;
        Ok(ControlFlow::Continue(()))
    }

    /// All that changes when the owner that a reference names is switched from `old` to the blob at `new`; `None`
    /// when it is not an owner any more, or is about to be collected.
    async fn switch(
        &self,
        home: Home,
        key: &[u8],
        value: &[u8],
        old: BlobId,
        new: &BlobLocation,
    ) -> Result<Switch, Failure> {
        let (_, owner) = reference::parse_key(key).ok_or(Failure::Damaged("reference"))?;
        let reference = Reference::decode(value)?;
        let mut ledger = Ledger::new(self.now());
        let is_owner = match owner {
            Owner::Version(version) => {
                let place = Place { home: Home::of(reference.bucket), key: &reference.key };
                let found = self.inner.kv.get(&place.current_key()).await?;
                match Current::from_look_up(found)? {
                    Some(Current { mut object, revision }) if object.version == version => {
                        let is_it =
                            matches!(&object.body, Body::Blob { blob, .. } if blob.id == old);
                        object.body = Body::Blob { home: home.bucket(), blob: new.clone() };
                        ledger.guard(Guard::Revision(place.current_key(), revision));
                        ledger.put(place.current_key(), object.encode());
                        is_it
                    }
                    _ => false,
                }
            }
            Owner::Part(upload, number) => {
                let at = (upload, number);
                self.switch_part(&mut ledger, home, at, &reference.key, old, new).await?
            }
        };
        if !is_owner {
            return Ok(None);
        }
        ledger.put(reference::key(home, Target::Blob(new.id), owner), reference.encode());
        ledger.release(home, Target::Blob(old), owner);
        Ok(Some(ledger))
    }

    /// Whether the part has the blob, and will not be collected: its upload is going on, or its set includes it.
    /// Completing relies on nothing of a part but its length and digests, so the upload's pulse stays as it is.
    async fn switch_part(
        &self,
        ledger: &mut Ledger,
        home: Home,
        (upload, number): (UploadId, u16),
        object_key: &str,
        old: BlobId,
        new: &BlobLocation,
    ) -> Result<bool, Failure> {
        let keys = [
            part::key(home, upload, number),
            upload::key(home, object_key, upload),
            manifest::key(home, upload),
        ];
        let [found, live, manifest] = self.look(keys.clone()).await?;
        let [part_key, upload_key, manifest_key] = keys;
        let Some(found) = found else { return Ok(false) };
        let part = Part::decode(&found.value)?;
        if part.blob.as_ref().is_none_or(|blob| blob.id != old) {
            return Ok(false);
        }
        match (live, manifest) {
            (Some(_), _) => ledger.guard(Guard::Exists(upload_key)),
            (None, Some(manifest)) if Manifest::decode(&manifest.value)?.contains(number) => {
                ledger.guard(Guard::Revision(manifest_key, manifest.revision));
            }
            _ => return Ok(false),
        }
        ledger.guard(Guard::Revision(part_key.clone(), found.revision));
        ledger.put(part_key, Part { blob: Some(new.clone()), ..part }.encode());
        Ok(true)
    }

    /// Some of the objects that use a blob, by name.
    pub(crate) async fn owners_for_people(
        &self,
        home: Home,
        id: BlobId,
    ) -> Result<String, Failure> {
        let range = reference::range(home, Target::Blob(id));
        let page = self.inner.kv.scan(&range, NAMED_MAX, Direction::Forward).await?;
        let mut names = Vec::with_capacity(page.entries.len() + 1);
        for entry in &page.entries {
            let reference = Reference::decode(&entry.value)?;
            let bucket = self.inner.kv.get(&bucket::key(Home::of(reference.bucket))).await?;
            let bucket = bucket.and_then(|found| Bucket::decode(&found.value).ok());
            let bucket =
                bucket.map_or_else(|| reference.bucket.to_string(), |b| b.name.to_string());
            names.push(format!("{bucket}/{}", reference.key));
        }
        if page.more {
            names.push("and others".to_owned());
        }
        Ok(if names.is_empty() { "none".to_owned() } else { names.join(", ") })
    }
}

fn key_of(bytes: &[u8]) -> Result<kv::Key, Failure> {
    kv::Key::new(bytes.to_vec()).map_err(|_| Failure::Damaged("reference"))
}

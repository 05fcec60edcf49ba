//! The ledger of one batch: it keeps references, garbage records and counters in step with what changes, so that
//! every operation does so in the same way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use erasure::Geometry;
use kv::{Batch, Guard, Key, Versioned, Write};
use types::{BlobId, BucketId, Revision, UnixMillis};

use crate::blob::StoredBlob;
use crate::error::Failure;
use crate::schema::garbage::{self, Candidate, Garbage};
use crate::schema::object::{Body, Object};
use crate::schema::reference::{Owner, Reference, Target};
use crate::schema::repair::{Reason, Repair};
use crate::schema::{BlobLocation, CopyPlace, Home, Record as _};
use crate::schema::{blob, body, bucket, counter, object, reference, repair};

/// Where an object is or will be.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) home: Home,
    pub(crate) key: &'a str,
}

impl Place<'_> {
    pub(crate) fn bucket_key(self) -> Key {
        bucket::key(self.home)
    }

    pub(crate) fn current_key(self) -> Key {
        object::key(self.home, self.key)
    }

    pub(crate) fn body_key(self) -> Key {
        body::current_key(self.home, self.key)
    }

    fn reference(self) -> Bytes {
        Reference { bucket: self.home.bucket(), key: self.key.to_owned() }.encode()
    }
}

/// An object as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) object: Object,
    pub(crate) revision: Revision,
}

impl Current {
    /// From a look-up.
    pub(crate) fn from_look_up(found: Option<Versioned>) -> Result<Option<Self>, Failure> {
        let Some(found) = found else { return Ok(None) };
        Ok(Some(Self { object: Object::decode(&found.value)?, revision: found.revision }))
    }
}

/// What a body points to, and where the records of that are; `None` for inline bodies.
pub(crate) fn target_of(body: &Body) -> Option<(Home, Target)> {
    match body {
        Body::Inline => None,
        Body::Blob { home, blob } => Some((Home::of(*home), Target::Blob(blob.id))),
        Body::Parts(set) => Some((Home::of(set.home), Target::PartSet(set.upload))),
    }
}

/// A batch in the making.
pub(crate) struct Ledger {
    batch: Batch,
    /// Change of the number of objects and of their bytes, by bucket.
    counts: BTreeMap<BucketId, (i64, i64)>,
    /// A batch may file one candidate only once.
    filed: BTreeSet<Candidate>,
    now: UnixMillis,
}

impl Ledger {
    pub(crate) fn new(now: UnixMillis) -> Self {
        Self { batch: Batch::default(), counts: BTreeMap::new(), filed: BTreeSet::new(), now }
    }

    pub(crate) fn guard(&mut self, guard: Guard) {
        self.batch.guard(guard);
    }

    pub(crate) fn put(&mut self, key: Key, value: Bytes) {
        self.batch.put(key, value);
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.batch.write(Write::Delete(key));
    }

    /// The bucket is still the one that was read.
    pub(crate) fn bucket_unchanged(&mut self, home: Home, read: Revision) {
        self.guard(Guard::Revision(bucket::key(home), read));
    }

    /// Puts `new` in the place of `old`. `bytes` are its body, if that is inline.
    pub(crate) fn replace(
        &mut self,
        place: Place<'_>,
        old: Option<&Current>,
        new: &Object,
        bytes: &[u8],
    ) {
        self.batch.unchanged(place.current_key(), old.map(|c| c.revision));
        self.put(place.current_key(), new.encode());
        if bytes.is_empty() {
            self.delete_inline(place, old);
        } else {
            self.put(place.body_key(), body::seal(body::Context::Version(new.version), bytes));
        }
        if let Some((home, target)) = target_of(&new.body) {
            let owner = Owner::Version(new.version);
            self.put(reference::key(home, target, owner), place.reference());
        }
        self.release_old(old);
        let (old_count, old_len) = old.map_or((0, 0), |c| (1, c.object.len));
        self.count(place.home, 1 - old_count, new.len as i64 - old_len as i64);
    }

    /// Removes `old`.
    pub(crate) fn remove(&mut self, place: Place<'_>, old: &Current) {
        self.guard(Guard::Revision(place.current_key(), old.revision));
        self.delete(place.current_key());
        self.delete_inline(place, Some(old));
        self.release_old(Some(old));
        self.count(place.home, -1, -(old.object.len as i64));
    }

    fn delete_inline(&mut self, place: Place<'_>, old: Option<&Current>) {
        if old.is_some_and(|c| c.object.body == Body::Inline && c.object.len > 0) {
            self.delete(place.body_key());
        }
    }

    fn release_old(&mut self, old: Option<&Current>) {
        let Some(old) = old else { return };
        if let Some((home, target)) = target_of(&old.object.body) {
            self.release(home, target, Owner::Version(old.object.version));
        }
    }

    /// Takes a reference away, and files what it was to.
    pub(crate) fn release(&mut self, home: Home, target: Target, owner: Owner) {
        self.delete(reference::key(home, target, owner));
        self.file(home, target.into());
    }

    /// Files a candidate for collection.
    pub(crate) fn file(&mut self, home: Home, candidate: Candidate) {
        self.file_as(candidate, Garbage::filed(home, self.now));
    }

    /// Files copies of a blob that its record has named until this batch, and names no more: once for each blob and
    /// batch.
    pub(crate) fn file_copies(&mut self, home: Home, blob: BlobId, copies: Vec<CopyPlace>) {
        let record = Garbage { copies, ..Garbage::filed(home, self.now) };
        if !record.copies.is_empty() {
            self.file_as(Candidate::Copies(blob), record);
        }
    }

    fn file_as(&mut self, candidate: Candidate, record: Garbage) {
        if self.filed.insert(candidate) {
            let prefix = garbage::prefix(Home::of(record.home));
            self.batch.write(Write::PutStamped(prefix, candidate.suffix(), record.encode()));
        }
    }

    /// Records a blob just written, and what repair has to do about it.
    pub(crate) fn record_blob(&mut self, home: Home, stored: &StoredBlob, wanted: Geometry) {
        let record = blob::Blob { location: BlobLocation::of(stored), created_at: self.now };
        self.put(blob::key(home, stored.id), record.encode());
        let reason = match degraded(stored, wanted) {
            Some(reason) => reason,
            None => return,
        };
        let margin = stored.copies.len().saturating_sub(stored.geometry.data());
        let task = Repair {
            home: home.bucket(),
            reason,
            missed: stored.missing.clone(),
            filed_at: self.now,
            copies: Vec::new(),
        };
        let margin = u8::try_from(margin).unwrap_or(u8::MAX);
        self.put(repair::key(home, margin, stored.id), task.encode());
    }

    fn count(&mut self, home: Home, objects: i64, bytes: i64) {
        let counts = self.counts.entry(home.bucket()).or_default();
        *counts = (counts.0 + objects, counts.1 + bytes);
    }

    /// The batch.
    pub(crate) fn finish(mut self) -> Batch {
        for (bucket, (objects, bytes)) in self.counts {
            let home = Home::of(bucket);
            let deltas = [(counter::Counter::Objects, objects), (counter::Counter::Bytes, bytes)];
            for (which, delta) in deltas.into_iter().filter(|(_, delta)| *delta != 0) {
                self.batch.write(Write::Add(counter::key(home, which), delta));
            }
        }
        self.batch
    }
}

/// What a blob just written lacks, if anything.
pub(crate) fn degraded(stored: &StoredBlob, wanted: Geometry) -> Option<Reason> {
    if !stored.missing.is_empty() {
        Some(Reason::DegradedWrite)
    } else if stored.geometry.total() < wanted.total() {
        Some(Reason::SmallGeometry)
    } else {
        None
    }
}

//! A store at rest: every record against every other, and blobs' records against the copies on the drives.
//!
//! [`check`] reads one snapshot in the order of keys and looks up what a record depends on, so that memory does not
//! grow with the number of objects: 35 bytes for each copy on a drive ([`Copies`]), some fifty for each garbage
//! record of one bucket and each upload in progress, some hundred for each bucket. What the copies are like comes
//! from outside: from `shards::check`, which read every frame, or from drives that are open. Nothing is changed
//! here, and nothing repaired.

mod blobs;
mod control;
mod copies;
mod cursor;
mod keys;
mod margin;
mod objects;
mod owners;
mod parts;
mod problem;

use std::collections::{BTreeMap, HashMap, HashSet};

use kv::{Entry, Key, KvError, Reader, SessionInfo};
use types::{BucketId, DriveId, SessionId, Token, UploadId, VersionId};

pub use copies::{Copies, Harm};
pub use problem::{Lost, Problem, ProblemKind, Severity, Subject};

use crate::schema::garbage::{self, Candidate};
use crate::schema::manifest::Manifest;
use crate::schema::{Home, Kind, Record, bucket, counter, kind_range};
use cursor::Cursor;

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Buckets.
    pub buckets: u64,
    /// Current objects.
    pub objects: u64,
    /// Their lengths in bytes.
    pub object_bytes: u64,
    /// Blob records.
    pub blobs: u64,
    /// Of them, those with an object or part that needs them and fewer shards than their geometry has, on drives
    /// or by their record.
    pub degraded_blobs: u64,
    /// References.
    pub references: u64,
    /// Uploads in progress.
    pub uploads: u64,
    /// Parts.
    pub parts: u64,
    /// Manifests.
    pub manifests: u64,
    /// Garbage records: work that waits.
    pub garbage: u64,
    /// Repair tasks: work that waits.
    pub repair_tasks: u64,
    /// Holds on collection.
    pub holds: u64,
    /// Live copies on the drives.
    pub shards: u64,
    /// Of them, those that only a garbage record names.
    pub garbage_shards: u64,
    /// Of them, those that no record names.
    pub orphan_shards: u64,
    /// Of the orphans, those whose writer session is not known: they are kept.
    pub kept_orphan_shards: u64,
    /// Bytes of frames of live copies that a record names.
    pub bytes_named: u64,
    /// Bytes of frames of live copies that no record names.
    pub bytes_unnamed: u64,
    /// Objects of which bytes are lost.
    pub lost_objects: u64,
}

/// Checks all records of a snapshot, and with `copies` those against the drives. `report` is called for each
/// problem.
///
/// # Errors
/// When the store cannot be read to its end; problems found until then have been reported.
pub async fn check(
    reader: &dyn Reader,
    sessions: &[SessionInfo],
    mut copies: Option<&mut Copies>,
    report: &mut (dyn FnMut(Problem) + Send),
) -> Result<Counts, KvError> {
    if let Some(copies) = &mut copies {
        copies.sort();
    }
    let mut checker = Checker {
        reader,
        copies,
        report,
        counts: Counts::default(),
        buckets: BTreeMap::new(),
        names: HashMap::new(),
        away: BTreeMap::new(),
        lost: HashSet::new(),
        unknown: BTreeMap::new(),
    };
    checker.control().await?;
    checker.data().await?;
    checker.finish(sessions.iter().map(|session| session.id).collect());
    Ok(checker.counts)
}

/// A check under way.
struct Checker<'a> {
    reader: &'a dyn Reader,
    copies: Option<&'a mut Copies>,
    report: &'a mut (dyn FnMut(Problem) + Send),
    counts: Counts,
    buckets: BTreeMap<BucketId, BucketState>,
    /// Names from the directory.
    names: HashMap<BucketId, String>,
    /// Copies that are named on drives that could not be looked at.
    away: BTreeMap<DriveId, u64>,
    /// Versions of which bytes are lost.
    lost: HashSet<VersionId>,
    /// Records of unknown kinds.
    unknown: BTreeMap<u8, u64>,
}

/// What is known of a bucket.
#[derive(Default)]
struct BucketState {
    is_there: bool,
    stored: [i64; 2],
    counted: [i64; 2],
    /// An object of it does not decode, so that nobody can say what its bytes should be.
    uncertain: bool,
}

/// What is kept while the records of one token are visited.
struct Around<'a> {
    token: Token,
    /// What is filed.
    garbage: HashSet<Candidate>,
    uploads: HashMap<UploadId, Subject>,
    /// References to blobs, and to part sets, each visited in step with those.
    references: [Cursor<'a>; 2],
    /// The manifest that was looked up last.
    manifest: Option<(UploadId, Option<Manifest>)>,
}

/// The outcome of a look-up.
enum Found<R> {
    Absent,
    /// It does not decode, which is reported where it is visited.
    Bad,
    Good(R),
}

impl<'a> Checker<'a> {
    fn problem(&mut self, kind: ProblemKind, object: Option<Subject>, message: impl Into<String>) {
        (self.report)(Problem::new(kind, message).of(object));
    }

    async fn get<R: Record>(&self, key: &Key) -> Result<Found<R>, KvError> {
        Ok(match self.reader.get(key).await?.map(|found| R::decode(&found.value)) {
            None => Found::Absent,
            Some(Err(_)) => Found::Bad,
            Some(Ok(record)) => Found::Good(record),
        })
    }

    fn subject(&self, bucket: BucketId, key: &str) -> Subject {
        let name = self.names.get(&bucket).cloned().unwrap_or_else(|| bucket.to_string());
        Subject { bucket: name, key: key.to_owned() }
    }

    /// All records under tokens.
    async fn data(&mut self) -> Result<(), KvError> {
        let Some(range) = keys::all() else { return Ok(()) };
        let mut all = Cursor::new(self.reader, range);
        let mut around: Option<Around<'a>> = None;
        while let Some(entry) = all.next().await? {
            let key = entry.key.as_bytes();
            let token = key.get(1..1 + Token::LEN).and_then(|token| token.try_into().ok());
            let (Some(token), Some(&byte)) = (token, key.get(1 + Token::LEN)) else {
                self.key_problem(&entry);
                continue;
            };
            let token = Token(u32::from_be_bytes(token));
            let mut here = match around.take() {
                Some(here) if here.token == token => here,
                _ => self.enter(token).await?,
            };
            match Kind::from_byte(byte) {
                Some(kind) => self.record(kind, &entry, &mut here).await?,
                None => *self.unknown.entry(byte).or_default() += 1,
            }
            around = Some(here);
        }
        Ok(())
    }

    async fn enter(&self, token: Token) -> Result<Around<'a>, KvError> {
        let mut garbage = HashSet::new();
        let mut filed = Cursor::new(self.reader, kind_range(token, Kind::Garbage));
        while let Some(entry) = filed.next().await? {
            let key = garbage::parse_key(entry.key.as_bytes());
            garbage.extend(key.map(|(_, candidate)| candidate));
        }
        let references =
            [0, 1].map(|what| Cursor::new(self.reader, keys::references_to(token, what)));
        let (uploads, manifest) = (HashMap::new(), None);
        Ok(Around { token, garbage, uploads, references, manifest })
    }

    async fn record(
        &mut self,
        kind: Kind,
        entry: &Entry,
        here: &mut Around<'a>,
    ) -> Result<(), KvError> {
        match kind {
            Kind::Bucket => self.bucket(entry, here.token),
            Kind::Counter => self.counter(entry, here.token),
            Kind::Current => self.object(entry, here).await?,
            Kind::CurrentBody => self.object_body(entry).await?,
            Kind::Noncurrent => *self.unknown.entry(kind.byte()).or_default() += 1,
            Kind::Upload => self.upload(entry, here).await?,
            Kind::Pulse => self.pulse(entry, here),
            Kind::Part => self.part(entry, here).await?,
            Kind::PartBody => self.part_body(entry, here).await?,
            Kind::Manifest => self.manifest(entry, here).await?,
            Kind::Blob => self.blob(entry, here).await?,
            Kind::Reference => self.reference(entry, here).await?,
            Kind::Garbage => self.garbage(entry),
            Kind::Repair => self.repair(entry),
        }
        Ok(())
    }

    fn key_problem(&mut self, entry: &Entry) {
        let key = entry.key.as_bytes().escape_ascii();
        let message = format!("The key {key} is that of no record in this place.");
        self.problem(ProblemKind::Key, None, message);
    }

    fn undecodable(&mut self, what: &str, object: Option<Subject>, entry: &Entry) {
        let key = entry.key.as_bytes().escape_ascii();
        let message = format!(
            "The {what} record {key} does not decode: it is damaged, or of a newer version than this program."
        );
        self.problem(ProblemKind::Undecodable, object, message);
    }

    fn bucket(&mut self, entry: &Entry, token: Token) {
        self.counts.buckets += 1;
        let id = bucket::parse_key(entry.key.as_bytes());
        let Some(id) = id.filter(|id| Home::of(*id).token() == token) else {
            return self.key_problem(entry);
        };
        self.buckets.entry(id).or_default().is_there = true;
        match bucket::Bucket::decode(&entry.value) {
            Err(_) => self.undecodable("bucket", None, entry),
            Ok(record) if self.names.get(&id).is_none_or(|name| *name != record.name.as_str()) => {
                let message = format!(
                    "Bucket {} ({id}) is not what the directory of names has under its name.",
                    record.name
                );
                self.problem(ProblemKind::Directory, None, message);
            }
            Ok(_) => {}
        }
    }

    fn counter(&mut self, entry: &Entry, token: Token) {
        let parsed = counter::parse_key(entry.key.as_bytes());
        let Some((id, which)) = parsed.filter(|(id, _)| Home::of(*id).token() == token) else {
            return self.key_problem(entry);
        };
        match kv::decode_counter(&entry.value) {
            None => self.undecodable("counter", None, entry),
            Some(count) => {
                if let Some(stored) = self.bucket_state(id).stored.get_mut(which as usize) {
                    *stored = count;
                }
            }
        }
    }

    /// A bucket that something names.
    fn bucket_state(&mut self, id: BucketId) -> &mut BucketState {
        if !self.buckets.contains_key(&id) {
            let message = format!("There is no bucket {id}, but there are records of it.");
            self.problem(ProblemKind::Bucket, None, message);
        }
        self.buckets.entry(id).or_default()
    }

    /// What can be said only at the end.
    fn finish(&mut self, sessions: HashSet<SessionId>) {
        for (byte, count) in std::mem::take(&mut self.unknown) {
            let message = format!(
                "{count} records are of kind {byte:#04x}, which this program does not know; they were not checked."
            );
            self.problem(ProblemKind::UnknownRecord, None, message);
        }
        for (id, state) in std::mem::take(&mut self.buckets) {
            let name = self.subject(id, "").bucket;
            let counted = state.stored.into_iter().zip(state.counted);
            for ((stored, counted), what) in counted.zip(["objects", "bytes"]) {
                let is_known = state.is_there && !(state.uncertain && what == "bytes");
                if stored != counted && is_known {
                    let message = format!(
                        "The counter of {what} of bucket {name} says {stored}, and there are {counted}."
                    );
                    self.problem(ProblemKind::Counter, None, message);
                }
            }
        }
        for (drive, count) in std::mem::take(&mut self.away) {
            let message = format!(
                "Drive {drive} could not be looked at. Records name {count} copies on it, which were not checked."
            );
            let problem = Problem::new(ProblemKind::DriveMissing, message);
            (self.report)(Problem { drive: Some(drive), ..problem });
        }
        self.counts.lost_objects = self.lost.len() as u64;
        let Some(copies) = &self.copies else { return };
        self.counts.shards = copies.live();
        self.counts.bytes_named = copies.named_bytes();
        for unnamed in copies.unnamed() {
            self.counts.orphan_shards += 1;
            self.counts.bytes_unnamed += unnamed.bytes;
            let is_kept = !sessions.contains(&unnamed.blob.session);
            self.counts.kept_orphan_shards += u64::from(is_kept);
        }
    }
}

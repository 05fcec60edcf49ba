//! Recounts a store at rest: every record against every other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use kv::{Kv, Step};
use objects::schema::garbage::Candidate;
use objects::schema::manifest::Manifest;
use objects::schema::object::{Body, Object};
use objects::schema::part::Part;
use objects::schema::reference::{Owner, Reference, Target};
use objects::schema::*;
use types::{BlobId, BucketId, Token, UploadId, VersionId};

/// What there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub objects: usize,
    pub bytes: u64,
    pub blobs: usize,
    pub references: usize,
    pub uploads: usize,
    pub parts: usize,
    pub manifests: usize,
    /// Candidates filed, with how often each.
    pub garbage: BTreeMap<Candidate, usize>,
    pub repairs: Vec<(u8, BlobId)>,
}

#[derive(Default)]
struct Records {
    buckets: HashSet<BucketId>,
    counters: HashMap<(BucketId, counter::Counter), i64>,
    objects: BTreeMap<(BucketId, String), Object>,
    bodies: HashMap<Vec<u8>, Bytes>,
    uploads: HashMap<UploadId, BucketId>,
    pulses: HashSet<UploadId>,
    parts: BTreeMap<(UploadId, u16), (Token, Part)>,
    manifests: HashMap<UploadId, Manifest>,
    blobs: HashMap<BlobId, Token>,
    references: BTreeMap<(Target, Owner), (Token, Reference)>,
    garbage: BTreeMap<Candidate, usize>,
    repairs: Vec<(u8, BlobId)>,
}

impl Records {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        let Some((token, kind)) = kind_of(key) else {
            assert_ne!(key.first(), Some(&kv::DATA_SPACE), "a data key of no kind: {key:?}");
            return;
        };
        match kind {
            Kind::Bucket => {
                bucket::Bucket::decode(value).expect("a bucket");
                self.buckets.insert(bucket::parse_key(key).expect("a key"));
            }
            Kind::Counter => {
                let count = kv::decode_counter(value).expect("a counter");
                self.counters.insert(counter::parse_key(key).expect("a key"), count);
            }
            Kind::Current => {
                let (bucket, text) = object::parse_key(key).expect("a key");
                let record = Object::decode(value).expect("an object");
                self.objects.insert((bucket, text.to_owned()), record);
            }
            Kind::CurrentBody | Kind::PartBody => {
                self.bodies.insert(key.to_vec(), Bytes::copy_from_slice(value));
            }
            Kind::Noncurrent => panic!("not built"),
            Kind::Upload => {
                upload::Upload::decode(value).expect("an upload");
                let (bucket, _, id) = upload::parse_key(key).expect("a key");
                self.uploads.insert(id, bucket);
            }
            Kind::Pulse => {
                self.pulses.insert(pulse::parse_key(key).expect("a key"));
            }
            Kind::Part => {
                let part = Part::decode(value).expect("a part");
                self.parts.insert(part::parse_key(key).expect("a key"), (token, part));
            }
            Kind::Manifest => {
                let record = Manifest::decode(value).expect("a manifest");
                self.manifests.insert(manifest::parse_key(key).expect("a key"), record);
            }
            Kind::Blob => {
                let id = blob::parse_key(key).expect("a key");
                assert_eq!(blob::Blob::decode(value).expect("a blob").location.id, id);
                self.blobs.insert(id, token);
            }
            Kind::Reference => {
                let record = Reference::decode(value).expect("a reference");
                self.references.insert(reference::parse_key(key).expect("a key"), (token, record));
            }
            Kind::Garbage => {
                garbage::Garbage::decode(value).expect("a garbage record");
                let (_, candidate) = garbage::parse_key(key).expect("a key");
                *self.garbage.entry(candidate).or_default() += 1;
            }
            Kind::Repair => {
                repair::Repair::decode(value).expect("a repair task");
                self.repairs.push(repair::parse_key(key).expect("a key"));
            }
        }
    }

    fn check_counters(&self) {
        let mut counted: HashMap<BucketId, (i64, i64)> = HashMap::new();
        for ((bucket, _), object) in &self.objects {
            assert!(self.buckets.contains(bucket), "an object without a bucket");
            let count = counted.entry(*bucket).or_default();
            *count = (count.0 + 1, count.1 + object.len as i64);
        }
        for bucket in &self.buckets {
            let (objects, bytes) = counted.get(bucket).copied().unwrap_or_default();
            let counter = |which| self.counters.get(&(*bucket, which)).copied().unwrap_or(0);
            assert_eq!(counter(counter::Counter::Objects), objects, "objects of {bucket}");
            assert_eq!(counter(counter::Counter::Bytes), bytes, "bytes of {bucket}");
        }
        let orphan = self.counters.keys().find(|(bucket, _)| !self.buckets.contains(bucket));
        assert_eq!(orphan, None, "a counter without a bucket");
    }

    fn check_bodies(&self) {
        let mut expected = HashSet::new();
        for ((bucket, key), object) in &self.objects {
            let at = body::current_key(Home::of(*bucket), key).as_bytes().to_vec();
            if object.body == Body::Inline && object.len > 0 {
                let value = self.bodies.get(&at).expect("an inline body");
                let body = body::open(body::Context::Version(object.version), value);
                assert_eq!(body.expect("it verifies").len() as u64, object.len);
                expected.insert(at);
            }
        }
        for ((upload, number), (token, part)) in &self.parts {
            if part.blob.is_none() && part.len > 0 {
                let found = self.bodies.iter().find(|(at, value)| {
                    let context = body::Context::Part(*upload, *number);
                    kind_of(at) == Some((*token, Kind::PartBody))
                        && body::open(context, value).is_ok_and(|b| b.len() as u64 == part.len)
                });
                expected.insert(found.expect("the part's body").0.clone());
            }
        }
        assert_eq!(self.bodies.keys().cloned().collect::<HashSet<_>>(), expected);
    }

    /// Every reference has exactly its owner, and every owner its reference.
    fn check_references(&self) {
        let mut owed = BTreeSet::new();
        let mut versions: HashMap<VersionId, (BucketId, &str)> = HashMap::new();
        for ((bucket, key), object) in &self.objects {
            assert_eq!(versions.insert(object.version, (*bucket, key)), None, "a version twice");
            let (home, target) = match &object.body {
                Body::Inline => continue,
                Body::Blob { home, blob } => (*home, Target::Blob(blob.id)),
                Body::Parts(set) => (set.home, Target::PartSet(set.upload)),
            };
            owed.insert((target, Owner::Version(object.version)));
            let token = Home::of(home).token();
            match target {
                Target::Blob(id) => assert_eq!(self.blobs.get(&id), Some(&token)),
                Target::PartSet(id) => assert!(self.manifests.contains_key(&id)),
            }
        }
        for ((upload, number), (token, part)) in &self.parts {
            if let Some(blob) = &part.blob {
                owed.insert((Target::Blob(blob.id), Owner::Part(*upload, *number)));
                assert_eq!(self.blobs.get(&blob.id), Some(token));
            }
        }
        let found: BTreeSet<_> = self.references.keys().copied().collect();
        assert_eq!(found, owed);
        for ((_, owner), (_, reference)) in &self.references {
            if let Owner::Version(id) = owner {
                let place = versions.get(id).expect("an owner");
                assert_eq!((reference.bucket, reference.key.as_str()), *place);
            }
        }
    }

    /// Whatever nothing uses has been filed, so that a collector finds it.
    fn check_garbage(&self) {
        let used: HashSet<Target> = self.references.keys().map(|(target, _)| *target).collect();
        for id in self.blobs.keys() {
            let filed = self.garbage.contains_key(&Candidate::Blob(*id));
            assert!(used.contains(&Target::Blob(*id)) || filed, "blob {id} is lost");
        }
        for id in self.manifests.keys() {
            let filed = self.garbage.contains_key(&Candidate::PartSet(*id));
            assert!(used.contains(&Target::PartSet(*id)) || filed, "part set {id} is lost");
            assert!(!self.uploads.contains_key(id), "an upload that is complete");
        }
        for (upload, number) in self.parts.keys() {
            let filed = |candidate| self.garbage.contains_key(&candidate);
            let known = match self.manifests.get(upload) {
                Some(manifest) => {
                    manifest.contains(*number) || filed(Candidate::Remainder(*upload))
                }
                None => self.uploads.contains_key(upload) || filed(Candidate::PartSet(*upload)),
            };
            assert!(known, "part {number} of {upload} is lost");
        }
        let stale = self.pulses.iter().find(|id| !self.uploads.contains_key(id));
        assert_eq!(stale, None, "a pulse without an upload");
        assert!(self.uploads.values().all(|bucket| self.buckets.contains(bucket)));
    }
}

/// Panics at the first thing that does not fit.
pub async fn check(store: &dyn Kv) -> Census {
    let first = bucket_range_start();
    let range = kv::KeyRange::new(first.clone(), first_of(u32::MAX).prefix_end()).expect("a range");
    let mut records = Records::default();
    let mut visit = |key: &[u8], value: &[u8], _| {
        records.take(key, value);
        Step::Next
    };
    store.snapshot().await.expect("a snapshot").visit(&range, &mut visit).await.expect("a visit");
    records.check_counters();
    records.check_bodies();
    records.check_references();
    records.check_garbage();
    Census {
        objects: records.objects.len(),
        bytes: records.objects.values().map(|object| object.len).sum(),
        blobs: records.blobs.len(),
        references: records.references.len(),
        uploads: records.uploads.len(),
        parts: records.parts.len(),
        manifests: records.manifests.len(),
        garbage: records.garbage,
        repairs: records.repairs,
    }
}

fn bucket_range_start() -> kv::Key {
    first_of(0)
}

fn first_of(token: u32) -> kv::Key {
    kv::Key::data(Token(token), &[]).expect("a key")
}

//! Objects and their bodies.

use bytes::Bytes;
use kv::{Entry, KvError};
use types::{BucketId, VersionId};

use super::{Around, Checker, Found, Lost, Problem, ProblemKind, Subject, keys};
use crate::schema::body::{self, Context};
use crate::schema::manifest::{CHECKPOINT_PARTS, Manifest};
use crate::schema::object::{self, Body, Object, PartSet};
use crate::schema::reference::{self, Owner, Reference, Target};
use crate::schema::{BlobLocation, Home, Record as _, blob, manifest};

impl<'a> Checker<'a> {
    pub(super) async fn object(&mut self, entry: &Entry, here: &Around<'a>) -> Result<(), KvError> {
        self.counts.objects += 1;
        let parsed = object::parse_key(entry.key.as_bytes());
        let Some((bucket, key)) = parsed.filter(|(id, _)| Home::of(*id).token() == here.token)
        else {
            self.key_problem(entry);
            return Ok(());
        };
        let subject = self.subject(bucket, key);
        let state = self.bucket_state(bucket);
        state.counted[0] += 1;
        let Ok(record) = Object::decode(&entry.value) else {
            state.uncertain = true;
            self.undecodable("object", Some(subject), entry);
            return Ok(());
        };
        state.counted[1] = state.counted[1].saturating_add_unsigned(record.len);
        self.counts.object_bytes += record.len;
        let owner = Owner::Version(record.version);
        match &record.body {
            Body::Inline => self.inline(&record, Home::of(bucket), key, subject).await,
            Body::Blob { home, blob } => {
                let home = Home::of(*home);
                self.referenced(home, Target::Blob(blob.id), owner, &subject).await?;
                self.points_to(home, blob, record.len, &subject).await
            }
            Body::Parts(set) => {
                let home = Home::of(set.home);
                self.referenced(home, Target::PartSet(set.upload), owner, &subject).await?;
                self.made_of(set, &record, subject).await
            }
        }
    }

    /// The bytes beside an object.
    async fn inline(
        &mut self,
        record: &Object,
        home: Home,
        key: &str,
        subject: Subject,
    ) -> Result<(), KvError> {
        if record.len == 0 {
            return Ok(());
        }
        let found = self.reader.get(&body::current_key(home, key)).await?.map(|found| found.value);
        let context = Context::Version(record.version);
        if let Some(message) = body_problem(found, context, record.len) {
            self.lost_whole(subject, record.version, record.len, message);
        }
        Ok(())
    }

    /// All of an object is lost.
    pub(super) fn lost_whole(
        &mut self,
        object: Subject,
        version: VersionId,
        len: u64,
        message: String,
    ) {
        self.lost.insert(version);
        let problem = Problem::new(ProblemKind::ObjectLost, message).of(Some(object));
        (self.report)(Problem { lost: vec![Lost { part: None, bytes: 0..len }], ..problem });
    }

    /// That an owner's reference is there.
    pub(super) async fn referenced(
        &mut self,
        home: Home,
        target: Target,
        owner: Owner,
        subject: &Subject,
    ) -> Result<(), KvError> {
        let found = self.get::<Reference>(&reference::key(home, target, owner)).await?;
        if let Found::Absent = found {
            let message = match target {
                Target::Blob(id) => format!("There is no reference to blob {id}, which it needs."),
                Target::PartSet(id) => format!("There is no reference to its part set {id}."),
            };
            self.problem(ProblemKind::ReferenceMissing, Some(subject.clone()), message);
        }
        Ok(())
    }

    /// That the blob's record says the same as the hint.
    async fn points_to(
        &mut self,
        home: Home,
        hint: &BlobLocation,
        len: u64,
        subject: &Subject,
    ) -> Result<(), KvError> {
        let found = self.get::<blob::Blob>(&blob::key(home, hint.id)).await?;
        if let Some((kind, message)) = disagreement(found, hint, len) {
            self.problem(kind, Some(subject.clone()), message);
        }
        Ok(())
    }

    /// That the manifest says the same as the object.
    async fn made_of(
        &mut self,
        set: &PartSet,
        record: &Object,
        subject: Subject,
    ) -> Result<(), KvError> {
        let key = manifest::key(Home::of(set.home), set.upload);
        match self.get::<Manifest>(&key).await? {
            Found::Absent => {
                let message = format!("The manifest of its part set {} is not there.", set.upload);
                self.lost_whole(subject, record.version, record.len, message);
            }
            Found::Good(manifest) if !fits(&manifest, set, record.len) => {
                let message = "It and the manifest of its parts disagree.";
                self.problem(ProblemKind::Manifest, Some(subject), message);
            }
            Found::Good(_) | Found::Bad => {}
        }
        Ok(())
    }

    pub(super) async fn object_body(&mut self, entry: &Entry) -> Result<(), KvError> {
        let Some((bucket, key)) = keys::object_of_body(entry.key.as_bytes()) else {
            self.key_problem(entry);
            return Ok(());
        };
        let is_used = match self.get::<Object>(&object::key(Home::of(bucket), &key)).await? {
            Found::Absent => false,
            Found::Bad => true,
            Found::Good(object) => object.body == Body::Inline && object.len > 0,
        };
        if !is_used {
            self.stray(bucket, &key);
        }
        Ok(())
    }

    fn stray(&mut self, bucket: BucketId, key: &str) {
        let subject = self.subject(bucket, key);
        let message = "Bytes are stored beside an object that is not there or does not use them.";
        self.problem(ProblemKind::BodyStray, Some(subject), message);
    }
}

/// How the record of a blob contradicts an owner of `len` bytes that points to it.
pub(super) fn disagreement(
    found: Found<blob::Blob>,
    hint: &BlobLocation,
    len: u64,
) -> Option<(ProblemKind, String)> {
    match found {
        Found::Absent => {
            let message = format!("Blob {}, which it points to, has no record.", hint.id);
            Some((ProblemKind::BlobMissing, message))
        }
        Found::Good(truth) => {
            let truth = truth.location;
            let is_same = (truth.id, truth.geometry, truth.matrix, truth.len)
                == (hint.id, hint.geometry, hint.matrix, hint.len);
            let message = || {
                let id = hint.id;
                format!("It and the record of its blob {id} disagree on length or geometry.")
            };
            (!is_same || hint.len != len).then(|| (ProblemKind::BlobDisagrees, message()))
        }
        Found::Bad => None,
    }
}

/// What is wrong with stored bytes that should be `len` bytes of `context`.
pub(super) fn body_problem(found: Option<Bytes>, context: Context, len: u64) -> Option<String> {
    match found.map(|value| body::open(context, &value)) {
        None => Some("The bytes that should be stored beside its record are not there.".to_owned()),
        Some(Err(_)) => Some("The bytes stored beside its record do not verify.".to_owned()),
        Some(Ok(bytes)) if bytes.len() as u64 != len => {
            Some(format!("{} bytes are stored beside its record instead of {len}.", bytes.len()))
        }
        Some(Ok(_)) => None,
    }
}

/// Whether an object of `len` bytes that points to `set` can be made of the manifest's parts.
fn fits(manifest: &Manifest, set: &PartSet, len: u64) -> bool {
    let uniform = set.uniform_len;
    let count = u64::from(set.count);
    let is_uniform = || {
        let step = uniform.saturating_mul(CHECKPOINT_PARTS as u64);
        let offsets = manifest.checkpoints.iter().map(|&(_, offset)| offset);
        let last = u16::try_from(count).unwrap_or(u16::MAX);
        manifest.runs == [(1, last)]
            && offsets.eq((0..manifest.checkpoints.len() as u64).map(|n| n.saturating_mul(step)))
            && len <= uniform.saturating_mul(count)
            && len >= uniform.saturating_mul(count.saturating_sub(1))
    };
    manifest.count == set.count && manifest.len == len && (uniform == 0 || is_uniform())
}

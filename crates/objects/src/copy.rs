//! CopyObject: the copy shares the source's blob or part set, so no bytes move, whatever the size. Small bodies,
//! which lie beside their object, are copied.

use futures::StreamExt as _;
use kv::{Guard, Versioned};
use tenancy::Authorized;
use tenancy::action::{GetObject, PutObject};
use types::{Revision, VersionId, limits};

use crate::commit::{Attempts, Verdict};
use crate::digest::{ChecksumAlgorithm, ChecksumKind, ChecksumValue, Hasher};
use crate::engine::Engine;
use crate::error::{CopyError, Failure, GetError, PutError};
use crate::get::{LOOKS_MAX, inline_bytes, present};
use crate::ledger::{Current, Ledger, Place, target_of};
use crate::model::{CopyHeaders, CopyRequest, ReadConditions, StoredChecksum, WriteResult};
use crate::schema::object::{Body, Object};
use crate::schema::reference::Target;
use crate::schema::{Home, blob, manifest};

/// A source, as one look-up found it.
struct Source {
    current: Current,
    beside: Option<Versioned>,
    began: Revision,
}

/// A checksum computed over a version's bytes.
struct Computed {
    version: VersionId,
    value: ChecksumValue,
}

impl Engine {
    /// Copies an object without moving its bytes; the ETag stays what it was.
    ///
    /// # Errors
    /// [`CopyError`].
    pub async fn copy_object(
        &self,
        source: Authorized<GetObject>,
        target: Authorized<PutObject>,
        request: CopyRequest,
    ) -> Result<WriteResult, CopyError> {
        let (source, target) = (source.into_resource(), target.into_resource());
        let from = Place { home: Home::of(source.bucket.id), key: source.key.as_str() };
        let to = Place { home: Home::of(target.bucket.id), key: target.key.as_str() };
        let mut attempts = Attempts::new(self, to.current_key());
        let (mut computed, mut looks) = (None, 0);
        loop {
            let began = self.inner.reads.begin();
            let keys = [
                from.bucket_key(),
                from.current_key(),
                from.body_key(),
                to.bucket_key(),
                to.current_key(),
            ];
            let [from_bucket, current, beside, to_bucket, old] = self.look(keys).await?;
            let current = present(from_bucket.as_ref(), current).map_err(CopyError::Source)?;
            check_source(&request.source_conditions, &current)?;
            let to_bucket = to_bucket.ok_or(Failure::NoSuchBucket)?;
            let old = Current::from_look_up(old)?;
            let etag = old.as_ref().map(|c| c.object.etag);
            request.conditions.check(etag).map_err(PutError::from)?;
            let source = Source { current, beside, began };
            let onto_itself = from.current_key() == to.current_key();
            refuse(&request, &source.current.object, onto_itself)?;
            let Some(checksum) = self.checksum_of(&source, &request, &mut computed).await? else {
                looks += 1;
                if looks == LOOKS_MAX {
                    return Err(Failure::Contended.into());
                }
                continue;
            };
            let object = self.copy_of(&source.current.object, &request.headers, checksum);
            let mut ledger = Ledger::new(object.last_modified);
            ledger.bucket_unchanged(to.home, to_bucket.revision);
            if !onto_itself {
                ledger.guard(Guard::Revision(from.current_key(), source.current.revision));
            }
            guard_target(&mut ledger, &object);
            let bytes = match object.body {
                Body::Inline => inline_bytes(&source.current.object, source.beside)?,
                _ => bytes::Bytes::new(),
            };
            ledger.replace(to, old.as_ref(), &object, &bytes);
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(object.into_result());
            }
        }
    }

    /// The checksum that the copy will have; `None` when the source must be read again.
    async fn checksum_of(
        &self,
        source: &Source,
        request: &CopyRequest,
        computed: &mut Option<Computed>,
    ) -> Result<Option<Option<StoredChecksum>>, CopyError> {
        let object = &source.current.object;
        let algorithm = match request.checksum {
            Some(wanted) if algorithm_of(object) != Some(wanted) => wanted,
            _ => return Ok(Some(object.checksum.clone())),
        };
        if computed.as_ref().is_none_or(|c| c.version != object.version) {
            let value = self
                .compute_checksum(source, algorithm)
                .await
                .map_err(|failure| CopyError::Source(GetError::Failure(failure)))?;
            let Some(value) = value else { return Ok(None) };
            *computed = Some(Computed { version: object.version, value });
        }
        let stored = |c: &Computed| StoredChecksum {
            value: c.value.clone(),
            kind: ChecksumKind::FullObject,
            parts: None,
        };
        Ok(Some(computed.as_ref().map(stored)))
    }

    /// Reads the source's bytes through a hasher; `None` when the read must begin anew.
    async fn compute_checksum(
        &self,
        source: &Source,
        algorithm: ChecksumAlgorithm,
    ) -> Result<Option<ChecksumValue>, Failure> {
        let (object, beside) = (&source.current.object, source.beside.clone());
        let opened = self.open_body(object, beside, 0..object.len, source.began).await?;
        let Some(mut body) = opened else { return Ok(None) };
        let mut hasher = Hasher::new(false, Some(algorithm));
        while let Some(bytes) = body.next().await {
            hasher.update(bytes?).await;
        }
        let value = hasher.finish().await.checksum;
        Ok(Some(value.ok_or(Failure::Damaged("checksum"))?))
    }

    fn copy_of(
        &self,
        source: &Object,
        headers: &CopyHeaders,
        checksum: Option<StoredChecksum>,
    ) -> Object {
        Object {
            len: source.len,
            etag: source.etag,
            last_modified: self.now(),
            checksum,
            version: self.new_version(),
            headers: match headers {
                CopyHeaders::Keep => source.headers.clone(),
                CopyHeaders::Replace(headers) => headers.clone(),
            },
            body: source.body.clone(),
        }
    }
}

/// Conditions on a source: one that would answer "not modified" to a reader is a failed precondition here.
pub(crate) fn check_source(
    conditions: &ReadConditions,
    current: &Current,
) -> Result<(), CopyError> {
    let object = &current.object;
    conditions.check(object.etag, object.last_modified).map_err(|error| {
        CopyError::Source(match error {
            GetError::NotModified { .. } => GetError::PreconditionFailed,
            other => other,
        })
    })
}

fn algorithm_of(object: &Object) -> Option<ChecksumAlgorithm> {
    object.checksum.as_ref().map(|c| c.value.algorithm())
}

fn refuse(request: &CopyRequest, source: &Object, onto_itself: bool) -> Result<(), CopyError> {
    if source.len > limits::PUT_MAX_BYTES {
        return Err(CopyError::Target(PutError::TooLarge));
    }
    let other_checksum = request.checksum.is_some_and(|c| algorithm_of(source) != Some(c));
    if onto_itself && request.headers == CopyHeaders::Keep && !other_checksum {
        return Err(CopyError::Nothing);
    }
    Ok(())
}

/// What is shared must still be there: a collector that was faster would have removed its record.
fn guard_target(ledger: &mut Ledger, object: &Object) {
    match target_of(&object.body) {
        Some((home, Target::Blob(id))) => ledger.guard(Guard::Exists(blob::key(home, id))),
        Some((home, Target::PartSet(id))) => ledger.guard(Guard::Exists(manifest::key(home, id))),
        None => {}
    }
}

//! CompleteMultipartUpload: checks the client's list against the parts at one revision, and makes an object of them
//! in one batch, however many they are.

use std::collections::HashMap;

use kv::{Guard, Reader, Step, Versioned};
use tenancy::Authorized;
use tenancy::action::PutObject;
use types::{UploadId, limits};

use super::UploadPlace;
use crate::commit::{Attempts, Verdict};
use crate::digest::{self, ChecksumAlgorithm, ChecksumKind, ChecksumValue};
use crate::engine::Engine;
use crate::error::{CompleteError, Failure};
use crate::ledger::{Current, Ledger, Place};
use crate::model::{CompleteRequest, CompletedPart, StoredChecksum, WriteResult};
use crate::schema::garbage::Candidate;
use crate::schema::manifest::{self, Manifest};
use crate::schema::object::{Body, Object, PartSet};
use crate::schema::part::{self, Part};
use crate::schema::upload::Upload;
use crate::schema::{Etag, Record as _, Undecodable, pulse};

impl Engine {
    /// Makes an object of an upload's parts. Repeating it after it has succeeded succeeds again, as long as the
    /// object is still the one that it made.
    ///
    /// # Errors
    /// [`CompleteError`]; the upload stays as it was unless [`Failure::Unknown`].
    pub async fn complete_upload(
        &self,
        proof: Authorized<PutObject>,
        upload: UploadId,
        request: CompleteRequest,
    ) -> Result<WriteResult, CompleteError> {
        check_order(&request.parts)?;
        let place = UploadPlace::of(proof.into_resource(), upload);
        let target = Place { home: place.home, key: &place.key };
        let mut attempts = Attempts::new(self, target.current_key());
        loop {
            let reader = self.inner.kv.snapshot().await.map_err(Failure::from)?;
            let found = Found::look(reader.as_ref(), &place, target).await?;
            let Some((upload, upload_revision)) = found.upload else {
                return made_before(found.current, &place, &request);
            };
            request.conditions.check(found.current.as_ref().map(|c| c.object.etag))?;
            let listed = Listed::read(reader.as_ref(), &place, &request).await?;
            let object = self.object_from(&place, &upload, &request, &listed)?;
            let mut ledger = Ledger::new(object.last_modified);
            ledger.bucket_unchanged(place.home, found.bucket);
            ledger.guard(Guard::Revision(place.record_key(), upload_revision));
            let pulse_key = pulse::key(place.home, place.id);
            ledger.guard(match found.pulse {
                Some(revision) => Guard::Revision(pulse_key.clone(), revision),
                None => Guard::Absent(pulse_key.clone()),
            });
            ledger.delete(place.record_key());
            ledger.delete(pulse_key);
            let manifest = Manifest::of(listed.lengths(), object.last_modified);
            ledger.put(manifest::key(place.home, place.id), manifest.encode());
            if listed.left_out > 0 {
                ledger.file(place.home, Candidate::Remainder(place.id));
            }
            ledger.replace(target, found.current.as_ref(), &object, &[]);
            if let Verdict::Committed(_) = attempts.commit(ledger.finish()).await? {
                return Ok(object.into_result());
            }
        }
    }

    fn object_from(
        &self,
        place: &UploadPlace,
        upload: &Upload,
        request: &CompleteRequest,
        listed: &Listed,
    ) -> Result<Object, CompleteError> {
        let len = listed.parts.iter().map(|(_, part)| part.len).sum();
        if len > limits::OBJECT_MAX_BYTES {
            return Err(CompleteError::TooLarge);
        }
        let checksum = checksum_of(upload, request, listed)?;
        if request.declared_len.is_some_and(|declared| declared != len) {
            return Err(CompleteError::WrongLength);
        }
        let md5s = listed.parts.iter().map(|(_, part)| part.md5);
        Ok(Object {
            len,
            etag: etag_of(md5s).ok_or(CompleteError::NoParts)?,
            last_modified: self.now(),
            checksum,
            version: self.new_version(),
            headers: upload.headers.clone(),
            body: Body::Parts(PartSet {
                home: place.home.bucket(),
                upload: place.id,
                count: listed.parts.len() as u32,
                uniform_len: listed.uniform_len(),
            }),
        })
    }
}

/// The records that completing depends on, but for the parts.
struct Found {
    bucket: types::Revision,
    upload: Option<(Upload, types::Revision)>,
    pulse: Option<types::Revision>,
    current: Option<Current>,
}

impl Found {
    async fn look(
        reader: &dyn Reader,
        place: &UploadPlace,
        target: Place<'_>,
    ) -> Result<Self, Failure> {
        let keys = [
            target.bucket_key(),
            place.record_key(),
            pulse::key(place.home, place.id),
            target.current_key(),
        ];
        let found: [Option<Versioned>; 4] = reader
            .multi_get(&keys)
            .await?
            .try_into()
            .map_err(|_| Failure::Damaged("answer of the metadata store"))?;
        let [bucket, upload, pulse, current] = found;
        let upload = match upload {
            Some(found) => Some((Upload::decode(&found.value)?, found.revision)),
            None => None,
        };
        Ok(Self {
            bucket: bucket.ok_or(Failure::NoSuchBucket)?.revision,
            upload,
            pulse: pulse.map(|found| found.revision),
            current: Current::from_look_up(current)?,
        })
    }
}

/// The parts that the client listed, in order.
struct Listed {
    parts: Vec<(u16, Part)>,
    /// How many parts of the upload it did not list.
    left_out: usize,
}

impl Listed {
    async fn read(
        reader: &dyn Reader,
        place: &UploadPlace,
        request: &CompleteRequest,
    ) -> Result<Self, CompleteError> {
        let mut wanted: HashMap<u16, &CompletedPart> =
            request.parts.iter().map(|part| (part.number.get(), part)).collect();
        let mut listed = Self { parts: Vec::with_capacity(wanted.len()), left_out: 0 };
        let mut wrong = None;
        let mut visit = |key: &[u8], value: &[u8], _| {
            match read_part(key, value, &mut wanted) {
                Ok(Some(part)) => listed.parts.push(part),
                Ok(None) => listed.left_out += 1,
                Err(error) => {
                    wrong = Some(error);
                    return Step::Stop;
                }
            }
            Step::Next
        };
        let range = part::range(place.home, place.id);
        reader.visit(&range, &mut visit).await.map_err(Failure::from)?;
        if let Some(error) = wrong {
            return Err(error);
        }
        match wanted.keys().min() {
            Some(&number) => Err(CompleteError::InvalidPart { number }),
            None => listed.check_sizes(),
        }
    }

    fn check_sizes(self) -> Result<Self, CompleteError> {
        let all_but_last = self.parts.split_last().map_or(&[][..], |(_, front)| front);
        match all_but_last.iter().find(|(_, part)| part.len < limits::PART_MIN_BYTES) {
            Some((number, part)) => Err(CompleteError::TooSmall {
                number: *number,
                len: part.len,
                etag: part.etag().to_text(),
            }),
            None => Ok(self),
        }
    }

    fn lengths(&self) -> impl Iterator<Item = (u16, u64)> {
        self.parts.iter().map(|(number, part)| (*number, part.len))
    }

    /// See [`PartSet::uniform_len`].
    fn uniform_len(&self) -> u64 {
        let Some(len) = self.parts.first().map(|(_, part)| part.len).filter(|&len| len > 0) else {
            return 0;
        };
        let last = self.parts.len();
        let fits = |(at, (number, part)): (usize, &(u16, Part))| {
            let in_order = usize::from(*number) == at + 1;
            in_order && (part.len == len || (at + 1 == last && part.len < len))
        };
        if self.parts.iter().enumerate().all(fits) { len } else { 0 }
    }
}

/// A stored part, if it is wanted and is what the client thinks it is.
fn read_part(
    key: &[u8],
    value: &[u8],
    wanted: &mut HashMap<u16, &CompletedPart>,
) -> Result<Option<(u16, Part)>, CompleteError> {
    let damaged = |what: Undecodable| CompleteError::Failure(what.into());
    let (_, number) = part::parse_key(key).ok_or(damaged(Undecodable("part")))?;
    let Some(named) = wanted.remove(&number) else { return Ok(None) };
    let part = Part::decode(value).map_err(damaged)?;
    let same_checksum = named.checksum.is_none() || named.checksum == part.checksum;
    if part.etag().to_text() != named.etag || !same_checksum {
        return Err(CompleteError::InvalidPart { number });
    }
    Ok(Some((number, part)))
}

fn check_order(parts: &[CompletedPart]) -> Result<(), CompleteError> {
    if parts.is_empty() {
        return Err(CompleteError::NoParts);
    }
    let ascending = parts.windows(2).all(|pair| match pair {
        [a, b] => a.number < b.number,
        _ => true,
    });
    if ascending { Ok(()) } else { Err(CompleteError::InvalidPartOrder) }
}

/// The answer when the upload is gone: success if the current object is what this request made.
fn made_before(
    current: Option<Current>,
    place: &UploadPlace,
    request: &CompleteRequest,
) -> Result<WriteResult, CompleteError> {
    let md5s = request.parts.iter().map(|part| Etag::parse(&part.etag).map(|etag| etag.md5));
    let etag = md5s.collect::<Option<Vec<_>>>().and_then(|md5s| etag_of(md5s.into_iter()));
    let object = current.map(|c| c.object).filter(|object| {
        let ours = matches!(&object.body, Body::Parts(set)
            if set.upload == place.id && set.home == place.home.bucket());
        ours && Some(object.etag) == etag
    });
    object.map(Object::into_result).ok_or(CompleteError::NoSuchUpload)
}

fn etag_of(md5s: impl Iterator<Item = [u8; 16]>) -> Option<Etag> {
    let md5s: Vec<_> = md5s.collect();
    Etag::parse(&digest::multipart_etag(&md5s))
}

/// The checksum of the whole, verified against the one declared.
fn checksum_of(
    upload: &Upload,
    request: &CompleteRequest,
    listed: &Listed,
) -> Result<Option<StoredChecksum>, CompleteError> {
    let computed = match upload.checksum {
        Some((algorithm, kind)) => Some(compute(algorithm, kind, listed)?),
        // Begun without a checksum: one declared now is verified if the parts allow it, and kept.
        None => match &request.checksum {
            Some(value) => Some(compute(value.algorithm(), ChecksumKind::FullObject, listed)?),
            None => None,
        },
    };
    match (&request.checksum, &computed) {
        (Some(declared), Some(found)) if *declared != found.value => Err(CompleteError::Mismatch),
        (Some(_), None) => Err(CompleteError::Mismatch),
        _ => Ok(computed),
    }
}

fn compute(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    listed: &Listed,
) -> Result<StoredChecksum, CompleteError> {
    let of_part = |(_, part): &(u16, Part)| Some((part.checksum.clone()?, part.len));
    let parts: Option<Vec<(ChecksumValue, u64)>> = listed.parts.iter().map(of_part).collect();
    let parts = parts.ok_or(CompleteError::Mismatch)?;
    let value = match kind {
        ChecksumKind::FullObject => digest::combine(algorithm, &parts),
        ChecksumKind::Composite => {
            let values: Vec<_> = parts.into_iter().map(|(value, _)| value).collect();
            digest::composite(algorithm, &values)
        }
    };
    let parts = (kind == ChecksumKind::Composite).then_some(listed.parts.len() as u32);
    Ok(StoredChecksum { value: value.ok_or(CompleteError::Mismatch)?, kind, parts })
}

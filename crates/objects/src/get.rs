//! GetObject and HeadObject.

use std::ops::Range;

use bytes::Bytes;
use kv::Versioned;
use tenancy::Authorized;
use tenancy::action::GetObject;
use types::Revision;

use crate::digest::ChecksumKind;
use crate::engine::Engine;
use crate::error::{Failure, GetError};
use crate::ledger::{Current, Place};
use crate::model::{GetRequest, GetResult, ObjectInfo, OutputStream, Selection, StoredChecksum};
use crate::parts::{one, slice};
use crate::schema::Home;
use crate::schema::body;
use crate::schema::object::{Body, Object};
use crate::selection::{self, Selected};
use crate::stream::Open;

/// How often a read looks again because it came too late for the oldest-read report. Reports are seconds apart.
pub(crate) const LOOKS_MAX: u32 = 16;

impl Engine {
    /// An object's facts and bytes. The first bytes have been read and verified when this returns.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn get_object(
        &self,
        proof: Authorized<GetObject>,
        request: GetRequest,
    ) -> Result<GetResult, GetError> {
        let source = proof.into_resource();
        let place = Place { home: Home::of(source.bucket.id), key: source.key.as_str() };
        for _ in 0..LOOKS_MAX {
            let began = self.inner.reads.begin();
            let look =
                self.look([place.bucket_key(), place.current_key(), place.body_key()]).await?;
            let [bucket, current, beside] = look;
            let current = present(bucket.as_ref(), current)?;
            request.conditions.check(current.object.etag, current.object.last_modified)?;
            let selected = self.select(&current.object, request.selection, began).await?;
            let Some((selected, checksum)) = selected else { continue };
            let opened =
                self.open_body(&current.object, beside, selected.range.clone(), began).await?;
            if let Some(body) = opened {
                return Ok(GetResult { info: info(current.object, selected, checksum), body });
            }
        }
        Err(Failure::Contended.into())
    }

    /// An object's facts.
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn head_object(
        &self,
        proof: Authorized<GetObject>,
        request: GetRequest,
    ) -> Result<ObjectInfo, GetError> {
        let source = proof.into_resource();
        let place = Place { home: Home::of(source.bucket.id), key: source.key.as_str() };
        for _ in 0..LOOKS_MAX {
            let began = self.inner.reads.begin();
            let [bucket, current] = self.look([place.bucket_key(), place.current_key()]).await?;
            let current = present(bucket.as_ref(), current)?;
            request.conditions.check(current.object.etag, current.object.last_modified)?;
            let selected = self.select(&current.object, request.selection, began).await?;
            if let Some((selected, checksum)) = selected {
                return Ok(info(current.object, selected, checksum));
            }
        }
        Err(Failure::Contended.into())
    }

    /// The bytes that a selection means, and the checksum to tell with them. `None` when the read must look again:
    /// it came too late to be registered, and what it would look up may have been collected.
    async fn select(
        &self,
        object: &Object,
        selection: Selection,
        began: Revision,
    ) -> Result<Option<(Selected, Option<StoredChecksum>)>, GetError> {
        let Selection::Part(number) = selection else {
            let selected = selection::resolve(selection, object.len)?;
            return Ok(Some((selected, object.checksum.clone())));
        };
        let Body::Parts(set) = object.body else {
            if number.get() > 1 {
                return Err(GetError::NoSuchPart { parts: 1 });
            }
            let selected = Selected { range: 0..object.len, partial: object.len > 0 };
            return Ok(Some((selected, object.checksum.clone())));
        };
        let Some(_read) = self.inner.reads.open(began) else { return Ok(None) };
        let located = self.find_part(set, number.get()).await?;
        let range = located.begins..located.begins.saturating_add(located.part.len);
        // The kind is the object's, as on AWS: it says what the object's own checksum is made of.
        let kind = object.checksum.as_ref().map_or(ChecksumKind::FullObject, |whole| whole.kind);
        let checksum = located.part.checksum;
        let checksum = checksum.map(|value| StoredChecksum { value, kind, parts: None });
        let partial = !range.is_empty();
        Ok(Some((Selected { range, partial }, checksum)))
    }

    /// The bytes of `range`; `beside` is what lies beside the object. `None` when the read must look again: it
    /// began before `began` was too old to be registered.
    pub(crate) async fn open_body(
        &self,
        object: &Object,
        beside: Option<Versioned>,
        range: Range<u64>,
        began: Revision,
    ) -> Result<Option<OutputStream>, Failure> {
        if let Body::Inline = object.body {
            return Ok(Some(one(slice(&inline_bytes(object, beside)?, &range))));
        }
        let Some(read) = self.inner.reads.open(began) else { return Ok(None) };
        let stream = match &object.body {
            Body::Parts(set) => self.open_parts(*set, range).await?,
            Body::Blob { home, blob } if !range.is_empty() => {
                self.open_blob(Home::of(*home), blob, range).await?
            }
            Body::Blob { .. } | Body::Inline => one(Bytes::new()),
        };
        Ok(Some(Box::pin(Open::new(stream, read))))
    }
}

/// The body of an inline object.
pub(crate) fn inline_bytes(object: &Object, beside: Option<Versioned>) -> Result<Bytes, Failure> {
    let bytes = match beside {
        Some(found) => body::open(body::Context::Version(object.version), &found.value)?,
        None => Bytes::new(),
    };
    if bytes.len() as u64 == object.len { Ok(bytes) } else { Err(Failure::Damaged("body")) }
}

/// The object that a look-up found.
pub(crate) fn present(
    bucket: Option<&Versioned>,
    current: Option<Versioned>,
) -> Result<Current, GetError> {
    if bucket.is_none() {
        return Err(Failure::NoSuchBucket.into());
    }
    Current::from_look_up(current)?.ok_or(GetError::NoSuchKey)
}

fn info(object: Object, selected: Selected, checksum: Option<StoredChecksum>) -> ObjectInfo {
    ObjectInfo {
        len: object.len,
        etag: object.etag.to_text(),
        last_modified: object.last_modified,
        parts: Some(object.etag.parts).filter(|&parts| parts > 0),
        headers: object.headers,
        checksum,
        range: selected.range,
        partial: selected.partial,
    }
}

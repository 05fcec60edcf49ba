//! UploadPartCopy: reads a range of an object and stores it as a part. The bytes do move: a range of a blob is no
//! blob.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tenancy::Authorized;
use tenancy::action::{GetObject, PutObject};
use types::limits;

use super::UploadPlace;
use crate::copy::check_source;
use crate::engine::Engine;
use crate::error::{BodyError, CopyError, Failure, GetError, ReadError, StoreError, UploadError};
use crate::get::{LOOKS_MAX, present};
use crate::ledger::Place;
use crate::model::{BodyStream, DeclaredDigests, OutputStream, PartCopyRequest, WriteResult};
use crate::schema::Home;

impl Engine {
    /// Stores a part from bytes of an object.
    ///
    /// # Errors
    /// [`CopyError`]; a range beyond the source's end is [`GetError::RangeNotSatisfiable`].
    pub async fn copy_part(
        &self,
        source: Authorized<GetObject>,
        target: Authorized<PutObject>,
        request: PartCopyRequest,
    ) -> Result<WriteResult, CopyError> {
        let place = UploadPlace::of(target.into_resource(), request.upload);
        self.find_upload(&place).await?;
        let source = source.into_resource();
        let from = Place { home: Home::of(source.bucket.id), key: source.key.as_str() };
        let (len, bytes) = self.open_source(from, &request).await?;
        let failed = Arc::new(Mutex::new(None));
        let body = as_body(bytes, failed.clone());
        let digests = DeclaredDigests::default();
        let stored = self.store_part(&place, request.number, len, digests, body).await;
        match (stored, failed.lock().take()) {
            (Err(UploadError::Failure(Failure::Store(StoreError::Body(_)))), Some(error)) => {
                Err(CopyError::Source(GetError::Failure(Failure::Read(error))))
            }
            (stored, _) => Ok(stored?),
        }
    }

    async fn open_source(
        &self,
        from: Place<'_>,
        request: &PartCopyRequest,
    ) -> Result<(u64, OutputStream), CopyError> {
        for _ in 0..LOOKS_MAX {
            let began = self.inner.reads.begin();
            let keys = [from.bucket_key(), from.current_key(), from.body_key()];
            let [bucket, current, beside] = self.look(keys).await?;
            let current = present(bucket.as_ref(), current).map_err(CopyError::Source)?;
            check_source(&request.source_conditions, &current)?;
            let range = range_of(request.range, current.object.len)?;
            let len = range.end - range.start;
            if len > limits::PUT_MAX_BYTES {
                return Err(UploadError::TooLarge.into());
            }
            let opened = self.open_body(&current.object, beside, range, began).await;
            let opened = opened.map_err(|f| CopyError::Source(GetError::Failure(f)))?;
            if let Some(bytes) = opened {
                return Ok((len, bytes));
            }
        }
        Err(Failure::Contended.into())
    }
}

fn range_of(range: Option<(u64, u64)>, len: u64) -> Result<Range<u64>, CopyError> {
    match range {
        None => Ok(0..len),
        Some((first, last)) if first <= last && last < len => Ok(first..last + 1),
        Some(_) => Err(CopyError::Source(GetError::RangeNotSatisfiable { len })),
    }
}

/// The source's bytes as a body; what went wrong with them is left in `failed`.
fn as_body(bytes: OutputStream, failed: Arc<Mutex<Option<ReadError>>>) -> BodyStream {
    Box::pin(bytes.map(move |item| {
        item.map_err(|error| {
            *failed.lock() = Some(error);
            BodyError::Incomplete
        })
    }))
}

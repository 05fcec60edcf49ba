//! ListParts.

use kv::{Direction, KeyRange};
use tenancy::Authorized;
use tenancy::action::ListMultipartUploadParts;
use types::{PartNumber, UploadId, limits};

use super::UploadPlace;
use crate::engine::Engine;
use crate::error::{Failure, UploadError};
use crate::model::{PartInfo, PartPage};
use crate::schema::Record as _;
use crate::schema::part::{self, Part};
use crate::schema::upload::Upload;

impl Engine {
    /// A page of an upload's parts behind number `after` (0: from the first), at most `max` (0 to 1000).
    ///
    /// # Errors
    /// [`UploadError::NoSuchUpload`] also when it was completed or aborted.
    pub async fn list_parts(
        &self,
        proof: Authorized<ListMultipartUploadParts>,
        upload: UploadId,
        after: u16,
        max: usize,
    ) -> Result<PartPage, UploadError> {
        let place = UploadPlace::of(proof.into_resource(), upload);
        let reader = self.inner.kv.snapshot().await.map_err(Failure::from)?;
        let found = reader.get(&place.record_key()).await.map_err(Failure::from)?;
        let found = found.ok_or(UploadError::NoSuchUpload)?;
        let record = Upload::decode(&found.value).map_err(Failure::from)?;
        let mut page = PartPage { checksum: record.checksum, ..PartPage::default() };
        let max = max.min(limits::LIST_PAGE_MAX_KEYS);
        let all = part::range(place.home, upload);
        let mut range = match after {
            0 => Some(all),
            _ => all.starting_at(part::key(place.home, upload, after).successor()),
        };
        // A page of the store may be shorter than asked for, because of its size.
        while let Some(rest) = range.take().filter(|_| page.parts.len() < max) {
            let limit = max - page.parts.len();
            let found = reader.scan(&rest, limit, Direction::Forward).await;
            let found = found.map_err(Failure::from)?;
            for entry in &found.entries {
                page.parts.push(info(entry)?);
            }
            page.next = page.parts.last().filter(|_| found.more).map(|p| p.number.get());
            range = next_range(&rest, &found);
        }
        Ok(page)
    }
}

fn next_range(range: &KeyRange, page: &kv::Page) -> Option<KeyRange> {
    let last = page.entries.last().filter(|_| page.more)?;
    range.starting_at(last.key.successor())
}

fn info(entry: &kv::Entry) -> Result<PartInfo, UploadError> {
    let damaged = || Failure::Damaged("part");
    let (_, number) = part::parse_key(entry.key.as_bytes()).ok_or_else(damaged)?;
    let part = Part::decode(&entry.value).map_err(Failure::from)?;
    Ok(PartInfo {
        number: PartNumber::new(i64::from(number)).ok_or_else(damaged)?,
        len: part.len,
        etag: part.etag().to_text(),
        last_modified: part.last_modified,
        checksum: part.checksum,
    })
}

//! ListMultipartUploads: as a listing of objects, except that one key may have many uploads.

use kv::{KeyRange, Step};
use tenancy::Authorized;
use tenancy::action::ListBucketMultipartUploads;
use types::{UploadId, limits};

use crate::engine::Engine;
use crate::error::Failure;
use crate::list::{Begin, Taken, Walk, cut};
use crate::model::{UploadInfo, UploadPage, UploadsRequest};
use crate::schema::upload::{self, Upload};
use crate::schema::{Home, Record as _, Undecodable, bucket};

impl Engine {
    /// A page of a bucket's uploads.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list_uploads(
        &self,
        proof: Authorized<ListBucketMultipartUploads>,
        request: UploadsRequest,
    ) -> Result<UploadPage, Failure> {
        let home = Home::of(proof.into_resource().id);
        let max = request.max.min(limits::LIST_PAGE_MAX_KEYS);
        let reader = self.inner.kv.snapshot().await?;
        reader.get(&bucket::key(home)).await?.ok_or(Failure::NoSuchBucket)?;
        let mut walk = Walk::new(&request.prefix, request.delimiter.as_deref(), max);
        let Some(range) = begin(home, &request, &walk) else { return Ok(UploadPage::default()) };
        let mut page = UploadPage::default();
        let mut wrong = None;
        let mut visit = |key: &[u8], value: &[u8], _| match listed(key, value, &mut walk, &mut page)
        {
            Ok(Next::Entry) => Step::Next,
            Ok(Next::Leap(prefix)) => Step::SeekTo(upload::range(home, &prefix).end().clone()),
            Ok(Next::Full) => Step::Stop,
            Err(error) => {
                wrong = Some(error);
                Step::Stop
            }
        };
        reader.visit(&range, &mut visit).await?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        page.next = walk.next().map(|last| match page.uploads.last() {
            Some(upload) if upload.key == last => (last, Some(upload.upload)),
            _ => (last, None),
        });
        page.prefixes = walk.prefixes;
        Ok(page)
    }
}

/// What is to be visited; `None` when nothing is.
fn begin(home: Home, request: &UploadsRequest, walk: &Walk<'_>) -> Option<KeyRange> {
    let begin = walk.first(request.after_key.as_deref())?;
    let all = upload::range(home, &request.prefix);
    match (begin, request.after_upload) {
        (Begin::At, _) => Some(all),
        (Begin::BehindAll(prefix), _) => all.starting_at(upload::range(home, prefix).end().clone()),
        (Begin::Behind(key), Some(id)) if key.len() <= limits::OBJECT_KEY_MAX_BYTES => {
            all.starting_at(upload::key(home, key, id).successor())
        }
        (Begin::Behind(key), _) => all.starting_at(upload::behind(home, cut(key))),
    }
}

enum Next {
    Entry,
    Leap(String),
    Full,
}

fn listed(
    key: &[u8],
    value: &[u8],
    walk: &mut Walk<'_>,
    page: &mut UploadPage,
) -> Result<Next, Undecodable> {
    let (_, text, id): (_, String, UploadId) =
        upload::parse_key(key).ok_or(Undecodable("upload"))?;
    Ok(match walk.take(&text) {
        Taken::Full => Next::Full,
        Taken::Prefix(prefix) => Next::Leap(prefix),
        Taken::Entry => {
            let Upload { initiated, checksum, .. } = Upload::decode(value)?;
            page.uploads.push(UploadInfo { key: text, upload: id, initiated, checksum });
            Next::Entry
        }
    })
}

//! ListMultipartUploads.

use objects::{UploadPage, UploadsRequest};
use tenancy::action::ListBucketMultipartUploads;
use types::{UploadId, limits};

use super::listing::{Encoding, beyond_every_key, checksum, owner, parse_limit, parse_position};
use crate::address::clip;
use crate::call::Call;
use crate::dates::iso8601;
use crate::error::{ApiError, ApiResult};
use crate::mapping;
use crate::reply::Reply;
use crate::xml::Writer;

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let encoding = Encoding::read(&call.query)?;
    let most = limits::LIST_PAGE_MAX_KEYS;
    let max = parse_limit(&call.query, "max-uploads", 0, most, most)?;
    let after_key = parse_position(&call.query, "key-marker")?;
    let after_upload = match &after_key {
        Some(_) => upload_marker(&call)?,
        // On its own it says nothing, and is ignored.
        None => None,
    };
    let request = UploadsRequest {
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        delimiter: call.query.nonempty("delimiter").map(str::to_owned),
        after_key,
        after_upload,
        max,
    };
    let proof = call.may_bucket::<ListBucketMultipartUploads>().await?;
    let bucket = proof.resource().clone();
    let page = if max == 0 || beyond_every_key(&request.prefix) {
        UploadPage::default()
    } else {
        let page = call.engine().list_uploads(proof, request.clone()).await;
        page.map_err(mapping::failure)?
    };

    let mut xml = Writer::new();
    xml.open_root("ListMultipartUploadsResult");
    xml.text("Bucket", bucket.name.as_str());
    encoding.write(&mut xml, "KeyMarker", request.after_key.as_deref().unwrap_or_default());
    let marker = request.after_upload.map(|id| id.to_string()).unwrap_or_default();
    xml.text("UploadIdMarker", &marker);
    if let Some((key, upload)) = &page.next {
        encoding.write(&mut xml, "NextKeyMarker", key);
        xml.text("NextUploadIdMarker", &upload.map(|id| id.to_string()).unwrap_or_default());
    }
    encoding.write(&mut xml, "Prefix", &request.prefix);
    encoding.write_optional(&mut xml, "Delimiter", request.delimiter.as_deref());
    xml.number("MaxUploads", max as u64);
    xml.flag("IsTruncated", page.next.is_some());
    encoding.declare(&mut xml);
    for upload in &page.uploads {
        xml.open("Upload");
        encoding.write(&mut xml, "Key", &upload.key);
        xml.text("UploadId", &upload.upload.to_string());
        owner(&mut xml, "Initiator", bucket.owner);
        owner(&mut xml, "Owner", bucket.owner);
        xml.text("StorageClass", "STANDARD");
        xml.text("Initiated", &iso8601(upload.initiated));
        checksum(&mut xml, upload.checksum);
        xml.close("Upload");
    }
    encoding.prefixes(&mut xml, &page.prefixes);
    xml.close("ListMultipartUploadsResult");
    Ok(Reply::xml(xml.finish()))
}

fn upload_marker(call: &Call) -> ApiResult<Option<UploadId>> {
    let Some(text) = call.query.nonempty("upload-id-marker") else { return Ok(None) };
    let wrong = |_| ApiError::argument("upload-id-marker", clip(text), "Invalid uploadId marker");
    text.parse().map(Some).map_err(wrong)
}
